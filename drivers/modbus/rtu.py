"""Modbus RTU frames on a serial line or in a TCP stream: found by what the answer must be.

Guarantees:

- an answer is taken only if unit, function, byte count and CRC all are what the request must get;
  a shorter or longer one of the same unit and function is refused, never a value;
- noise, our own echo (RS-485 two-wire), broadcasts and frames of other units before the answer are
  stepped over: the answer is looked for at every byte, so the stream never has to be aligned;
- no silence is needed to know that an answer is complete: its length follows from its first bytes.

    | unit 1 | function 1 | content ≤ 252 | CRC 2, low byte first |

Constraints, Modbus over Serial Line V1.02: CRC-16 with polynomial 0xA001, begun with 0xFFFF
(§2.5.1.2, appendix B); frames are at least 3.5 characters apart, 1.75 ms above 19,200 baud
(§2.5.1.1); a character has 11 bits. What cannot be told apart: the answer that another master on
the same line gets from the same unit to a request of the same length. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from drivers.modbus.codec import ExceptionReplyError, MalformedReplyError, Request, adu_payload
from drivers.modbus.exchange import Outcome

BITS_A_CHARACTER = 11
_FAST_GAP_NS = 1_750_000
_EXCEPTION = 0x80
_EXCEPTION_BYTES = 5
_COUNTED = frozenset({1, 2, 3, 4, 17, 20})
_IDENTIFICATION = 43


class Found(NamedTuple):
    """An answer in a stream. code: an Outcome, or the exception code of the device."""

    code: int
    content: bytes


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _crc_table()


def crc16(frame: bytes) -> bytes:
    """Check sum of a frame, as its two last bytes on the wire."""
    crc, table = 0xFFFF, _TABLE
    for byte in frame:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def silence_ns(baud: int) -> int:
    """Silence between frames: 3.5 characters, or 1.75 ms above 19,200 baud."""
    return _FAST_GAP_NS if baud > 19_200 else int(3.5 * BITS_A_CHARACTER * 10**9 / baud)


def encode(request: Request) -> bytes:
    """Encode a request for the line."""
    frame = bytes((request.unit,)) + request.pdu
    return frame + crc16(frame)


def find(request: Request, stream: bytes) -> Found | None:
    """Find the answer to `request` in what has come since it was sent; None: wait for more."""
    for adu in _candidates(request, stream):
        if crc16(adu[:-2]) != adu[-2:]:
            continue
        try:
            return Found(Outcome.READ, adu_payload(request, adu[:-2]))
        except ExceptionReplyError as error:
            return Found(error.code, b"")
        except MalformedReplyError:
            return Found(Outcome.MALFORMED, b"")
    return None


def garbled(request: Request, stream: bytes) -> bool:
    """Tell whether a whole answer seems to have come, of which no byte can be trusted."""
    return any(crc16(adu[:-2]) != adu[-2:] for adu in _candidates(request, stream))


def _candidates(request: Request, stream: bytes) -> Iterator[bytes]:
    """Every whole piece of the stream that could be the answer, first come first."""
    own = encode(request)
    at, end = 0, len(stream)
    while (at := stream.find(own[:1], at)) >= 0 and at + 2 < end:
        if stream.startswith(own, at):  # our echo
            at += len(own)
            continue
        size = _answer_bytes(request, stream, at)
        if 0 < size <= end - at and not own.startswith(stream[at : at + len(own)]):
            yield stream[at : at + size]
        at += 1


def _answer_bytes(request: Request, stream: bytes, at: int) -> int:
    """Length of the answer that begins here by its own account; 0 if none does, or not yet."""
    function = stream[at + 1]
    if function == request.function | _EXCEPTION:
        return _EXCEPTION_BYTES
    if function != request.function:
        return 0
    if function in _COUNTED:
        return 5 + stream[at + 2]
    if function == _IDENTIFICATION:
        return identification_bytes(stream, at)
    return _EXCEPTION_BYTES  # function 7: one byte of status


def identification_bytes(stream: bytes, at: int) -> int:
    """Length of a 43/14 answer: seven bytes to the count of objects, then their lengths."""
    if len(stream) < at + 8:
        return 0
    position = at + 8
    for _ in range(stream[at + 7]):
        if len(stream) < position + 2:
            return 0
        position += 2 + stream[position + 1]
    return position + 2 - at
