"""Servers that do one thing badly: what they do well goes on, and the operator reads which."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.convert import EPOCH_TICKS
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_relay import (
    CALL,
    CHANNEL_ANSWER,
    CREATE_ITEMS,
    HISTORY_READ,
    ITEMS_ANSWER,
    OPEN_CHANNEL,
    PUBLISH,
    READ,
    REFRESHED,
    SWALLOW,
    OpcUaRelay,
    items_made,
)
from tests.fakes.opcua_server import OpcUaServer
from tests.waiting import until

GOOD = int(Quality.GOOD)
BAD_REFRESH_IN_PROGRESS, BAD_TOO_MANY_OPERATIONS = 0x8097_0000, 0x8010_0000
BAD_EVENT_FILTER_INVALID = 0x8047_0000
SERVER_STATE = b"\x01\x00\xd3\x08"
"""i=2259 as it stands in a message."""


def config(endpoint: str, **more: Any) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoint": endpoint, "security": "None", "insecure": True, "publish_ms": 100}
        | {"timeout_ms": 500, "heartbeat_s": 0, "retry_s": 1}
        | more
    )


PATIENT: dict[str, Any] = {"timeout_ms": 15_000}
"""For tests that say that no link goes down: a machine that stalls for seconds is no silence."""


def doubles(*names: str) -> Any:
    return points(*[(OpcUaServer.node(name), "float") for name in names])


@asynccontextmanager
async def kept(driver: Any, emit: Collector) -> AsyncIterator[None]:
    """Run the driver again whenever it ends, as the supervisor does."""

    async def run() -> None:
        while True:
            try:
                await driver.run(emit)
            except DeviceError:
                await asyncio.sleep(0.1)

    task = asyncio.get_running_loop().create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class Heard(Collector):
    """What the driver of a test says, and the driver itself."""

    driver: Any


@asynccontextmanager
async def driven(
    endpoint: str, *names: str, table: Any = None, **more: Any
) -> AsyncIterator[Heard]:
    """Keep a driver running over these nodes of doubles, or over a table."""
    emit = Heard()
    rows = doubles(*names) if table is None else table
    emit.driver = DRIVER.open("dcs", config(endpoint, **more), rows, SystemClock())
    async with kept(emit.driver, emit):
        yield emit


def said(emit: Collector, kind: str, words: str) -> bool:
    return any(event.kind == kind and words in event.text for event in emit.events)


def last(emit: Collector, point: int) -> Any:
    return [sample[0] for sample in emit.samples(point) if sample[1] == GOOD][-1:]


async def arrives(server: OpcUaServer, emit: Collector, name: str, value: float) -> None:
    await server.set(name, value)
    await until(lambda: last(emit, 100 + int(name[1:])) == [value])


def swallow(number: int, part: bytes = b"") -> Callable[[int, bytes], int | None]:
    return lambda came, body: SWALLOW if came == number and part in body else None


async def test_history_that_never_answers_costs_a_gap_and_not_the_session() -> None:
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(HISTORY_READ)
        async with driven(relay.endpoint, "D0") as emit:
            await until(lambda: bool(last(emit, 100)))
            await server.stop()
            await until(lambda: "link.down" in emit.kinds())
            await asyncio.sleep(0.2)  # source times of this run and of the next differ
            await server.start()
            await server.allow_history("D0")
            await server.set("D0", 7.0)
            await until(lambda: "opcua.gap" in emit.kinds())
            await arrives(server, emit, "D0", 8.0)
    assert relay.requests[HISTORY_READ] >= 1


async def test_standing_alarms_that_are_never_told_cost_a_warning_and_not_the_session() -> None:
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(CALL)
        async with driven(relay.endpoint, "D0", alarms=True) as emit:
            await until(lambda: said(emit, "device.warning", "standing alarms"))
            await arrives(server, emit, "D0", 8.0)


async def test_a_refused_refresh_is_asked_for_again() -> None:
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:

        def refuse_twice(number: int, _: bytes) -> int | bytes | None:
            if number != CALL:
                return None
            return BAD_REFRESH_IN_PROGRESS if relay.requests[CALL] < 3 else REFRESHED

        relay.request = refuse_twice
        async with driven(relay.endpoint, "D0", alarms=True, **PATIENT) as emit:
            await until(lambda: relay.requests[CALL] == 3)
    assert emit.driver.statistics()["reconnects"] == 0


async def test_alarms_do_not_wait_for_thousands_of_items() -> None:
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(CREATE_ITEMS, b"D0")
        async with driven(relay.endpoint, "D0", alarms=True) as emit:
            await until(lambda: relay.requests[CALL] > 0)
    assert not last(emit, 100)


async def test_a_server_of_an_older_standard_still_tells_its_alarms() -> None:
    wanted: list[bytes] = []

    def refuse(number: int, body: bytes) -> bytes | None:
        if number != CREATE_ITEMS or b"ActiveState" not in body:
            return None
        wanted.append(body)
        return items_made(BAD_EVENT_FILTER_INVALID) if b"LatchedState" in body else None

    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = refuse
        async with driven(relay.endpoint, "D0", alarms=True, **PATIENT):
            await until(lambda: relay.requests[CALL] > 0)
    assert b"LatchedState" not in wanted[-1]


@pytest.mark.parametrize("how", ["queue overflow", "lost notification"])
async def test_events_that_may_have_been_lost_are_made_good_by_a_refresh(how: str) -> None:
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = lambda number, _: REFRESHED if number == CALL else None
        settings: dict[str, Any] = {"alarms": True, "publish_ms": 700, **PATIENT}
        async with driven(relay.endpoint, "D0", **settings) as emit:
            await until(lambda: relay.requests[CALL] == 1 and last(emit, 100))
            if how == "queue overflow":
                await server.raise_event(3035)
                await until(lambda: said(emit, "opcua.gap", "events"))
            else:
                await server.set("D0", 5.0)
                await server.lose(keep=False)
                await server.set("D0", 6.0)
            await until(lambda: relay.requests[CALL] == 2)
    assert emit.driver.statistics()["reconnects"] == 0
    assert not any(event.kind == "opcua.alarm" for event in emit.events)


async def test_reads_that_are_too_large_are_halved_also_where_types_are_asked_for() -> None:
    names = [f"D{i}" for i in range(40)]
    table = points(
        *[(OpcUaServer.node(n), "float") for n in names], (OpcUaServer.node("UInt"), "float")
    )
    async with OpcUaServer(40) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = lambda number, body: (
            BAD_TOO_MANY_OPERATIONS if number == READ and len(body) > 400 else None
        )
        async with driven(relay.endpoint, table=table, **PATIENT) as emit:
            await until(lambda: said(emit, "device.config_error", "64-bit"))
    assert emit.driver.statistics()["reconnects"] == 0


@pytest.mark.parametrize("what", [b"D0", SERVER_STATE], ids=["values", "state"])
async def test_a_server_that_answers_no_reads_but_publishes_is_not_lost(what: bytes) -> None:
    async with (
        OpcUaServer(1) as server,
        OpcUaRelay(server.endpoint) as relay,
        driven(relay.endpoint, "D0", heartbeat_s=1) as emit,
    ):
        await until(lambda: bool(last(emit, 100)))
        relay.request = swallow(READ, what)
        await until(lambda: said(emit, "device.warning", "answers no reads"))
        await arrives(server, emit, "D0", 8.0)


async def test_one_of_several_subscriptions_that_falls_silent_is_found_and_made_anew() -> None:
    async with (
        OpcUaServer(2) as server,
        driven(server.endpoint, "D0", "D1", items_per_subscription=1) as emit,
    ):
        await until(lambda: last(emit, 100) and last(emit, 101))
        server.silence(1)
        await until(lambda: said(emit, "link.down", "1 of 2 subscriptions"))
        await until(lambda: _fresh_sessions(emit) >= 2)
        await arrives(server, emit, "D1", 5.0)
        await arrives(server, emit, "D0", 6.0)


async def test_a_subscription_that_stays_silent_when_resumed_is_given_up() -> None:
    async with OpcUaServer(1) as server, driven(server.endpoint, "D0") as emit:
        await until(lambda: bool(last(emit, 100)))
        server.silence(0)
        await until(lambda: _fresh_sessions(emit) >= 2)
        await arrives(server, emit, "D0", 5.0)
    assert said(emit, "link.down", "has sent nothing for")


def _fresh_sessions(emit: Collector) -> int:
    ups = [event for event in emit.events if event.kind == "link.up"]
    return sum(not event.attributes["resumed"] for event in ups)


async def test_too_few_subscriptions_cost_what_does_not_fit_and_nothing_else() -> None:
    async with OpcUaServer(2) as server:
        server.limit_subscriptions(1)
        settings: dict[str, Any] = {"items_per_subscription": 1, **PATIENT}
        async with driven(server.endpoint, "D0", "D1", **settings) as emit:
            await until(lambda: "device.illegal_address" in emit.kinds())
            await until(lambda: bool(last(emit, 100)))
            assert [sample[1] for sample in emit.samples(101)] == [0x80DB]
            server.limit_subscriptions(5)
            await until(lambda: bool(last(emit, 101)))
            await arrives(server, emit, "D0", 5.0)
    assert emit.driver.statistics()["reconnects"] == 0


async def test_publish_requests_that_time_out_at_once_are_not_sent_in_a_storm() -> None:
    async with (
        OpcUaServer(1) as server,
        OpcUaRelay(server.endpoint) as relay,
        driven(relay.endpoint, "D0") as emit,
    ):
        await until(lambda: bool(last(emit, 100)))
        before = relay.requests[PUBLISH]
        relay.request = lambda number, _: 0x800A_0000 if number == PUBLISH else None
        await until(lambda: said(emit, "link.down", "has sent nothing for"))
        assert relay.requests[PUBLISH] - before < 1000


async def test_a_polled_server_is_heard_between_turns_and_its_channel_renewed() -> None:
    def short(number: int, body: bytes) -> bytes:
        """Give channels a life of four seconds."""
        if number != CHANNEL_ANSWER:
            return body
        changed = bytearray(body)
        changed[48:52] = (4000).to_bytes(4, "little")
        return bytes(changed)

    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.answer = short
        async with driven(relay.endpoint, "D0", reading="poll", publish_ms=3_600_000) as emit:
            await until(lambda: bool(last(emit, 100)))
            asked, opened = relay.requests[READ], relay.requests[OPEN_CHANNEL]
            await until(lambda: relay.requests[READ] > asked + 3)
            await until(lambda: relay.requests[OPEN_CHANNEL] > opened)


async def test_rates_and_queues_that_the_server_does_not_grant_are_told() -> None:
    def revise(number: int, body: bytes) -> bytes:
        """Sample every 5 s, and keep one value of each item."""
        if number != ITEMS_ANSWER:
            return body
        changed = bytearray(body)
        for at in range(32, len(body) - 4, 23):
            changed[at + 8 : at + 20] = struct.pack("<dI", 5000.0 if at == 32 else 100.0, 1)
        return bytes(changed)

    async with OpcUaServer(2) as server, OpcUaRelay(server.endpoint) as relay:
        relay.answer = revise
        async with driven(relay.endpoint, "D0", "D1", publish_ms=1000, sampling_ms=100) as emit:
            await until(lambda: said(emit, "device.warning", "every 5000 ms instead of 100 ms: T0"))
            await until(
                lambda: said(emit, "device.warning", "keeps only 1 of the values of 1 points")
            )


async def test_a_gap_is_told_though_the_servers_clock_was_set_back_meanwhile() -> None:
    ahead_ns = SystemClock().wall_ns() + 8 * 3600 * 10**9
    async with OpcUaServer(1) as server:
        await server.set("D0", 1.0, source_ns=ahead_ns)
        async with driven(server.endpoint, "D0", **PATIENT) as emit:
            await until(lambda: last(emit, 100) == [1.0])
            await server.stop()
            await until(lambda: "link.down" in emit.kinds())
            await server.start()
            await until(lambda: "opcua.gap" in emit.kinds())
    [gap] = [event for event in emit.events if event.kind == "opcua.gap"]
    assert gap.attributes["points"] == 1


async def test_a_node_that_appears_soon_after_the_servers_start_is_found_soon() -> None:
    async with (
        OpcUaServer(1) as server,
        driven(server.endpoint, "D0", "D7", retry_s=86_400, **PATIENT) as emit,
    ):
        await until(lambda: bool(last(emit, 100)) and bool(emit.samples(101)))
        await server.add("D7", 7.5)
        await until(lambda: last(emit, 101) == [7.5])


async def test_an_item_that_the_server_grants_and_never_publishes_is_read_and_made_anew() -> None:
    made = 0

    def pretend(number: int, body: bytes) -> bytes | None:
        nonlocal made
        if number != CREATE_ITEMS or b"D1" not in body:
            return None
        made += 1
        return items_made(0) if made == 1 else None

    async with OpcUaServer(2) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = pretend
        async with driven(relay.endpoint, "D0", "D1", items_per_call=1, **PATIENT) as emit:
            await until(lambda: last(emit, 101) == [1.0])
            await until(lambda: made == 2)
            assert said(emit, "device.warning", "watched anew")
            await arrives(server, emit, "D1", 5.0)
            await arrives(server, emit, "D1", 6.0)
    assert len({sample[2] for sample in emit.samples(101)}) == len(emit.samples(101))


async def test_an_item_that_dies_later_is_found_by_its_heartbeat() -> None:
    async with (
        OpcUaServer(2) as server,
        driven(server.endpoint, "D0", "D1", heartbeat_s=1, **PATIENT) as emit,
    ):
        await until(lambda: bool(last(emit, 100)) and bool(last(emit, 101)))
        server.forget_items("D1")
        await arrives(server, emit, "D1", 5.0)
        await until(lambda: said(emit, "device.warning", "watched anew"))
        await arrives(server, emit, "D1", 6.0)
    assert emit.driver.statistics()["reconnects"] == 0


async def test_a_server_that_is_not_running_says_so_to_the_operator() -> None:
    async with OpcUaServer(1) as server, driven(server.endpoint, "D0", **PATIENT) as emit:
        await until(lambda: bool(last(emit, 100)))
        await server.set_state(3)
        await until(lambda: said(emit, "device.warning", "suspended"))
        await server.set_state(0)
        await until(lambda: said(emit, "device.warning", "running again"))
    assert emit.driver.statistics()["reconnects"] == 0


async def test_a_history_that_never_ends_is_given_up() -> None:
    second_ns, start_ns = 10**9, 1_700_000_000 * 10**9
    ticks = (start_ns + 50 * second_ns) // 100 + EPOCH_TICKS
    value = struct.pack("<iBBdq", 1, 0x05, 11, 3.5, ticks)
    page = (
        b"\x01\x00\x9b\x02" + bytes(24) + struct.pack("<iIi", 1, 0, 4) + b"more"
        + b"\x01\x00\x92\x02\x01" + struct.pack("<i", len(value)) + value + b"\xff" * 4
    )  # fmt: skip
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = lambda number, _: page if number == HISTORY_READ else None
        await server.set("D0", 1.0, source_ns=start_ns)
        async with driven(relay.endpoint, "D0", **PATIENT) as emit:
            await until(lambda: last(emit, 100) == [1.0])
            await server.stop()
            await until(lambda: "link.down" in emit.kinds())
            await server.start()
            await server.allow_history("D0")
            await server.set("D0", 2.0, source_ns=start_ns + 100 * second_ns)
            await until(lambda: "opcua.gap" in emit.kinds())
    assert 1 <= relay.requests[HISTORY_READ] <= 3
    assert 3.5 in [sample[0] for sample in emit.samples(100)]


async def test_a_server_whose_clock_is_wrong_is_told_once() -> None:
    async with OpcUaServer(1) as server:
        await server.set_time(-3 * 86_400)
        async with driven(server.endpoint, "D0") as emit:
            await until(lambda: said(emit, "device.clock", "3.0 days behind the gateway's"))
            assert emit.kinds().count("device.clock") == 1
            await server.set_time(0)
            await until(lambda: said(emit, "device.clock", "agree again"))
