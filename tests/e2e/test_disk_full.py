"""Alarms reach the receiver while no disk takes them: the short form of `make chaos`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.e2e.world import ROOT

pytestmark = pytest.mark.e2e


def test_alarms_flow_while_the_disk_is_full() -> None:
    command = [sys.executable, "-m", "tests.chaos.disk_full_sent", "--seconds", "10"]
    if os.geteuid():  # root of a namespace of its own may mount a tmpfs
        command = ["unshare", "--user", "--map-root-user", "--mount", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as promised" in done.stdout
