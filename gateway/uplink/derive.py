"""A derived stream: what one destination is sent of telemetry, record by record. Pure.

Guarantees:

- Deterministic by group: the records derived of one group of the log depend on that group and the
  choice alone. They can be made again at any time, on any run, with equal bytes and hashes, so that
  nothing of them is stored and what is sent twice is told by its identity.
- A derived record has the sequence of the last record of the log that it covers, and says with
  `source_first` where it begins. Ranges of one group join without a gap. Cursors of a derived
  stream are therefore ranges of the log itself, and a missing range is one of the log.
- A group's first record is a key of the same sequence and carries the log's hash of it as its
  previous hash; the hash of each further record covers the one before.
- What ends a group without a kept sample is covered by a record without samples once the next
  group begins. What does not decode is covered by nothing: it comes out as a gap.

    log      key 61 | 62 | 63 | 64 | 65 | ... | 120 | key 121
    kept      *     |    | *  |    |    |     |     |  *
    derived  61..61 | 62..63        | 64..120 (0)   | 121..121
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import zstandard

from buffer.block import VERSION, BlockDecoder, BlockEncoder, BlockError, ColumnBatch
from buffer.contract import Record, Stream, chain_hash
from gateway.uplink.thin import Chosen, Thinner

DERIVATION = f"2/{VERSION}/{'.'.join(map(str, zstandard.ZSTD_VERSION))}"
"""What the bytes of a derived record depend on beside its source and the choice: a derived stream
goes on under the same log id only while this stays as it was."""


class Deriver:
    """Feed the telemetry records of a log in order of sequence, from a key on."""

    def __init__(self, chosen: Mapping[bytes, Chosen]) -> None:
        """chosen: by catalogue; holds that of a key before the key is fed."""
        self._chosen = chosen
        self._decoder = BlockDecoder()
        self._encoder = BlockEncoder()
        self._thinner: Thinner | None = None  # None: nothing decodes until the next key
        self._last: Record | None = None  # newest record fed of a group that decodes
        self._first = 0  # first sequence that no derived record covers
        self._hash = b""

    def feed(self, record: Record) -> list[Record]:
        """Take one record; gives what of the derived stream is thereby settled."""
        is_key = record.group == record.sequence
        out: list[Record] = []
        last = self._last
        if is_key:
            if last is not None and self._first <= last.sequence == record.sequence - 1:
                out.append(self._derived(last, []))
            self._begin(record)
        elif last is None or (record.sequence, record.group) != (last.sequence + 1, last.group):
            self._thinner = self._last = None
        thinner = self._thinner
        if thinner is None:
            return out
        try:
            batches = self._decoder.feed(record.payload)
        except BlockError:
            self._thinner = self._last = None
            return out
        self._last = record
        kept = [part for batch in batches if (part := thinner.feed(batch)) is not None]
        if kept or is_key:
            out.append(self._derived(record, kept))
        return out

    def _begin(self, key: Record) -> None:
        self._thinner = Thinner(self._chosen[key.catalogue])
        # A fresh one: an encoder remembers of former groups which scaling fitted each point.
        self._encoder = BlockEncoder()
        self._first = key.sequence
        self._hash = key.hash

    def _derived(self, record: Record, batches: list[ColumnBatch]) -> Record:
        first = self._first
        payload = self._encoder.encode(
            batches or [_nothing(record)],
            key=record.sequence == record.group,
            catalogue=record.catalogue,
        )
        previous = self._hash
        self._hash = chain_hash(previous, Stream.TELEMETRY, record.sequence, payload)
        self._first = record.sequence + 1
        return replace(
            record,
            previous_hash=previous,
            hash=self._hash,
            payload=payload,
            samples=sum(map(len, batches)),
            source_first=first,
        )


def _nothing(record: Record) -> ColumnBatch:
    at_ns = record.last_ns
    return ColumnBatch(np.empty(0, np.int32), np.empty(0), np.empty(0, np.uint16), at_ns, at_ns)


def feed_wanted(
    deriver: Deriver, records: Sequence[Record], wanted: tuple[int, int, int]
) -> tuple[list[Record], int]:
    """Feed until there is what is wanted; what came out, and how many were fed.

    wanted: first and last sequence, bytes.
    """
    first, last, max_bytes = wanted
    out: list[Record] = []
    size = 0
    for count, record in enumerate(records, 1):
        made = [one for one in deriver.feed(record) if one.sequence >= first]
        out += made
        size += sum(len(one.payload) for one in made)
        if size >= max_bytes or (out and out[-1].sequence >= last):
            return out, count
    return out, len(records)


def covering(record: Record, first: int) -> Record:
    """A record that speaks for all from `first` on."""
    return record if first == record.sequence else replace(record, source_first=first)
