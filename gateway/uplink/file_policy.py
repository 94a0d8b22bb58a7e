"""Which evidence files a destination is sent, and which only on request. Pure.

Guarantees: a record of evidence always goes; only its file may be withheld, and the record says so.
A file that was asked for (`grant`) goes whatever its kind and the day's bytes, and goes on after a
cut link until the receiver has all of it; a picture that was asked for (`expect`) goes whatever its
kind. It outlives sessions. The day is that of UTC by the wall clock of the gateway's start, and its
count outlives a restart (what had begun to go at that moment counts twice): a clock that went back
meanwhile keeps the count, one that went on by a day or more begins it anew.
"""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import DecodeError

from buffer.contract import Record
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire
from vision.clip import AVI

KINDS = ("none", "thumbnail", "picture", "clip")
"""In this order each sends what the one before does: nothing, small pictures, pictures, all."""
THUMBNAIL_BYTES = 20_000
_DAY_NS = 86_400 * 1_000_000_000


class FilePolicy:
    """What becomes of each file of one destination under one log id."""

    def __init__(
        self,
        kind: str = "clip",
        bytes_per_day: int = 0,
        *,
        wall_less_monotonic_ns: int = 0,
        saved: bytes = b"",
        save: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        """kind: one of KINDS.  bytes_per_day: of files not asked for; 0 for no limit.

        wall_less_monotonic_ns: makes a wall clock of the monotonic times that methods are given.
        saved: what `save` was last given by an earlier run; what cannot be read counts as nothing.
        """
        self._kind = kind
        self._bytes_per_day = bytes_per_day
        self._wall_less_monotonic_ns = wall_less_monotonic_ns
        self._save = save
        self._granted = RangeSet()
        self._day, self._used_bytes = _counted(saved)
        self._begun = RangeSet()
        self._expected: set[bytes] = set()

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
        if file.sha256 in self._expected:
            self._expected.discard(file.sha256)
            self._granted.add(sequence)
            return False
        self._begin_day(now_ns)
        picture = file.media_type.startswith("image/")
        wanted = self._kind == "clip" or (picture and self._kind == "picture")
        room = self._bytes_per_day - self._used_bytes
        if not wanted or (self._bytes_per_day and file.total_bytes > room):
            return True
        self._count(file.total_bytes)
        self._begun.add(sequence)
        return False

    def _begin_day(self, now_ns: int) -> None:
        day = (now_ns + self._wall_less_monotonic_ns) // _DAY_NS
        if day > self._day:
            self._used_bytes = 0
        self._day = day  # an earlier one where the clock went back over a restart

    def _count(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        if self._bytes_per_day:
            self._save(f"{self._day} {self._used_bytes}".encode())

    def wants_thumbnail(self, record: Record) -> bool:
        """Tell whether a small picture goes in place of a withheld file."""
        file = file_of(record)
        if file is None or self._kind == "none":
            return False
        return file.media_type.startswith("image/") or file.media_type == AVI

    def refuses_pictures(self, now_ns: int) -> str:
        """Why no picture is taken for this destination, in a clause; nothing where one may be."""
        self._begin_day(now_ns)
        if self._kind == "none":
            return 'this destination is sent no files (evidence = "none" at the gateway)'
        if self._bytes_per_day and self._used_bytes >= self._bytes_per_day:
            return f"the {self._bytes_per_day} bytes of files that a day may take are used up"
        return ""

    def expect(self, sha256: bytes, size_bytes: int, now_ns: int) -> str:
        """Have a file sent whose record comes next, whatever its kind, and count its bytes.

        Returns why it has no room in this day's bytes, in a clause; nothing where it has.
        """
        self._begin_day(now_ns)
        room = self._bytes_per_day - self._used_bytes
        if self._bytes_per_day and size_bytes > room:
            return f"the picture takes {size_bytes} bytes, and {room} of this day's are left"
        self._count(size_bytes)
        self._expected.add(sha256)
        return ""

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


def _counted(saved: bytes) -> tuple[int, int]:
    """Day and bytes, as they were saved."""
    day, _, used_bytes = saved.decode("ascii", "replace").partition(" ")
    try:
        return int(day), max(int(used_bytes), 0)
    except ValueError:
        return 0, 0


def file_of(record: Record) -> wire.EvidenceFile | None:
    """What an evidence record says of its file; None where it cannot be read."""
    try:
        return wire.EvidenceFile.FromString(record.payload)
    except DecodeError:
        return None
