"""How often a sender may ask, and what an Idempotency-Key means. Pure; both are bounded in memory.

Guarantees: a sender's requests pass at `rate_per_s` with bursts of `burst`, whatever the others do;
a key that was answered gives the same answer again, without storing anything, as long as it is
remembered; a key used for another body is refused, one that is still under way is put off
(IETF draft "The Idempotency-Key HTTP Header Field", section 2.7: 422 and 409).
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from dataclasses import dataclass

MAX_SENDERS = 1024
MAX_KEYS = 4096
MAX_KEPT_BYTES = 16 << 20
"""Answers kept for their keys; one of 5,000 rows has some 300 KB."""
MAX_KEY = 128


class RateLimit:
    """Token buckets by name; the longest unused is forgotten (its bucket is full again)."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_ns = rate_per_s / 1e9
        self._burst = float(burst)
        self._buckets: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, name: str, now_ns: int) -> float:
        """Take one request; gives 0, or the seconds until the next is allowed."""
        level, since_ns = self._buckets.pop(name, (self._burst, now_ns))
        level = min(self._burst, level + (now_ns - since_ns) * self._rate_per_ns)
        wait_s = 0.0 if level >= 1 else (1 - level) / self._rate_per_ns / 1e9
        self._buckets[name] = (level - 1 if level >= 1 else level, now_ns)
        if len(self._buckets) > MAX_SENDERS:
            self._buckets.popitem(last=False)
        return wait_s


class Turn(enum.Enum):
    """What to do with a request that carries a key."""

    NEW = enum.auto()
    REPLAY = enum.auto()
    UNDER_WAY = enum.auto()
    OTHER_BODY = enum.auto()


@dataclass(frozen=True, slots=True)
class _Known:
    body: bytes
    answer: bytes | None


class Keys:
    """Idempotency keys with their answers, newest MAX_KEYS and MAX_KEPT_BYTES."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._kept_bytes = 0

    def begin(self, sender: str, key: str, body: bytes) -> tuple[Turn, bytes]:
        """Begin a request; the answer comes with REPLAY. body: a digest."""
        known = self._known.get((sender, key))
        if known is None:
            self._known[sender, key] = _Known(body, None)
            return Turn.NEW, b""
        if known.body != body:
            return Turn.OTHER_BODY, b""
        if known.answer is None:
            return Turn.UNDER_WAY, b""
        self._known.move_to_end((sender, key))
        return Turn.REPLAY, known.answer

    def end(self, sender: str, key: str, answer: bytes | None) -> None:
        """End a request; without an answer (it failed) the key may be used again."""
        known = self._known.pop((sender, key), None)
        if known is None or answer is None:
            return
        self._known[sender, key] = _Known(known.body, answer)
        self._kept_bytes += len(answer)
        done = (name for name, one in self._known.items() if one.answer is not None)
        while len(self._known) > MAX_KEYS or self._kept_bytes > MAX_KEPT_BYTES:
            oldest = next(done, None)
            if oldest is None:
                return
            gone = self._known.pop(oldest)
            self._kept_bytes -= len(gone.answer or b"")
            done = (name for name, one in self._known.items() if one.answer is not None)


__all__ = ["MAX_KEY", "Keys", "RateLimit", "Turn"]
