"""Asks a server for many things in calls of its size.

Guarantees: no call is larger than asked for, and each refused as too much at once is halved, since
many servers do not name their limits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from drivers.opcua.faults import TOO_MUCH_AT_ONCE, StatusError

T = TypeVar("T")
AnswerT = TypeVar("AnswerT")


async def in_pieces(
    rows: Sequence[T], size: int, ask: Callable[[Sequence[T]], Awaitable[AnswerT]]
) -> AsyncIterator[tuple[Sequence[T], AnswerT]]:
    """Give each piece of at most `size` rows with its answer; what `ask` raises otherwise."""
    at, size = 0, max(1, size)
    while at < len(rows):
        piece = rows[at : at + size]
        try:
            answer = await ask(piece)
        except StatusError as fault:
            if fault.status not in TOO_MUCH_AT_ONCE or len(piece) == 1:
                raise
            size = len(piece) // 2
            continue
        yield piece, answer
        at += len(piece)


__all__ = ["in_pieces"]
