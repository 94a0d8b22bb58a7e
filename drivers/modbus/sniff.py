"""Requests and answers of another master on an RTU line, paired: what `listen_only` reads.

Guarantees:

- an answer counts only with the right CRC, directly behind a request with the right CRC to the same
  unit and function, and with exactly the byte count that was asked for;
- noise, exceptions, writes and half frames are stepped over; the parser finds its place again at
  the next request;
- it makes no bytes: there is no encoder here.

A read request has eight bytes: unit, function 1 to 4, address, count, CRC. Pure.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.modbus.codec import MAX_BITS, MAX_REGISTERS, Area
from drivers.modbus.rtu import crc16

_REQUEST_BYTES = 8
_HELD_BYTES = 1024  # a request and the longest answer are 264
_ANSWER_WITHIN_NS = 5 * 10**9  # a master waits less before it asks the next unit


class Seen(NamedTuple):
    """What a device has told its master: `wanted` registers or bits from `begin`."""

    unit: int
    area: Area
    begin: int
    wanted: int
    content: bytes


class _Asked(NamedTuple):
    unit: int
    area: Area
    begin: int
    wanted: int
    at_ns: int

    @property
    def payload_bytes(self) -> int:
        return (self.wanted + 7) // 8 if self.area.bits else 2 * self.wanted


class Sniffer:
    """Pairs what passes on a line. requests, answers: taken.  skipped_bytes: stepped over."""

    def __init__(self) -> None:
        self.requests = self.answers = self.skipped_bytes = 0
        self._held = b""
        self._asked: _Asked | None = None

    def feed(self, chunk: bytes, now_ns: int) -> list[Seen]:
        """Take bytes from the line; returns what was told in them."""
        held = self._held + chunk
        seen: list[Seen] = []
        at = 0
        while at < len(held):
            asked = self._asked
            if asked is not None and now_ns - asked.at_ns > _ANSWER_WITHIN_NS:
                asked = self._asked = None
            content, waits = _answer(asked, held, at) if asked is not None else (None, False)
            if asked is not None and content is not None:
                seen.append(Seen(*asked[:4], content))
                self.answers += 1
                self._asked = None
                at += len(content) + 5
                continue
            request = _request(held, at, now_ns)
            if request is not None:
                self._asked = request
                self.requests += 1
                at += _REQUEST_BYTES
                continue
            if waits or len(held) - at < _REQUEST_BYTES:
                break  # more bytes may complete an answer or a request
            at += 1
            self.skipped_bytes += 1
        self._held = held[at:][-_HELD_BYTES:]
        return seen


def _answer(asked: _Asked, held: bytes, at: int) -> tuple[bytes | None, bool]:
    """Content of the answer that begins here, or whether one may still be coming."""
    head = bytes((asked.unit, asked.area, asked.payload_bytes))
    if not head.startswith(held[at : at + 3]):
        return None, False
    size = asked.payload_bytes + 5
    frame = held[at : at + size]
    if len(frame) < size:
        return None, True
    return (frame[3:-2], False) if crc16(frame[:-2]) == frame[-2:] else (None, False)


def _request(held: bytes, at: int, now_ns: int) -> _Asked | None:
    """Return the read request that begins here."""
    frame = held[at : at + _REQUEST_BYTES]
    if len(frame) < _REQUEST_BYTES or not 1 <= frame[1] <= 4:
        return None
    area = Area(frame[1])
    start, count = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    if not 1 <= count <= (MAX_BITS if area.bits else MAX_REGISTERS):
        return None
    return _Asked(frame[0], area, start, count, now_ns) if crc16(frame[:6]) == frame[6:] else None
