"""Who is told of commits, stream by stream, on the event loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from buffer.contract import CommitListener, Record, Stream


class Listeners:
    """Listeners in the order they came; one may leave while it is being told."""

    def __init__(self) -> None:
        self._listeners: list[CommitListener] = []

    def add(self, listener: CommitListener) -> Callable[[], None]:
        """Call `listener` with each commit's records of a stream; returns how to stop."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, records: Sequence[Record]) -> None:
        """Tell of one commit."""
        for stream in Stream:
            found = [record for record in records if record.stream is stream]
            if found:
                for listener in tuple(self._listeners):
                    listener(stream, found)
