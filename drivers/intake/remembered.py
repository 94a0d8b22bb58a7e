"""What was stored lately, by digest, in one megabyte that is taken whole at the start.

Guarantees: what was added is known until as many newer ones as a set holds have come to the same
set; a digest says which, so sets fill alike. 65,536 are known, about the newest: the 32,768th
before the last is forgotten with a probability of 4 in 10 million (Poisson, 64 or more where 32 are
expected), later ones less often. What was never added is taken for known with a probability of
2^-112 (64 entries, 118 bits that a set leaves open).

Why not a dictionary: 65,536 entries of one are 12 MB of small objects, which grow for days before
they stay, so that no leak could be told from them. Pure.
"""

from __future__ import annotations

DIGEST_BYTES = 16
SETS = 1024
WAYS = 64
_SET_BYTES = WAYS * DIGEST_BYTES


class Remembered:
    """The newest digests. Only their first 16 bytes count; they must be spread like a hash's."""

    def __init__(self) -> None:
        self._sets = bytearray(1) * (SETS * _SET_BYTES)  # in each set, the newest first

    def __contains__(self, digest: bytes) -> bool:
        """Tell whether a digest is known."""
        place = _place(digest)
        return _find(self._sets[place : place + _SET_BYTES], digest[:DIGEST_BYTES]) >= 0

    def add(self, digest: bytes) -> None:
        """Make a digest the newest of its set; without room, the oldest is forgotten."""
        place, wanted = _place(digest), digest[:DIGEST_BYTES]
        held = self._sets[place : place + _SET_BYTES]
        at = _find(held, wanted)
        if at < 0:
            at = _SET_BYTES - DIGEST_BYTES
        self._sets[place : place + at + DIGEST_BYTES] = wanted + held[:at]


def _place(digest: bytes) -> int:
    return int.from_bytes(digest[:2], "big") % SETS * _SET_BYTES


def _find(held: bytearray, wanted: bytes) -> int:
    """Place of a digest in a set, or -1; what two neighbours make together is none."""
    at = held.find(wanted)
    while at > 0 and at % DIGEST_BYTES:
        at = held.find(wanted, at + 1)
    return at


__all__ = ["DIGEST_BYTES", "SETS", "WAYS", "Remembered"]
