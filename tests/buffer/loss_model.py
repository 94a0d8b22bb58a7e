"""The plain model of a log that loses: what was given, what was seen held, what a gap must say.

Guarantees of `observe`: it fails unless what a log holds is, per stream, what was given, in order,
without its oldest part; nothing seen once ever changes; what went was allowed to go, and no more
of it than the limits ask for. `unbalanced` compares every gap record ever written with what went.
It knows nothing of files, writers or how evictions are chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from buffer.block import BlockDecoder
from buffer.contract import Gap, Record, Stream
from buffer.database import ROW_OVERHEAD_BYTES
from buffer.policy import DAY_NS, BufferConfig

ALL = tuple(Stream)
LARGEST_GROUP_BYTES = 2_000
"""More than any group of the machine takes; evictions leave room for the group that begins."""

REPORTS_BYTES = 4 * 200
"""Gap records that an eviction writes may stand above the quota until the next commit looks."""


@dataclass(frozen=True)
class Item:
    """One thing given: a payload, or the number of a batch. name: the catalogue that it defines."""

    what: bytes | int
    name: bytes = b""


@dataclass
class Seen:
    """A record that was held once."""

    record: Record
    size: int


@dataclass
class StreamModel:
    """One stream. given: not yet seen, in order; `sure` of them were said to be durable."""

    given: list[Item] = field(default_factory=list)
    sure: int = 0
    held: dict[int, Seen] = field(default_factory=dict)
    next: int = 1
    gone: int = 0
    last_state: bytes = b""


def is_gap(payload: bytes) -> bool:
    """Tell a gap record of the tests."""
    return payload.startswith(b"gap ")


class LossModel:
    """What was given to a log and what became of it."""

    def __init__(self, config: BufferConfig) -> None:
        self.config = config
        self.streams = {stream: StreamModel() for stream in Stream}
        self.acknowledged = dict.fromkeys(Stream, 0)
        self.gaps: dict[int, tuple[Stream, str, int]] = {}
        self._decoder = BlockDecoder()

    def give(self, stream: Stream, what: bytes | int, name: bytes = b"") -> None:
        """Something was given to the log."""
        self.streams[stream].given.append(Item(what, name))

    def durable(self, stream: Stream, count: int) -> None:
        """The first `count` of what was given and not yet seen are said to be durable."""
        model = self.streams[stream]
        assert count <= len(model.given)
        model.sure = max(model.sure, count)

    def crashed(self) -> None:
        """What was given, is not there and was not said to be durable, never will be."""
        for model in self.streams.values():
            assert not model.sure, f"{model.given[: model.sure]} was durable and is gone"
            model.given.clear()

    def observe(self, held: Mapping[Stream, Sequence[Record]], wall_ns: int) -> None:
        """Take in everything that is held now."""
        named = {record.catalogue for record in held[Stream.TELEMETRY]}
        for stream in Stream:
            self._observe(stream, held[stream], named, wall_ns)

    def _observe(
        self, stream: Stream, records: Sequence[Record], named: set[bytes], wall_ns: int
    ) -> None:
        model = self.streams[stream]
        now = {record.sequence: record for record in records}
        for sequence, seen in model.held.items():
            same = now.get(sequence, seen.record) == seen.record
            assert same, f"what is stored changed: {seen.record} is {now[sequence]}"
        before = dict(model.held)
        for record in records:
            if record.sequence >= model.next:
                assert record.sequence == model.next, f"{stream.name} {model.next} was never seen"
                self._take(stream, record)
                model.next += 1
                before[record.sequence] = Seen(record, len(record.payload) + ROW_OVERHEAD_BYTES)
        kept = self._kept(named, before) if stream is Stream.EVENT else frozenset()
        assert kept <= now.keys(), "the catalogue of a group that is held is gone"
        self._check_gone(stream, before, now, kept, wall_ns)
        model.held = {sequence: before[sequence] for sequence in now}

    def _take(self, stream: Stream, record: Record) -> None:
        model = self.streams[stream]
        if stream is Stream.EVENT and is_gap(record.payload):
            _, of, cause, _, _, count = record.payload.decode().split()
            self.gaps[record.sequence] = (Stream[of], cause, int(count))
            return
        if stream is Stream.TELEMETRY:
            found: list[bytes | int] = [
                int(np.asarray(batch.values)[0]) for batch in self._decoder.feed(record.payload)
            ]
        else:
            found = [record.payload]
            model.last_state = record.payload
        expected = [item.what for item in model.given[: len(found)]]
        assert found == expected, f"{stream.name}: {found}, not {expected}"
        del model.given[: len(found)]
        model.sure = max(0, model.sure - len(found))

    def _kept(self, named: set[bytes], before: Mapping[int, Seen]) -> frozenset[int]:
        """Newest event of each catalogue that a group held names (its payload is its name)."""
        events = [seen.record for seen in before.values()]
        newest = {record.payload: record.sequence for record in events}
        return frozenset(newest[name] for name in named if name in newest)

    def _check_gone(
        self,
        stream: Stream,
        before: Mapping[int, Seen],
        now: Mapping[int, Record],
        kept: frozenset[int],
        wall_ns: int,
    ) -> None:
        model = self.streams[stream]
        gone = [sequence for sequence in before if sequence not in now]
        model.gone += len(gone)
        if not gone:
            return
        older_that_stay = [sequence for sequence in now if sequence < max(gone)]
        names = {at for at in older_that_stay if self._is_catalogue(before[at].record)}
        assert set(older_that_stay) <= names | kept, "not the oldest went"
        total = sum(seen.size for seen in before.values())
        margin = LARGEST_GROUP_BYTES if stream is Stream.TELEMETRY else 0
        over = total + margin - self.config.quota_bytes[stream]
        groups: dict[int, list[int]] = {}
        for sequence in gone:
            groups.setdefault(before[sequence].record.group, []).append(sequence)
        for group, sequences in sorted(groups.items()):
            stays = [at for at in now if before[at].record.group == group]
            assert not stays, f"{stream.name}: {stays} were left of the group {group}"
            for_bytes = over > 0
            over -= sum(before[at].size for at in sequences)
            assert for_bytes or self._is_too_old(stream, before, sequences, wall_ns), (
                f"{stream.name} {sequences} went without need"
            )

    def _is_too_old(
        self, stream: Stream, before: Mapping[int, Seen], sequences: list[int], wall_ns: int
    ) -> bool:
        age_ns = wall_ns - max(before[at].record.last_ns for at in sequences)
        sent = max(sequences) <= self.acknowledged[stream]
        past = sent and age_ns > self.config.retention_days * DAY_NS
        hours = self.config.quota_hours.get(stream)
        return past or (hours is not None and age_ns > hours * 3_600 * 10**9)

    def _is_catalogue(self, record: Record) -> bool:
        return record.stream is Stream.EVENT and len(record.payload) == 32

    def over_quota(self) -> str:
        """Why the log is larger than its quota, "" if it is not: only the newest unit may stay."""
        for stream, model in self.streams.items():
            groups = {seen.record.group for seen in model.held.values()}
            newest = max(groups, default=0)
            used = sum(
                seen.size
                for seen in model.held.values()
                if seen.record.group != newest and not self._is_catalogue(seen.record)
            )
            reports = REPORTS_BYTES if stream is Stream.EVENT else 0
            if used > self.config.quota_bytes[stream] + reports:
                return f"{stream.name} holds {used} bytes, and its newest unit"
        return ""

    def unbalanced(self, pending: Sequence[Gap]) -> str:
        """Why gap records, with what waits to be reported, do not add up to what went; or ""."""
        said: Counter[Stream] = Counter()
        waiting = [(gap.stream, gap.cause, gap.count) for gap in pending]
        for stream, cause, count in (*self.gaps.values(), *waiting):
            assert cause in {"quota", "retention"}, f"{count} of {stream.name} lost by {cause}"
            said[stream] += count
        gone = {stream: model.gone for stream, model in self.streams.items() if model.gone}
        return "" if dict(said) == gone else f"gap records say {dict(said)}, {gone} went"
