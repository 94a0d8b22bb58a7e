"""Fragmented MP4: a head, then fragments of some seconds, each whole by itself. Pure.

Guarantees: what was written up to any whole fragment can be played, whatever comes after it or does
not: a recording that ends by SIGKILL or a full disk lacks only its last fragment.

    ftyp | moov (mvhd, trak, mvex) | moof mdat | moof mdat | ...

Sources: ISO/IEC 14496-12 (boxes), 14496-15 (avc1, hvc1), 14496-1 (esds; object type 6C hex is
JPEG, as registered with the MP4 Registration Authority).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from vision.nal import H264, H265, avc_configuration, hevc_configuration

TICKS_PER_S = 90_000
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_SYNC, _NOT_SYNC = 0x02000000, 0x01010000
_EPOCH_S = 2_082_844_800
"""Seconds from 1904, where MP4 counts from, to 1970."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture. ticks: how long it is shown, 1/90000 s."""

    content: bytes
    ticks: int
    key: bool


@dataclass(frozen=True, slots=True)
class Track:
    """What is recorded. parameters: parameter sets of H.264 and H.265, nothing for JPEG."""

    codec: str
    width: int
    height: int
    parameters: tuple[bytes, ...] = ()


def head(track: Track, began_s: int) -> bytes:
    """Everything before the first fragment. began_s: seconds since 1970 UTC."""
    made = began_s + _EPOCH_S
    times = struct.pack(">IIII", made, made, TICKS_PER_S, 0)
    mvhd = _full(b"mvhd", 0, 0, times + struct.pack(">IHH8x", 0x10000, 0x100, 0) + _MATRIX
                 + bytes(24) + struct.pack(">I", 2))  # fmt: skip
    tkhd = _full(b"tkhd", 0, 3, struct.pack(">IIIII8xHHHH", made, made, 1, 0, 0, 0, 0, 0, 0)
                 + _MATRIX + struct.pack(">II", track.width << 16, track.height << 16))  # fmt: skip
    mdhd = _full(b"mdhd", 0, 0, times + struct.pack(">HH", 0x55C4, 0))
    hdlr = _full(b"hdlr", 0, 0, struct.pack(">I4s12x", 0, b"vide") + b"camera\x00")
    dinf = _box(b"dinf", _full(b"dref", 0, 0, struct.pack(">I", 1) + _full(b"url ", 0, 1, b"")))
    empty = struct.pack(">I", 0)
    stbl = _box(
        b"stbl",
        _full(b"stsd", 0, 0, struct.pack(">I", 1) + _entry(track))
        + _full(b"stts", 0, 0, empty)
        + _full(b"stsc", 0, 0, empty)
        + _full(b"stsz", 0, 0, empty + empty)
        + _full(b"stco", 0, 0, empty),
    )
    minf = _box(b"minf", _full(b"vmhd", 0, 1, bytes(8)) + dinf + stbl)
    trak = _box(b"trak", tkhd + _box(b"mdia", mdhd + hdlr + minf))
    mvex = _box(b"mvex", _full(b"trex", 0, 0, struct.pack(">IIIII", 1, 1, 0, 0, 0)))
    kinds = b"iso6" + struct.pack(">I", 0) + b"iso6mp41"
    return _box(b"ftyp", kinds) + _box(b"moov", mvhd + trak + mvex)


def fragment(samples: Sequence[Sample], number: int, at_ticks: int) -> bytes:
    """One fragment. number: from 1.  at_ticks: when it begins, from the beginning of the file."""
    rows = b"".join(
        struct.pack(">III", one.ticks, len(one.content), _SYNC if one.key else _NOT_SYNC)
        for one in samples
    )
    mfhd = _full(b"mfhd", 0, 0, struct.pack(">I", number))
    tfhd = _full(b"tfhd", 0, 0x020000, struct.pack(">I", 1))
    tfdt = _full(b"tfdt", 1, 0, struct.pack(">Q", at_ticks))

    def moof(offset: int) -> bytes:
        trun = _full(b"trun", 0, 0x000701, struct.pack(">II", len(samples), offset) + rows)
        return _box(b"moof", mfhd + _box(b"traf", tfhd + tfdt + trun))

    offset = len(moof(0)) + 8
    return moof(offset) + _box(b"mdat", b"".join(one.content for one in samples))


def _entry(track: Track) -> bytes:
    if track.codec == H264:
        name, more = b"avc1", _box(b"avcC", avc_configuration(track.parameters))
    elif track.codec == H265:
        name, more = b"hvc1", _box(b"hvcC", hevc_configuration(track.parameters))
    else:
        name, more = b"mp4v", _full(b"esds", 0, 0, _jpeg_descriptor())
    fixed = struct.pack(">6xH16xHH", 1, track.width, track.height)
    fixed += struct.pack(">IIIH32xHh", 0x480000, 0x480000, 0, 1, 24, -1)
    return _box(name, fixed + more)


def _jpeg_descriptor() -> bytes:
    decoder = struct.pack(">BBBHII", 0x6C, 0x11, 0, 0, 0, 0)
    inner = struct.pack(">HB", 1, 0) + bytes((4, len(decoder))) + decoder + b"\x06\x01\x02"
    return bytes((3, len(inner))) + inner


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


def _full(name: bytes, version: int, flags: int, content: bytes) -> bytes:
    return _box(name, struct.pack(">I", version << 24 | flags) + content)
