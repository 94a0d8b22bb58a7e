"""A rehearsal as a whole: shared servers, faults over time, the same again with the same seed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from asyncua.client.client import Client

from drivers.sim.faults import Fault
from drivers.sim.rehearsal import Ports, Rehearsal, SimDevice
from drivers.sim.site_modbus import Spot
from drivers.sim.site_opcua import NodeSpot
from drivers.sim.site_signals import SimPoint, SiteSignals

POINTS = (SimPoint("A", whole=True, raw_high=65_535, raw_low=0),)
BUS = [
    SimDevice(name, 0, POINTS, spots=((unit, Spot(0, 3, 7, "u16")),), server="bus")
    for name, unit in (("gds-1", 1), ("gds-2", 2))
]
NODE = NodeSpot(0, "A", "urn:x", "A", "float")
DCS = SimDevice("dcs", 0, (SimPoint("A"),), nodes=(NODE,), path="/UA", server="dcs")


def fault(device: str, kind: str, **keys: Any) -> Fault:
    return Fault.model_validate({"device": device, "kind": kind, **keys})


@contextlib.asynccontextmanager
async def running(
    devices: Sequence[SimDevice], faults: Sequence[Fault] = (), seed: int = 1
) -> AsyncIterator[dict[str, int]]:
    stop, listening = asyncio.Event(), asyncio.Event()
    ports: dict[str, int] = {}

    def ready(found: Ports) -> None:
        ports.update(found.by_device)
        listening.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Rehearsal(devices, faults, seed).run(stop, ready))
        try:
            async with asyncio.timeout(120):
                await listening.wait()
            yield ports
        finally:
            stop.set()


def ask(port: int, unit: int, timeout_s: float = 60.0) -> bytes:
    """PDU of the answer of one unit to a read of its register; b"" for silence."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as link:
        link.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, 3, 7, 1))
        try:
            return link.recv(300)[7:]
        except TimeoutError:
            return b""


async def test_a_dead_unit_is_silent_beside_a_live_one_on_the_same_bus() -> None:
    async with running(BUS, [fault("gds-2", "dead")]) as ports:
        assert ports["gds-1"] == ports["gds-2"]
        first = SiteSignals("gds-1", POINTS, 1)
        wanted = [int(first.raw(first.values(second))[0]) for second in range(60)]
        alive = await asyncio.to_thread(ask, ports["gds-1"], 1)
        assert struct.unpack(">BBH", alive)[2] in wanted
        assert await asyncio.to_thread(ask, ports["gds-1"], 2, 0.3) == b""


async def test_a_dead_opcua_server_drops_its_clients_and_comes_back() -> None:
    async with running([DCS], [fault("dcs", "dead", at_s=1.0, for_s=4.0)]) as ports:
        url = f"opc.tcp://127.0.0.1:{ports['dcs']}/UA"

        async def reads() -> bool:
            try:
                async with Client(url, timeout=10) as client:
                    await client.get_node("ns=2;s=A").read_value()
            except (OSError, TimeoutError, asyncio.CancelledError):
                return False
            return True

        seen: list[bool] = []  # the port stays the same
        async with asyncio.timeout(120):
            while not (False in seen and seen[-1]):
                seen.append(await reads())
                await asyncio.sleep(0.05)


def test_two_protocols_on_one_server_are_refused() -> None:
    other = SimDevice("d", 0, POINTS, spots=((1, Spot(0, 3, 7, "u16")),), server="dcs")
    with pytest.raises(ValueError, match="dcs has both"):
        Rehearsal([DCS, other], [], 1)


async def test_a_taken_port_is_an_os_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for device in (BUS[0], DCS):
            moved = SimDevice(
                device.name, port, device.points, device.spots, device.nodes, server="x"
            )
            with pytest.raises(OSError, match="in use"):
                await Rehearsal([moved], [], 1).run(asyncio.Event(), lambda _: None)
