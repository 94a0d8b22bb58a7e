"""Bytes that something on the way has changed: flipped, replaced, added, cut out, run together."""

from __future__ import annotations

import random


def spoilt(
    frame: bytes,
    rng: random.Random,
    *,
    changes: tuple[int, int] = (0, 3),
    most_added: int = 6,
    most_cut: int = 4,
) -> bytes:
    """Return a frame with so many changes (least, most), each at a place of its own."""
    changed = bytearray(frame)
    for _ in range(rng.randint(*changes)):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = rng.randrange(256)
        elif kind == 2:
            changed[at:at] = rng.randbytes(rng.randint(1, most_added))
        elif kind == 3:
            del changed[at : at + rng.randint(1, most_cut)]
        elif kind == 4:
            changed += frame[: rng.randint(0, len(frame))]
    return bytes(changed)
