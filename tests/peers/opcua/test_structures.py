"""Fields of structures, from node-opcua's own encoder: watched, polled, from history, browsed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.opcua import DRIVER
from drivers.opcua.address import OpcUaAddress
from drivers.opcua.inspect import Walk, browse
from gateway.cli.points_browse import table_text
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.opcua_collector import Collector
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving
from tests.waiting import until

pytestmark = pytest.mark.peer

GOOD, WAITING = int(Quality.GOOD), int(Quality.BAD_WAITING)
TANK = (
    ("Count", "uint"), ("Level", "float"), ("State", "int"), ("Note", "text"),
    ("Main.Name", "text"), ("Main.Value", "float"), ("Main.Delay", "float"),
    ("Sensors[0].Value", "float"), ("Sensors[1].Name", "text"), ("Reading.Number", "float"),
    ("Reading.Words", "text"), ("Samples[2]", "int"),
)  # fmt: skip


def expected(n: int) -> list[Any]:
    """What the server writes at its n-th change (server.js), None where there is nothing."""
    odd = n % 2 == 1
    return [
        2**64 - 1 - n, n / 7, n % 3, f"备注 {n}" if odd else None, "main",
        n / 4, 250.0, float(n), "b" if odd else None, float(n) if odd else None,
        None if odd else f"n{n}", n,
    ]  # fmt: skip


@contextmanager
def structures(folder: Path) -> Iterator[NodeServer]:
    install_node_opcua()
    with serving(folder, period=100, anonymous=True, structures=True, history=True) as peer:
        yield peer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeServer]:
    """One server for all tests that leave nothing at it."""
    with structures(tmp_path_factory.mktemp("structures")) as peer:
        yield peer


@pytest.fixture
def own(tmp_path: Path) -> Iterator[NodeServer]:
    """One for a test whose subscription stays at the server, as its `state_dir` asks for."""
    with structures(tmp_path) as peer:
        yield peer


def table(*rows: dict[str, str]) -> list[DriverPoint[OpcUaAddress]]:
    return [
        DriverPoint(100 + i, f"T{i}", OpcUaAddress.model_validate_strings(row))
        for i, row in enumerate(rows)
    ]


def tank() -> list[DriverPoint[OpcUaAddress]]:
    return table(*[{"node": node("Tank"), "field": path, "type": kind} for path, kind in TANK])


def assert_as_written(emit: Collector) -> list[int]:
    """Compare every sample of the tank; gives the numbers of the changes in order of arrival."""
    by_time: dict[int, list[Any]] = {}
    for place in range(len(TANK)):
        for value, quality, time_ns in emit.samples(100 + place):
            if quality != Quality.BAD_NOT_CONNECTED:
                by_time.setdefault(time_ns, [None] * len(TANK))[place] = (value, quality)
    changes = []
    for found in by_time.values():
        number = 2**64 - 1 - int(found[0][0])
        changes.append(number)
        for sample, right in zip(found, expected(number), strict=True):
            if right is None:
                assert sample[1] == WAITING
            else:
                assert sample == (right, GOOD)
    return changes


@pytest.mark.parametrize("reading", ["subscribe", "poll"])
async def test_every_field_is_what_the_server_has_written(shared: NodeServer, reading: str) -> None:
    emit = Collector()
    rows = [*tank(), *table({"node": "i=2256", "field": "BuildInfo.ProductName", "type": "text"},
                            {"node": "i=2256", "field": "State", "type": "int"},
                            {"node": "i=2256", "field": "CurrentTime"})]  # fmt: skip
    rows = [DriverPoint(100 + i, f"T{i}", row.address) for i, row in enumerate(rows)]
    driver = DRIVER.open("dcs", shared.plain(reading=reading), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: len(emit.samples(100)) >= 10)
        await until(lambda: bool(emit.samples(100 + len(TANK) + 2)))
    changes = assert_as_written(emit)
    if reading == "subscribe":
        assert changes == list(range(changes[0], changes[-1] + 1)), "a change is missing"
    name, state, now = (emit.samples(100 + len(TANK) + i)[0] for i in range(3))
    assert "NodeOPCUA" in name[0]
    assert state[:2] == (0, GOOD)
    assert now[0] > 1.7e9


async def test_one_item_serves_all_fields_and_a_wrong_one_stops_none(shared: NodeServer) -> None:
    rows = table(
        {"node": node("Tank"), "field": "Level"},
        {"node": node("Tank"), "field": "Lvel"},
        {"node": node("Tanks"), "field": "Level", "index": "1"},
        {"node": node("Tanks"), "field": "Level"},
        {"node": node("Loose"), "field": "Value"},  # declared only as Structure
        {"node": node("Double"), "field": "Value"},
        {"node": node("Tank"), "field": "Count"},
    )
    emit = Collector()
    driver = DRIVER.open("dcs", shared.plain(), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: all(emit.samples(100 + i) for i in range(len(rows))))
        wanted = ("has no field 'Lvel'", "name one element", "is no structure", "64-bit")
        await until(
            lambda: all(any(words in event.text for event in emit.events) for words in wanted)
        )
        assert driver.statistics()["subscribed"] == len(rows)
    for good in (0, 2, 4, 6):
        assert emit.samples(100 + good)[0][1] == GOOD
    assert emit.samples(102)[0][0] > 1000 / 7
    for bad in (1, 3, 5):
        assert {sample[1] for sample in emit.samples(100 + bad)} <= {
            Quality.BAD_CONFIG_ERROR, 0x808C,  # what Double itself says now and then
        }  # fmt: skip
    told = [event.text for event in emit.events if event.kind == "device.config_error"]
    assert any("type TankType has no field 'Lvel'; it has Level, State, Note" in t for t in told)
    assert any("is an array: name one element in column `index`" in text for text in told)
    assert any("its value is no structure" in text for text in told)
    assert any("T6" in text and "64-bit" in text for text in told)


async def test_history_fills_what_no_subscription_held(own: NodeServer, tmp_path: Path) -> None:
    before, after = Collector(), Collector()
    driver = DRIVER.open("dcs", own.plain(state_dir=tmp_path), tank(), SystemClock())
    async with background(driver.run(before)):
        await until(lambda: len(before.samples(100)) >= 5)
    last = max(time_ns for _, _, time_ns in before.samples(100))
    # at another rate the subscription does not fit, so that nobody holds what comes meanwhile
    other = own.plain(state_dir=tmp_path, publish_ms=150)
    driver = DRIVER.open("dcs", other, tank(), SystemClock())
    async with background(driver.run(after)):
        await until(lambda: "opcua.backfill" in after.kinds())
    changes = sorted({*assert_as_written(before), *assert_as_written(after)})
    assert changes == list(range(changes[0], changes[-1] + 1)), "a change is missing"
    assert min(time_ns for _, _, time_ns in after.samples(100)) > last
    filled = next(event for event in after.events if event.kind == "opcua.backfill")
    assert filled.attributes["points"] == len(TANK)
    assert "opcua.gap" not in after.kinds()


async def test_our_own_end_loses_no_change_of_a_structure(own: NodeServer, tmp_path: Path) -> None:
    """A later process is sent again what was not stored, before it watches anything itself."""
    emit = Collector()
    kept = own.plain(state_dir=tmp_path)
    for turn in range(2):
        driver = DRIVER.open("dcs", kept, tank(), SystemClock())
        so_far = len(emit.samples(100))
        async with background(driver.run(emit)):
            await until(lambda so_far=so_far: len(emit.samples(100)) > so_far + 8)  # type: ignore[misc]  # mypy and defaults
        assert driver.statistics()["resumed"] == turn
        await asyncio.sleep(0.5)  # changes that only the server's queue holds
    changes = assert_as_written(emit)
    assert changes == list(range(changes[0], changes[-1] + 1)), "a change is missing"
    assert "opcua.gap" not in emit.kinds()
    assert not any("no value for" in event.text for event in emit.events)


async def test_browsing_lists_the_fields_and_what_it_lists_can_be_read(shared: NodeServer) -> None:
    walk = Walk(tuple(f"/Objects/Plant/{name}" for name in ("Tank", "Tanks", "Loose")))
    found = await browse(shared.plain(), walk, SystemClock())
    single = [(one.field, one.type) for one in found if one.path == "/Objects/Plant/Tank"]
    assert single == [
        ("Level", "float"), ("State", "float"), ("Note", "text"), ("Main.Name", "text"),
        ("Main.Value", "float"), ("Main.Delay", "float"), ("Sensors[0].Name", "text"),
        ("Sensors[0].Value", "float"), ("Sensors[0].Delay", "float"), ("Reading.Number", "float"),
        ("Reading.Words", "text"), ("Count", "uint"), ("Samples[0]", "float"),
    ]  # fmt: skip
    assert {one.index for one in found if one.path == "/Objects/Plant/Tanks"} == {"0"}
    assert [one.field for one in found if one.path.endswith("Loose")] == ["Name", "Value", "Delay"]
    text = table_text(found)
    assert text.startswith("name,node,type,field,index\r\n")
    assert f"Plant.Tank.Main.Value,{node('Tank')},float,Main.Value,\r\n" in text
    rows = table(
        *[
            {"node": one.node, "type": one.type, "field": one.field, "index": one.index}
            for one in found
        ]
    )
    emit = Collector()
    driver = DRIVER.open("dcs", shared.plain(), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: all(len(emit.samples(100 + i)) > 3 for i in range(len(rows))))
    for place in range(len(rows)):
        assert GOOD in {sample[1] for sample in emit.samples(100 + place)}, rows[place]
