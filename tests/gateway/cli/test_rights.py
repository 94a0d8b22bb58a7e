"""What a person may not read is said in one sentence, by every command that looks at a store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NO_RIGHTS_OF_ROOT = "--bounding-set=-dac_override,-dac_read_search"


@pytest.mark.parametrize(
    "command",
    [["query", "--store"], ["completeness", "--store"], ["buffer", "stat"],
     ["backup", "copy", "--store"]],
)  # fmt: skip
def test_a_store_of_another_user_is_one_sentence(command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "another's"
    folder.mkdir(mode=0o700)
    if os.geteuid() == 0:
        os.chown(folder, 4242, 4242)
        command = ["setpriv", NO_RIGHTS_OF_ROOT, "--", *_plantgate(), *command]
    else:
        folder.chmod(0)
        command = [*_plantgate(), *command]
    try:
        ended = subprocess.run(
            [*command, str(folder / "store")], cwd=tmp_path, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    finally:
        folder.chmod(0o700)
    assert ended.returncode == 2, ended.stderr
    [line] = ended.stderr.splitlines()
    assert line.startswith("plantgate ")
    assert "Permission denied" in line
    assert str(folder / "store") in line


def _plantgate() -> list[str]:
    return [sys.executable, "-m", "gateway.cli.main"]
