"""Cameras over real RTSP that fail in every way: the short form of `make rtsp`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.rtsp_lane import KINDS
from tests.chaos.rtsp_rounds import MOST_GROWTH_BYTES, Ending, Round, line, table

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 20
SEED = 3
OUTAGE_S = 0.5
"""How long a fault lasts at most after it was seen: longer ones are left to `make rtsp`."""
pytestmark = pytest.mark.peer


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace of its own needs root")
def test_every_fault_of_a_camera_is_seen_and_got_over_and_leaves_nothing_behind() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.rtsp", "--rounds", str(ROUNDS), "--seed", str(SEED),
         "--outage-s", str(OUTAGE_S), "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rounds = [Round(**one) for one in json.loads(done.stdout)]
    assert {one.kind for one in rounds} == set(KINDS), table(rounds)
    assert len(rounds) == ROUNDS
    assert not [line(one) for one in rounds if one.ending is Ending.NOT_BACK]
    for lane in {one.lane for one in rounds}:
        mine = [one for one in rounds if one.lane == lane]
        assert mine[-1].starts == 1
        assert mine[-1].open_files <= mine[0].open_files
        assert mine[-1].threads <= mine[0].threads
        assert mine[-1].resident_bytes - mine[0].resident_bytes < 4 * MOST_GROWTH_BYTES
