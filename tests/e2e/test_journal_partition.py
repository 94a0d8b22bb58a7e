"""A short turn of the network that parts JetStream's servers; the whole of it: `make cluster`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.world import ROOT
from tests.peers import jetstream, postgres

pytestmark = [pytest.mark.peer, pytest.mark.e2e]


@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
def test_every_acknowledged_record_is_stored_once_though_the_servers_are_parted(
    tmp_path: Path,
) -> None:
    """A leader that its peers do not reach and we do; then no two servers that reach each other."""
    jetstream.require()
    postgres.require()
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.partition", "--gateways", "6", "--points", "20",
         "--seconds", "0", "--away", "2", "--folder", str(tmp_path),
         "--harm", "leader cut from its peers", "--harm", "all cut from each other"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["harms"] == 2
    assert found["acknowledged"] > 6
