"""Messages for fuzzing: right ones made at random, and how they are spoiled."""

from __future__ import annotations

import random
import struct

SIZES = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 4, 8: 8, 9: 8, 10: 4, 11: 8, 14: 16, 19: 4}
_TICKS = (0, 116_444_736_000_000_000, 133_000_000_000_000_007, 2**63 - 1)
_STATUSES = (0, 0x4090_0000, 0x8034_0000, 0x480)


def _value(rng: random.Random) -> bytes:
    """A Variant: a number, a time, a text, now and then an array or a rarity."""
    kind = rng.random()
    if kind < 0.5:
        built_in = rng.choice(list(SIZES))
        return bytes((built_in,)) + rng.randbytes(SIZES[built_in])
    if kind < 0.6:
        return b"\x0d" + struct.pack("<q", rng.choice(_TICKS))
    if kind < 0.7:
        return b"\x00"
    text = rng.choice(("", "a", "液位", "x" * 40)).encode()
    string = struct.pack("<i", len(text)) + text
    if kind < 0.8:
        return bytes((rng.choice((12, 16)),)) + string
    if kind < 0.85:
        return b"\x15\x02" + string
    if kind < 0.9:
        built_in, count = rng.choice(list(SIZES)), rng.choice((0, 1, 1, 2, 5))
        head = bytes((built_in | 0x80,)) + struct.pack("<i", count)
        return head + rng.randbytes(SIZES[built_in] * count)
    return rng.choice(
        (
            b"\x0f" + string,
            b"\x11\x01\x02\x03\x00",
            b"\x16\x00\x00\x00",
            b"\x18\x06\x01\x00\x00\x00",
            b"\x18\x0c" + string,
            b"\x17\x01\x03\x07",
            b"\x8c" + struct.pack("<i", 1) + string,
        )
    )


def data_value(rng: random.Random) -> bytes:
    mask = rng.choice((1, 3, 5, 0x0D, 0x0F, 0x15, 0x2B, rng.randrange(64)))
    parts = [bytes((mask,))]
    if mask & 0x01:
        parts.append(_value(rng))
    if mask & 0x02:
        parts.append(struct.pack("<I", rng.choice(_STATUSES)))
    for bit, pico in ((0x04, 0x10), (0x08, 0x20)):
        if mask & bit:
            parts.append(struct.pack("<q", rng.choice(_TICKS)))
        if mask & pico:
            parts.append(struct.pack("<H", rng.randrange(12_000)))
    return b"".join(parts)


def mutate(message: bytes, rng: random.Random) -> bytes:
    changed = bytearray(message)
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 6))
        elif kind == 3:
            del changed[at : at + rng.randint(1, 4)]
        elif kind == 4:
            changed[at : at + 4] = struct.pack("<i", rng.choice((-1, 0, 1, 2**31 - 1)))
        elif kind == 5:
            changed += message[: rng.randint(0, len(message))]
    return bytes(changed)


__all__ = ["SIZES", "data_value", "mutate"]
