"""What an async context manager gives, on a loop of its own in a thread of its own.

For tests that stay in their thread: they run a command that has a loop too, or wait for processes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")
START_S = 60


@contextmanager
def beside(make: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Enter what `make` makes; leave it, and wait for its thread, at the end of the block."""
    ready, done = threading.Event(), threading.Event()
    held: list[T] = []

    async def serve() -> None:
        async with make() as made:
            held.append(made)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(START_S), "what runs beside the test has not started"
        yield held[0]
    finally:
        done.set()
        thread.join(START_S)
