"""The live stream to browsers: server-sent events (WHATWG HTML, 9.2) made from the View.

Guarantees: a browser hears something at least every 5 s, so that silence means that the console is
gone; it hears within a second that the gateway is (`gone`); it gets at most one piece in GAP_S; the
next is made only when the socket has taken the last, so that a slow browser costs one piece of
memory, and a stalled one is cut off by its connection (bounded.py); a stream ends with `signed_out`
within LOOK_S of the end of its session. At most MOST_STREAMS, and MOST_OF_ONE of one person.

Events: `state` and `change` (as the gateway's lines, see view.py), `beat`, `gone`, `signed_out`.
The id of an event names this process and its revision: who comes back with it (Last-Event-ID) gets
what was missed, or everything from another process.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from drivers.contract import Clock
from gateway.console.follower import Follower, Told
from gateway.console.view import NEVER, View

GAP_S = 0.25
LOOK_S = 1.0
"""How often a stream looks whether the gateway is silent or its own session has ended."""
RETRY_MS = 2000
MOST_STREAMS = 64
MOST_OF_ONE = 12


class Live:
    """All streams."""

    def __init__(self, view: Callable[[], View], clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._process = secrets.token_hex(4)
        self._changed = asyncio.Event()
        self._made: dict[int, bytes] = {}
        self._made_for = NEVER
        self._streams: Counter[str] = Counter()
        self.sent = 0

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._streams.total()

    def changed(self) -> None:
        """Wake all streams: the view has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def admits(self, name: str) -> bool:
        """Tell whether one more stream of a person is taken."""
        return self.streams < MOST_STREAMS and self._streams[name] < MOST_OF_ONE

    async def stream(
        self, name: str, last_id: str, still: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """Give pieces until the session has ended. last_id: what the browser saw last, or empty."""
        self._streams[name] += 1
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            follower = Follower(self._seen(last_id))
            while still():
                changed = self._changed
                told = follower.feed(self._view(), now_ns=self._clock.monotonic_ns())
                if told is not None:
                    self.sent += 1
                    yield self._piece(told)
                    await asyncio.sleep(GAP_S)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await changed.wait()
            yield _event("signed_out", "", {})
        finally:
            self._streams[name] -= 1
            self._streams += Counter()  # without those at 0

    def _piece(self, told: Told) -> bytes:
        """Encode; a frame once for all browsers that lack the same."""
        frame = told.frame
        if frame is None:
            view = self._view()
            said = "the gateway is silent" if view.connected else view.said
            more = {"error": said} if told.event == "gone" else {}
            return _event(told.event, "", {**more, "time_ns": self._clock.wall_ns()})
        if self._made_for != frame.revision:
            self._made, self._made_for = {}, frame.revision
        piece = self._made.get(told.seen)
        if piece is None:
            piece = _event(frame.event, f"{self._process}-{frame.revision}", frame.content)
            self._made[told.seen] = piece
        return piece

    def _seen(self, last_id: str) -> int:
        process, _, revision = last_id.partition("-")
        good = process == self._process and revision.isdecimal() and len(revision) < 16
        return int(revision) if good else NEVER


def _event(event: str, number: str, content: object) -> bytes:
    identified = f"id: {number}\n" if number else ""
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return f"event: {event}\n{identified}data: {body}\n\n".encode()
