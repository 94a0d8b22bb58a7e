"""Waiting for what a test needs: polled, with a bound against hanging that is no expectation."""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable

LONGEST_S = 90.0


async def until(condition: Callable[[], object], limit_s: float = LONGEST_S) -> None:
    """Wait for a condition; AssertionError after limit_s."""
    try:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110  # anything may make it true
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"the condition did not come true within {limit_s:g} s") from None


def ended(pid: int, wait_s: float = 0.0) -> bool:
    """Tell whether a process has ended (a zombie has), waiting a little if asked to."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], wait_s)[0])
    finally:
        os.close(descriptor)
