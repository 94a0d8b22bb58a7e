"""Whether what a receiver holds under our log id came from this log. Pure.

A receiver says which sequences it has, and the hashes of some of them (checkpoints). Each record's
hash covers all before it, so one equal hash proves a common past; a different one, or a sequence
that this log never reached, proves that another log had this id: the disk was copied, or a backup
of it restored. Then

    agreed = what the receiver has up to the newest checkpoint with an equal hash
             + what this log itself knows to be acknowledged

is all that counts as delivered. The rest is sent again under a new log id: nothing is lost, and
records between two checkpoints may be stored twice, under two log ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from buffer.contract import Stream
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire


@dataclass(frozen=True, slots=True)
class OwnPast:
    """This log, when a Welcome comes: one past the newest record, and hashes of those named in it.

    hashes: of the records that are held, out of the checkpoints.
    """

    next: Mapping[Stream, int]
    hashes: Mapping[tuple[Stream, int], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one stream: what may count as delivered, and what proves a fork (empty if nothing)."""

    agreed: RangeSet
    fork: str


def checkpoints_of(welcome: wire.Welcome) -> dict[Stream, list[wire.Checkpoint]]:
    """Checkpoints by stream, newest first."""
    found: dict[Stream, list[wire.Checkpoint]] = {}
    for one in welcome.acknowledged:
        if Stream.ALARM <= one.stream <= Stream.EVIDENCE:
            points = sorted(one.checkpoints, key=lambda point: -point.sequence)
            found.setdefault(Stream(one.stream), []).extend(points)
    return found


def compare(
    welcome: wire.Welcome,
    said: Mapping[Stream, RangeSet],
    own: OwnPast,
    cursors: Mapping[Stream, RangeSet],
) -> dict[Stream, Verdict]:
    """Compare all streams of `own`. `said`: ranges of the Welcome; `cursors`: believed before."""
    points = checkpoints_of(welcome)
    return {
        stream: judge(
            stream, said[stream], points.get(stream, []), own, cursors.get(stream, RangeSet())
        )
        for stream in own.next
    }


def lost(cursor: RangeSet, said: RangeSet, held: tuple[int, int]) -> int:
    """Count of held records [first, next) that were acknowledged before and are not any more."""
    count = 0
    for start, stop in cursor:
        low, high = max(start, held[0]), min(stop, held[1])
        if low < high:
            count += len(said.missing(low, high))
    return count


def judge(
    stream: Stream,
    said: RangeSet,
    checkpoints: Sequence[wire.Checkpoint],
    own: OwnPast,
    cursor: RangeSet,
) -> Verdict:
    """Compare one stream. `cursor`: what this log believed to be acknowledged before."""
    top = max((stop for _, stop in said), default=0)
    name = stream.name.lower()
    fork = ""
    if top > own.next[stream]:
        fork = f"holds {name} up to {top - 1}, this log only up to {own.next[stream] - 1}"
    common = 0
    for point in checkpoints:
        mine = own.hashes.get((stream, point.sequence))
        if mine is None:
            continue
        if mine == point.hash:
            common = point.sequence
            break
        fork = fork or f"holds another {name} record {point.sequence} than this log"
    if not fork:
        return Verdict(said, "")
    agreed = cursor.copy()
    agreed.update(
        RangeSet((start, min(stop, common + 1)) for start, stop in said if start <= common)
    )
    agreed.discard(own.next[stream], 1 << 62)
    return Verdict(agreed, fork)
