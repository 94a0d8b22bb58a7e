"""Looking into a data directory from outside: what is held, is it intact, what does it say.

Guarantees: nothing is written to the databases. Every question is a read transaction of its own
over at most ROWS_AT_ONCE rows with payload or SCANNED_AT_ONCE without, so that a gateway that is
running is never blocked and its WAL does not grow. What is evicted between two questions is
passed over, as the oldest always go first.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buffer.block import BlockDecoder, BlockError, ColumnBatch
from buffer.bookkeeping import FILE_BYTES, page_share, ranges_of
from buffer.contract import (
    BufferPathError,
    Record,
    SignedHead,
    Stream,
    chain_hash,
    head_message,
)
from buffer.database import RECORDS, ROW_OVERHEAD_BYTES, STREAMS, TELEMETRY, verify_marker
from buffer.door import Door
from buffer.jobs import EVICTED, TELEMETRY_HIGH
from buffer.policy import HOUR_NS
from buffer.ranges import RangeSet
from buffer.reader import Reader

ROWS_AT_ONCE = 200
CHUNK_BYTES = 4 << 20
SCANNED_AT_ONCE = 20_000
"""Rows whose length is asked for in one question; 20,000 took some 20 ms (measured)."""
RATE_FROM_NS = 60 * 10**9
"""A rate is told from this long a history on."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one stream under the present log id.

    first, next: sequences, next is one past the newest.  former: rows of former log ids, which
    have no sequence.  used_bytes: payload and rows, former ones too; of telemetry: on disk.
    first_ns, last_ns: wall clock, 0 where nothing is held.  bytes_per_hour: over the newest hour
    of telemetry, over all that is held elsewhere; None where there is too little to tell.
    """

    stream: Stream
    first: int
    next: int
    former: int
    used_bytes: int
    first_ns: int
    last_ns: int
    bytes_per_hour: float | None

    @property
    def records(self) -> int:
        """Count of records that have a sequence, as far as eviction is gapless."""
        return self.next - self.first


@dataclass(frozen=True, slots=True)
class CursorHeld:
    """What one destination has acknowledged of a stream; backlog: records that it has not."""

    destination: str
    stream: Stream
    acknowledged: RangeSet
    backlog: int


@dataclass(frozen=True, slots=True)
class Verified:
    """Outcome of a verification. bad: sequence of the first bad record, 0 where all are good.

    signatures: signed heads that are good.  signed_from, signed_to: the signatures vouch for the
    records signed_from..signed_to, 0 and 0 where none does.  unchecked: signed heads of keys that
    were not given.
    """

    stream: Stream
    records: int
    samples: int
    bad: int = 0
    why: str = ""
    signatures: int = 0
    signed_from: int = 0
    signed_to: int = 0
    unchecked: int = 0


def in_use(path: Path) -> bool:
    """Tell whether a gateway holds a data directory."""
    try:
        handle = os.open(path / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


CheckSignature = Callable[[bytes, bytes, bytes], bool | None]


def _no_key(key_id: bytes, message: bytes, signature: bytes) -> None:
    """No key is known."""


def _no_pause() -> None:
    """Go on at once."""


class Inspection:
    """A data directory, read-only. Raises BufferPathError where there is none."""

    def __init__(self, path: Path, door: Door | None = None) -> None:
        """door: of a gateway that runs in this process."""
        self.path = path.absolute()
        if not self.path.is_dir():
            raise BufferPathError(f"{path} is no directory.")
        self._readers: dict[str, Reader] = {}
        try:
            for kind in STREAMS:
                file = self.path / f"{kind}.db"
                if file.exists():
                    self._readers[kind] = _reader(file, door)
        except sqlite3.Error as failure:
            self.close()
            raise BufferPathError(f"{kind}.db in {path} cannot be read: {failure}.") from failure
        except PermissionError as failure:
            raise BufferPathError(f"{path} cannot be read: {failure.strerror}.") from failure
        if not self._readers:
            store = (path / "receiver.db").is_file()
            hint = " It is a receiver's store: plantgate query reads it." if store else ""
            raise BufferPathError(f"{path} holds no buffer (telemetry.db, records.db).{hint}")

    def __enter__(self) -> Inspection:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers.values():
            reader.close()

    # ---- the whole ----------------------------------------------------------------------------

    def log_id(self, kind: str = TELEMETRY) -> bytes:
        """16 bytes as one file names it; empty where there is none yet."""
        reader = self._readers.get(kind)
        return b"" if reader is None else bytes(reader.meta("log_id", b""))

    def held(self, stream: Stream) -> Held:
        """What is held of a stream."""
        reader = self._of(stream)
        if reader is None:
            return Held(stream, 1, 1, 0, 0, 0, 0, None)
        base = int(reader.meta(f"base.{stream.value}", 0))
        anchor = int(reader.meta(f"anchor_id.{stream.value}", base))
        query = "SELECT min(id), max(id) FROM {table}"
        low, high = reader.ask(stream, query)[0]
        if low is None:
            return Held(stream, anchor + 1 - base, anchor + 1 - base, 0, 0, 0, 0, None)
        first = reader.ask(stream, "SELECT min(id) FROM {table} WHERE id > ?", base)[0][0]
        times = "SELECT first_ns, last_ns FROM {table} WHERE id IN (?, ?) ORDER BY id"
        rows = reader.ask(stream, times, low, high)
        if not rows:  # evicted between two questions
            return self.held(stream)
        first_ns, last_ns = int(rows[0][0]), int(rows[-1][1])
        used = self._used_bytes(reader, stream, low, high)
        if stream is Stream.TELEMETRY:
            share = page_share(int(reader.ask(stream, FILE_BYTES)[0][0]), used)
            rate, used = self._telemetry_rate(reader, last_ns, share), round(used * share)
        else:
            rate = _per_hour(used, last_ns - first_ns)
        return Held(
            stream,
            (high + 1 if first is None else int(first)) - base,
            int(high) + 1 - base,
            max(0, min(base, int(high)) - int(low) + 1),
            used,
            first_ns,
            last_ns,
            rate,
        )

    def cursors(self) -> list[CursorHeld]:
        """What each destination has acknowledged, and what it has not."""
        reader = self._readers.get(RECORDS)
        if reader is None:
            return []
        found: list[CursorHeld] = []
        query = "SELECT destination, stream, ranges FROM cursor ORDER BY destination, stream"
        bounds = {stream: self._bounds(stream) for stream in Stream}
        for destination, number, text in reader.ask(Stream.EVENT, query):
            stream, ranges = Stream(number), ranges_of(text)
            backlog = len(ranges.missing(*bounds[stream]))
            found.append(CursorHeld(str(destination), stream, ranges, backlog))
        return found

    def repairs(self) -> list[str]:
        """What was repaired here, and what waits for the next start; a sentence each."""
        aside = sorted(
            file.name for file in self.path.glob("*.set-aside-*") if not file.name.endswith("-shm")
        )
        found = [f"{name} was set aside" for name in aside if not name.endswith("-wal")]
        for kind in STREAMS:
            if verify_marker(self.path / f"{kind}.db").exists():
                found.append(f"{kind}.db is verified whole at the next start")
        reader = self._readers.get(RECORDS)
        if reader is not None:
            query = "SELECT stream, cause, count FROM pending_gap ORDER BY stream, cause"
            for number, cause, count in reader.ask(Stream.EVENT, query):
                name = Stream(number).name.lower()
                found.append(f"{count} of {name} lost ({cause}), not yet in a gap record")
        return found

    def known_of_telemetry(self) -> int:
        """Newest telemetry sequence that the records file has seen committed."""
        reader = self._readers.get(RECORDS)
        return 0 if reader is None else int(reader.meta(TELEMETRY_HIGH, 0))

    def promised_eviction(self) -> int:
        """Count of telemetry rows that a promised eviction has still to delete."""
        records, telemetry = self._readers.get(RECORDS), self._readers.get(TELEMETRY)
        if records is None or telemetry is None:
            return 0
        promised = int(records.meta(EVICTED, 0))
        query = "SELECT count(*) FROM {table} WHERE id <= ?"
        return int(telemetry.ask(Stream.TELEMETRY, query, promised)[0][0])

    def catalogues(self) -> Mapping[bytes, int]:
        """Row of the event that defines each catalogue kept, by its hash (32 bytes)."""
        reader = self._readers.get(RECORDS)
        if reader is None:
            return {}
        rows = reader.ask(Stream.EVENT, "SELECT hash, event_id FROM catalogue ORDER BY event_id")
        return {bytes(digest): int(row_id) for digest, row_id in rows}

    def event_payload(self, row_id: int) -> bytes:
        """Payload of an event by its row; empty where it is not held."""
        reader = self._readers.get(RECORDS)
        query = "SELECT payload FROM {table} WHERE id = ?"
        rows = reader.ask(Stream.EVENT, query, row_id) if reader else []
        return bytes(rows[0][0]) if rows else b""

    # ---- records ------------------------------------------------------------------------------

    def records(self, stream: Stream, first: int = 1, last: int = 1 << 62) -> Iterator[Record]:
        """Records first..last (inclusive) that are held; raises sqlite3.DatabaseError if damaged.

        Ends where the log id changes.
        """
        reader = self._of(stream)
        log_id = self.log_id(TELEMETRY if stream is Stream.TELEMETRY else RECORDS)
        if reader is None:
            return
        first = max(first, self._bounds(stream)[0])
        while first <= last:
            stop = min(last, first + ROWS_AT_ONCE - 1)
            try:
                found = reader.records(log_id, stream, first, stop, CHUNK_BYTES)
            except sqlite3.DatabaseError:
                found, _ = reader.readable(log_id, stream, first, stop, CHUNK_BYTES)
                yield from found
                at = found[-1].sequence + 1 if found else first
                text = f"{stream.name.lower()} record {at} cannot be read"
                raise sqlite3.DatabaseError(text) from None
            yield from found
            if found and found[-1].sequence < stop:
                low, high = self._bounds(stream)
                first = max(found[-1].sequence + 1, low)
            else:
                low, high = self._bounds(stream)
                first = max(stop + 1, low)
            if first >= high:
                return

    def batches(
        self, first: int = 1, last: int = 1 << 62
    ) -> Iterator[tuple[Record, list[ColumnBatch]]]:
        """Telemetry records first..last, decoded; raises BlockError, sqlite3.DatabaseError."""
        reader = self._of(Stream.TELEMETRY)
        if reader is None:
            return
        decoder = BlockDecoder()
        key = reader.group_start(self.log_id(), max(first, self._bounds(Stream.TELEMETRY)[0]))
        for record in self.records(Stream.TELEMETRY, key, last):
            batches = decoder.feed(record.payload)
            if record.sequence >= first:
                yield record, batches

    def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence that may hold times in [from_ns, to_ns]; (1, 0) if none."""
        reader = self._of(stream)
        if reader is None:
            return (1, 0)
        log_id = self.log_id(TELEMETRY if stream is Stream.TELEMETRY else RECORDS)
        return reader.between(log_id, stream, from_ns, to_ns)

    def verify(
        self,
        stream: Stream,
        check: CheckSignature = _no_key,
        *,
        pause: Callable[[], None] = _no_pause,
    ) -> Verified:
        """Check the chain of hashes of a stream, and that each telemetry block decodes.

        check(key_id, message, signature) tells whether a signed head is signed by its key, None
        where that key is not known.  pause() is called every ROWS_AT_ONCE records.
        """
        decoder = BlockDecoder()
        heads = _Heads(self._signed_heads(stream), check)
        records = samples = 0
        expected = self._bounds(stream)[0]
        try:
            for record in self.records(stream):
                why = _wrong(record, decoder) or heads.wrong(record)
                if not why and record.sequence > expected and stream is Stream.TELEMETRY:
                    low = self._bounds(stream)[0]
                    why = "its predecessor is missing" if record.sequence > low else ""
                if why:
                    return Verified(stream, records, samples, record.sequence, why)
                expected = record.sequence + 1
                records += 1
                samples += record.samples
                if not records % ROWS_AT_ONCE:
                    pause()
        except sqlite3.DatabaseError as failure:
            return Verified(stream, records, samples, expected, str(failure))
        return Verified(
            stream,
            records,
            samples,
            signatures=heads.good,
            signed_from=heads.signed_from,
            signed_to=heads.signed_to,
            unchecked=heads.unchecked,
        )

    def reader(self, kind: str) -> Reader:
        """For a question of one's own; KeyError where that file is missing."""
        return self._readers[kind]

    # ---- inside -------------------------------------------------------------------------------

    def _of(self, stream: Stream) -> Reader | None:
        return self._readers.get(TELEMETRY if stream is Stream.TELEMETRY else RECORDS)

    def _signed_heads(self, stream: Stream) -> list[SignedHead]:
        reader = self._of(stream)
        if reader is None:
            return []
        log_id = self.log_id(TELEMETRY if stream is Stream.TELEMETRY else RECORDS)
        return reader.signed_heads(log_id, stream)

    def _bounds(self, stream: Stream) -> tuple[int, int]:
        reader = self._of(stream)
        if reader is None:
            return (1, 1)
        base = int(reader.meta(f"base.{stream.value}", 0))
        query = "SELECT min(id), max(id) FROM {table} WHERE id > ?"
        low, high = reader.ask(stream, query, base)[0]
        return (1, 1) if low is None else (int(low) - base, int(high) + 1 - base)

    def _used_bytes(self, reader: Reader, stream: Stream, low: int, high: int) -> int:
        used = 0
        if stream is Stream.TELEMETRY:
            query = "SELECT coalesce(sum(used_bytes), 0), max(last_id) FROM finished_group"
            finished, last_id = reader.ask(stream, query)[0]
            used, low = int(finished), low if last_id is None else int(last_id) + 1
        query = "SELECT coalesce(sum(length(payload) + ?), 0) FROM {table} WHERE id BETWEEN ? AND ?"
        for start in range(low, high + 1, SCANNED_AT_ONCE):
            stop = min(high, start + SCANNED_AT_ONCE - 1)
            used += int(reader.ask(stream, query, ROW_OVERHEAD_BYTES, start, stop)[0][0])
        return used

    def _telemetry_rate(self, reader: Reader, last_ns: int, share: float) -> float | None:
        query = (
            "SELECT coalesce(sum(used_bytes), 0), min(first_ns), max(last_id) FROM finished_group"
            " WHERE last_ns > ?"
        )
        used, first_ns, last_id = reader.ask(Stream.TELEMETRY, query, last_ns - HOUR_NS)[0]
        query = (
            "SELECT coalesce(sum(length(payload) + ?), 0), min(first_ns) FROM telemetry"
            " WHERE id > ?"
        )
        if last_id is None:
            query = query.replace("id > ?", "first_ns > ?")
            after = last_ns - HOUR_NS
        else:
            after = int(last_id)
        open_bytes, open_ns = reader.ask(Stream.TELEMETRY, query, ROW_OVERHEAD_BYTES, after)[0]
        starts = [at for at in (first_ns, open_ns) if at is not None]
        used = round((used + open_bytes) * share)
        return _per_hour(used, last_ns - min(starts)) if starts else None


class _Heads:
    """Signed heads of a stream, held against its records as they go by."""

    def __init__(self, heads: list[SignedHead], check: CheckSignature) -> None:
        self._heads = {head.sequence: head for head in heads}
        self._check = check
        self.good = self.unchecked = self.signed_from = self.signed_to = 0
        self._first = 0

    def wrong(self, record: Record) -> str:
        """What is wrong with the signature of a record, or with that of its predecessor."""
        self._first = self._first or record.sequence
        before = self._heads.pop(record.sequence - 1, None)
        return self._judge(before, record.previous_hash) or self._judge(
            self._heads.pop(record.sequence, None), record.hash
        )

    def _judge(self, head: SignedHead | None, digest: bytes) -> str:
        if head is None:
            return ""
        if head.hash != digest:
            return "its hash is not the one that was signed"
        message = head_message(head.log_id, head.stream, head.sequence, head.hash)
        is_good = self._check(head.key_id, message, head.signature)
        if is_good is None:
            self.unchecked += 1
            return ""
        if not is_good:
            return "its signature is not the key's"
        self.good += 1
        if head.sequence >= self._first:
            self.signed_from, self.signed_to = self._first, head.sequence
        return ""


def _reader(file: Path, door: Door | None) -> Reader:
    """Open a file; in a directory that cannot be written to, as one that nobody writes."""
    try:
        return Reader(file, door=door, mark_damage=False)
    except sqlite3.OperationalError as failure:
        if "unable to open" not in str(failure) and "readonly" not in str(failure):
            raise
        return Reader(file, mark_damage=False, immutable=True)


def _wrong(record: Record, decoder: BlockDecoder) -> str:
    """What is wrong with a record, or nothing."""
    expected = chain_hash(record.previous_hash, record.stream, record.sequence, record.payload)
    if expected != record.hash:
        return "its hash does not follow from its predecessor and content"
    if record.stream is not Stream.TELEMETRY:
        return ""
    try:
        samples = sum(len(batch) for batch in decoder.feed(record.payload))
    except BlockError as failure:
        return f"its block does not decode: {failure}"
    return "" if samples == record.samples else f"it holds {samples} samples, not {record.samples}"


def _per_hour(used_bytes: int, span_ns: int) -> float | None:
    return used_bytes / (span_ns / HOUR_NS) if span_ns >= RATE_FROM_NS else None


__all__ = ["CursorHeld", "Held", "Inspection", "Verified", "in_use"]
