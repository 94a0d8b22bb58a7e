"""How long to wait before trying again: exponential back-off with full jitter.

The n-th delay in a row is uniform in [0, min(cap, base * 2**n)] milliseconds, n from 0. Full jitter
spreads a thousand gateways that lost one receiver over the whole interval, where a fixed schedule
would bring them back at once (Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog,
2015, compares the variants). Pure: the generator of random numbers is an argument.
"""

from __future__ import annotations

import random


class FullJitter:
    """Delays of one thing that is tried again and again."""

    def __init__(self, base_ms: float, cap_ms: float, rng: random.Random) -> None:
        """Raises ValueError unless 0 < base_ms <= cap_ms."""
        if not 0.0 < base_ms <= cap_ms:
            raise ValueError(f"back-off needs 0 < base <= cap, not {base_ms} and {cap_ms} ms")
        self._base_ms = base_ms
        self._cap_ms = cap_ms
        self._rng = rng
        self._ceiling_ms = base_ms

    def next_delay_ms(self) -> float:
        """Return the next delay and double the ceiling of the one after it, up to the cap."""
        ceiling_ms = self._ceiling_ms
        self._ceiling_ms = min(self._cap_ms, ceiling_ms * 2.0)
        return self._rng.uniform(0.0, ceiling_ms)

    def reset(self) -> None:
        """Begin again at the base: what was tried has worked."""
        self._ceiling_ms = self._base_ms
