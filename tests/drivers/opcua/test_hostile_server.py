"""Servers that do one thing badly: what they do well goes on, and the operator reads which."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_relay import (
    CALL,
    CHANNEL_ANSWER,
    CREATE_ITEMS,
    HISTORY_READ,
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
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(HISTORY_READ)
        driver = DRIVER.open("dcs", config(relay.endpoint), doubles("D0"), SystemClock())
        async with kept(driver, emit):
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
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(CALL)
        settings = config(relay.endpoint, alarms=True)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: said(emit, "device.warning", "standing alarms"))
            await arrives(server, emit, "D0", 8.0)


async def test_a_refused_refresh_is_asked_for_again() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:

        def refuse_twice(number: int, _: bytes) -> int | bytes | None:
            if number != CALL:
                return None
            return BAD_REFRESH_IN_PROGRESS if relay.requests[CALL] < 3 else REFRESHED

        relay.request = refuse_twice
        settings = config(relay.endpoint, alarms=True)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: relay.requests[CALL] == 3)
    assert driver.statistics()["reconnects"] == 0


async def test_alarms_do_not_wait_for_thousands_of_items() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = swallow(CREATE_ITEMS, b"D0")
        settings = config(relay.endpoint, alarms=True)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: relay.requests[CALL] > 0)
    assert not emit.samples(100)


async def test_a_server_of_an_older_standard_still_tells_its_alarms() -> None:
    emit = Collector()
    wanted: list[bytes] = []

    def refuse(number: int, body: bytes) -> bytes | None:
        if number != CREATE_ITEMS or b"ActiveState" not in body:
            return None
        wanted.append(body)
        return items_made(BAD_EVENT_FILTER_INVALID) if b"LatchedState" in body else None

    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = refuse
        settings = config(relay.endpoint, alarms=True)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: relay.requests[CALL] > 0)
    assert b"LatchedState" not in wanted[-1]


@pytest.mark.parametrize("how", ["queue overflow", "lost notification"])
async def test_events_that_may_have_been_lost_are_made_good_by_a_refresh(how: str) -> None:
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        settings = config(relay.endpoint, alarms=True, publish_ms=700)
        relay.request = lambda number, _: REFRESHED if number == CALL else None
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: relay.requests[CALL] == 1 and last(emit, 100))
            if how == "queue overflow":
                await server.raise_event(3035)
                await until(lambda: said(emit, "opcua.gap", "events"))
            else:
                await server.set("D0", 5.0)
                await server.lose(keep=False)
                await server.set("D0", 6.0)
            await until(lambda: relay.requests[CALL] == 2)
    assert driver.statistics()["reconnects"] == 0
    assert not any(event.kind == "opcua.alarm" for event in emit.events)


async def test_reads_that_are_too_large_are_halved_also_where_types_are_asked_for() -> None:
    emit = Collector()
    names = [f"D{i}" for i in range(40)]
    table = points(
        *[(OpcUaServer.node(n), "float") for n in names], (OpcUaServer.node("UInt"), "float")
    )
    async with OpcUaServer(40) as server, OpcUaRelay(server.endpoint) as relay:
        relay.request = lambda number, body: (
            BAD_TOO_MANY_OPERATIONS if number == READ and len(body) > 400 else None
        )
        driver = DRIVER.open("dcs", config(relay.endpoint), table, SystemClock())
        async with kept(driver, emit):
            await until(lambda: said(emit, "device.config_error", "64-bit"))
    assert driver.statistics()["reconnects"] == 0


@pytest.mark.parametrize("what", [b"D0", SERVER_STATE], ids=["values", "state"])
async def test_a_server_that_answers_no_reads_but_publishes_is_not_lost(what: bytes) -> None:
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        settings = config(relay.endpoint, heartbeat_s=1)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: bool(last(emit, 100)))
            relay.request = swallow(READ, what)
            await until(lambda: said(emit, "device.warning", "answers no reads"))
            await arrives(server, emit, "D0", 8.0)


async def test_one_of_several_subscriptions_that_falls_silent_is_found_and_made_anew() -> None:
    emit = Collector()
    async with OpcUaServer(2) as server:
        settings = config(server.endpoint, items_per_subscription=1)
        driver = DRIVER.open("dcs", settings, doubles("D0", "D1"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: last(emit, 100) and last(emit, 101))
            server.silence(1)
            await until(lambda: said(emit, "link.down", "1 of 2 subscriptions"))
            await until(lambda: _fresh_sessions(emit) == 2)
            await arrives(server, emit, "D1", 5.0)
            await arrives(server, emit, "D0", 6.0)


async def test_a_subscription_that_stays_silent_when_resumed_is_given_up() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: bool(last(emit, 100)))
            server.silence(0)
            await until(lambda: _fresh_sessions(emit) == 2)
            await arrives(server, emit, "D0", 5.0)
    assert said(emit, "link.down", "has sent nothing for")


def _fresh_sessions(emit: Collector) -> int:
    ups = [event for event in emit.events if event.kind == "link.up"]
    return sum(not event.attributes["resumed"] for event in ups)


async def test_too_few_subscriptions_cost_what_does_not_fit_and_nothing_else() -> None:
    emit = Collector()
    async with OpcUaServer(2) as server:
        server.limit_subscriptions(1)
        settings = config(server.endpoint, items_per_subscription=1)
        driver = DRIVER.open("dcs", settings, doubles("D0", "D1"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: "device.illegal_address" in emit.kinds())
            await until(lambda: bool(last(emit, 100)))
            assert [sample[1] for sample in emit.samples(101)] == [0x80DB]
            server.limit_subscriptions(5)
            await until(lambda: bool(last(emit, 101)))
            await arrives(server, emit, "D0", 5.0)
    assert driver.statistics()["reconnects"] == 0


async def test_publish_requests_that_time_out_at_once_are_not_sent_in_a_storm() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        driver = DRIVER.open("dcs", config(relay.endpoint), doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: bool(last(emit, 100)))
            before = relay.requests[PUBLISH]
            relay.request = lambda number, _: 0x800A_0000 if number == PUBLISH else None
            await until(lambda: said(emit, "link.down", "has sent nothing for"))
            assert relay.requests[PUBLISH] - before < 1000


async def test_a_polled_server_is_heard_between_turns_and_its_channel_renewed() -> None:
    emit = Collector()

    def short(number: int, body: bytes) -> bytes:
        """Give channels a life of four seconds."""
        if number != CHANNEL_ANSWER:
            return body
        changed = bytearray(body)
        changed[48:52] = (4000).to_bytes(4, "little")
        return bytes(changed)

    async with OpcUaServer(1) as server, OpcUaRelay(server.endpoint) as relay:
        relay.answer = short
        settings = config(relay.endpoint, reading="poll", publish_ms=3_600_000)
        driver = DRIVER.open("dcs", settings, doubles("D0"), SystemClock())
        async with kept(driver, emit):
            await until(lambda: bool(last(emit, 100)))
            asked, opened = relay.requests[READ], relay.requests[OPEN_CHANNEL]
            await until(lambda: relay.requests[READ] > asked + 3)
            await until(lambda: relay.requests[OPEN_CHANNEL] > opened)
