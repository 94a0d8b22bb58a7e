"""Signed heads: when they are signed, what they vouch for, what a forger cannot do."""

from __future__ import annotations

import hashlib
import hmac
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from buffer.contract import NotStoredError, Signer, Stream, chain_hash, head_message
from buffer.inspection import Inspection, Verified
from buffer.policy import GIB
from buffer.store import Buffer
from tests.buffer.test_store import add

if TYPE_CHECKING:
    from tests.buffer.conftest import HandClock, OpenBuffer

SECRET = b"key of a test"
KEY_ID = b"k" * 32
SIGNER = Signer(KEY_ID, lambda message: hmac.digest(SECRET, message, "sha256"))


def check(key_id: bytes, message: bytes, signature: bytes) -> bool | None:
    if key_id != KEY_ID:
        return None
    return hmac.compare_digest(signature, hmac.digest(SECRET, message, "sha256"))


def verified(path: Path, stream: Stream) -> Verified:
    with Inspection(path / "data") as inspection:
        return inspection.verify(stream, check)


async def signed(log: Buffer, stream: Stream) -> int:
    """Sequence of the newest signed head; its signature is good."""
    head = log.signed_head(stream)
    if head is None:
        return 0
    [record] = await log.read(stream, head.sequence, last=head.sequence, max_bytes=1)
    message = head_message(log.log_id, stream, record.sequence, record.hash)
    assert (head.log_id, head.hash, head.key_id) == (log.log_id, record.hash, KEY_ID)
    assert check(head.key_id, message, head.signature)
    return head.sequence


async def settled(log: Buffer) -> None:
    """Let the records writer get round to what is due."""
    await log.add_record(Stream.EVIDENCE, b"x")


async def test_the_first_record_of_a_run_is_signed_and_then_one_an_hour(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    async with open_buffer(signer=SIGNER) as log:
        for number in range(1, 8):
            await add(log, number)
            await log.add_record(Stream.ALARM, b"%d" % number)
            clock.advance(1_200)
        newest = [await signed(log, stream) for stream in (Stream.TELEMETRY, Stream.ALARM)]
        assert min(newest) >= 6  # the writer may look before or after the clock moves
    for stream, last in zip((Stream.TELEMETRY, Stream.ALARM), newest, strict=True):
        found = verified(tmp_path, stream)
        assert found.why == ""
        assert found.signatures == 3
        assert (found.signed_from, found.signed_to) == (1, last)


async def test_a_head_that_stands_is_signed_at_the_next_start(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(signer=SIGNER) as log:
        for number in range(3):
            await log.add_record(Stream.ALARM, b"%d" % number)
    async with open_buffer(signer=SIGNER) as log:
        await settled(log)
        await settled(log)
    found = verified(tmp_path, Stream.ALARM)
    assert (found.signatures, found.signed_to) == (2, 3)


async def test_without_a_key_nothing_is_signed_and_nothing_is_wrong(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer() as log:
        await add(log, 1)
        assert log.signed_head(Stream.TELEMETRY) is None
    found = verified(tmp_path, Stream.TELEMETRY)
    assert (found.why, found.signatures, found.unchecked, found.signed_to) == ("", 0, 0, 0)


async def test_a_forger_who_renews_all_hashes_is_found(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(signer=SIGNER) as log:
        for number in range(5):
            await log.add_record(Stream.ALARM, b"alarm %d" % number)
    async with open_buffer(signer=SIGNER) as log:
        await settled(log)  # the head is signed
    with sqlite3.connect(tmp_path / "data" / "records.db") as db:
        previous = bytes(32)
        for row_id in range(1, 6):
            payload = b"nothing" if row_id == 3 else b"alarm %d" % (row_id - 1)
            previous = chain_hash(previous, Stream.ALARM, row_id, payload)
            row = (payload, previous, row_id)
            db.execute("UPDATE alarm SET payload = ?, hash = ? WHERE id = ?", row)
    db.close()
    with Inspection(tmp_path / "data") as inspection:
        found = inspection.verify(Stream.ALARM, check)
    assert (found.bad, found.why) == (5, "its hash is not the one that was signed")
    with sqlite3.connect(tmp_path / "data" / "records.db") as db:
        db.execute("UPDATE signed_head SET hash = ? WHERE stream = 1 AND id = 5", (previous,))
    db.close()
    assert verified(tmp_path, Stream.ALARM).why == "its signature is not the key's"


async def test_an_eviction_leaves_a_signature_of_what_came_before_the_oldest(
    open_buffer: OpenBuffer, clock: HandClock, tmp_path: Path
) -> None:
    quota = dict.fromkeys(Stream, GIB) | {Stream.TELEMETRY: 2_000}
    async with open_buffer(signer=SIGNER, quota_bytes=quota, key_every_s=2) as log:
        for number in range(60):
            await add(log, number)
            clock.advance(1)
        assert log.bounds(Stream.TELEMETRY).first > 20
    with sqlite3.connect(tmp_path / "data" / "telemetry.db") as db:
        rows = [row[0] for row in db.execute("SELECT id FROM signed_head ORDER BY id")]
        first = db.execute("SELECT min(id) FROM telemetry").fetchone()[0]
    db.close()
    assert rows[0] == first - 1
    assert len(rows) == 1, "signatures of what is gone are gone"
    found = verified(tmp_path, Stream.TELEMETRY)
    assert (found.why, found.signatures) == ("", 1)


async def test_a_new_log_id_takes_no_signature_along(
    open_buffer: OpenBuffer, tmp_path: Path
) -> None:
    async with open_buffer(signer=SIGNER) as log:
        for number in range(3):
            await add(log, number)
        log.renew_log_id("asked for")
        assert log.signed_head(Stream.TELEMETRY) is None
        await add(log, 4)
        assert await signed(log, Stream.TELEMETRY) in {3, 4}
    assert verified(tmp_path, Stream.TELEMETRY).why == ""


async def test_a_key_that_fails_stops_nothing_and_is_said(open_buffer: OpenBuffer) -> None:
    def sign(message: bytes) -> bytes:
        raise ValueError(f"no key for {hashlib.sha256(message).hexdigest()[:4]}")

    async with open_buffer(signer=Signer(KEY_ID, sign)) as log:
        for number in range(3):
            await add(log, number)
            try:
                await log.add_record(Stream.ALARM, b"alarm")
            except NotStoredError as failure:
                raise AssertionError("an alarm waits for no signature") from failure
        assert log.signed_head(Stream.ALARM) is None
        assert "heads are not signed: no key for" in log.health()[1]
