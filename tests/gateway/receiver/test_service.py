"""The receiver over the real wire: what it acknowledges it holds, and it holds it once."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from click.testing import CliRunner

from buffer.contract import Stream
from gateway.cli.main import main
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event, event, evidence_attached_event
from gateway.model.point import Point
from gateway.receiver import exchange
from gateway.receiver.service import Tls
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway

if TYPE_CHECKING:
    from tests.gateway.receiver.conftest import RunReceiver

CATALOGUE = Catalogue.of([Point(id=1, name="gds-1/AT-101", unit="%LEL")])


def alarm(text: str) -> bytes:
    return wire.Alarm(alarm_id=b"a" * 16, source="gds-1/AT-101", text=text).SerializeToString()


async def test_what_is_acknowledged_is_stored(tmp_path: Path, run_receiver: RunReceiver) -> None:
    chain = Chain(Stream.ALARM)
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        assert gateway.welcome.max_message_bytes > 0
        assert gateway.welcome.receiver.startswith("plantgate/")
        await gateway.push(Stream.ALARM, *[chain.record(alarm(str(n))) for n in range(5)])
        assert await gateway.acknowledged(5) == {1, 2, 3, 4, 5}
        stored = running.rows("SELECT sequence, gateway FROM record_list")
        assert stored == [(n, "G-1") for n in range(1, 6)]


async def test_a_record_sent_twice_is_acknowledged_twice_and_stored_once(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    record = Chain(Stream.ALARM).record(alarm("one"))
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, record)
        await gateway.push(Stream.ALARM, record, record)
        assert await gateway.acknowledged(1) == {1}
        assert await gateway.acknowledged(1) == {1}
        assert running.rows("SELECT count(*) FROM records") == [(1,)]


async def test_one_identity_with_another_hash_is_refused_and_noted(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    forged = Chain(Stream.ALARM).record(alarm("forged"))
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("true")))
        await gateway.acknowledged(1)
        for _ in range(2):
            await gateway.push(Stream.ALARM, forged)
            answer = await gateway.next()
            assert answer.reject.sequence == 1
            assert "identity" in answer.reject.reason
        faults = running.rows("SELECT kind, sequence, hash, count FROM faults")
        assert faults == [("conflict", 1, forged.hash, 2)]


async def test_a_damaged_record_is_refused_alone(tmp_path: Path, run_receiver: RunReceiver) -> None:
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(str(n))) for n in range(3)]
    records[1].payload += b"x"
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, *records)
        assert await gateway.acknowledged(2) == {1, 3}
        answer = await gateway.next()
        assert (answer.reject.stream, answer.reject.sequence) == (wire.STREAM_ALARM, 2)
        assert running.rows("SELECT kind FROM faults") == [("damaged",)]


async def test_a_broken_chain_is_stored_and_noted(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
        await gateway.push(Stream.ALARM, Chain(Stream.ALARM, start=2).record(alarm("two")))
        assert await gateway.acknowledged(2) == {1, 2}
        assert running.rows("SELECT kind, sequence FROM faults") == [("chain", 2)]


async def test_welcome_tells_the_ranges_held_of_that_log(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    chain = Chain(Stream.ALARM)
    records = [chain.record(alarm(str(n))) for n in range(10)]
    async with run_receiver(tmp_path) as running:
        async with WireGateway(running.target) as gateway:
            await gateway.push(Stream.ALARM, *records[:3])
            await gateway.push(Stream.ALARM, *records[5:7])
            gaps = wire.GapRanges(stream=wire.STREAM_ALARM, ranges=[wire.Range(start=8, stop=10)])
            await gateway.send(wire.GatewayMessage(gaps=gaps))
            assert await gateway.acknowledged(7) == {1, 2, 3, 6, 7, 8, 9}
        async with WireGateway(running.target, log_id=b"M" * 16) as other:
            assert all(not item.ranges for item in other.welcome.acknowledged)
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        held = {item.stream: item.ranges for item in gateway.welcome.acknowledged}
        pairs = [(item.start, item.stop) for item in held[wire.STREAM_ALARM]]
        assert pairs == [(1, 4), (6, 10)]


async def test_a_group_waits_for_its_catalogue_and_nothing_else_does(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    chain, other = Chain(Stream.TELEMETRY), Chain(Stream.EVENT)
    group = [chain.record(b"key", catalogue=CATALOGUE.hash), chain.record(b"delta", key=1)]
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.TELEMETRY, group[0])
        await gateway.push(Stream.TELEMETRY, group[1])
        for _ in range(2):
            assert (await gateway.next()).need_catalogue.hashes == [CATALOGUE.hash]
        await gateway.push(Stream.EVENT, other.record(event("link.up", "gds-1", 1, "up")))
        assert await gateway.acknowledged(1) == {1}
        await gateway.push(Stream.EVENT, other.record(catalogue_event(CATALOGUE, 1)))
        assert await gateway.acknowledged(1) == {2}
        await gateway.push(Stream.TELEMETRY, *group)
        assert await gateway.acknowledged(2) == {1, 2}
        held = running.rows("SELECT hash, encoded FROM catalogues")
        assert held == [(CATALOGUE.hash, CATALOGUE.encoded)]
    named = [b"?" * 32, CATALOGUE.hash]
    async with (
        run_receiver(tmp_path) as running,
        WireGateway(running.target, catalogues=named) as gateway,
    ):
        assert gateway.welcome.catalogues_held == [CATALOGUE.hash]


def evidence(content: bytes, chain: Chain) -> wire.Record:
    file = wire.EvidenceFile(
        sha256=hashlib.sha256(content).digest(),
        media_type="image/jpeg",
        total_bytes=len(content),
        alarm_id=b"a" * 16,
    )
    return chain.record(file.SerializeToString())


def part(content: bytes, start: int, stop: int, *, name: bytes = b"") -> wire.GatewayMessage:
    return wire.GatewayMessage(
        evidence=wire.EvidencePart(
            sha256=name or hashlib.sha256(content).digest(),
            offset=start,
            total_bytes=len(content),
            content=content[start:stop],
        )
    )


async def test_evidence_is_resumed_and_acknowledged_when_whole(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    content = bytes(range(256)) * 40
    name = hashlib.sha256(content).digest()
    record = evidence(content, Chain(Stream.EVIDENCE))
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, record)
        need = (await gateway.next()).evidence_need
        assert (need.sha256, need.offset) == (name, 0)
        await gateway.send(part(content, 0, 4000))
        await gateway.send(part(content, 5000, 6000))  # one was lost in between
        assert (await gateway.next()).evidence_need.offset == 4000
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, record)
        assert (await gateway.next()).evidence_need.offset == 4000
        await gateway.send(part(content, 3000, 7000))  # overlaps what is here
        await gateway.send(part(content, 7000, len(content)))
        assert await gateway.acknowledged(1) == {1}
        await gateway.push(Stream.EVIDENCE, record)
        assert await gateway.acknowledged(1) == {1}
        assert running.rows("SELECT sha256 FROM attachments") == [(name,)]
    file = tmp_path / "evidence" / name.hex()[:2] / name.hex()
    assert file.read_bytes() == content
    assert not list((tmp_path / "evidence" / "part").iterdir())


async def test_evidence_of_another_content_is_begun_anew_and_then_refused(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    content, wrong = b"true" * 100, b"lies" * 100
    name = hashlib.sha256(content).digest()
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, evidence(content, Chain(Stream.EVIDENCE)))
        for _ in range(2):
            assert (await gateway.next()).evidence_need.offset == 0
            await gateway.send(part(wrong, 0, len(wrong), name=name))
        answer = await gateway.next()
        assert answer.reject.stream == wire.STREAM_EVIDENCE
        assert running.rows("SELECT count(*) FROM records") == [(0,)]


async def test_evidence_that_was_cut_short_here_is_asked_for_again(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    """A disk that lost the end of a file: another record that names it must not vouch for that."""
    content, chain = bytes(range(256)) * 40, Chain(Stream.EVIDENCE)
    name = hashlib.sha256(content).digest()
    file = tmp_path / "evidence" / name.hex()[:2] / name.hex()
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, evidence(content, chain))
        assert (await gateway.next()).evidence_need.offset == 0
        await gateway.send(part(content, 0, len(content)))
        assert await gateway.acknowledged(1) == {1}
        file.write_bytes(content[:5000])
        await gateway.push(Stream.EVIDENCE, evidence(content, chain))
        assert (await gateway.next()).evidence_need.offset == 0
        await gateway.send(part(content, 0, len(content)))
        assert await gateway.acknowledged(1) == {2}
    assert file.read_bytes() == content


async def test_a_disk_that_takes_no_evidence_holds_up_nothing_else(
    tmp_path: Path, run_receiver: RunReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PostgreSQL evidence has a disk of its own, which may be full while the store is not."""
    monkeypatch.setattr(exchange, "AGAIN_SECONDS", 0.1)
    content, chain = b"clip" * 5000, Chain(Stream.EVIDENCE)
    name = hashlib.sha256(content).hexdigest()
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        file = tmp_path / "evidence" / "part" / f"{name}.1"
        file.symlink_to("/dev/full")
        await gateway.push(Stream.EVIDENCE, evidence(content, chain))
        assert (await gateway.next()).evidence_need.offset == 0
        await gateway.send(part(content, 0, len(content)))
        await gateway.push(Stream.EVENT, Chain(Stream.EVENT).record(b""))
        while (await gateway.next()).ack.stream != wire.STREAM_EVENT:
            pass
        file.unlink()
        async with asyncio.timeout(60):
            needed = False
            while not needed:
                await gateway.send(wire.GatewayMessage(status=wire.Status(ping=1)))
                needed = (await gateway.next()).WhichOneof("body") == "evidence_need"
            await gateway.send(part(content, 0, len(content)))
            while (await gateway.next()).ack.stream != wire.STREAM_EVIDENCE:
                pass
        assert running.rows("SELECT count(*) FROM records") == [(2,)]


async def test_an_empty_evidence_file_is_whole_at_once(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, evidence(b"", Chain(Stream.EVIDENCE)))
        assert await gateway.acknowledged(1) == {1}


async def test_a_hello_that_counts_beyond_all_bounds_ends_its_connection_only(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    state = wire.StreamState(
        stream=wire.STREAM_ALARM,
        first_sequence=(1 << 63) + 1,
        next_sequence=(1 << 63) + 9,
        acknowledged_stop=(1 << 63) + 5,
    )
    async with run_receiver(tmp_path) as running:
        hostile = WireGateway(running.target)
        await hostile.open()
        hello = wire.Hello(gateway_id="G-2", log_id=b"H" * 16, boot_id=b"B" * 16,
                           lane=wire.LANE_PRIORITY, streams=[state])  # fmt: skip
        await hostile.send(wire.GatewayMessage(hello=hello))
        assert (await hostile.ended()).code() is grpc.StatusCode.INVALID_ARGUMENT
        await hostile.close()
        async with WireGateway(running.target) as gateway:
            await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
            assert await gateway.acknowledged(1) == {1}
        assert running.rows("SELECT count(*) FROM faults") == [(0,)]


async def test_the_catalogue_of_a_large_plant_is_taken(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    """25,000 points with what people say of them: 5 MB, and without it no telemetry is stored."""
    event = wire.Event(kind="catalogue")
    for number in range(1, 25_001):
        event.catalogue.points.add(
            id=number, name=f"dcs/FIC-{number:05d}.PV", unit="m³/h", priority=3, range_high=100.0,
            high=80.0, high_high=90.0, place="一车间反应区", hazard="XXXXXXXXX001",
            equipment="R-101", description="一号反应器进料流量调节阀后压力(二期改造后)" * 2,
        )  # fmt: skip
    payload = event.SerializeToString(deterministic=True)
    assert len(payload) > 4 * 1024 * 1024
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        assert gateway.welcome.max_message_bytes > len(payload) * 4
        await gateway.push(Stream.EVENT, Chain(Stream.EVENT).record(payload))
        assert await gateway.acknowledged(1) == {1}


async def test_status_is_answered_and_kept(tmp_path: Path, run_receiver: RunReceiver) -> None:
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        status = wire.Status(ping=77, health="ok")
        await gateway.send(wire.GatewayMessage(status=status))
        ack = (await gateway.next()).ack
        assert ack.pong == 77
        assert ack.server_time_ns > 0
    async with run_receiver(tmp_path) as running:
        [(kept,)] = running.rows("SELECT status FROM gateways")
        assert wire.Status.FromString(kept).health == "ok"


async def test_a_newer_connection_of_the_lane_replaces_the_older(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    async with (
        run_receiver(tmp_path) as running,
        WireGateway(running.target) as older,
        WireGateway(running.target, lane=wire.LANE_PRIORITY) as beside,
        WireGateway(running.target, log_id=b"M" * 16) as newer,
    ):
        assert (await older.ended()).code() is grpc.StatusCode.ABORTED
        assert (await newer.next()).notice.kind == "new_log"
        for gateway in (beside, newer):
            await gateway.send(wire.GatewayMessage(status=wire.Status(ping=1)))
            assert (await gateway.next()).ack.pong == 1
        assert running.rows("SELECT kind, log_id FROM faults") == [("new_log", b"M" * 16)]


HELLO = wire.Hello(gateway_id="G-1", log_id=b"L" * 16, boot_id=b"B" * 16, lane=wire.LANE_BULK)


def broken(**change: object) -> wire.GatewayMessage:
    hello = wire.Hello()
    hello.CopyFrom(HELLO)
    for name, value in change.items():
        setattr(hello, name, value)
    return wire.GatewayMessage(hello=hello)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (wire.GatewayMessage(status=wire.Status()), "is a Hello"),
        (wire.GatewayMessage(), "is a Hello"),
        (b"\xff\xff\xff", "none of plantgate.wire.v1"),
        (broken(gateway_id=""), "gateway id"),
        (broken(gateway_id="a\nb"), "gateway id"),
        (broken(log_id=b"short"), "16 bytes"),
        (broken(lane=0), "lane"),
        (broken(lane=9), "lane"),
    ],
)
async def test_what_is_no_hello_is_refused_with_a_reason(
    tmp_path: Path, run_receiver: RunReceiver, message: wire.GatewayMessage | bytes, says: str
) -> None:
    async with run_receiver(tmp_path) as running:
        gateway = WireGateway(running.target)
        await gateway.open()
        await gateway.send(message)
        error = await gateway.ended()
        await gateway.close()
        assert says in (error.details() or "")
        assert error.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (wire.GatewayMessage(hello=HELLO), "second Hello"),
        (b"\x00", "none of plantgate.wire.v1"),
        (wire.GatewayMessage(push=wire.Push()), "no stream 0"),
        (
            wire.GatewayMessage(
                gaps=wire.GapRanges(
                    stream=wire.STREAM_ALARM, ranges=[wire.Range(start=1, stop=2**60)]
                )
            ),
            "range",
        ),
    ],
)
async def test_a_broken_protocol_ends_the_exchange_with_a_reason(
    tmp_path: Path, run_receiver: RunReceiver, message: wire.GatewayMessage | bytes, says: str
) -> None:
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.send(message)
        error = await gateway.ended()
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert says in (error.details() or "")


async def test_what_was_sent_before_a_stop_is_committed(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    chain = Chain(Stream.ALARM)
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.ALARM, *[chain.record(alarm(str(n))) for n in range(100)])
        assert len(await gateway.acknowledged(100)) == 100
        running.receiver.stop()
        assert (await gateway.ended()).code() is grpc.StatusCode.UNAVAILABLE


async def test_attachments_of_an_alarm_are_kept(tmp_path: Path, run_receiver: RunReceiver) -> None:
    attached = evidence_attached_event(b"a" * 16, "cam", b"s" * 32, "video/mp4", 9, 1)
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVENT, Chain(Stream.EVENT).record(attached))
        await gateway.acknowledged(1)
        assert running.rows("SELECT alarm_id, sha256, media_type FROM attachments") == [
            (b"a" * 16, b"s" * 32, "video/mp4")
        ]


def demo_tls(folder: Path, gateway: str) -> Tls:
    result = CliRunner().invoke(main, ["cert", "demo", str(folder), "--gateway", gateway])
    assert result.exit_code == 0, result.output
    names = ("ca.pem", "receiver.pem", "receiver.key")
    ca, certificate, key = [(folder / name).read_bytes() for name in names]
    return Tls(ca, certificate, key)


async def test_the_certificate_decides_who_speaks(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    certificates = tmp_path / "certs"
    tls = demo_tls(certificates, "G-7")
    async with run_receiver(tmp_path / "store", tls) as running:
        target = running.target.replace("127.0.0.1", "localhost")
        async with WireGateway(target, gateway_id="G-7", certificates=certificates) as gateway:
            await gateway.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
            assert await gateway.acknowledged(1) == {1}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async with WireGateway(target, gateway_id="G-8", certificates=certificates):
                pass
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "G-7, not for G-8" in (caught.value.details() or "")


async def test_more_files_than_may_wait_end_the_exchange(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    chain = Chain(Stream.EVIDENCE)
    count = exchange.WAITING_FILES + 1
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, *[evidence(b"%d" % n, chain) for n in range(count)])
        assert "evidence files" in ((await gateway.ended()).details() or "")


async def test_files_that_a_gateway_holds_no_more_are_not_waited_for(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    """After an outage longer than its quota of files, each of very many records is written off."""
    chain = Chain(Stream.EVIDENCE)
    count = exchange.WAITING_FILES
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        await gateway.push(Stream.EVIDENCE, *[evidence(b"%d" % n, chain) for n in range(count)])
        gone = [wire.Range(start=1, stop=count + 1)]
        gaps = wire.GapRanges(stream=wire.STREAM_EVIDENCE, ranges=gone)
        await gateway.send(wire.GatewayMessage(gaps=gaps))
        await gateway.push(Stream.EVIDENCE, *[evidence(b"+%d" % n, chain) for n in range(2)])
        await gateway.send(part(b"+0", 0, 2))
        await gateway.send(part(b"+1", 0, 2))
        found: set[int] = set()
        while len(found) < count + 2:
            for item in (await gateway.next()).ack.ranges:
                found.update(range(item.start, item.stop))


async def test_a_gateway_that_does_not_read_holds_up_nobody_else(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    """Its answers fill the line, then it is not read from; another gateway goes on."""
    async with (
        run_receiver(tmp_path) as running,
        WireGateway(running.target, gateway_id="deaf", small_window=True) as deaf,
        WireGateway(running.target, gateway_id="other") as other,
    ):
        stuck = False
        many = wire.Push(stream=wire.STREAM_ALARM, records=[wire.Record()] * 1000)
        many.records[0].payload = bytes(100_000)  # so that no buffer on the way takes them all
        for _ in range(1000):  # each is answered by 1000 Rejects
            try:
                async with asyncio.timeout(2):
                    await deaf.send(wire.GatewayMessage(push=many))
            except TimeoutError:
                stuck = True
                break
        assert stuck
        await other.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
        assert await other.acknowledged(1) == {1}
