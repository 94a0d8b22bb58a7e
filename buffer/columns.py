"""Integer columns to bytes and back: the lowest layer of the block format. Pure.

Guarantees: what `pack_signed` and `pack_unsigned` write, `Cursor` reads back bit for bit; reading
hostile bytes raises `BlockError` and never allocates more than the caller's count of items.

A column is one code byte and its bytes:

    code 0x00            all items are 0; nothing follows
    code 0x01 02 04 08   items of that many bytes, little-endian, byte-shuffled: all lowest bytes
                         first, then all second bytes, ...
    code 0x11            items of 1 byte, then exceptions: varint count, column of position steps,
                         column of values (so that one big jump does not widen the rest)

Signed columns are zigzag coded: 0, -1, 1, -2, ... become 0, 1, 2, 3, ...
A varint is base 128, lowest group first, at most 10 bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

OUTLIERS_FROM_ITEMS = 64
OUTLIER_SHARE = 32
"""Up to one item in 32 may be an exception; above that the whole column is widened."""

_UNSIGNED: Mapping[int, np.dtype[np.unsignedinteger]] = {
    1: np.dtype("<u1"),
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}
_SIGNED: Mapping[int, np.dtype[np.signedinteger]] = {
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    4: np.dtype("<i4"),
    8: np.dtype("<i8"),
}
_EXCEPTIONS = 0x10


class BlockError(Exception):
    """The bytes are no valid block, or do not continue what was fed before."""


def pack_varint(value: int) -> bytes:
    """Write one integer of 0 to 2**64 - 1."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Fold one signed 64-bit integer, wrapping modulo 2**64, into an unsigned one."""
    value = wrap(value)
    return value << 1 if value >= 0 else (-value << 1) - 1


def wrap(value: int) -> int:
    """Reduce an integer modulo 2**64 into the range of int64."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def pack_signed(items: Int64Array) -> bytes:
    """Write int64[n]; small magnitudes are cheap."""
    if not len(items):
        return b"\0"
    low, high = int(np.minimum.reduce(items)), int(np.maximum.reduce(items))
    if low == 0 == high:
        return b"\0"
    for width in (1, 2, 4):
        limit = 1 << (8 * width - 1)
        if -limit <= low and high < limit:
            narrow = items.astype(_SIGNED[width])
            folded = (narrow << 1) ^ (narrow >> (8 * width - 1))
            return _pack_narrow(folded.view(_UNSIGNED[width]), width)
    return _pack_narrow(((items << 1) ^ (items >> 63)).view(_UNSIGNED[8]), 8)


def pack_unsigned(items: UInt64Array) -> bytes:
    """Write uint64[n]; small values are cheap."""
    top = int(items.max()) if len(items) else 0
    if top == 0:
        return b"\0"
    width = next(width for width in (1, 2, 4, 8) if top < 1 << 8 * width)
    return _pack_narrow(items.astype(_UNSIGNED[width]), width)


def pack_few(items: Sequence[int]) -> bytes:
    """Write a short list as `pack_unsigned` would, without making an array of small items."""
    top = max(items, default=0)
    if top == 0:
        return b"\0"
    return b"\1" + bytes(items) if top < 256 else pack_unsigned(np.array(items, np.uint64))


def pack_few_signed(items: Sequence[int]) -> bytes:
    """Write a short list of int64 as `pack_signed` would."""
    return pack_few([zigzag(item) for item in items])


def pack_positions(positions: npt.NDArray[np.intp]) -> bytes:
    """Write increasing positions as their count and, if there are any, their steps."""
    if not len(positions):
        return b"\0"
    steps = np.diff(positions, prepend=0)
    return pack_varint(len(positions)) + pack_unsigned(steps.astype(np.uint64))


def _pack_narrow(items: npt.NDArray[np.unsignedinteger], width: int) -> bytes:
    if width == 1:
        return b"\1" + items.tobytes()
    if len(items) >= OUTLIERS_FROM_ITEMS:
        outliers = np.flatnonzero(items > 0xFF)
        if len(outliers) * OUTLIER_SHARE <= len(items):
            narrow = items.astype(np.uint8)
            narrow[outliers] = 0
            exceptions = pack_positions(outliers) + pack_unsigned(items[outliers].astype(np.uint64))
            return b"\x11" + narrow.tobytes() + exceptions
    shuffled = items.view(np.uint8).reshape(len(items), width).T
    return bytes((width,)) + shuffled.tobytes()


class Cursor:
    """Reads a body from front to back; every read checks its bounds."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes, at: int = 0) -> None:
        self._body = body
        self._at = at

    @property
    def at(self) -> int:
        """Offset of the next byte."""
        return self._at

    def take(self, count: int) -> bytes:
        """Next `count` bytes."""
        stop = self._at + count
        if count < 0 or stop > len(self._body):
            raise BlockError(f"block ends early: {count} bytes wanted at {self._at}")
        piece = self._body[self._at : stop]
        self._at = stop
        return piece

    def byte(self) -> int:
        """Next byte."""
        at = self._at
        if at >= len(self._body):
            raise BlockError(f"block ends early: 1 byte wanted at {at}")
        self._at = at + 1
        return self._body[at]

    def varint(self, limit: int) -> int:
        """Next varint, which must not exceed `limit`."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise BlockError("varint is longer than 64 bits")
        if value > limit:
            raise BlockError(f"count {value} exceeds {limit}")
        return value

    def signed(self) -> int:
        """Next zigzag varint as an int64."""
        folded = self.varint((1 << 64) - 1)
        return (folded >> 1) ^ -(folded & 1)

    def unsigned_column(self, count: int) -> npt.NDArray[np.unsignedinteger]:
        """Next column of `count` items, in the narrowest type that holds it."""
        code = self.byte()
        if code == 0:
            return np.zeros(count, np.uint8)
        width = code & 0x0F
        if width not in _UNSIGNED or code & ~0x1F or (code & _EXCEPTIONS and width != 1):
            raise BlockError(f"unknown column code 0x{code:02X}")
        raw = np.frombuffer(self.take(count * width), np.uint8)
        if width > 1:
            raw = np.ascontiguousarray(raw.reshape(width, count).T).reshape(-1)
            return raw.view(_UNSIGNED[width])
        if not code & _EXCEPTIONS:
            return raw
        positions = self.positions(count)
        widened = raw.astype(np.uint64)
        widened[positions] = self.unsigned_column(len(positions))
        return widened

    def signed_column(self, count: int) -> npt.NDArray[np.signedinteger]:
        """Next zigzag column of `count` items, in the narrowest type that holds it."""
        folded = self.unsigned_column(count)
        unfolded, sign = folded >> 1, folded & 1
        unfolded ^= np.negative(sign, sign)
        return unfolded.view(_SIGNED[folded.itemsize])

    def positions(self, count: int) -> npt.NDArray[np.intp]:
        """Next list of increasing positions below `count`."""
        found = self.varint(count)
        if not found:
            return np.zeros(0, np.intp)
        steps = self.unsigned_column(found)
        if int(steps.max()) >= count:
            raise BlockError("position outside its column")
        positions = np.cumsum(steps, dtype=np.intp)
        if int(positions[-1]) >= count or not bool((steps[1:] > 0).all()):
            raise BlockError("positions do not increase within their column")
        return positions

    def end(self) -> None:
        """Check that nothing is left."""
        if self._at != len(self._body):
            raise BlockError(f"{len(self._body) - self._at} bytes follow the block")
