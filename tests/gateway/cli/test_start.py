"""Ctrl-C while modules are loaded, and a full disk under a redirection, end without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRESS = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip


def test_ctrl_c_while_modules_are_loaded_is_quiet() -> None:
    pressed = ended(f"import gateway.cli.start\n{PRESS}\n")
    assert (pressed.returncode, pressed.stdout, pressed.stderr) == (-signal.SIGINT, "", "")


def test_ctrl_c_in_a_command_is_the_commands_own() -> None:
    pressed = ended(
        "import sys, click, gateway.cli.start as start, gateway.cli.main as commands\n"
        "@click.command()\n"
        f"def pressed():\n    {PRESS}\n"
        "commands.main.get_command = lambda *_: pressed\n"
        "sys.argv = ['plantgate', 'run']\n"
        "start.main()\n"
    )
    assert pressed.returncode == 1
    assert pressed.stderr.strip() == "Aborted!"


@pytest.mark.parametrize("words", ["--help", "rules", "init --help"])
def test_what_cannot_be_printed_is_one_sentence(words: str) -> None:
    with Path("/dev/full").open("w") as full:
        said = printed_to(full, words)
    assert said.returncode == 2
    assert said.stderr.splitlines() == [
        "plantgate: what it prints cannot be written: No space left on device"
        " 磁盘已满，输出无法写入"
    ]


def test_who_has_read_enough_is_no_fault() -> None:
    reads, writes = os.pipe()
    os.close(reads)
    with os.fdopen(writes, "w") as gone:
        assert printed_to(gone, "rules").stderr == ""


def test_another_file_on_a_full_disk_keeps_its_traceback() -> None:
    failed = ended(
        "import sys, click, gateway.cli.start as start, gateway.cli.main as commands\n"
        "@click.command()\n"
        "def failing():\n    open('/dev/full', 'w', buffering=1).write('here\\n')\n"
        "commands.main.get_command = lambda *_: failing\n"
        "sys.argv = ['plantgate', 'run']\n"
        "start.main()\n"
    )
    assert failed.returncode == 1
    assert "in failing" in failed.stderr


def printed_to(out: IO[str], words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from gateway.cli.start import main; main()", *words.split()],
        cwd=ROOT, stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip


def test_the_command_begins_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"plantgate": "gateway.cli.start:main"}
