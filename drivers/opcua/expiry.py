"""When the certificates of a session end, said while there is still time. Pure.

Guarantees: from SOON_DAYS before its end each is named once a day, by the wall clock, which judges
it at the next connect too; one with more time falls silent. Sessions may change, servers of a
redundant set take turns, and clocks step back: nothing is said twice within a day.
"""

from __future__ import annotations

from collections.abc import Mapping

SOON_DAYS = 30
"""As `plantgate check` warns of the uplink's: time enough for an order to an authority."""
DAY_NS = 86_400_000_000_000
OURS, USERS, SERVERS = "our", "the user's", "the server's"
"""Certificates of a connection, by whose they are."""


class ExpiryWatch:
    """Of one device."""

    def __init__(self) -> None:
        self._told_ns: dict[tuple[str, int], int] = {}

    def feed(self, ends_ns: Mapping[str, int], now_ns: int) -> list[str]:
        """Take when each ends, ns since 1970, by whose it is; gives those that are to be told."""
        due = []
        for whose, end_ns in ends_ns.items():
            told_ns = self._told_ns.get((whose, end_ns))
            is_soon = end_ns - now_ns <= SOON_DAYS * DAY_NS
            if is_soon and (told_ns is None or abs(now_ns - told_ns) >= DAY_NS):
                self._told_ns[whose, end_ns] = now_ns
                due.append(whose)
        return due


__all__ = ["DAY_NS", "OURS", "SERVERS", "SOON_DAYS", "USERS", "ExpiryWatch"]
