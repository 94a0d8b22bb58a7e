"""`plantgate probe bus` as a third party on a line: libmodbus answers, mbpoll is the master."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from tests.fakes.rs485 import Bus
from tests.peers.libmodbus import UNIT, build, require

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def rtu_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "pkg-config", "mbpoll")
    return build(tmp_path_factory.mktemp("libmodbus-tap"))


async def _start(*command: str, **environment: str) -> asyncio.subprocess.Process:
    """A peer; nobody reads what it says."""
    return await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip


async def test_it_hears_mbpoll_and_its_device_and_says_nothing(rtu_binary: Path) -> None:
    async with Bus(3) as bus:
        device_port, master_port, ours = bus.paths
        device = await _start(str(rtu_binary), "rtu", LINE=device_port)
        master = await _start(
            "mbpoll", "-m", "rtu", "-a", str(UNIT), "-b", "115200", "-P", "none", "-t", "4",
            "-r", "356", "-c", "3", "-l", "200", "-o", "10", master_port,
        )  # fmt: skip
        try:
            probe = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli.main", "probe", "bus", ours, "--baud", "115200",
                "--parity", "none", "--seconds", "6", "--try-seconds", "60", "--json",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, _ = await asyncio.wait_for(probe.communicate(), 200)
            assert probe.returncode == 0, (output, master.returncode, device.returncode)
        finally:
            for process in (master, device):
                if process.returncode is None:
                    process.kill()
                await process.wait()
        assert bytes(bus.said[2]) == b""
    found = json.loads(output)
    assert (found["noise_bytes"], found["transmitted_bytes"]) == (0, 0)
    assert found["requests"] == found["answers"] >= 3 or found["requests"] - found["answers"] == 1
    (asked,) = found["asked"]
    assert (asked["unit"], asked["function"], asked["begin"], asked["wanted"]) == (UNIT, 3, 355, 3)
    assert "master" in {finding["code"] for finding in found["findings"]}
    assert "second_master" not in {finding["code"] for finding in found["findings"]}
