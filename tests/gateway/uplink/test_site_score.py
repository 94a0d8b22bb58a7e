"""The score a site shows of a destination, and the one that its platform computes, are one."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import Log, Stream
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.cli.completeness_site import SiteReader
from gateway.receiver.completeness import Period, stream_hours
from gateway.receiver.contract import Reader
from gateway.receiver.stores import open_reader
from gateway.rules.completeness import HOUR_NS, Hour
from gateway.runtime.clock import SystemClock
from gateway.uplink.site_score import SiteScore
from gateway.wire.v1 import uplink_pb2 as wire
from tests.buffer.conftest import HandClock
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.receiver.telemetry import CATALOGUE
from tests.gateway.uplink.test_identity import Site
from tests.waiting import until

EVER = Period(None, None, 60 * 10**9, HOUR_NS)
Counted = dict[tuple[str, int], tuple[int, int, float]]


def counted(hours: list[tuple[Stream, Hour]]) -> Counted:
    """Expected, received and score by stream and hour, of hours in which there is anything."""
    return {
        (stream.name, hour.start_ns): (hour.expected, hour.received, hour.score)
        for stream, hour in hours
        if hour.expected
    }


def of(reader: Reader) -> Counted:
    (log,) = reader.logs()
    return counted(list(stream_hours(reader, log, EVER)))


async def test_platform_site_and_the_running_gateway_count_the_same(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.receiver(), site.box("disk") as box:
        score = box.uplink._score
        log = box.log
        announced = wire.Event(kind="catalogue")
        announced.catalogue.ParseFromString(CATALOGUE.encoded)
        await log.add_record(
            Stream.EVENT, announced.SerializeToString(deterministic=True), keep=CATALOGUE.hash
        )
        log.set_catalogue(CATALOGUE.hash)
        for number in range(20):
            time_ns = SystemClock.wall_ns()  # of now: a look at the hour may come at any of them
            values, good = np.array([number / 10]), np.zeros(1, np.uint16)
            await log.add_batch(np.array([1], np.int32), values, good, time_ns, time_ns)
        await box.alarms(*(f"alarm {number}" for number in range(7)))
        await log.add_record(Stream.ALARM, b"\xff\xff")  # which the receiver refuses
        await box.alarms("by which the platform knows that one is missing")
        await box.uplink.drained()
        await until(lambda: "uplink.rejected" in box.kinds())
        await score.refresh()
        running = counted(score.hours(box.uplink._refused()))
        words = box.uplink.health()[1]
        numbers = box.uplink.statistics()
    with closing(open_reader(str(site.store))) as reader:
        platform = of(reader)
    assert platform == running
    assert sum(expected for (name, _), (expected, *_) in platform.items() if name == "ALARM") == 9
    assert sum(received for (name, _), (_, received, _) in platform.items() if name == "ALARM") == 8
    with closing(SiteReader(tmp_path / "disk", "province")) as here:
        at_rest = of(here)
    for name in ("EVENT", "TELEMETRY"):
        assert {key: one for key, one in at_rest.items() if key[0] == name} == {
            key: one for key, one in platform.items() if key[0] == name
        }
    both = [numbers[f"received_{which}_hour{{stream=alarm}}"] for which in ("last", "this")]
    assert sum(both) == 8
    if both[1] == 8:  # the hour did not end in between
        assert "acknowledged of this hour: alarm 8 of 9, event " in words
        assert numbers["completeness_this_hour{stream=alarm}"] == 8 / 9


async def test_what_has_not_arrived_lowers_the_score_of_its_hour(tmp_path: Path) -> None:
    site = Site(tmp_path)
    async with site.box("disk") as box:
        await box.alarms(*(f"alarm {number}" for number in range(5)))
        await box.uplink._score.refresh()
        assert sum(hour.received for _, hour in box.uplink._score.hours({})) == 0
        async with site.receiver():
            await box.delivered()
        assert sum(hour.received for _, hour in box.uplink._score.hours({})) == 5
        await box.alarms("unsent")
        await until(lambda: box.left() == 1)
        hours = [hour for stream, hour in box.uplink._score.hours({}) if stream is Stream.ALARM]
        assert sum(hour.expected for hour in hours) == 6
        assert sum(hour.unexplained for hour in hours) == 1
    with closing(SiteReader(tmp_path / "disk", "province")) as reader:
        alarms = {key: one for key, one in of(reader).items() if key[0] == "ALARM"}
    assert sum(received for _, received, _ in alarms.values()) == 5
    assert sum(expected for expected, *_ in alarms.values()) == 6


@given(
    minutes=st.lists(st.integers(0, 50), max_size=30),
    acknowledged=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 6)), max_size=6),
)
def test_hours_hold_what_was_made_in_them(
    minutes: list[int], acknowledged: list[tuple[int, int]]
) -> None:
    clock, log = HandClock(), SmallLog()
    times = []
    for number, further in enumerate(minutes):
        clock.advance(60.0 * further)
        times.append(clock.wall_ns())
        (record,) = log.put(Stream.ALARM, *payloads(1, seed=number))
        log.records[Stream.ALARM][record.sequence] = replace(record, time_ns=clock.wall_ns())
    there = RangeSet([(start, start + count) for start, count in acknowledged])
    log.acknowledge("province", Stream.ALARM, there)
    score = SiteScore(cast(Log, log), cast(Clock, clock), "province", [Stream.ALARM])
    asyncio.run(score.refresh())
    hour = clock.wall_ns() // HOUR_NS
    for (_, found), start in zip(score.hours({}), (hour - 1, hour), strict=True):
        made = [n for n, at in enumerate(times, 1) if at // HOUR_NS == start]
        assert found.start_ns == start * HOUR_NS
        assert found.expected == len(made)
        assert found.received == sum(n in there for n in made)
