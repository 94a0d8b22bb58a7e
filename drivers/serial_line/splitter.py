"""Cuts the bytes of a line into frames, and finds the next one behind rubbish. Pure.

Guarantees: holds less than two frames of the largest size, whatever comes; a piece that is longer
than a frame may be is dropped up to the next terminator or start, so that its tail cannot pass for
a frame; after `restart(mid_stream=True)` a frame whose beginning was missed is not handed out.

With `start` a frame begins at the last start before its end, so a frame that was cut short does not
spoil the next. `refuse` says that the frame just handed out was none: with `start`, what it held
beyond its start is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator

from drivers.serial_line.description import Description, unescaped


class Splitter:
    """Bytes in, frames out; see the module. `dropped_bytes` counts what belonged to none."""

    def __init__(self, description: Description) -> None:
        frame = description.frame
        self._start = unescaped(frame.start).encode("latin-1")
        self._end = unescaped(frame.terminator).encode("latin-1")
        self._trailing = (description.trailing_bytes() or 0) if self._end else 0
        self._length = frame.length or 0
        self._most = frame.max_bytes
        self._held = b""
        self._again = b""
        self._skipping = False
        self.dropped_bytes = 0
        self.restart(mid_stream=description.listens)

    def restart(self, *, mid_stream: bool) -> None:
        """Forget what is held. mid_stream: the next bytes may be the middle of a frame."""
        self.dropped_bytes += len(self._held)
        self._held = self._again = b""
        self._skipping = mid_stream and not self._start

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Take bytes and give the frames that are whole; take all of them, or restart."""
        for at in range(0, len(chunk), self._most):
            self._held += chunk[at : at + self._most]
            while (frame := self._by_length() if self._length else self._by_end()) is not None:
                yield frame
            self._bound()

    def refuse(self) -> None:
        """Say that the last frame was none."""
        if self._start and self._again:
            self._held = self._again + self._held
        self._again = b""

    def _by_length(self) -> bytes | None:
        begin = self._held.find(self._start)
        if begin < 0:
            return None
        self._drop(begin)
        if len(self._held) < self._length:
            return None
        frame, self._held = self._held[: self._length], self._held[self._length :]
        self._again = frame[1:]
        return frame

    def _by_end(self) -> bytes | None:
        while (end := self._held.find(self._end)) >= 0:
            end += len(self._end)
            begin = self._held.rfind(self._start, 0, end) if self._start else 0
            if self._skipping or begin < 0 or end + self._trailing - begin > self._most:
                self._skipping = False
                self._drop(end)
                continue
            if len(self._held) < end + self._trailing:
                return None
            self._drop(begin)
            whole = end + self._trailing - begin
            frame, self._held = self._held[:whole], self._held[whole:]
            self._again = frame[end - begin :]
            return frame
        return None

    def _bound(self) -> None:
        """Keep no more than may become a frame."""
        if len(self._held) < self._most:
            return
        if self._length:
            marks = max(len(self._start) - 1, 0)
            self._drop(len(self._held) - marks if self._held.find(self._start) < 0 else 0)
        elif self._held.find(self._end) < 0:
            self._skipping = not self._start
            self._drop(len(self._held) - self._tail())

    def _tail(self) -> int:
        """Bytes at the end that may belong to a frame or be part of a mark."""
        marks = max(len(self._start), len(self._end)) - 1
        begin = self._held.rfind(self._start) if self._start else -1
        frame = len(self._held) - begin if begin >= 0 else 0
        return max(marks, frame if frame < self._most else 0)

    def _drop(self, count: int) -> None:
        self.dropped_bytes += count
        self._held = self._held[count:]


__all__ = ["Splitter"]
