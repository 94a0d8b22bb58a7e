"""When each ping went out, so that the receiver's answer bounds its clock. Pure."""

from __future__ import annotations

from gateway.model.clock import ServerTime

MOST = 64
"""Pings remembered without an answer; older ones would bound nothing."""


class PingTimes:
    """Of one connection. Ping 0 is the Hello, which Welcome answers."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._sent_ns: dict[int, int] = {}

    def sent(self, ping: int, now_ns: int) -> None:
        """Note that a ping is on its way."""
        self._sent_ns[ping] = now_ns
        if len(self._sent_ns) > MOST:
            del self._sent_ns[next(iter(self._sent_ns))]

    def heard(self, pong: int, server_ns: int, now_ns: int) -> ServerTime | None:
        """Take the answer to a ping; None where it says no time, or answers none of ours."""
        sent_ns = self._sent_ns.pop(pong, None)
        if sent_ns is None or server_ns <= 0:
            return None
        return ServerTime(self._source, sent_ns, server_ns, now_ns)
