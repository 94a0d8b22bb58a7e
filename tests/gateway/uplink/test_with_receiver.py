"""Both ends of the wire together: our uplink and our receiver, in one process, with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from buffer.contract import Record, Stream
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.service import Receiver, Tls
from gateway.receiver.sqlite.store import SqliteStore
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.certificates import Authority
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.receiver.serving import serving
from tests.gateway.uplink.test_client import PATIENT, mutual, running
from tests.waiting import until


@contextlib.asynccontextmanager
async def receiving(folder: Path, authority: Authority, address: str) -> AsyncIterator[int]:
    pair = authority.issue("receiver")
    tls = Tls(authority.ca.read_bytes(), pair.certificate.read_bytes(), pair.key.read_bytes())
    with contextlib.closing(SqliteStore.open(folder)) as store:
        receiver = Receiver(store, EvidenceFiles(folder / "evidence"), SystemClock(), tls)
        async with serving(receiver, address) as port:
            yield port
    await asyncio.sleep(0)


def announced(log: SmallLog) -> None:
    """Put a catalogue into the event stream and name it for what follows."""
    event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=[wire.Point(id=1)]))
    encoded = event.catalogue.SerializeToString(deterministic=True)
    log.put(Stream.EVENT, event.SerializeToString())
    log.set_catalogue(hashlib.sha256(encoded).digest())


async def test_everything_is_acknowledged_over_restarts_and_a_lost_store(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = SmallLog()
    announced(log)
    content = random.Random(3).randbytes(200_000)
    name = await log.put_file(content)
    file = wire.EvidenceFile(sha256=name, total_bytes=len(content), media_type="image/jpeg")
    log.put(Stream.EVIDENCE, file.SerializeToString())
    log.put(Stream.EVIDENCE, file.SerializeToString())
    log.put(Stream.TELEMETRY, *payloads(500, size=900))

    def left() -> int:
        return sum(log.unacknowledged("province", stream) for stream in Stream)

    async with contextlib.AsyncExitStack() as stack:
        async with receiving(tmp_path / "one", authority, "127.0.0.1:0") as port:
            destination = mutual(f"127.0.0.1:{port}", authority.ca, own)
            gateway = await stack.enter_async_context(running(destination, log))
            await gateway.uplink.drained()
            assert left() == 0
            digest = name.hex()
            stored = tmp_path / "one" / "evidence" / digest[:2] / digest
            assert stored.read_bytes() == content
        log.put(Stream.ALARM, wire.Alarm(source="a").SerializeToString())
        log.put(Stream.TELEMETRY, *payloads(3, seed=1))
        async with receiving(tmp_path / "one", authority, f"127.0.0.1:{port}"):
            await until(lambda: left() == 0)
            assert "uplink.receiver_lost" not in gateway.kinds()
        async with receiving(tmp_path / "two", authority, f"127.0.0.1:{port}"):
            await until(lambda: "uplink.receiver_lost" in gateway.kinds())
            await gateway.uplink.drained()
            assert left() == 0
        assert "uplink.rejected" not in gateway.kinds()
        assert "uplink.log_forked" not in gateway.kinds()


class FailingDisk(SmallLog):
    """A log whose disk gives nothing any more, though everything on it is held."""

    fails = True

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        if self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        return await super().read(stream, first, last=last, max_bytes=max_bytes)

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        raise sqlite3.OperationalError("disk I/O error")

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        raise OSError(5, "Input/output error")


async def test_a_disk_that_reads_nothing_ends_no_connection_and_writes_nothing_off(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    own = authority.issue_gateway("SD-1")
    log = FailingDisk()
    announced(log)
    file = wire.EvidenceFile(sha256=bytes(32), total_bytes=5, media_type="image/jpeg")
    log.put(Stream.EVIDENCE, file.SerializeToString())
    log.put(Stream.TELEMETRY, *payloads(50))

    def left(stream: Stream) -> int:
        return log.unacknowledged("province", stream)

    async with receiving(tmp_path / "one", authority, "127.0.0.1:0") as port:
        destination = mutual(f"127.0.0.1:{port}", authority.ca, own)
        async with running(destination, log, PATIENT) as gateway:
            await until(lambda: gateway.uplink.health()[0])
            for _ in range(3):
                log.put(Stream.ALARM, wire.Alarm(source="a").SerializeToString())
                await until(lambda: left(Stream.ALARM) == 0)
            assert left(Stream.TELEMETRY) == 50
            assert left(Stream.EVIDENCE) == 1
            assert "link.down" not in gateway.kinds()
        log.fails = False  # another day
        async with running(destination, log, PATIENT) as gateway:
            await until(lambda: left(Stream.TELEMETRY) == 0)
            await until(lambda: "uplink.evidence_unreadable" in gateway.kinds())
            assert left(Stream.EVIDENCE) == 1
            assert "link.down" not in gateway.kinds()
