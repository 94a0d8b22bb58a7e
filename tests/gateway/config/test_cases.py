"""Every folder of cases/ is one site; expected.txt is what a person reads about it, exactly.

A bug in the configuration becomes a folder here. With PLANTGATE_ACCEPT=1 the expected texts are
written anew; read the difference before committing it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drivers import registry
from drivers.contract import Clock, DriverType
from gateway.config.load import ConfigError, load

CASES = Path(__file__).parent / "cases"


@pytest.mark.parametrize("case", sorted(p.name for p in CASES.iterdir() if p.is_dir()))
def test_case_says_what_is_expected(
    case: str,
    tmp_path: Path,
    find_driver: Callable[[str], DriverType[Any, Any]],
    clock: Clock,
    certificates: dict[str, bytes],
) -> None:
    folder = tmp_path / "case"
    shutil.copytree(CASES / case, folder)
    (folder / "certs").mkdir()
    for name, pem in certificates.items():
        (folder / "certs" / name).write_bytes(pem)
        (folder / "certs" / name).chmod(0o600)
    before = sorted(folder.rglob("*"))

    try:
        site = load(folder / "site.toml", find_driver=find_driver, clock=clock)
    except ConfigError as error:
        lines = [*map(str, error.problems), *(f"warning: {w}" for w in error.warnings)]
    else:
        lines = ["OK", *(f"warning: {w}" for w in site.warnings)]

    said = "\n".join(lines).replace(f"{folder}/", "") + "\n"
    said = said.replace(", ".join(registry.names()), "DRIVERS")
    expected = CASES / case / "expected.txt"
    if os.environ.get("PLANTGATE_ACCEPT") == "1":
        expected.write_text(said, encoding="utf-8")
    assert said == expected.read_text(encoding="utf-8")
    assert sorted(folder.rglob("*")) == before, "a check leaves nothing behind"
