"""What passes on an RS-485 line, told apart without saying a word: frames, noise, who talks.

Guarantees:

- every byte is counted once: in a frame with the right CRC, as noise, or as marked by the port with
  a parity or framing error;
- a frame counts only with the right CRC at a length that its function can have;
- requests, answers and writes of other masters are told apart; an answer is told with the time
  since its request;
- it makes no bytes: there is no encoder here.

Constraints: function codes and lengths of Modbus Application Protocol V1.1b3 §6; the CRC of Modbus
over Serial Line V1.02 §2.5.1.2. A moment is that of the piece in which a frame ended: a USB
converter hands over each 16 ms, a TCP converter as it likes. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from drivers.modbus.rtu import crc16, identification_bytes

_SHORTEST_BYTES = 4
_LONGEST_BYTES = 256  # Modbus over Serial Line V1.02 §2.5.1
_WAIT_NS = 100 * 10**6  # a frame that is not whole after so much silence never will be
_ANSWER_WITHIN_NS = 5 * 10**9
HASTY_NS = 30 * 10**6
"""No master gives a device less time than this before it sends the next request."""
_READS = frozenset({1, 2, 3, 4})
_FIXED_WRITES = frozenset({5, 6})
_COUNTED_WRITES = frozenset({15, 16})
WRITES = frozenset({5, 6, 15, 16, 22, 23})
"""Functions by which a master changes a device, V1.1b3 §6."""
_REMEMBERED_TIMES = 4096


class Asked(NamedTuple):
    """A request as its master repeats it. wanted: registers or bits; 0 where it does not say."""

    unit: int
    function: int
    begin: int
    wanted: int


@dataclass(slots=True)
class Heard:
    """Counts of one stretch of listening.

    noise_bytes: in no frame; noise_runs: stretches of them.  marked_bytes: with an error of parity
    or framing by the port.  hasty: requests that followed another one at once, before it could be
    answered.  overtaken: answers that came to a request although another had been sent behind it.
    repeated: frames heard twice in a row.  asked: each request with its count; unanswered: of those
    the ones without answer.  answer_ns: times from request to answer.
    """

    bytes: int = 0
    requests: int = 0
    answers: int = 0
    exceptions: int = 0
    writes: int = 0
    other: int = 0
    noise_bytes: int = 0
    noise_runs: int = 0
    marked_bytes: int = 0
    hasty: int = 0
    overtaken: int = 0
    repeated: int = 0
    pieces: int = 0
    text_bytes: int = 0
    asked: Counter[Asked] = field(default_factory=Counter)
    unanswered: Counter[Asked] = field(default_factory=Counter)
    answering_units: Counter[int] = field(default_factory=Counter)
    answer_ns: list[int] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """Frames with the right CRC."""
        return self.requests + self.answers + self.other

    @property
    def clean_ratio(self) -> float:
        """Share of the bytes that are in frames; 0 without bytes."""
        bad = self.noise_bytes + self.marked_bytes
        return (self.bytes - bad) / self.bytes if self.bytes else 0.0


class _Pending(NamedTuple):
    asked: Asked
    at_ns: int


class Ear:
    """Takes bytes with their moments; `heard` is what they were so far."""

    def __init__(self) -> None:
        self.heard = Heard()
        self._held = b""
        self._last_ns = 0
        self._in_noise = False
        self._pending: list[_Pending] = []
        self._before = b""
        self._before_ns = 0

    def feed(self, chunk: bytes, now_ns: int, marked: int = 0) -> None:
        """Take bytes from the line. marked: further bytes, that the port gave with an error."""
        heard = self.heard
        if self._held and now_ns - self._last_ns > _WAIT_NS:
            self._parse(now_ns, whole=True)
        heard.bytes += len(chunk) + marked
        heard.pieces += 1
        heard.text_bytes += sum(1 for byte in chunk if byte in _ASCII_BYTES)
        if marked:
            heard.marked_bytes += marked
            self._in_noise = True
        self._held += chunk
        self._last_ns = now_ns
        self._parse(now_ns, whole=False)

    def end(self, now_ns: int) -> Heard:
        """Judge what is left; returns what was heard."""
        self._parse(now_ns, whole=True)
        self._forget(now_ns + _ANSWER_WITHIN_NS + 1)
        return self.heard

    def _parse(self, now_ns: int, *, whole: bool) -> None:
        """Take frames out of what is held. whole: nothing more will come to it."""
        held, at = self._held, 0
        while len(held) - at >= _SHORTEST_BYTES:
            sizes = _sizes(held, at)
            size = next((n for n in sizes if _is_frame(held, at, n)), 0)
            if size:
                self._in_noise = False
                self._take(held[at : at + size], now_ns)
                at += size
                continue
            if not whole and any(len(held) - at < n for n in sizes):
                break
            at += 1
            self._noise(1)
        if whole and at < len(held):
            self._noise(len(held) - at)
            at = len(held)
        self._held = held[at:][-2 * _LONGEST_BYTES :]
        self._forget(now_ns)

    def _noise(self, count: int) -> None:
        self.heard.noise_bytes += count
        self.heard.noise_runs += not self._in_noise
        self._in_noise = True

    def _take(self, frame: bytes, now_ns: int) -> None:
        """Count a frame with the right CRC."""
        heard = self.heard
        if self._answered(frame, now_ns):
            self._before = b""
            return
        if frame == self._before and now_ns - self._before_ns <= HASTY_NS and _asks(frame):
            heard.repeated += 1
            heard.other += 1
            self._before = b""
            return
        self._before, self._before_ns = frame, now_ns
        asked = _asks(frame)
        if asked is None:
            heard.other += 1
            return
        heard.requests += 1
        heard.writes += asked.function in WRITES
        heard.asked[asked] += 1
        if self._pending and now_ns - self._pending[-1].at_ns <= HASTY_NS:
            heard.hasty += 1
        if asked.unit:  # nobody answers a broadcast
            self._pending.append(_Pending(asked, now_ns))

    def _answered(self, frame: bytes, now_ns: int) -> bool:
        """Take a frame as the answer to the newest request that it fits."""
        heard = self.heard
        for place in reversed(range(len(self._pending))):
            asked, at_ns = self._pending[place]
            if not _fits(asked, frame):
                continue
            heard.answers += 1
            heard.exceptions += frame[1] >= 0x80
            heard.answering_units[frame[0]] += 1
            if place + 1 < len(self._pending):
                heard.overtaken += self._pending[place + 1].at_ns - at_ns <= HASTY_NS
            elif len(heard.answer_ns) < _REMEMBERED_TIMES:
                heard.answer_ns.append(now_ns - at_ns)
            del self._pending[place]
            return True
        return False

    def _forget(self, now_ns: int) -> None:
        """Count requests that will not be answered any more."""
        pending = self._pending
        while pending and now_ns - pending[0].at_ns > _ANSWER_WITHIN_NS:
            self.heard.unanswered[pending.pop(0).asked] += 1


_ASCII_BYTES = frozenset(b":0123456789ABCDEF\r\n")
"""What a line in ASCII mode consists of, Modbus over Serial Line V1.02 §2.5.2."""


def unmark(raw: bytes) -> tuple[bytes, int, bytes]:
    r"""Undo the port's marking of errors (PARMRK, termios(3)).

    \377 \0 X is a byte with an error, \377 \377 the byte 0xFF. Returns the good bytes, the count of
    those with an error, and the rest that needs more bytes.
    """
    good, marked, at = bytearray(), 0, 0
    while at < len(raw):
        if raw[at] != 0xFF:
            good.append(raw[at])
            at += 1
        elif raw[at + 1 : at + 2] == b"\xff":
            good.append(0xFF)
            at += 2
        elif len(raw) - at >= 3:
            marked += 1
            at += 3
        else:
            break
    return bytes(good), marked, raw[at:]


_FIXED_SIZES: Mapping[int, tuple[int, ...]] = {
    **dict.fromkeys(_READS, (8,)),
    **dict.fromkeys((5, 6, 8, 15, 16), (8,)),
    7: (4, 5),
    11: (4, 8),
    12: (4,),
    17: (4,),
    22: (10,),
    43: (7,),
}
"""Lengths of requests and answers that follow from the function, CRC included."""
_COUNT_AT: Mapping[int, tuple[int, ...]] = {
    **dict.fromkeys(_READS, (2,)),
    **dict.fromkeys((12, 17, 20, 21), (2,)),
    **dict.fromkeys(_COUNTED_WRITES, (6,)),
    23: (2, 10),
}
"""Places of byte counts; the frame ends that many bytes and the CRC behind them."""


def _sizes(held: bytes, at: int) -> list[int]:
    """Lengths that a frame beginning here can have, shortest first; none if it can be none."""
    function = held[at + 1]
    if function & 0x80:
        return [5]
    sizes = list(_FIXED_SIZES.get(function, ()))
    for place in _COUNT_AT.get(function, ()):
        if len(held) > at + place:
            sizes.append(place + 3 + held[at + place])
    if function == 43:
        sizes.append(identification_bytes(held, at))
    return sorted(size for size in sizes if size <= _LONGEST_BYTES)


def _is_frame(held: bytes, at: int, size: int) -> bool:
    frame = held[at : at + size]
    return len(frame) == size >= _SHORTEST_BYTES and crc16(frame[:-2]) == frame[-2:]


def _asks(frame: bytes) -> Asked | None:
    """Return the request that a frame is by its length; None if it is an answer."""
    function, size = frame[1], len(frame)
    begin, wanted = int.from_bytes(frame[2:4], "big"), int.from_bytes(frame[4:6], "big")
    if function in _READS:
        return Asked(frame[0], function, begin, wanted) if size == 8 and wanted else None
    if function in _FIXED_WRITES or (function == 22 and size == 10):
        return Asked(frame[0], function, begin, 1)
    if function in _COUNTED_WRITES or function == 23:
        return Asked(frame[0], function, begin, wanted) if size > 8 else None
    return Asked(frame[0], function, 0, 0) if size in {4, 7} else None


def _fits(asked: Asked, frame: bytes) -> bool:
    """Tell whether a frame can be the answer to a request."""
    if frame[0] != asked.unit or frame[1] & 0x7F != asked.function:
        return False
    if frame[1] & 0x80:
        return True
    if asked.function in _READS:
        bits = asked.function <= 2
        count = (asked.wanted + 7) // 8 if bits else 2 * asked.wanted
        return len(frame) == 5 + count and frame[2] == count
    if asked.function in WRITES and asked.function != 23:
        return len(frame) in {8, 10} and int.from_bytes(frame[2:4], "big") == asked.begin
    return True
