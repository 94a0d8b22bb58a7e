"""Why a connection ended, and when it is tried again. Pure.

Guarantees: attempts are at most 2 s apart for the first minutes and at most 5 s apart later, each
after a random delay (full jitter); what only a human can change, once it was said often enough, is
tried again after 30 to 60 s.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.runtime.backoff import FullJitter

_BASE_MS = 200.0
_EARLY_CAP_MS = 2_000.0
_LATE_CAP_MS = 5_000.0
_EARLY_NS = 180_000_000_000  # how long an outage counts as young: a receiver's restart or update
_PERMANENT_MS = 60_000.0
_PERMANENT_COUNT = 3  # so often in a row; a proxy or receiver that restarts may say so once
_STEADY_NS = 5_000_000_000  # a connection that lived so long starts the back-off anew


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a connection ended: one clear sentence; permanent if only a human can change it.

    unclear: gRPC lost the receiver's own words; the next attempt will hear them.
    """

    reason: str
    permanent: bool = False
    unclear: bool = False


class Patience:
    """When to try again. Pure."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._early = FullJitter(_BASE_MS, _EARLY_CAP_MS, rng)
        self._late = FullJitter(_LATE_CAP_MS, _LATE_CAP_MS, rng)
        self._away_since_ns: int | None = None
        self._refusals = 0

    def delay_ms(self, ended: Ended, *, open_ns: int, now_ns: int) -> float:
        """Delay after a connection that was open for open_ns ended."""
        if open_ns >= _STEADY_NS:
            self._early.reset()
            self._away_since_ns = None
        if self._away_since_ns is None:
            self._away_since_ns = now_ns
        if not ended.unclear:
            self._refusals = self._refusals + 1 if ended.permanent else 0
        if self._refusals >= _PERMANENT_COUNT:
            return self._rng.uniform(_PERMANENT_MS / 2, _PERMANENT_MS)
        early = now_ns - self._away_since_ns < _EARLY_NS
        return (self._early if early else self._late).next_delay_ms()
