"""Ctrl-C while modules are loaded ends a command without a traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_the_command_begins_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"plantgate": "gateway.cli.start:main"}
