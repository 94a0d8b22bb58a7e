"""A gateway starts on a disk that a power cut left read-only: alarms go out, all comes back.

The disk is a tmpfs of the test's own. Without root the test runs again in a namespace of its own.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from buffer.contract import BufferPathError
from buffer.memory_folder import Folder, places
from gateway.wire.v1 import uplink_pb2 as wire
from tests.e2e.watched import Watched, stop_clean
from tests.e2e.world import ROOT, free_port, stop, until

pytestmark = pytest.mark.e2e
FIRST_ROWS = ("n0,holding,0,u32,,5", "n1,holding,2,u32,,")
SIZE = "size=90m"
"""Enough for `min_free_bytes` (64 MiB), too small for a reserve beside it (buffer/reserve.py)."""
FILLER = "filler"
LATER_ROWS = ("n0,holding,0,u32,,5", "n1,holding,2,u32,,5")


def in_a_namespace() -> bool:
    """Run this file again where a tmpfs may be mounted; False where that is here."""
    if os.geteuid() == 0:
        return False
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-m"]
    command += ["pytest", "-q", "-p", "no:cacheprovider", __file__]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    return True


@pytest.mark.timeout(600)
def test_a_first_start_on_a_read_only_disk_says_what_a_stop_costs(tmp_path: Path) -> None:
    if in_a_namespace():
        return
    with disk(tmp_path / "data") as data, Watched(tmp_path) as world:
        mount(data, "remount,ro")
        port = free_port()
        world.start_modbus(port, 2)
        world.write_device(port, FIRST_ROWS[0])
        world.without_uplink()
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_alarms_raised") > 0, what="an alarm is raised")
        assert world.health()[0] == 503
        assert "gds/n0" in world.plantgate("alarm", "list", str(data)).stdout
        assert stop(gateway) == 1
        said = world.log("gateway")
        assert "alarm records and" in said, said
        assert "in memory are lost here" in said
        assert "Traceback" not in said
        assert not list(data.iterdir()), "nothing is written"
        assert not any(place.exists() for place in places(data)), "memory is given back"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", ["read-only", "full"])
def test_a_gateway_starts_on_a_disk_that_takes_nothing(tmp_path: Path, fault: str) -> None:
    if in_a_namespace():
        return
    with disk(tmp_path / "data") as data, Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 4)
        world.write_device(port, *FIRST_ROWS)
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: raised(world) == ["gds/n0"], what="the first alarm is there")
        gateway.send_signal(signal.SIGKILL)  # the power cut: what was stored is in the WAL
        gateway.wait(timeout=30)
        if fault == "read-only":
            mount(data, "remount,ro")
        else:
            fill(data / FILLER)

        world.write_device(port, *LATER_ROWS)
        gateway = world.start_gateway()
        until(lambda: volatile(world) == 1, what="an alarm came, marked volatile")
        assert raised(world) == ["gds/n0", "gds/n1"], "one that stood before was raised again"
        status, health = world.health()
        assert (status, health["state"]) == (503, "failed")
        text = health["components"]["buffer"]["text"]
        assert str(data) in text
        assert "in memory only" in text
        until(lambda: world.metric("uplink_acknowledged_records", "province") > 10,
              what="values flow from memory")  # fmt: skip
        assert "gds/n0" in world.plantgate("alarm", "list", str(data)).stdout, "found in memory"
        assert gateway.poll() is None
        with pytest.raises(BufferPathError, match="in use by another process"):
            Folder(data)

        mount(data, "remount,rw")
        (data / FILLER).unlink(missing_ok=True)
        until(lambda: volatile(world) == 0, what="the alarm is a record")
        until(lambda: world.health()[1].get("state") == "ok", what="all is well")
        stored = world.metric("flow_values")
        until(lambda: world.metric("flow_values") > stored, what="values are stored")
        stop_clean(world, gateway)
        assert raised(world) == ["gds/n0", "gds/n1"], "each alarm is a record once"
        counts = [row.value for row in world.query("--point", "gds/n0") if row.quality == "good"]
        assert len(counts) == len(set(counts)), "no value came twice"
        assert events(data, "buffer.on_disk") == 1
        assert events(data, "buffer.in_memory") <= 1, "it goes into the log if not sent before"
        assert not any(place.exists() for place in places(data)), "memory is given back"


def volatile(world: Watched) -> int:
    """How many alarms the receiver has that are in a gateway's memory only."""
    address = f"{(world.store / 'receiver.db').as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=10)) as store:
        return int(store.execute("SELECT count(*) FROM volatile_alarms").fetchone()[0])


def events(data: Path, kind: str) -> int:
    """How many events of a kind the gateway's own log holds."""
    with closing(sqlite3.connect(data / "records.db")) as log:
        rows = log.execute("SELECT payload FROM event").fetchall()
    return sum(wire.Event.FromString(payload).kind == kind for (payload,) in rows)


def raised(world: Watched) -> list[str]:
    """Sources of the alarms raised, records and volatile ones, in their order."""
    return [row["source"] for row in world.alarms() if row["state"] == "unacknowledged_active"]


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A disk of the test's own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", SIZE, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(path: Path) -> None:
    """Take all that a disk has."""
    with suppress(OSError), path.open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(4096))


def mount(folder: Path, options: str) -> None:
    """Remount it."""
    subprocess.run(["mount", "-o", options, folder], check=True)
