"""SIGTERM at any moment ends a service with exit code 0, in bounded time, with nobody left behind.

The bound is the STOP_S of `stop`: far above what a stop takes, far below what a service manager
allows before it kills.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.clips import clip_or_fail
from tests.e2e.watched import Watched, assert_gone, family, stop_clean, stop_when_sent
from tests.e2e.world import free_port, stop, until

pytestmark = pytest.mark.e2e
FLOW = "n0,holding,0,u32,,"


def test_stop_during_flow_sends_what_is_committed(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 2)
        world.write_device(port, FLOW)
        receiver = world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.metric("uplink_acknowledged_records", "province") > 5,
              what="records are acknowledged")  # fmt: skip
        status, health = world.health()
        assert (status, health["state"]) == (200, "ok")
        assert world.page("/nothing")[0] == 404
        read = world.metric("flow_values")
        stop_when_sent(world, gateway)
        good = [row for row in world.query() if row.quality == "good"]
        assert len(good) >= read
        assert [row.value for row in good] == list(range(1, len(good) + 1))
        stop_clean(world, receiver)


def test_stop_during_an_outage_and_while_everything_is_dead(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        world.write_device(free_port(), FLOW)
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_bad_values") > 0, what="bad values are stored")
        until(lambda: "cannot be reached" in str(world.health()[1]), what="it is said")
        assert world.health()[1]["state"] == "degraded"
        gateway.send_signal(signal.SIGTERM)
        gateway.send_signal(signal.SIGTERM)  # at once, and again while it waits for the uplink
        time.sleep(0.5)
        if gateway.poll() is None:
            gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(timeout=30) == 0
        assert "Traceback" not in world.log("gateway")


def test_stop_during_start(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        world.write_device(free_port(), FLOW)
        world.without_uplink()
        for later_s in (0.0, 0.3, 0.7):  # no expectation: each lands in another part of the start
            gateway = world.start_gateway()
            until(partial(catches_sigterm, gateway.pid), what="the command has begun")
            time.sleep(later_s)
            stop_clean(world, gateway)


def catches_sigterm(pid: int) -> bool:
    """Tell whether a process has a handler for SIGTERM (proc(5), SigCgt)."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def test_a_gateway_with_no_device_and_no_uplink_runs(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        world.write_site("")
        world.without_uplink()
        gateway = world.start_gateway()
        world.wait_until_running()
        status, health = world.health()
        assert (status, health["state"], list(health["components"])) == (200, "ok", ["buffer"])
        assert world.metric("flow_not_stored") == 0.0
        stop_clean(world, gateway)


def test_a_camera_process_ends_with_its_gateway_even_if_that_is_killed(tmp_path: Path) -> None:
    clip = clip_or_fail()
    with Watched(tmp_path) as world:
        world.write_site(f'[[camera]]\nname = "east"\nsource = "{clip}"\nanalyse_fps = 1\n')
        world.without_uplink()
        for end in (signal.SIGTERM, signal.SIGKILL):
            gateway = world.start_gateway()
            until(lambda: world.metric("source_batches", "east") > 0, what="the camera is analysed")
            members = family(gateway)
            assert len(members) == 2
            assert stop(gateway, end) == (0 if end is signal.SIGTERM else -signal.SIGKILL)
            assert_gone(members)


def test_a_receiver_stops_clean_with_and_without_gateways(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        stop_clean(world, world.start_receiver())
        world.write_site("")
        gateway = world.start_gateway()
        receiver = world.start_receiver()
        until(
            lambda: world.metric("uplink_connected", "province") == 1.0,
            what="the gateway is connected",
        )
        stop_clean(world, receiver)
        until(
            lambda: world.metric("uplink_connected", "province") == 0.0, what="the gateway knows it"
        )
        stop_clean(world, gateway)
