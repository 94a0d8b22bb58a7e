"""Which evidence files a destination is sent, and which only on request. Pure.

Guarantees: a record of evidence always goes; only its file may be withheld, and the record says so.
A file that was asked for (`grant`) goes whatever its kind and the day's bytes, and goes on after a
cut link until the receiver has all of it. It outlives sessions; a restart of the gateway begins the
day's count anew.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from buffer.contract import Record
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire

KINDS = ("none", "thumbnail", "picture", "clip")
"""In this order each sends what the one before does: nothing, small pictures, pictures, all."""
THUMBNAIL_BYTES = 20_000
_DAY_NS = 86_400 * 1_000_000_000


class FilePolicy:
    """What becomes of each file of one destination under one log id."""

    def __init__(self, kind: str = "clip", bytes_per_day: int = 0) -> None:
        """kind: one of KINDS.  bytes_per_day: of files not asked for; 0 for no limit."""
        self._kind = kind
        self._bytes_per_day = bytes_per_day
        self._granted = RangeSet()
        self._day = 0
        self._used_bytes = 0
        self._begun = RangeSet()

    def forget(self) -> None:
        """Forget sequences: the log has a new id."""
        self._granted, self._begun = RangeSet(), RangeSet()

    def withholds(self, record: Record, now_ns: int) -> bool:
        """Tell whether this record's file stays here for now; where not, count its bytes."""
        sequence = record.sequence
        if sequence in self._granted or sequence in self._begun:
            return False
        file = file_of(record)
        if file is None:
            return False
        if (now_ns // _DAY_NS) != self._day:
            self._day, self._used_bytes = now_ns // _DAY_NS, 0
        picture = file.media_type.startswith("image/")
        wanted = self._kind == "clip" or (picture and self._kind == "picture")
        room = self._bytes_per_day - self._used_bytes
        if not wanted or (self._bytes_per_day and file.total_bytes > room):
            return True
        self._used_bytes += file.total_bytes
        self._begun.add(sequence)
        return False

    def wants_thumbnail(self, record: Record) -> bool:
        """Tell whether a small picture goes in place of a withheld file."""
        file = file_of(record)
        return file is not None and self._kind != "none" and file.media_type.startswith("image/")

    def grant(self, sequence: int) -> None:
        """Send this record's file: the receiver asked for it."""
        self._granted.add(sequence)

    def granted(self) -> RangeSet:
        """Records whose files were asked for and have not arrived."""
        return self._granted

    def arrived(self, sequence: int) -> None:
        """Take that the receiver has this record's file."""
        self._granted.discard(sequence, sequence + 1)
        self._begun.discard(sequence, sequence + 1)


def file_of(record: Record) -> wire.EvidenceFile | None:
    """What an evidence record says of its file; None where it cannot be read."""
    try:
        return wire.EvidenceFile.FromString(record.payload)
    except DecodeError:
        return None
