"""A destination's derived stream over a log in memory: what is told live is what is read back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np

from buffer.contract import Record, Stream, UnreadableError
from buffer.memory import MemoryLog
from buffer.ranges import RangeSet
from gateway.receiver.query import Query, print_notices, print_telemetry
from gateway.receiver.stores import open_reader
from gateway.runtime.clock import SystemClock
from gateway.uplink.derived import DerivedLog
from gateway.uplink.thin import Choice
from gateway.uplink.unread import STUCK_NS
from gateway.wire.v1 import uplink_pb2 as wire
from tests.e2e.world import free_port
from tests.fakes.certificates import Authority
from tests.fakes.small_log import BOOT_ID
from tests.gateway.uplink.test_client import PATIENT, mutual, running
from tests.gateway.uplink.test_with_receiver import receiving
from tests.waiting import until

POINTS = [
    wire.Point(id=1, name="gds-1/A", hazard="h1", deadband=2.0, high=50.0),
    wire.Point(id=2, name="dcs/B", hazard="h2", deadband=2.0),
]
CHOICE = Choice(hazards=("h1",), on_change=True)


async def announce(log: MemoryLog) -> None:
    event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=POINTS))
    name = hashlib.sha256(event.catalogue.SerializeToString(deterministic=True)).digest()
    await log.add_record(Stream.EVENT, event.SerializeToString(), keep=name)
    log.set_catalogue(name)


async def measure(log: MemoryLog, *values: float) -> None:
    """One record a value, of both points."""
    for value in values:
        points = np.array([1, 2], np.int32)
        await log.add_batch(points, np.array([value, value]), np.zeros(2, np.uint16), 7, 7)


async def alarm(log: MemoryLog, hazard: str) -> int:
    payload = wire.Alarm(source="x", hazard=hazard).SerializeToString()
    return await log.add_record(Stream.ALARM, payload)


@contextlib.asynccontextmanager
async def following(log: MemoryLog, choice: Choice = CHOICE) -> AsyncIterator[DerivedLog]:
    derived = DerivedLog(log, "county", choice, SystemClock())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(derived.run())
        await derived.ready()
        yield derived
        task.cancel()


async def settled(derived: DerivedLog, stop: int) -> None:
    await until(lambda: derived.bounds(Stream.TELEMETRY).next >= stop)


async def whole(derived: DerivedLog, stream: Stream, max_bytes: int) -> list[Record]:
    """Everything, read as a session does: page by page."""
    bounds = derived.bounds(stream)
    out: list[Record] = []
    first = bounds.first
    while first < bounds.next:
        page = await derived.read(stream, first, last=bounds.next - 1, max_bytes=max_bytes)
        if not page:
            break
        assert page[0].first == first
        out += page
        first = page[-1].sequence + 1
    return out


async def test_what_is_told_live_is_what_is_read_back_in_pages_of_any_size() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    await measure(log, 1.0, 1.5)
    async with following(log) as derived:
        told: list[Record] = []
        derived.add_listener(lambda stream, records: told.extend(records))
        await measure(log, 2.0, 4.0, 4.5, 51.0, 51.5)
        log.request_key()
        await measure(log, 51.5, 51.0, 48.0)
        await settled(derived, 11)
        ranges = [(one.first, one.sequence) for one in told if one.stream is Stream.TELEMETRY]
        assert ranges == [(2, 4), (5, 6), (7, 7), (8, 8), (9, 10)]
        for number in range(2, 11):
            [one] = await derived.read(Stream.TELEMETRY, number, last=number, max_bytes=1)
            assert one.first <= number <= one.sequence, "who asks for a part gets all of it"
        for max_bytes in (1, 100, 1 << 20):
            back = await whole(derived, Stream.TELEMETRY, max_bytes)
            assert [one for one in back if one.sequence > 1] == told
    async with following(log) as again:
        assert again.log_id == derived.log_id, "the stream goes on where it was"
        assert again.bounds(Stream.TELEMETRY).next == 11, "whoever is ready knows how far it goes"
        assert await whole(again, Stream.TELEMETRY, 1) == back


async def test_alarms_of_elsewhere_are_covered_by_the_next_and_kept_for_nobody() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    for hazard in ("h2", "h1", "", "h2"):
        await alarm(log, hazard)
    async with following(log) as derived:
        assert derived.bounds(Stream.ALARM).next == 4
        await until(lambda: 4 in log.cursor("county", Stream.ALARM))
        back = await whole(derived, Stream.ALARM, 1)
        assert [(one.first, one.sequence) for one in back] == [(1, 2), (3, 3)]
        assert back[0].hash == (await log.read(Stream.ALARM, 2, last=2, max_bytes=1))[0].hash
        derived.replace_cursor("county", Stream.ALARM, RangeSet([(1, 4)]))
        assert not log.cursor("county", Stream.ALARM).missing(1, 5)
        await alarm(log, "h2")
        await alarm(log, "h1")
        await until(lambda: derived.bounds(Stream.ALARM).next == 7)
        [last] = await derived.read(Stream.ALARM, 4, last=6, max_bytes=1)
        assert (last.first, last.sequence) == (4, 6)
        [again] = await derived.read(Stream.ALARM, 5, last=5, max_bytes=1)
        assert again.sequence == 6


async def test_a_choice_that_changes_while_it_runs_loses_nothing_and_can_change_back() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    await measure(log, 1.0, 1.5)
    log.request_key()
    await measure(log, 2.0, 2.5)
    async with following(log) as derived:
        first_id = derived.log_id
        await settled(derived, 4)
        derived.acknowledge("county", Stream.TELEMETRY, RangeSet([(1, 4)]))
        derived.choose(Choice(hazards=("h1",)))
        assert derived.log_id == b""
        await derived.ready()
        second_id = derived.log_id
        assert second_id != first_id
        await measure(log, 3.0, 3.0)
        await settled(derived, 7)
        told = await whole(derived, Stream.TELEMETRY, 1 << 20)
        assert told[0].first == 3, "the key of the group that was open"
        assert [one.samples for one in told] == [1, 1, 1, 1], (
            "nothing of the chosen point is left out"
        )
        derived.choose(CHOICE)
        await derived.ready()
        assert derived.log_id not in {first_id, second_id}
        await measure(log, 3.5)
        await until(lambda: derived.bounds(Stream.TELEMETRY).first == 3)
    kinds = [
        wire.Event.FromString(record.payload).kind
        for record in await log.read(Stream.EVENT, 1, last=1 << 40, max_bytes=1 << 40)
    ]
    assert kinds.count("uplink.derived") == 3


async def test_another_filter_is_another_stream_from_where_the_first_was_acknowledged() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    await measure(log, 1.0, 5.0)
    log.request_key()
    await measure(log, 9.0, 13.0)
    async with following(log) as first:
        await settled(first, 5)
        first.acknowledge("county", Stream.TELEMETRY, RangeSet([(1, 4)]))
    async with following(log, Choice(every_ns=10**9)) as second:
        assert second.log_id != first.log_id
        assert second.bounds(Stream.TELEMETRY).first == 3, "the key of the group that was open"
    kinds = [
        wire.Event.FromString(one.payload).kind
        for one in await log.read(Stream.EVENT, 1, last=99, max_bytes=1 << 20)
    ]
    assert kinds.count("uplink.derived") == 2


async def test_a_renewed_log_and_a_fork_give_new_ids_before_anything_is_sent() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    await measure(log, 1.0, 5.0)
    async with following(log) as derived:
        seen = {derived.log_id}
        derived.renew_log_id("another record there")
        assert derived.log_id == b""
        await derived.ready()
        seen.add(derived.log_id)
        own = log.log_id
        log.renew_log_id("backup restored")
        assert derived.log_id == b"", "numbers of another log are not sent under the old id"
        derived.acknowledge("county", Stream.TELEMETRY, RangeSet([(1, 3)]))
        assert not log.cursor("county", Stream.TELEMETRY)
        await derived.ready()
        seen.add(derived.log_id)
        assert len(seen) == 3
        assert derived.source_log_id == log.log_id != own


async def test_what_is_lost_of_the_log_is_missing_and_evicted_groups_begin_later() -> None:
    log = MemoryLog(clock=SystemClock())
    await announce(log)
    await measure(log, 1.0, 5.0)
    log.request_key()
    await measure(log, 9.0, 13.0)
    log.evict(Stream.TELEMETRY, 2)
    async with following(log) as derived:
        await settled(derived, 5)
        assert derived.bounds(Stream.TELEMETRY).first == 3
        back = await derived.read(Stream.TELEMETRY, 1, last=4, max_bytes=1 << 20)
        assert [(one.first, one.sequence) for one in back] == [(3, 3), (4, 4)]


async def test_one_receiver_takes_a_log_and_what_is_made_of_it_and_prints_it_once(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = MemoryLog(clock=SystemClock(), boot_id=BOOT_ID)
    await announce(log)
    await measure(log, 1.0, 1.5, 5.0, 5.5)
    store = tmp_path / "one"
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(receiving(store, authority, "127.0.0.1:0"))
        uplinks = []
        for name, choice in (("province", None), ("county", CHOICE)):
            destination = mutual(f"127.0.0.1:{port}", authority.ca, own, name=name)
            gateway = await stack.enter_async_context(running(destination, log, choice=choice))
            uplinks.append(gateway.uplink)
        await until(lambda: all(one.statistics()["connected"] for one in uplinks))
        await measure(log, 6.0, 9.0)
        await alarm(log, "h2")
        await alarm(log, "h1")

        def acknowledged() -> bool:
            county = log.cursor("county", Stream.TELEMETRY), log.cursor("county", Stream.ALARM)
            ends = [ranges.contiguous_stop(1) for ranges in county]
            return ends == [7, 3] and not uplinks[0].statistics()["backlog_records"]

        await until(acknowledged)
    with contextlib.closing(open_reader(str(store))) as reader:
        logs = reader.logs()
        assert {one.derived.destination for one in logs} == {"", "county"}
        assert [fault for one in logs for fault in reader.faults(one)] == []
        derived = next(one for one in logs if one.derived.destination)
        assert derived.derived.filter == CHOICE.words()
        found = list(reader.records(derived, Stream.TELEMETRY))
        assert [(one.first, one.sequence) for one in found] == [(1, 1), (2, 3), (4, 6)]
        lines: list[str] = []
        print_telemetry(reader, Query(), lines.append)
        assert len("".join(lines).splitlines()) == 1 + 2 * 6, "each sample once"
        lines.clear()
        print_notices(reader, Query(), "alarms", lines.append)
        assert len("".join(lines).splitlines()) == 1 + 2


class Unreading(MemoryLog):
    """A log whose telemetry cannot be read back for a while, nor, where asked, its first group."""

    is_bad = False
    bad_questions = 0

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        if self.is_bad and stream is Stream.TELEMETRY:
            raise UnreadableError(stream, first, last + 1)
        return await super().read(stream, first, last=last, max_bytes=max_bytes)

    async def group_start(self, sequence: int) -> int:
        if self.bad_questions:
            self.bad_questions -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return await super().group_start(sequence)


async def test_telemetry_that_cannot_be_read_holds_up_no_alarm_and_is_not_written_off(
    tmp_path: Path,
) -> None:
    """A start on such a disk, a receiver of before the disk was well, and one of after it."""
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = Unreading(clock=SystemClock(), boot_id=BOOT_ID)
    log.is_bad, log.bad_questions = True, 1
    await announce(log)
    for _ in range(3):
        log.request_key()
        await measure(log, 1.0, 1.5, 5.0, 9.0)
    port, store = free_port(), tmp_path / "one"
    destination = mutual(f"127.0.0.1:{port}", authority.ca, own, name="county")
    async with running(destination, log, PATIENT, CHOICE) as gateway:
        async with receiving(store, authority, f"127.0.0.1:{port}"):
            number = await alarm(log, "h1")
            # What cannot be read is gone round only after STUCK_NS: no alarm may wait for that.
            limit_s = STUCK_NS / 2e9
            await until(lambda: number in log.cursor("county", Stream.ALARM), limit_s=limit_s)
            assert not log.cursor("county", Stream.TELEMETRY)
            assert gateway.uplink.statistics()["gap_records"] == 0
        log.is_bad = False
        await measure(log, 20.0)
        async with receiving(store, authority, f"127.0.0.1:{port}"):
            stop = log.bounds(Stream.TELEMETRY).next
            await until(lambda: log.cursor("county", Stream.TELEMETRY).contiguous_stop(1) == stop)
    assert gateway.uplink.statistics()["gap_records"] == 0
    with contextlib.closing(open_reader(str(store))) as reader:
        [county] = reader.logs()
        found = list(reader.records(county, Stream.TELEMETRY))
        covered = RangeSet((one.first, one.sequence + 1) for one in found)
        assert list(covered) == [(1, stop)], "all of it is covered by what was sent"
        assert len(found) > 6


async def test_a_receiver_gets_more_while_the_grade_is_high_and_less_again_after(
    tmp_path: Path,
) -> None:
    """Over the real wire: what is chosen changes twice while the uplink runs, nothing is lost."""
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = MemoryLog(clock=SystemClock(), boot_id=BOOT_ID)
    await announce(log)
    sparse = Choice(points=("gds-1/A",), on_change=True)  # of a deadband of 2
    store, values = tmp_path / "one", [1.0, 1.5, 2.0]

    def done() -> bool:
        stop = log.bounds(Stream.TELEMETRY).next
        return log.cursor("county", Stream.TELEMETRY).contiguous_stop(1) == stop

    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(receiving(store, authority, "127.0.0.1:0"))
        destination = mutual(f"127.0.0.1:{port}", authority.ca, own, name="county")
        gateway = await stack.enter_async_context(running(destination, log, choice=sparse))
        for turn in (None, Choice(points=("gds-1/A",)), sparse):
            if turn is not None:
                gateway.uplink.choose(turn, "the grade is red", raised=turn is not sparse)
            log.request_key()
            await measure(log, *values)
            log.request_key()
            await measure(log, 1.0)
            await until(done)
    turns = [said for kind, _, said in gateway.events if kind == "uplink.reporting"]
    assert [said["raised"] for said in turns] == [True, False]
    with contextlib.closing(open_reader(str(store))) as reader:
        logs = reader.logs()
        assert {fault.kind for one in logs for fault in reader.faults(one)} == {"new_log"}
        by_filter = {one.log_id: one.derived.filter for one in logs}
        found = {
            (one.sequence, by_filter[held.log_id] == sparse.words())
            for held in logs
            for one in reader.records(held, Stream.TELEMETRY)
            if one.samples
        }
    assert len(by_filter) == 3
    close = {number for number, as_usual in found if not as_usual}
    assert close >= {5, 6, 7, 8}, "all of the chosen point while the grade is high"
    assert {2, 3, 10, 11} & {number for number, as_usual in found if as_usual} == set()
