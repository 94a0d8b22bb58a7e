"""What is on the shelf of recordings, and a span of it as files of their own.

Guarantees: pictures are copied as they are, never decoded or encoded; a span begins with a picture
that can be decoded by itself, so up to some seconds before what was asked for, never after it. A
file that is being written, or that a crash cut off, is read up to its last whole fragment.

The times of a recording are the gateway's wall clock: its name says when its first picture came,
its fragments how long after that each was shown.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from vision.fmp4 import TICKS_PER_S
from vision.recording import GAP_NS
from vision.shelf import PART

_SYNC_BIT = 0x00010000
"""sample_is_non_sync_sample of a sample's flags (ISO/IEC 14496-12, 8.8.3.1)."""
_NAME = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class Recorded:
    """One file. from_ns, to_ns: wall-clock time of its first and of the end of its last picture.

    complete: it was ended in order, or named after a crash; else it may be growing.
    """

    camera: str
    path: Path
    from_ns: int
    to_ns: int
    bytes: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing is on the shelf from one time to another."""

    camera: str
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment: first and last byte after it; ticks of its begin and of its length."""

    start: int
    end: int
    at: int
    ticks: int
    key: bool


@dataclass(frozen=True, slots=True)
class Extract:
    """A file that was cut out. sha256: of it, in hex."""

    source: Recorded
    path: Path
    from_ns: int
    to_ns: int
    bytes: int
    sha256: str


def recorded(
    folder: Path, cameras: Sequence[str], from_ns: int = 0, to_ns: int = 1 << 62
) -> list[Recorded]:
    """Files that hold pictures of a span, by camera and time. OSError if one cannot be read."""
    found = []
    for camera in cameras:
        for path in sorted((folder / camera).glob("*/*.mp4*")):
            began_ns = _began_ns(path)
            if began_ns is None or began_ns >= to_ns:
                continue
            try:
                with path.open("rb") as file:
                    pieces = index(file)[1]
                size = path.stat().st_size
            except FileNotFoundError:  # it was let go, or has got its name meanwhile
                continue
            if not pieces:
                continue
            ends = pieces[-1].at + pieces[-1].ticks
            ended_ns = began_ns + ends * 10**9 // TICKS_PER_S
            if ended_ns > from_ns:
                whole = path.suffix != PART
                found.append(Recorded(camera, path, began_ns, ended_ns, size, whole))
    return sorted(found, key=lambda one: (one.camera, one.from_ns))


def missing(files: Sequence[Recorded]) -> list[Missing]:
    """Spans between files of one camera of more than GAP_NS. Pure."""
    return [
        Missing(one.camera, one.to_ns, following.from_ns)
        for one, following in itertools.pairwise(files)
        if one.camera == following.camera and following.from_ns - one.to_ns > GAP_NS
    ]


def extract(file: Recorded, target: Path, from_ns: int, to_ns: int) -> Extract | None:
    """Copy what a file holds of a span into the folder `target`; None if that is nothing."""
    with file.path.open("rb") as source:
        head, pieces = index(source)
        first, last = ((at_ns - file.from_ns) * TICKS_PER_S // 10**9 for at_ns in (from_ns, to_ns))
        wanted = [one for one in pieces if one.at < last and one.at + one.ticks > first]
        if not wanted:
            return None
        start = max(
            (number for number, one in enumerate(pieces) if one.key and one.at <= wanted[0].at),
            default=0,
        )
        wanted = pieces[start : pieces.index(wanted[-1]) + 1]
        began_ns = file.from_ns + wanted[0].at * 10**9 // TICKS_PER_S
        ended_ns = file.from_ns + (wanted[-1].at + wanted[-1].ticks) * 10**9 // TICKS_PER_S
        path = target / f"{file.camera}-{_stamp(began_ns)}.mp4"
        digest = hashlib.sha256()
        target.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as copy:
            for begin, end in ((0, head), *((one.start, one.end) for one in wanted)):
                source.seek(begin)
                content = source.read(end - begin)
                digest.update(content)
                copy.write(content)
            size = copy.tell()
    return Extract(file, path, began_ns, ended_ns, size, digest.hexdigest())


def index(file: BinaryIO) -> tuple[int, list[Piece]]:
    """Bytes of the head, and the whole fragments, of a file as fmp4.py makes them."""
    head, pieces = 0, []
    moof: tuple[int, bytes] | None = None
    for kind, start, end in _boxes(file):
        if kind == b"moov":
            head = end
        elif kind == b"moof":
            file.seek(start)
            moof = start, file.read(end - start)
        elif kind == b"mdat" and moof is not None:
            pieces.append(_piece(moof[0], end, moof[1]))
            moof = None
    return head, pieces


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte, and the byte after it, of each whole box."""
    size = file.seek(0, 2)
    start = 0
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length < 8 or start + length > size:
            return
        yield kind, start, start + length
        start += length


def _piece(start: int, end: int, moof: bytes) -> Piece:
    decode = moof.index(b"tfdt") + 8
    run = moof.index(b"trun") + 8
    at = struct.unpack_from(">Q", moof, decode)[0]
    count = struct.unpack_from(">I", moof, run)[0]
    rows = list(struct.iter_unpack(">III", moof[run + 8 : run + 8 + 12 * count]))
    key = bool(rows) and not rows[0][2] & _SYNC_BIT
    return Piece(start, end, at, sum(row[0] for row in rows), key)


def _began_ns(path: Path) -> int | None:
    name = path.name.removesuffix(PART).removesuffix("Z.mp4")
    try:
        moment = datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) * 1_000_000


def _stamp(at_ns: int) -> str:
    moment = datetime.fromtimestamp(at_ns / 1e9, tz=UTC)
    return f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03}Z"
