"""How points are found and watched: browse paths, elements, deadbands, limits, polling, silence."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.contract import DriverPoint, Quality
from drivers.opcua import DRIVER
from drivers.opcua.address import Deadband, Node, OpcUaAddress, Step
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.shift import ClockWatch, ShiftWatch
from drivers.opcua.survey import judge
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_server import OpcUaServer
from tests.waiting import until

GOOD = int(Quality.GOOD)
HOUR_NS = 3_600 * 10**9
NOW_NS = 1_790_000_000_000_000_000


def config(endpoint: str, **more: Any) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoint": endpoint, "security": "None", "insecure": True, "publish_ms": 50}
        | {"timeout_ms": 15_000}
        | more
    )


def rows(*addresses: dict[str, str]) -> list[DriverPoint[OpcUaAddress]]:
    return [
        DriverPoint(100 + i, f"T{i}", OpcUaAddress.model_validate_strings(row))
        for i, row in enumerate(addresses)
    ]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("/Objects/2:Tank1", (Step(0, "Objects"), Step(2, "Tank1"))),
        (
            "/Objects/nsu=http://plant.example/UA;Tank1/nsu=urn:x;液位",
            (Step(0, "Objects"), Step("http://plant.example/UA", "Tank1"), Step("urn:x", "液位")),
        ),
        ("/Objects/a&/b&&c", (Step(0, "Objects"), Step(0, "a/b&c"))),
    ],
)
def test_browse_paths_are_read_step_by_step(text: str, steps: tuple[Step, ...]) -> None:
    assert OpcUaAddress(node=text).target() == Node(0, steps)


def test_deadbands_and_bare_indexes_are_read() -> None:
    assert OpcUaAddress(node="i=1", server_deadband="0.5").deadband() == Deadband(0.5, False)
    assert OpcUaAddress(node="i=1", server_deadband="2 %").deadband() == Deadband(2.0, True)
    assert OpcUaAddress(node="i=1").deadband() is None
    assert OpcUaAddress(node="/Objects/2:Tank1").bare_index()
    assert OpcUaAddress(node="ns=2;i=1").bare_index()
    assert not OpcUaAddress(node="/Objects/nsu=urn:x;Tank1").bare_index()


async def test_paths_elements_and_refusals_arrive_each_in_its_way() -> None:
    table = rows(
        {"node": "/Objects/D1"},
        {"node": "/Objects/2:NoSuch"},
        {"node": "/Objects/nsu=urn:nowhere;D1"},
        {"node": OpcUaServer.node("Array"), "index": "1"},
        {"node": OpcUaServer.node("D2"), "server_deadband": "1%"},
    )
    emit = Collector()
    async with OpcUaServer(3) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: all(emit.samples(100 + i) for i in range(5)))
    assert emit.samples(100)[0][:2] == (1.0, GOOD)
    assert emit.samples(101)[0][1] == Quality.BAD_ILLEGAL_ADDRESS
    assert emit.samples(102)[0][1] == Quality.BAD_ILLEGAL_ADDRESS
    assert emit.samples(104)[0][0] == 2.0


async def test_several_subscriptions_carry_what_one_may_not() -> None:
    table = points(*[(OpcUaServer.node(f"D{i}"), "float") for i in range(25)])
    emit = Collector()
    async with OpcUaServer(25) as server:
        limited = config(server.endpoint, items_per_subscription=10, items_per_call=4)
        driver = DRIVER.open("dcs", limited, table, SystemClock())
        async with running(driver, emit):
            await until(lambda: all(emit.samples(100 + i) for i in range(25)))
            assert server.subscriptions() == 3
            for i in (0, 12, 24):
                await server.set(f"D{i}", 99.0)
            await until(lambda: all(emit.samples(100 + i)[-1][0] == 99.0 for i in (0, 12, 24)))
    assert driver.statistics()["subscribed"] == 25


async def test_a_changed_table_closes_the_session_it_left(tmp_path: Path) -> None:
    emit = Collector()
    async with OpcUaServer(3) as server:
        kept = config(server.endpoint, state_dir=tmp_path)
        for count in (1, 3):
            table = points(*[(OpcUaServer.node(f"D{i}"), "float") for i in range(count)])
            driver = DRIVER.open("dcs", kept, table, SystemClock())
            async with running(driver, emit):
                await until(partial(_came, emit, 99 + count))
    assert "link.down" not in emit.kinds()
    assert driver.statistics()["subscribed"] == 3


def _came(emit: Collector, point: int) -> bool:
    return bool(emit.samples(point))


async def test_polling_reads_all_and_goes_on_after_a_refusal() -> None:
    table = rows(
        {"node": OpcUaServer.node("D0")},
        {"node": OpcUaServer.node("UInt"), "type": "uint"},
        {"node": OpcUaServer.node("NoSuch")},
        {"node": OpcUaServer.node("Text"), "type": "text"},
    )
    emit = Collector()
    async with OpcUaServer(1) as server:
        driver = DRIVER.open("dcs", config(server.endpoint, reading="poll"), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: len(emit.samples(100)) >= 3)
            assert server.subscriptions() == 0
            await server.set("D0", 5.0)
            await until(lambda: emit.samples(100)[-1][0] == 5.0)
    assert emit.samples(101)[0][0] == 2**64 - 1
    assert emit.samples(102)[0][1] == Quality.BAD_ILLEGAL_ADDRESS
    assert emit.samples(103)[0][0] == "液位正常"


async def test_a_silent_point_shows_that_it_lives() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        await server.set("D0", 4.5, source_ns=NOW_NS)
        table = points((OpcUaServer.node("D0"), "float"))
        beating = config(server.endpoint, heartbeat_s=1)
        driver = DRIVER.open("dcs", beating, table, SystemClock())
        async with running(driver, emit):
            await until(lambda: len(emit.samples(100)) >= 3)
    assert set(emit.samples(100)) == {(4.5, GOOD, NOW_NS)}
    assert driver.statistics()["heartbeats"] >= 2
    received = [batch.gateway_time_ns for batch in emit.batches]
    assert received == sorted(set(received))


async def test_a_new_process_gives_a_value_of_what_does_not_change(tmp_path: Path) -> None:
    """Neither a resumed session nor its subscription sends initial values again."""
    table = points(*[(OpcUaServer.node(f"D{i}"), "float") for i in range(3)])
    async with OpcUaServer(3) as server:
        kept = config(server.endpoint, heartbeat_s=0, timeout_ms=15_000, state_dir=tmp_path)
        for turn in range(2):
            emit = Collector()
            driver = DRIVER.open("dcs", kept, table, SystemClock())
            async with running(driver, emit):
                await until(lambda emit=emit: all(emit.samples(100 + i) for i in range(3)))  # type: ignore[misc]  # mypy and defaults
            assert [emit.samples(100 + i)[0][:2] for i in range(3)] == [
                (float(i), GOOD) for i in range(3)
            ]
            assert driver.statistics()["resumed"] == turn
    assert driver.statistics()["heartbeats"] == 3


async def test_types_that_do_not_fit_are_told_before_it_hurts() -> None:
    table = points((OpcUaServer.node("UInt"), "float"), (OpcUaServer.node("Text"), "int"))
    emit = Collector()
    async with OpcUaServer(1) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: any("64-bit" in event.text for event in emit.events))
            await until(lambda: any("are texts" in event.text for event in emit.events))


async def test_the_gateways_time_where_the_servers_is_not_to_be_trusted() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        await server.set("D0", 4.5, source_ns=NOW_NS)
        here = config(server.endpoint, time="gateway")
        table = points((OpcUaServer.node("D0"), "float"))
        driver = DRIVER.open("dcs", here, table, SystemClock())
        async with running(driver, emit):
            await until(lambda: bool(emit.samples(100)))
    assert emit.batches[0].source_time_ns == emit.batches[0].gateway_time_ns


def test_a_judgement_of_types() -> None:
    from drivers.contract import ValueKind

    assert judge(ValueKind.FLOAT, 0, 11) is None
    assert "64-bit" in str(judge(ValueKind.FLOAT, 0, 8))
    assert "signed" in str(judge(ValueKind.UINT, 0, 6))
    assert judge(ValueKind.FLOAT, 3, 8) is None


@pytest.mark.parametrize("hours", [8, -5, 0])
def test_a_shift_of_whole_hours_is_named_once(hours: int) -> None:
    watch = ShiftWatch()
    told = []
    for second in range(120):
        now_ns = NOW_NS + second * 10**9
        times = np.full(10, now_ns + hours * HOUR_NS - 2 * 10**8)
        hour = watch.feed(times, now_ns)
        if hour is not None:
            told.append(hour)
    assert told == ([hours] if hours else [])


def test_old_values_and_odd_offsets_are_no_shift() -> None:
    watch = ShiftWatch()
    for second in range(60):
        now_ns = NOW_NS + second * 10**9
        assert watch.feed(np.full(20, NOW_NS - 8 * HOUR_NS - 25 * 60 * 10**9), now_ns) is None


async def test_a_node_of_another_data_type_has_its_value_or_is_bad() -> None:
    """Asyncua's server leaves an index range aside: an element of its arrays is never guessed."""
    table = rows(
        {"node": OpcUaServer.node("D0"), "type": "float"},
        {"node": OpcUaServer.node("D0"), "type": "int"},
        {"node": OpcUaServer.node("D0"), "type": "text"},
        {"node": OpcUaServer.node("D0"), "type": "text", "index": "0"},
        {"node": OpcUaServer.node("D1"), "type": "float"},
    )
    bad = int(Quality.BAD_CONFIG_ERROR)
    steps: tuple[tuple[str, object, tuple[Any, ...]], ...] = (
        ("Int32", 7, (7.0, 7, "7", bad)),
        ("Double", 7.5, (7.5, bad, "7.5", bad)),
        ("Double", [1.5, 2.5], (bad, bad, bad, bad)),
        ("String", "abc", (bad, bad, "abc", bad)),
        ("UInt64", 2**64 - 1, (1.8446744073709552e19, bad, "18446744073709551615", bad)),
        ("Boolean", True, (1.0, 1, "true", bad)),
    )
    emit = Collector()

    def arrived(wanted: tuple[Any, ...]) -> bool:
        last = [emit.samples(100 + i)[-1:] for i in range(len(wanted))]
        told = [(None if one[0][1] else one[0][0]) for one in last if one]
        return told == [None if one is bad else one for one in wanted]

    async with OpcUaServer(2) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: bool(emit.samples(104)))
            for variant, value, wanted in steps:
                await server.retype("D0", variant, value)
                await until(partial(arrived, wanted))
            await server.set("D1", 3.5)
            await until(lambda: emit.samples(104)[-1][0] == 3.5)
    for place in range(4):
        had = {0, *(wanted[place] for _, _, wanted in steps)} - {bad}
        for value, quality, _ in emit.samples(100 + place):
            assert quality in (bad, 0x8032) or (quality == GOOD and value in {*had, "0.0"})
    assert {quality for _, quality, _ in emit.samples(104)} == {GOOD}


async def test_a_server_that_numbers_its_namespaces_anew_is_read_by_their_uris() -> None:
    table = rows(
        {"node": OpcUaServer.node("D1")}, {"node": OpcUaServer.node("Text"), "type": "text"}
    )
    emit = Collector()
    async with OpcUaServer(2) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: bool(emit.samples(100)) and bool(emit.samples(101)))
            await server.stop()
            await asyncio.wait([task])
        server.namespaces_before = ("urn:plantgate:one", "urn:plantgate:two")
        await server.start()
        async with running(driver, emit):
            await until(lambda: [emit.samples(100 + i)[-1][1] for i in range(2)] == [GOOD, GOOD])
            await server.set("D1", 8.5)
            await until(lambda: emit.samples(100)[-1][0] == 8.5)
    assert emit.samples(101)[-1][0] == "液位正常"


@pytest.mark.parametrize("kept", [True, False], ids=["new process", "same process"])
async def test_a_bare_index_keeps_its_meaning_though_the_server_numbers_anew(
    kept: bool, tmp_path: Path
) -> None:
    table = rows({"node": "ns=2;s=D1"})
    emit = Collector()
    more: dict[str, Any] = {"state_dir": tmp_path} if kept else {}
    async with OpcUaServer(2) as server:
        driver = DRIVER.open("dcs", config(server.endpoint, **more), table, SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: bool(emit.samples(100)))
            await server.stop()
            await asyncio.wait([task])
        server.namespaces_before = ("urn:plantgate:one",)
        await server.start()
        await server.set("D1", 8.5)
        if kept:
            driver = DRIVER.open("dcs", config(server.endpoint, **more), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: emit.samples(100)[-1][:2] == (8.5, GOOD))
            await until(lambda: any("numbers its namespaces anew" in e.text for e in emit.events))


def test_a_clock_that_is_apart_is_told_after_three_looks_and_when_it_is_right() -> None:
    watch = ClockWatch()
    assert [watch.feed(s) for s in (40, 2, 40, 41, 42, 43, 44)] == [None] * 4 + [42, None, None]
    assert [watch.feed(s) for s in (1, 40, 1, 1, 1, 1)] == [None] * 4 + [0, None]
    assert [watch.feed(8 * 3600) for _ in range(5)] == [None] * 5
