"""Clips 视频片段: a ring of the last seconds as JPEG pictures, and AVI files made of it. Pure.

Guarantees:

- A clip shows `before_s` before the order and `after_s` after it, as far as there were pictures; a
  camera that is lost meanwhile gives what there was, at the same time.
- A picture is encoded once, when it comes into the ring; clips are put together without encoding
  anything again (Motion JPEG in AVI, which OpenCV, FFmpeg and VLC play).
- The ring and every clip are bounded in bytes: where a clip is too large, every second picture is
  left out, and the time between two pictures in the file is the true mean.

    RIFF "AVI " | LIST hdrl (avih, LIST strl (strh, strf)) | LIST movi (00dc ...) | idx1

AVI RIFF as in Microsoft's "AVI RIFF File Reference", OpenDML not needed below 1 GB.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

MOST_RING_BYTES = 8 << 20
MOST_CLIP_BYTES = 4_000_000
"""Below the largest blob of a message to the gateway (events.py, MOST_BLOB_BYTES)."""
MOST_AGE_NS = 60_000_000_000
"""Ours, from no document: a picture that is older shows nothing of an alarm of now."""
MOST_ORDERS = 8
"""Clips under way at one time; a flood of alarms on one camera shares its pictures anyway."""

AVI = "video/x-msvideo"
_HAS_INDEX = 0x10
_KEY_FRAME = 0x10


@dataclass(frozen=True, slots=True)
class Picture:
    """One JPEG of the ring. received_ns is monotonic."""

    jpeg: bytes
    received_ns: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Clip:
    """A finished clip. seconds: from its first picture to its last."""

    order: str
    content: bytes
    pictures: int
    seconds: float


@dataclass(slots=True)
class _Order:
    name: str
    due_ns: int
    pictures: list[Picture] = field(default_factory=list)


class Ring:
    """The last seconds of one camera, and the clips that were ordered of it."""

    def __init__(self, before_s: float, after_s: float, fps: float) -> None:
        self._before_ns = round(before_s * 1e9)
        self._after_ns = round(after_s * 1e9)
        self._period_ns = round(1e9 / fps)
        self._pictures: deque[Picture] = deque()
        self._bytes = 0
        self._orders: list[_Order] = []
        self._next_ns = 0

    def wants(self, now_ns: int) -> bool:
        """Tell whether it is time for another picture."""
        return now_ns >= self._next_ns

    def add(self, picture: Picture) -> None:
        """Take a picture; one of another size begins the ring anew."""
        newest = self.newest
        if newest and (newest.width, newest.height) != (picture.width, picture.height):
            self._pictures.clear()
            self._bytes = 0
        self._next_ns = picture.received_ns + self._period_ns
        self._pictures.append(picture)
        self._bytes += len(picture.jpeg)
        oldest_ns = picture.received_ns - self._before_ns
        while self._bytes > MOST_RING_BYTES or self._pictures[0].received_ns < oldest_ns:
            self._bytes -= len(self._pictures.popleft().jpeg)
        for order in self._orders:
            order.pictures.append(picture)

    @property
    def newest(self) -> Picture | None:
        """The newest picture."""
        return self._pictures[-1] if self._pictures else None

    def recent(self, now_ns: int) -> Picture | None:
        """The newest picture, if it is no older than MOST_AGE_NS: evidence of what is now."""
        newest = self.newest
        return newest if newest is not None and now_ns - newest.received_ns <= MOST_AGE_NS else None

    def order(self, name: str, now_ns: int) -> bool:
        """Order a clip; False if too many are under way, or this one is."""
        if len(self._orders) >= MOST_ORDERS or any(one.name == name for one in self._orders):
            return False
        from_ns = now_ns - self._before_ns
        begun = [picture for picture in self._pictures if picture.received_ns >= from_ns]
        self._orders.append(_Order(name, now_ns + self._after_ns, begun))
        return True

    def due(self, now_ns: int) -> list[Clip]:
        """Clips whose time is over; empty content where there was no picture."""
        over = [order for order in self._orders if order.due_ns <= now_ns]
        self._orders = [order for order in self._orders if order.due_ns > now_ns]
        return [_clip(order) for order in over]


def _clip(order: _Order) -> Clip:
    last = order.pictures[-1] if order.pictures else None
    pictures = [
        p for p in order.pictures
        if last is not None and (p.width, p.height) == (last.width, last.height)
    ]  # fmt: skip
    while sum(len(p.jpeg) + 32 for p in pictures) > MOST_CLIP_BYTES and len(pictures) > 1:
        pictures = pictures[::2]
    span_ns = pictures[-1].received_ns - pictures[0].received_ns if pictures else 0
    return Clip(order.name, avi(pictures) if pictures else b"", len(pictures), span_ns / 1e9)


def middle_picture(content: bytes) -> bytes:
    """JPEG from the middle of an AVI file as `avi` makes them; empty where it is none, or torn."""
    if content[:4] != b"RIFF" or content[8:12] != b"AVI ":
        return b""
    at, stop = 12, len(content)
    pictures: list[tuple[int, int]] = []
    while at + 8 <= stop:
        name, size = struct.unpack_from("<4sI", content, at)
        if name == b"LIST" and content[at + 8 : at + 12] == b"movi":
            at += 12  # its chunks follow
            continue
        if name == b"00dc" and at + 8 + size <= stop:
            pictures.append((at + 8, size))
        at += 8 + size + size % 2
    if not pictures:
        return b""
    start, size = pictures[len(pictures) // 2]
    return content[start : start + size]


def avi(pictures: Sequence[Picture]) -> bytes:
    """Put JPEG pictures of one size into an AVI file; at least one."""
    first, last = pictures[0], pictures[-1]
    gaps, span_ns = len(pictures) - 1, last.received_ns - first.received_ns
    period_us = max(1, span_ns // gaps // 1000) if gaps else 1_000_000
    largest = max(len(p.jpeg) for p in pictures)
    size = struct.pack("<HH", first.width & 0xFFFF, first.height & 0xFFFF)
    avih = struct.pack(
        "<10I16x", period_us, largest * 1_000_000 // period_us, 0, _HAS_INDEX, len(pictures), 0, 1,
        largest, first.width, first.height,
    )  # fmt: skip
    strh = struct.pack(
        "<4s4sIHHIIIIIIII", b"vids", b"MJPG", 0, 0, 0, 0, period_us, 1_000_000, 0, len(pictures),
        largest, 0xFFFFFFFF, 0,
    ) + struct.pack("<HH", 0, 0) + size  # fmt: skip
    strf = struct.pack(
        "<IiiHH4sIiiII", 40, first.width, first.height, 1, 24, b"MJPG",
        first.width * first.height * 3, 0, 0, 0, 0,
    )  # fmt: skip
    strl = _list(b"strl", _chunk(b"strh", strh) + _chunk(b"strf", strf))
    movi, index = bytearray(), bytearray()
    for picture in pictures:
        index += struct.pack("<4sIII", b"00dc", _KEY_FRAME, 4 + len(movi), len(picture.jpeg))
        movi += _chunk(b"00dc", picture.jpeg)
    body = (
        b"AVI "
        + _list(b"hdrl", _chunk(b"avih", avih) + strl)
        + _list(b"movi", bytes(movi))
        + _chunk(b"idx1", bytes(index))
    )
    return _chunk(b"RIFF", body)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(name: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", name + content)
