"""Where device profiles 设备模板 come from: those shipped here by name, a site's own by path.

Guarantees: what cannot be read is one sentence that names the file or the nearest name; a file of a
site is read at each call, so that what was changed is seen when the site is loaded again.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path

from drivers.modbus.profile import Profile, ProfileError, parse
from drivers.wording import suggestion

_FOLDER = "profiles"


def load(name: str) -> Profile:
    """Load a shipped profile by name, or a site's own by its path, which ends with .toml.

    Raises ProfileError with the nearest name, or what is wrong in the file.
    """
    if not name.endswith(".toml"):
        return _shipped(name)
    try:
        text = Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise ProfileError(f"profile {name}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ProfileError(f"profile {name}: is not UTF-8; save it as UTF-8") from None
    return _of_site(text, name)


@lru_cache(maxsize=64)
def _of_site(text: str, name: str) -> Profile:
    return parse(text, name)


@lru_cache(maxsize=64)
def _shipped(name: str) -> Profile:
    if name not in names():
        raise ProfileError(f"unknown profile {name!r}; {suggestion(name, names())}")
    text = (resources.files("drivers.modbus") / _FOLDER / f"{name}.toml").read_text("utf-8")
    found = parse(text, name)
    if found.profile.name != name:
        raise ProfileError(f"profile {name}: calls itself {found.profile.name}")
    return found


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Names of the profiles that are shipped."""
    folder = resources.files("drivers.modbus") / _FOLDER
    return tuple(
        sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml"))
    )
