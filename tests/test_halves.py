"""The run of all tests: what may be repeated, and what is a failure at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HALVES = Path(__file__).with_name("halves.py")
HOLDS = "def test_holds(): pass\n"
FAILS = "def test_{n}(): assert False\n"
FAILS_ONCE = """
from pathlib import Path
def test_{n}():
    seen = Path(__file__).with_suffix(".{n}")
    before = seen.exists()
    seen.touch()
    assert before
"""


def run(folder: Path, slow: str, rest: str) -> tuple[int, str]:
    """Exit code and words of a run over two test files."""
    for name, source in (("tests/peers", slow), ("tests/e2e", HOLDS), ("tests/rest", rest)):
        (folder / name).mkdir(parents=True)
        (folder / name / f"test_{name[6:]}.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, HALVES, "-q"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_both_halves_hold(tmp_path: Path) -> None:
    code, words = run(tmp_path, HOLDS, HOLDS)
    assert code == 0
    assert words.count("passed") == 2
    assert "UNSTEADY" not in words


def test_one_that_failed_beside_the_rest_is_repeated_and_named(tmp_path: Path) -> None:
    code, words = run(tmp_path, FAILS_ONCE.format(n=1), HOLDS)
    assert code == 0
    assert "1 failed, 1 passed" in words, "its first failure is told"
    assert words.splitlines()[-1].startswith("UNSTEADY")
    assert words.splitlines()[-1].endswith("tests/peers/test_peers.py::test_1")


@pytest.mark.parametrize(
    ("slow", "rest"),
    [
        pytest.param(FAILS.format(n=1), HOLDS, id="it fails again"),
        pytest.param("".join(FAILS_ONCE.format(n=n) for n in range(3)), HOLDS, id="too many"),
        pytest.param(HOLDS, FAILS_ONCE.format(n=1), id="one of the rest"),
        pytest.param("import nothing_of_this_name", HOLDS, id="one that cannot be read"),
    ],
)
def test_all_else_is_a_failure(tmp_path: Path, slow: str, rest: str) -> None:
    code, words = run(tmp_path, slow, rest)
    assert code != 0
    assert "UNSTEADY" not in words
