"""A small Log in memory: commits at once, can evict, lose and be renewed. For uplink tests."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from buffer.contract import (
    NO_HASH,
    Bounds,
    Capacity,
    Columns,
    CommitListener,
    Record,
    SignedHead,
    Stream,
    chain_hash,
)
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire

BOOT_ID = b"b" * 16
CATALOGUE = b"c" * 32


class SmallLog:
    """See buffer.contract.Log. `put` commits; `now_ns` is what records are stamped with."""

    def __init__(self, log_id: bytes = b"l" * 16) -> None:
        self.log_id = log_id
        self.records: dict[Stream, dict[int, Record]] = {stream: {} for stream in Stream}
        self.next: dict[Stream, int] = dict.fromkeys(Stream, 1)
        self.cursors: dict[tuple[str, Stream], RangeSet] = {}
        self.files: dict[bytes, bytes] = {}
        self.signed: dict[Stream, SignedHead] = {}
        self.listeners: list[CommitListener] = []
        self.renewals: list[str] = []
        self.reads = 0
        self.saved: dict[str, bytes] = {}
        self.now_ns = 1_000_000_000
        self.catalogue = CATALOGUE
        self._group = 0

    def put(self, stream: Stream, *payloads: bytes, boot_id: bytes = BOOT_ID) -> list[Record]:
        """Commit records and tell the listeners."""
        made = [self._make(stream, payload, boot_id) for payload in payloads]
        for listener in list(self.listeners):
            listener(stream, made)
        return made

    def evict(self, stream: Stream, stop: int) -> None:
        """Delete what is below `stop`."""
        held = self.records[stream]
        for sequence in [one for one in held if one < stop]:
            del held[sequence]

    def lose(self, stream: Stream, sequence: int) -> None:
        """Delete one record, as corruption would."""
        self.records[stream].pop(sequence, None)

    def start_group(self) -> None:
        """Make the next telemetry record a key."""
        self._group = 0

    def _make(self, stream: Stream, payload: bytes, boot_id: bytes) -> Record:
        sequence = self.next[stream]
        self.next[stream] = sequence + 1
        before = self.records[stream].get(sequence - 1)
        previous = before.hash if before else NO_HASH
        telemetry = stream is Stream.TELEMETRY
        if telemetry and not self._group:
            self._group = sequence
        record = Record(
            stream=stream,
            sequence=sequence,
            time_ns=self.now_ns,
            monotonic_ns=self.now_ns,
            boot_id=boot_id,
            clock_offset_ns=0,
            synchronised=True,
            previous_hash=previous,
            hash=chain_hash(previous, stream, sequence, payload),
            payload=payload,
            group=self._group if telemetry else sequence,
            catalogue=self.catalogue if telemetry else b"",
        )
        self.records[stream][sequence] = record
        return record

    # ---- the Log protocol ----------------------------------------------------------------

    def add_batch(
        self,
        points: npt.NDArray[np.int32],
        values: Columns,
        quality: npt.NDArray[np.uint16],
        source_time_ns: npt.NDArray[np.int64] | int,
        gateway_time_ns: int,
    ) -> asyncio.Future[None]:
        raise NotImplementedError

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        future.set_result(self.put(stream, payload)[0].sequence)
        return future

    def signed_head(self, stream: Stream) -> SignedHead | None:
        return self.signed.get(stream)

    def save_state(self, state: Mapping[str, bytes]) -> None:
        self.saved.update(state)

    def state(self, key: str) -> bytes:
        return self.saved.get(key, b"")

    def states(self, prefix: str) -> Mapping[str, bytes]:
        return {}

    async def put_file(self, content: bytes) -> bytes:
        name = hashlib.sha256(content).digest()
        self.files[name] = content
        return name

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        if sha256 not in self.files:
            raise FileNotFoundError(sha256.hex())
        return self.files[sha256][offset : offset + length]

    async def room(self) -> None:
        return

    def set_catalogue(self, catalogue_hash: bytes) -> None:
        self.catalogue = catalogue_hash
        self._group = 0

    def request_key(self) -> None:
        self._group = 0

    def bounds(self, stream: Stream) -> Bounds:
        held = self.records[stream]
        following = self.next[stream]
        return Bounds(min(held, default=following), following)

    def read_now(self, stream: Stream, first: int, last: int, max_bytes: int) -> list[Record]:
        """What `read` gives, at once."""
        found: list[Record] = []
        size = 0
        for sequence in range(first, min(last, self.next[stream] - 1) + 1):
            record = self.records[stream].get(sequence)
            if record is None:
                continue
            if found and size + len(record.payload) > max_bytes:
                break
            found.append(record)
            size += len(record.payload)
        return found

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        await asyncio.sleep(0)
        self.reads += 1
        return self.read_now(stream, first, last, max_bytes)

    async def group_start(self, sequence: int) -> int:
        record = self.records[Stream.TELEMETRY].get(sequence)
        return record.group if record else sequence

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        found = [
            sequence
            for sequence, record in self.records[stream].items()
            if from_ns <= record.time_ns <= to_ns
        ]
        return (min(found), max(found)) if found else (1, 0)

    def catalogue_records(self) -> Mapping[bytes, int]:
        catalogues: dict[bytes, int] = {}
        for sequence, record in self.records[Stream.EVENT].items():
            event = wire.Event.FromString(record.payload)
            encoded = event.catalogue.SerializeToString(deterministic=True)
            if event.HasField("catalogue"):
                catalogues[hashlib.sha256(encoded).digest()] = sequence
        return catalogues

    def capacity(self, stream: Stream) -> Capacity:
        return Capacity(0, 0, 0.0, 0.0)

    def health(self) -> tuple[bool, str]:
        return True, ""

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        return self.cursors.get((destination, stream), RangeSet()).copy()

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        self.cursors.setdefault((destination, stream), RangeSet()).update(ranges)

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        self.cursors[destination, stream] = ranges.copy()

    def renew_log_id(self, reason: str) -> bytes:
        self.renewals.append(reason)
        self.log_id = hashlib.sha256(self.log_id).digest()[:16]
        self.cursors.clear()
        self._group = 0
        return self.log_id

    def unacknowledged(self, destination: str, stream: Stream) -> int:
        """Held records that the destination has not acknowledged."""
        cursor = self.cursor(destination, stream)
        return sum(sequence not in cursor for sequence in self.records[stream])


def payloads(count: int, size: int = 200, seed: int = 0) -> Sequence[bytes]:
    """Distinct payloads of `size` bytes."""
    return [f"{seed}/{number}/".encode().ljust(size, b".") for number in range(count)]
