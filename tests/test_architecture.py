"""Rules of the house that linters do not know."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("gateway", "drivers", "vision", "buffer")
FILES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if "wire" not in path.relative_to(ROOT).parts
)
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
DRIVERS = sorted(
    path.parent
    for path in (ROOT / "drivers").glob("*/__init__.py")
    if path.parent.name not in {"intake", "sim"}
)
DRIVER_LIBRARIES = {
    "aiomqtt": {"intake_mqtt"},
    "asyncua": {"opcua"},
    "paho": {"intake_mqtt"},
    "pymodbus": {"modbus"},
    "serial": {"serial_port.py"},
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_top_level_holds_only_what_the_design_names() -> None:
    allowed = {
        *PACKAGES, "proto", "deploy", "tests", "pyproject.toml", "README.md", "ARCHITECTURE.md",
        "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "NOTICE", "Makefile", "build", "data",
    }  # fmt: skip
    present = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and not path.name.endswith(".egg-info")
    }
    assert present <= allowed


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_module_is_named_small_and_explained(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.stem not in FORBIDDEN_NAMES
    assert text.count("\n") <= 500, "split it: a module holds at most 500 lines"
    assert ast.get_docstring(ast.parse(text)), "a module opens with what it guarantees"


@pytest.mark.parametrize("path", [p for p in FILES if p.name == "__init__.py"], ids=relative)
def test_package_init_only_re_exports(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
    assert all(isinstance(node, allowed) for node in body)


@pytest.mark.parametrize("folder", DRIVERS, ids=lambda path: path.name)
def test_driver_folder_is_complete(folder: Path) -> None:
    for name in ("README.md", "sample.toml", "config.py", "client.py", "cases"):
        assert (folder / name).exists(), f"drivers/{folder.name} lacks {name}"


def test_driver_libraries_stay_in_their_client() -> None:
    for path in FILES:
        for library, own in DRIVER_LIBRARIES.items():
            if any(name.partition(".")[0] == library for name in imports(path)):
                place = path.relative_to(ROOT).parts
                assert place[0] == "drivers", relative(path)
                assert place[1] in own | {"sim"}, relative(path)


def test_every_driver_is_held_apart_from_the_others() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [apart] = [one for one in contracts if one["type"] == "independence"]
    assert {f"drivers.{path.name}" for path in DRIVERS} <= set(apart["modules"])


def test_no_package_under_proto() -> None:
    assert not list((ROOT / "proto").rglob("__init__.py"))


def test_no_other_distribution_provides_our_packages() -> None:
    provided = importlib.metadata.packages_distributions()
    for package in PACKAGES:
        assert set(provided.get(package, ["plantgate"])) == {"plantgate"}


def test_app_is_short() -> None:
    assert (ROOT / "gateway" / "app.py").read_text(encoding="utf-8").count("\n") < 200


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    reasons = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for requirement in project["dependencies"]:
        name = re.split(r"[<>=;\s\[]", requirement)[0]
        assert f"| {name} |" in reasons, f"{name} has no line under Dependencies"


def test_locks_hold_no_address() -> None:
    for lock in (ROOT / "deploy" / "lock").glob("*.txt"):
        assert "://" not in lock.read_text(encoding="utf-8")
