"""An alarm that no disk takes arrives all the same, marked volatile, and once it is stored, once.

Real buffer, gRPC with mutual TLS, receiver and `plantgate query`; the disk refuses because somebody
else holds the file's write lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from click.testing import CliRunner

from buffer.contract import NotStoredError, Stream, VolatileRecord
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.cli.main import main
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.uplink.volatile import IN_A_MESSAGE, VolatileOutbox
from gateway.wire.v1 import uplink_pb2 as wire
from tests.buffer.test_failure import blocked
from tests.e2e.world import free_port
from tests.fakes.certificates import Authority
from tests.gateway.uplink.test_client import QUICK, mutual
from tests.gateway.uplink.test_with_receiver import receiving
from tests.waiting import until

BOOT = b"B" * 16


@contextlib.asynccontextmanager
async def gateway(folder: Path, authority: Authority, port: int) -> AsyncIterator[Buffer]:
    own, clock = authority.issue_gateway("SD-1"), SystemClock()
    config = BufferConfig(attempts=1, lock_wait_ms=1)
    async with (
        Buffer.open(
            folder / "disk", config, clock=clock, boot_id=BOOT, encode_gap=gap_event
        ) as log,
        asyncio.TaskGroup() as group,
    ):
        uplink = Uplink(
            mutual(f"127.0.0.1:{port}", authority.ca, own),
            log=log, clock=clock, rng=random.Random(1), settings=QUICK, volatile=log,
            identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", BOOT),
            events=lambda kind, text, attributes: None,
        )  # fmt: skip
        task = group.create_task(uplink.run())
        try:
            yield log
        finally:
            task.cancel()


def shown(store: Path) -> list[tuple[str, bool]]:
    """Text of each alarm that `query` prints, and whether it says that it is durable."""
    result = CliRunner().invoke(main, ["query", "--store", str(store), "--alarms", "--json"])
    if result.exit_code:
        return []
    return [(one["text"], one["durable"]) for one in map(json.loads, result.stdout.splitlines())]


async def raised(log: Buffer, text: str) -> None:
    payload = wire.Alarm(text=text, alarm_id=text.ljust(16).encode()).SerializeToString()
    with contextlib.suppress(NotStoredError):
        await log.add_record(Stream.ALARM, payload)


async def test_alarms_arrive_while_no_disk_takes_them_and_are_stored_once(tmp_path: Path) -> None:
    authority, port = Authority(tmp_path), free_port()
    store, address = tmp_path / "store", f"127.0.0.1:{port}"
    async with gateway(tmp_path, authority, port) as log:
        async with receiving(store, authority, address):
            await raised(log, "before")
            await until(lambda: shown(store) == [("before", True)])
            with blocked(tmp_path / "disk" / "records.db"):
                await raised(log, "a")
                await until(lambda: shown(store) == [("before", True), ("a", False)])
        with blocked(tmp_path / "disk" / "records.db"):
            await raised(log, "b")  # nobody listens
            async with receiving(store, authority, address):
                seen = [("before", True), ("a", False), ("b", False)]
                await until(lambda: shown(store) == seen)
                assert [wire.Alarm.FromString(one.payload).text for one in log.volatile()] == [
                    "a", "b",
                ]  # fmt: skip
        async with receiving(store, authority, address):
            await raised(log, "after")
            seen = [(text, True) for text in ("before", "a", "b", "after")]
            await until(lambda: shown(store) == seen)
            assert not log.volatile()
    with contextlib.closing(sqlite3.connect(store / "receiver.db")) as db:
        assert db.execute("SELECT count(*) FROM volatile_alarms").fetchone() == (0,)


async def test_what_came_as_a_record_is_not_shown_as_volatile_too(tmp_path: Path) -> None:
    """A message that was under way on a dying connection may be stored after the record."""
    authority, port = Authority(tmp_path), free_port()
    store = tmp_path / "store"
    async with receiving(store, authority, f"127.0.0.1:{port}"):
        async with gateway(tmp_path, authority, port) as log:
            await raised(log, "a")
            await until(lambda: shown(store) == [("a", True)])
        with contextlib.closing(sqlite3.connect(store / "receiver.db")) as db:
            (payload,) = db.execute("SELECT payload FROM records").fetchone()
            key = hashlib.sha256(payload).digest()
            row = (key, BOOT, payload)
            db.execute("INSERT INTO volatile_alarms VALUES (1, ?, 1, 0, 0, ?, 0, ?)", row)
            db.commit()
        assert shown(store) == [("a", True)]


def test_what_is_stored_or_durable_is_not_sent_again() -> None:
    alarms = [VolatileRecord(bytes([n]) * 32, b"%d" % n, n, n) for n in range(IN_A_MESSAGE + 2)]
    outbox = VolatileOutbox()
    first, second = outbox.add(alarms)
    assert len(first.volatile_alarms.alarms) == IN_A_MESSAGE
    assert [one.payload for one in second.volatile_alarms.alarms] == [b"100", b"101"]
    outbox.stored([one.key for one in alarms[:IN_A_MESSAGE]])
    outbox.durable(alarms[-1:])
    [again] = outbox.all()
    assert [one.payload for one in again.volatile_alarms.alarms] == [b"100"]
