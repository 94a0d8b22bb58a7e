"""A gateway starts on a disk that answers EIO: it runs in memory, loses nothing and comes back.

strace makes the calls on the files of the log fail, from the first one on, until it is told to let
go; the gateway is a plain process. What was stored before is there afterwards.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buffer.memory_folder import places
from tests.e2e.test_read_only_start import FIRST_ROWS, LATER_ROWS, events, raised, volatile
from tests.e2e.watched import Watched, stop_clean
from tests.e2e.world import PLANTGATE, free_port, until

pytestmark = pytest.mark.e2e
WAITS = """import ctypes, os, sys, time
ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1))  # PR_SET_PTRACER, for where Yama is
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
os.execv(sys.argv[2], sys.argv[2:])"""
CALLS = {"open": "openat", "read": "pread64", "sync": "fsync,fdatasync"}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", list(CALLS))
def test_a_gateway_starts_on_a_disk_that_answers_eio(tmp_path: Path, fault: str) -> None:
    with Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 4)
        world.write_device(port, *FIRST_ROWS)
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: raised(world) == ["gds/n0"], what="the first alarm is there")
        gateway.send_signal(signal.SIGKILL)
        gateway.wait(timeout=30)

        world.write_device(port, *LATER_ROWS)
        with failing(world, CALLS[fault]) as gateway:
            until(lambda: "gds/n1" in raised(world), limit_s=120, what="a new alarm came")
            assert volatile(world)
            status, health = world.health()
            assert (status, health["state"]) == (503, "failed")
            assert "in memory only" in health["components"]["buffer"]["text"]
            tries = 2 if fault == "sync" else 1  # a small file can be written: it must not flap
            until(lambda: world.metric("disk_tries") >= tries, what="it was tried")
            assert gateway.poll() is None
        until(lambda: volatile(world) == 0, what="all alarms are records")
        until(lambda: world.health()[1].get("state") == "ok", what="all is well")
        stop_clean(world, gateway)
        assert not list(world.data.glob("*.set-aside-*")), "nothing was taken for damage"
        assert raised(world).count("gds/n1") == 1
        counts = [row.value for row in world.query("--point", "gds/n0") if row.quality == "good"]
        assert len(counts) == len(set(counts)), "no value came twice"
        assert events(world.data, "buffer.on_disk") == 1
        assert not any(place.exists() for place in places(world.data))


@contextmanager
def failing(world: Watched, calls: str) -> Iterator[subprocess.Popen[bytes]]:
    """A gateway whose calls on the files of its log fail with EIO while the block lasts."""
    files = [f"{kind}.db{end}" for kind in ("telemetry", "records") for end in ("", "-wal")]
    watched = [option for name in files for option in ("-P", str(world.data / name))]
    go = world.folder / "go"
    command = [sys.executable, "-c", WAITS, str(go), *PLANTGATE, "run", str(world.site)]
    gateway = world.start("gateway", command)
    inject = ("-e", f"inject={calls}:error=EIO", "-o", "/dev/null")
    tracing = ["strace", "-f", "-qq", "-p", str(gateway.pid), *watched, *inject]
    tracer = world.start("strace", tracing)
    status = Path(f"/proc/{gateway.pid}/status")
    until(lambda: "TracerPid:\t0" not in status.read_text(), what="strace is there")
    go.touch()
    try:
        yield gateway
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=30)
