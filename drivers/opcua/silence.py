"""Judges how long each subscription of a session has sent nothing. Pure.

Guarantees: every subscription is judged by itself, so that one which the server has forgotten is
not hidden behind others that go on; a time in which none could speak, because no publish request
waited at the server or we were behind, counts for none of them.
"""

from __future__ import annotations


class SilenceWatch:
    """Times are monotonic, in ns. heard: subscriptions that have spoken in this session."""

    def __init__(self) -> None:
        self._allowed_ms: dict[int, float] = {}
        self._heard_ns: dict[int, int] = {}
        self.heard: set[int] = set()

    def mind(self, subscription: int, allowed_ms: float, now_ns: int) -> None:
        """Expect a subscription to say something at least this often."""
        self._allowed_ms[subscription] = allowed_ms
        self._heard_ns[subscription] = now_ns

    def hear(self, subscription: int, now_ns: int) -> None:
        """Note that it has spoken, be it that nothing has changed."""
        if subscription in self._heard_ns:
            self._heard_ns[subscription] = max(self._heard_ns[subscription], now_ns)
            self.heard.add(subscription)

    def rest(self, now_ns: int) -> None:
        """Note that until now none of them could speak."""
        for subscription in self._heard_ns:
            self._heard_ns[subscription] = now_ns

    def silent(self, now_ns: int) -> dict[int, float]:
        """Give those that have been silent for too long, with the time in ms."""
        silent_ms = {s: (now_ns - heard_ns) / 1e6 for s, heard_ns in self._heard_ns.items()}
        return {s: ms for s, ms in silent_ms.items() if ms > self._allowed_ms[s]}


__all__ = ["SilenceWatch"]
