"""Site file and the files it is made of, as bytes: to name a configuration, and to go back to it.

Guarantees: `keep` leaves the configuration that runs in `config/current` of the data directory and
the one that ran before it in `config/previous`, each with SHA256SUMS as sha256sum(1) prints it;
keeping the same one again changes nothing. The digest of a configuration is the SHA-256 of that
list. The files are those of FILES: point tables, device profiles, mappings, frames, the duty roster
and the words of messages, the calendar and the gas table. No secret is among them: the site file
names the files of secrets and holds none; certificates and models are not kept either.
"""

from __future__ import annotations

import hashlib
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUMS = "SHA256SUMS"
OUTSIDE = "outside"
"""Folder for files that do not lie in or below the folder of the site file."""
FILES: Mapping[str, tuple[str, ...]] = {
    "device": ("points", "mapping", "frame", "profile_file"),
    "notify": ("roster", "templates"),
    "work": ("calendar", "gases"),
}
"""By section, the keys that name a file of the configuration."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Contents by path relative to the site file's folder."""

    files: Mapping[str, bytes]

    @property
    def sums(self) -> bytes:
        """The list of the files, as sha256sum(1) prints it."""
        return "".join(
            f"{hashlib.sha256(content).hexdigest()}  {name}\n"
            for name, content in sorted(self.files.items())
        ).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of `sums`, in hex."""
        return hashlib.sha256(self.sums).hexdigest()

    def keep(self, data_dir: Path) -> None:
        """Make this the current configuration, and the current one the previous; raises OSError."""
        current, previous = data_dir / "config" / "current", previous_folder(data_dir)
        if (current / SUMS).is_file() and (current / SUMS).read_bytes() == self.sums:
            return
        coming = data_dir / "config" / "coming"
        shutil.rmtree(coming, ignore_errors=True)
        for name, content in self.files.items():
            target = coming / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (coming / SUMS).write_bytes(self.sums)
        if current.exists():
            shutil.rmtree(previous, ignore_errors=True)
            current.rename(previous)
        coming.rename(current)


def previous_folder(data_dir: Path) -> Path:
    """Where the configuration before the running one is kept."""
    return data_dir / "config" / "previous"


def take(path: Path) -> Snapshot:
    """Read the site file and the files it names (FILES); what cannot be read is left out.

    Whether the configuration is right is for `load` to say.
    """
    files: dict[str, bytes] = {}
    try:
        files[path.name] = path.read_bytes()
        raw = tomllib.loads(files[path.name].decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return Snapshot(files)
    folder = path.absolute().parent
    for name in _named(raw):
        try:
            files[_relative(folder, name)] = (folder / name).read_bytes()
        except (OSError, ValueError):
            continue
    return Snapshot(files)


def _named(raw: Mapping[str, Any]) -> Iterator[str]:
    for section, keys in FILES.items():
        tables = raw.get(section, [])
        for table in tables if isinstance(tables, list) else [tables]:
            found = [table.get(key) for key in keys] if isinstance(table, dict) else []
            yield from (name for name in found if isinstance(name, str) and name)


def _relative(folder: Path, name: str) -> str:
    found = (folder / name).resolve()
    if found.is_relative_to(folder.resolve()):
        return str(found.relative_to(folder.resolve()))
    tell_apart = hashlib.sha256(str(found).encode()).hexdigest()[:8]
    return f"{OUTSIDE}/{tell_apart}-{found.name}"
