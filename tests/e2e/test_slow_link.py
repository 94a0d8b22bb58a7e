"""Live data and alarms over a slow, long, lossy line: the short form of `make slow-link`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import ROOT

SECONDS = 15
pytestmark = pytest.mark.e2e


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(),
    reason="a line between two network namespaces needs root and /dev/net/tun",
)
def test_alarms_and_live_data_get_through_with_a_full_backlog() -> None:
    """256 kbit/s, 300 ms, 2 % loss: everything arrives. How late: `make slow-link`."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.slow_link", "--seconds", str(SECONDS),
         "--loss", "0.02", "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[0])
    assert found["alarms"] > 0
    assert found["alarms_missing"] == 0
    assert found["alarms_copied"] > 0, "the line is long enough for a lane of copies"
    assert found["live_records"] > 0
    assert found["history_records"] > 0, "history goes on beside live data"
    assert found["packets_dropped"] > 0
