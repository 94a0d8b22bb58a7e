"""A disk that takes nothing costs an OPC UA device what would survive a restart, and no value."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_server import OpcUaServer
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]
FULL = """
import subprocess, sys
from pathlib import Path
from drivers.contract import DriverPoint
from drivers.opcua.address import OpcUaAddress
from drivers.opcua.state import SavedLink, State

folder = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", str(folder)], check=True)
with (folder / "else").open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        pass
points = [DriverPoint(i, f"T{i}", OpcUaAddress(node=f"i={i}")) for i in range(2000)]
state = State(folder, "dcs", points)
state.load()
state.source_ns[:] = 5
state.link = SavedLink("opc.tcp://h:1", b"t", b"n")
state.save_link()
state.stored(7, 41)
print("went on", state.durable, state.trouble)
(folder / "else").unlink()
state.save_link()
state.stored(7, 42)
again = State(folder, "dcs", points)
again.load()
print("again", again.durable, again.position, again.trouble)
"""


def config(endpoint: str, folder: Path) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoint": endpoint, "security": "None", "insecure": True, "publish_ms": 50}
        | {"timeout_ms": 60_000, "state_dir": folder}
    )


def test_a_full_disk_ends_no_process_and_is_used_again_once_there_is_room(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path)]
    own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    ended = subprocess.run(
        ["unshare", *own, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, (ended.returncode, ended.stderr)
    first, then = ended.stdout.splitlines()
    assert first.startswith("went on False "), first
    assert "No space left on device" in first
    assert then == "again True {7: 42} "


async def test_what_cannot_be_saved_is_told_once_and_values_go_on(tmp_path: Path) -> None:
    emit = Collector()
    in_the_way = tmp_path / "dcs.position.new"
    in_the_way.mkdir()
    async with OpcUaServer(1) as server:
        table = points((OpcUaServer.node("D0"), "float"))
        driver = DRIVER.open("dcs", config(server.endpoint, tmp_path), table, SystemClock())
        async with running(driver, emit) as task:
            for number in (1.0, 2.0, 3.0):
                await server.set("D0", number)
                await until(lambda: emit.samples(100)[-1:] != [])
                await until(lambda: emit.samples(100)[-1][0] == number)  # noqa: B023 - awaited here
            await until(lambda: len(warnings(emit)) == 1)
            assert not task.done()
            in_the_way.rmdir()
            await server.set("D0", 4.0)
            await until(lambda: len(warnings(emit)) == 2)
            assert not task.done()
    cannot, can = warnings(emit)
    assert str(in_the_way) in cannot
    assert "状态文件无法写入" in cannot
    assert "written again" in can
    assert emit.kinds().count("link.up") == 1


async def test_a_folder_that_cannot_be_made_costs_no_device(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="ascii")
    emit = Collector()
    async with OpcUaServer(1) as server:
        table = points((OpcUaServer.node("D0"), "float"))
        asked = config(server.endpoint, tmp_path / "file" / "below")
        driver = DRIVER.open("dcs", asked, table, SystemClock())
        async with running(driver, emit):
            await until(lambda: emit.samples(100) != [])
    assert len(warnings(emit)) == 1


def warnings(emit: Collector) -> list[str]:
    return [one.text for one in emit.events if one.kind == "device.warning"]
