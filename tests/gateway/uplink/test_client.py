"""The uplink over the real wire, against a small real receiver on loopback."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buffer.contract import Log, Stream
from buffer.ranges import RangeSet
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.uplink.outputs import SessionSettings
from gateway.uplink.pictures import PictureSource
from gateway.uplink.thin import Choice
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.certificates import Authority, Pair
from tests.fakes.receiver import FakeReceiver, Held
from tests.fakes.small_log import BOOT_ID, SmallLog, payloads
from tests.waiting import until

QUICK = SessionSettings(heartbeat_ms=100, silence_ms=600, stall_ms=900)
PATIENT = replace(QUICK, silence_ms=60_000, stall_ms=60_000)
"""For tests that say that no link goes down: a machine that stalls for a second is no silence."""


@dataclass(frozen=True)
class Destination:
    """What UplinkConfig gives."""

    target: str
    name: str = "province"
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = True
    history_share: float = 0.5
    rate_bytes_per_s: int = 0
    streams: tuple[str, ...] = ("alarm", "event", "telemetry", "evidence")
    evidence: str = "clip"
    evidence_bytes_per_day: int = 0
    copy_alarms: bool = False


def mutual(target: str, ca: Path, pair: Pair, **more: Any) -> Destination:
    """A destination with mutual TLS."""
    return Destination(target, ca=ca, certificate=pair.certificate, key=pair.key, insecure=False,
                       **more)  # fmt: skip


@dataclass
class Running:
    """An uplink at work, and the events it reported."""

    uplink: Uplink
    events: list[tuple[str, str, dict[str, Any]]]

    def kinds(self) -> list[str]:
        return [kind for kind, _, _ in self.events]

    def text(self, kind: str) -> str:
        return next((text for one, text, _ in self.events if one == kind), "")


@asynccontextmanager
async def running(
    destination: Destination,
    log: Log,
    settings: SessionSettings = QUICK,
    choice: Choice | None = None,
    pictures: PictureSource | None = None,
    clock: SystemClock | None = None,
) -> AsyncIterator[Running]:
    events: list[tuple[str, str, dict[str, Any]]] = []
    uplink = Uplink(
        destination,
        log=log,
        clock=clock or SystemClock(),
        identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", BOOT_ID),
        events=lambda *event: events.append(event),
        rng=random.Random(1),
        settings=settings,
        choice=choice,
        pictures=pictures,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(uplink.run())
        try:
            yield Running(uplink, events)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def all_there(receiver: FakeReceiver, log: SmallLog) -> Callable[[], bool]:
    """Tell whether the receiver has every held record, and the log knows it."""

    def check() -> bool:
        held = receiver.logs.get(log.log_id)
        return held is not None and all(
            set(log.records[stream]) <= set(held.records[stream])
            and log.unacknowledged("province", stream) == 0
            for stream in (Stream.ALARM, Stream.EVENT, Stream.TELEMETRY)
        )

    return check


async def test_backlog_and_live_arrive_unchanged() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(300))
    log.put(Stream.EVENT, wire.Event(kind="config").SerializeToString())
    async with (
        FakeReceiver() as receiver,
        running(Destination(receiver.target), log, PATIENT) as gateway,
    ):
        await until(lambda: gateway.kinds() == ["link.up"])
        log.now_ns = SystemClock().monotonic_ns()
        log.put(Stream.ALARM, b"")
        log.put(Stream.TELEMETRY, *payloads(2, seed=1))
        await until(all_there(receiver, log))
        stored = receiver.stored(Stream.TELEMETRY)
        assert stored[300].payload == log.records[Stream.TELEMETRY][300].payload
        assert stored[300].historical
        assert not stored[301].historical
        assert stored[301].group == 301, "a key was requested for the first live record"
        assert not receiver.duplicates
        assert gateway.uplink.statistics()["backlog_records"] == 0
        assert gateway.uplink.health()[0]
        await gateway.uplink.drained()
        assert {hello.lane for hello in receiver.hellos} == {1, 2}


async def test_reconnects_after_a_restart_of_the_receiver() -> None:
    log = SmallLog()
    async with (
        FakeReceiver() as receiver,
        running(Destination(receiver.target), log, PATIENT) as gateway,
    ):
        await until(lambda: "link.up" in gateway.kinds())
        log.put(Stream.TELEMETRY, *payloads(5))
        await until(all_there(receiver, log))
        await receiver.stop()
        await until(lambda: gateway.kinds() == ["link.up", "link.down"])
        log.put(Stream.TELEMETRY, *payloads(5, seed=1))
        log.put(Stream.ALARM, b"")
        await receiver.start()
        await until(all_there(receiver, log))
        await until(lambda: gateway.kinds() == ["link.up", "link.down", "link.up"])
        assert not receiver.duplicates


async def test_cut_in_mid_stream_is_exactly_once_by_identity() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(2000, size=1000))
    async with (
        FakeReceiver(window_bytes=8192) as receiver,
        running(Destination(receiver.target), log),
    ):
        for cut in range(3):
            await until(lambda seen=200 * cut: len(receiver.arrivals) > seen)  # type: ignore[misc]  # bound per turn
            await receiver.drop_connections()
            log.put(Stream.TELEMETRY, *payloads(5, seed=cut))
        await until(all_there(receiver, log))
        stored = receiver.stored(Stream.TELEMETRY)
        assert sorted(stored) == list(range(1, 2016))


async def test_frozen_receiver_is_noticed_and_left() -> None:
    log = SmallLog()
    async with FakeReceiver() as receiver, running(Destination(receiver.target), log) as gateway:
        await until(lambda: "link.up" in gateway.kinds())
        receiver.freeze()
        log.put(Stream.TELEMETRY, *payloads(3))
        await until(lambda: "link.down" in gateway.kinds())
        assert "silent for 0.6 s" in gateway.text("link.down")
        receiver.thaw()
        await until(all_there(receiver, log))


async def test_receiver_that_answers_but_never_acknowledges_is_left() -> None:
    log = SmallLog()
    never_silent = replace(QUICK, silence_ms=60_000)
    async with (
        FakeReceiver() as receiver,
        running(Destination(receiver.target), log, never_silent) as gateway,
    ):
        await until(lambda: "link.up" in gateway.kinds())
        receiver.acknowledging = False
        log.put(Stream.TELEMETRY, *payloads(3))
        await until(lambda: "link.down" in gateway.kinds())
        assert "acknowledged nothing" in gateway.text("link.down")
        receiver.acknowledging = True
        await until(all_there(receiver, log))


async def test_receiver_that_knows_more_than_the_log_gets_a_new_log_id() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(4))
    async with FakeReceiver() as receiver:
        old = log.log_id
        receiver.logs.setdefault(old, Held()).claimed[Stream.TELEMETRY] = RangeSet([(1, 1000)])
        async with running(Destination(receiver.target), log) as gateway:
            await until(all_there(receiver, log))
            assert log.log_id != old
            assert len(log.renewals) == 1
            assert "up to 999" in gateway.text("uplink.log_forked")


async def test_an_answer_to_a_former_log_moves_no_cursor_of_the_new_one() -> None:
    """A repair renews the log while records are in flight, and no commit follows soon."""
    log = SmallLog()
    former = log.log_id
    log.put(Stream.TELEMETRY, *payloads(9))
    async with FakeReceiver() as receiver:
        receiver.acknowledging = False
        async with running(Destination(receiver.target), log, PATIENT) as gateway:
            await until(lambda: len(receiver.stored(Stream.TELEMETRY, former)) == 9)
            log.renew_log_id("a file was repaired")
            ranges = [wire.Range(start=1, stop=10)]
            await receiver.say(2, ack=wire.Ack(stream=wire.STREAM_TELEMETRY, ranges=ranges))
            await until(lambda: "new id" in gateway.text("link.down"))
            assert log.unacknowledged("province", Stream.TELEMETRY) == 9
            receiver.acknowledging = True
            await receiver.drop_connections()
            await until(all_there(receiver, log))


async def test_what_was_refused_of_a_former_log_is_sent_under_its_new_id() -> None:
    """The log is renewed while the receiver is away: the sequences are those of other records."""
    log = SmallLog()
    log.put(Stream.ALARM, *payloads(4))
    async with FakeReceiver() as receiver:
        receiver.refuse(Stream.ALARM, 2, "it names no point")
        async with running(Destination(receiver.target), log) as gateway:
            await until(lambda: log.unacknowledged("province", Stream.ALARM) == 0)
            await receiver.stop()
            await until(lambda: gateway.uplink.statistics()["reconnects"] >= 2)
            receiver.refused.clear()
            log.renew_log_id("a file was repaired")
            await receiver.start()
            await until(all_there(receiver, log))


async def test_evidence_resumes_where_the_receiver_was_cut() -> None:
    log = SmallLog()
    content = random.Random(7).randbytes(300_000)
    name = await log.put_file(content)
    file = wire.EvidenceFile(sha256=name, total_bytes=len(content), media_type="video/mp4")
    async with FakeReceiver() as receiver:
        receiver.cut_after_parts = 3
        async with running(Destination(receiver.target), log) as gateway:
            log.put(Stream.EVIDENCE, file.SerializeToString())
            await until(lambda: receiver.files.get(name) == content)
            await until(lambda: log.unacknowledged("province", Stream.EVIDENCE) == 0)
            await until(lambda: gateway.uplink.statistics()["in_flight_bytes"] == 0)


async def test_missing_evidence_file_is_reported_as_a_gap() -> None:
    log = SmallLog()
    file = wire.EvidenceFile(sha256=b"n" * 32, total_bytes=10)
    log.put(Stream.EVIDENCE, file.SerializeToString())
    async with FakeReceiver() as receiver, running(Destination(receiver.target), log) as gateway:
        await until(lambda: "uplink.evidence_missing" in gateway.kinds())
        await until(lambda: bool(receiver.logs[log.log_id].gaps[Stream.EVIDENCE]))


async def test_missing_catalogue_is_delivered_and_the_groups_follow() -> None:
    log = SmallLog()
    event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=[wire.Point(id=1)]))
    encoded = event.catalogue.SerializeToString(deterministic=True)
    import hashlib

    log.put(Stream.EVENT, event.SerializeToString())
    log.set_catalogue(hashlib.sha256(encoded).digest())
    async with (
        FakeReceiver(needs_catalogues=True) as receiver,
        running(Destination(receiver.target), log, PATIENT) as gateway,
    ):
        await until(all_there(receiver, log))
        await until(lambda: "link.up" in gateway.kinds())
        receiver.logs[log.log_id].catalogues.clear()
        log.put(Stream.TELEMETRY, *payloads(3))
        await until(all_there(receiver, log))
        assert receiver.duplicates == {(Stream.EVENT, 1): 1}, "the catalogue's event, once more"


async def test_refused_record_is_reported_once_and_never_sent_again() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(4))
    async with (
        FakeReceiver() as receiver,
        running(Destination(receiver.target), log, PATIENT) as gateway,
    ):
        receiver.refuse(Stream.TELEMETRY, 2, "clock in the future")
        await until(lambda: log.unacknowledged("province", Stream.TELEMETRY) == 0)
        assert "clock in the future" in gateway.text("uplink.rejected")
        await receiver.drop_connections()
        await until(lambda: gateway.kinds().count("link.up") == 2)
        log.put(Stream.TELEMETRY, *payloads(1, seed=1))
        await until(lambda: 5 in receiver.stored(Stream.TELEMETRY))
        assert sum(one.first <= 2 <= one.last for one in receiver.arrivals) == 1


async def test_requests_are_answered() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(50))
    async with FakeReceiver() as receiver, running(Destination(receiver.target), log, PATIENT):
        await until(all_there(receiver, log))
        ranges = [wire.Range(start=3, stop=6)]
        resend = wire.Resend(stream=wire.STREAM_TELEMETRY, ranges=ranges)
        await receiver.say(2, request=wire.Request(request_id=1, resend=resend))
        await receiver.say(1, request=wire.Request(request_id=2, snapshot="unit1"))
        await receiver.say(1, request=wire.Request(request_id=3, status=True))
        period = wire.ResendPeriod(stream=wire.STREAM_TELEMETRY, from_ns=0, to_ns=2**62)
        await until(lambda: len(receiver.duplicates) == 3)
        await receiver.say(1, request=wire.Request(request_id=4, resend_period=period))
        await until(lambda: len(receiver.duplicates) == 50)
        await until(lambda: len(receiver.results) == 4)
        said = {result.request_id: result.accepted for result in receiver.results}
        assert said == {1: True, 2: False, 3: True, 4: True}


async def test_mutual_tls_delivers(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(3))
    async with FakeReceiver(authority=authority, pair=authority.issue("receiver")) as receiver:
        destination = mutual(receiver.target, authority.ca, own)
        async with running(destination, log):
            await until(all_there(receiver, log))


async def test_certificate_of_another_gateway_is_named_as_the_cause(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    other = authority.issue_gateway("SD-2")
    async with FakeReceiver(authority=authority, pair=authority.issue("receiver")) as receiver:
        destination = mutual(receiver.target, authority.ca, other)
        async with running(destination, SmallLog(), PATIENT) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            assert "refuses this gateway's certificate or id" in gateway.text("link.down")


async def test_receiver_of_another_authority_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "theirs", "theirs")
    own = ours.issue_gateway("SD-1")
    async with FakeReceiver(authority=theirs, pair=theirs.issue("receiver")) as receiver:
        destination = mutual(receiver.target, ours.ca, own)
        async with running(destination, SmallLog(), PATIENT) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            assert f"The certificate of {receiver.target} is refused" in gateway.text("link.down")


async def test_certificate_of_another_authority_is_refused_by_the_receiver(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "theirs", "theirs")
    own = ours.issue_gateway("SD-1")
    async with FakeReceiver(authority=theirs, pair=theirs.issue("receiver")) as receiver:
        destination = mutual(receiver.target, theirs.ca, own)
        async with running(destination, SmallLog(), PATIENT) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            named = f"does not accept the certificate {own.certificate}"
            assert named in gateway.text("link.down")


async def test_missing_key_file_is_named() -> None:
    destination = Destination("127.0.0.1:1", ca=Path("/nowhere/ca.pem"), insecure=False)
    async with running(destination, SmallLog()) as gateway:
        await until(lambda: "link.down" in gateway.kinds())
        assert "/nowhere/ca.pem cannot be read" in gateway.text("link.down")


async def test_insecure_is_for_loopback_only() -> None:
    async with running(Destination("192.0.2.1:50051"), SmallLog()) as gateway:
        await until(lambda: "link.down" in gateway.kinds())
        assert "no loopback address" in gateway.text("link.down")


async def test_a_destination_takes_the_streams_it_names_and_holds_up_no_other() -> None:
    log = SmallLog()
    log.put(Stream.TELEMETRY, *payloads(50))
    log.put(Stream.ALARM, b"")
    async with FakeReceiver() as receiver:
        destination = Destination(receiver.target, streams=("alarm", "event"))
        async with running(destination, log, PATIENT) as gateway:
            await until(lambda: "link.up" in gateway.kinds())
            log.put(Stream.TELEMETRY, *payloads(50, seed=1))
            log.put(Stream.EVENT, wire.Event(kind="config").SerializeToString())
            await gateway.uplink.drained()
            assert sorted(receiver.stored(Stream.ALARM)) == [1]
            assert sorted(receiver.stored(Stream.EVENT)) == [1]
            assert not receiver.stored(Stream.TELEMETRY)
            (held,) = receiver.logs.values()
            assert not held.gaps[Stream.TELEMETRY], "what is not wanted is not said to be gone"
            assert log.unacknowledged("province", Stream.TELEMETRY) == 0
