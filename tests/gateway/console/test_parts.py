"""What is imported where, which routes there are, and the site file's [console]."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.main import main
from gateway.config.load import ConfigError, load
from gateway.config.users import Role, add_user
from tests.fakes.certificates import Authority

SITE = """
[gateway]
id = "SD-1"
enterprise = "91370800MA3C000000"
data_dir = "data"
[console]
"""


def site(folder: Path, console: str) -> Path:
    path = folder / "site.toml"
    path.write_text(SITE + console, encoding="utf-8")
    return path


def modules_after(program: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", f"{program}; import sys; print(*sys.modules, sep='\\n')"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(ran.stdout.split())


def test_a_gateway_without_a_console_imports_nothing_of_it(tmp_path: Path) -> None:
    path = site(tmp_path, "").with_name("bare.toml")
    path.write_text(SITE.replace("[console]", ""), encoding="utf-8")
    found = modules_after(
        "from pathlib import Path; from gateway.config.load import load;"
        f" load(Path({str(path)!r})); import gateway.app"
    )
    heavy = {name for name in found if name.startswith("gateway.console")}
    assert heavy | (found & {"fastapi", "uvicorn", "starlette", "gateway.config.console"}) == set()


def test_a_gateway_with_one_imports_no_web_server(tmp_path: Path) -> None:
    path = site(tmp_path, "")
    found = modules_after(
        "from pathlib import Path; from gateway.config.load import load;"
        f" load(Path({str(path)!r})); import gateway.app, gateway.console.process"
    )
    assert found & {"fastapi", "uvicorn", "starlette"} == set()


@pytest.mark.parametrize(
    ("console", "line", "said"),
    [
        ('listen = "8443"', 7, "console.listen: must be host:port"),
        ('listen = "0.0.0.0:8443"\ninsecure = true', 6, "is for loopback only"),
        ('certificate = "a.pem"', 6, "certificate alone is not enough"),
        ('key = "a.key"', 6, "key alone is not enough"),
        ('certificate = "no.pem"\nkey = "no.key"', 7, "console.certificate: there is no file"),
        ("idle_minutes = 0", 7, "console.idle_minutes: "),
        ("memory_mb = 1", 7, "console.memory_mb: "),
        ("port = 1", 7, "console.port: unknown key"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, console: str, line: int, said: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load(site(tmp_path, console))
    problems = [str(one) for one in raised.value.problems]
    assert any(f"site.toml:{line}: " in one and said in one for one in problems), problems


def test_nobody_to_sign_in_is_a_warning_that_says_what_to_do(tmp_path: Path) -> None:
    path = site(tmp_path, 'listen = "0.0.0.0:8443"')
    said = [str(one) for one in load(path).warnings if one.key == "console"]
    assert len(said) == 1
    assert "until then it listens on 127.0.0.1:8443 only" in said[0]
    assert "plantgate console user add" in said[0]
    (tmp_path / "data").mkdir()
    add_user(tmp_path / "data", "a", Role.VIEWER, "a long enough one", 1)
    assert [one for one in load(path).warnings if one.key == "console"] == []


def test_a_certificate_that_does_not_fit_is_wrong_one_that_lapsed_a_warning(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    first, second = authority.issue("first"), authority.issue("second")
    names = f'certificate = "{first.certificate.name}"\nkey = "{second.key.name}"'
    with pytest.raises(ConfigError, match="does not fit key"):
        load(site(tmp_path, names))

    class Later:
        def wall_ns(self) -> int:
            return 4_200_000_000_000_000_000  # the year 2103; the certificate ends in 2099

        def monotonic_ns(self) -> int:
            return 0

        async def sleep_until(self, monotonic_ns: int) -> None:
            raise NotImplementedError

    names = f'certificate = "{first.certificate.name}"\nkey = "{first.key.name}"'
    warnings = [str(one) for one in load(site(tmp_path, names), clock=Later()).warnings]
    assert any("first.pem expired on 2099-01-01" in one for one in warnings)


# -- the command line --------------------------------------------------------------------------


def run(*arguments: str, given: str = "") -> tuple[int, str]:
    ran = CliRunner().invoke(main, ["console", *arguments], input=given)
    return ran.exit_code, ran.output


def test_people_are_added_listed_changed_and_removed(tmp_path: Path) -> None:
    data = str(tmp_path)
    typed = "a long enough one\n" * 2
    assert run("user", "add", data, "王芳", "--role", "issuer", given=typed)[0] == 0
    code, said = run("user", "add", data, "李四", "--role", "viewer", "--generate")
    assert code == 0
    assert "李四: viewer 查看, password " in said
    assert "2 users" in run("user", "list", data)[1]
    assert '"role": "issuer"' in run("user", "list", data, "--json")[1]
    assert run("user", "password", data, "王芳", "--stdin", given="another long one\n")[0] == 0
    assert run("user", "remove", data, "王芳") == (0, "王芳 is removed\n")
    code, said = run("user", "remove", data, "王芳")
    assert (code, said) == (2, "plantgate console: there is no user 王芳; there is 李四\n")
    code, said = run("user", "add", data, "x", "--role", "viewer", "--stdin", given="short\n")
    assert (code, said) == (2, "plantgate console: a password has 10 to 256 characters\n")
    assert run("user", "add", str(tmp_path / "no"), "x", "--role", "viewer", "--generate")[0] == 2


def test_displays_are_added_and_removed_and_the_fingerprint_is_told(tmp_path: Path) -> None:
    data = str(tmp_path)
    code, said = run("wall", "add", data, "control-room")
    assert code == 0
    assert "/wall#token=" in said
    assert "control-room" in run("wall", "list", data)[1]
    assert run("wall", "remove", data, "control-room")[0] == 0
    assert run("wall", "remove", data, "control-room")[0] == 2
    assert run("fingerprint", data)[0] == 2
