"""Who is signed in. Pure: time is monotonic and an argument.

Guarantees: a session is known by the SHA-256 of its token only; it ends idle_ns after its last
request and in any case absolute_ns after its begin; at most MOST sessions and MOST_OF_ONE of one
person, whose oldest gives way; a session is of one password: with another, or without the person,
it has ended. The live stream looks without touching, so that an open page alone keeps nobody in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

MOST = 500
MOST_OF_ONE = 10


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in. stamp: of the password it was made with."""

    user: str
    stamp: int
    began_ns: int
    seen_ns: int


class Sessions:
    """All sign-ins."""

    def __init__(self, idle_ns: int, absolute_ns: int) -> None:
        self._idle_ns = idle_ns
        self._absolute_ns = absolute_ns
        self._held: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._held)

    def begin(self, token: str, user: str, stamp: int, *, now_ns: int) -> None:
        """Take a new session; `token` must be random and new."""
        self.tick(now_ns)
        own = [key for key, one in self._held.items() if one.user == user]
        for key in own[: max(0, len(own) + 1 - MOST_OF_ONE)]:
            del self._held[key]
        while len(self._held) >= MOST:
            del self._held[next(iter(self._held))]
        self._held[_digest(token)] = Session(user, stamp, now_ns, now_ns)

    def find(self, token: str, *, now_ns: int, touch: bool) -> Session | None:
        """Give the session of a token; `touch` counts as a request of the person's."""
        key = _digest(token)
        found = self._held.get(key)
        if found is None:
            return None
        if self._end_ns(found) <= now_ns:
            del self._held[key]
            return None
        if touch:
            found = self._held[key] = replace(found, seen_ns=now_ns)
        return found

    def end(self, token: str) -> None:
        """End one session."""
        self._held.pop(_digest(token), None)

    def keep(self, stamps: Mapping[str, int]) -> None:
        """End the sessions of everybody who is gone or has another password by now."""
        self._held = {k: one for k, one in self._held.items() if stamps.get(one.user) == one.stamp}

    def tick(self, now_ns: int) -> None:
        """Forget what has ended."""
        self._held = {k: one for k, one in self._held.items() if self._end_ns(one) > now_ns}

    def next_deadline_ns(self) -> int | None:
        """When the next session ends if nothing is asked."""
        return min(map(self._end_ns, self._held.values()), default=None)

    def _end_ns(self, one: Session) -> int:
        return min(one.seen_ns + self._idle_ns, one.began_ns + self._absolute_ns)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
