"""Waiting for what a test needs: polled, with a bound against hanging that is no expectation."""

from __future__ import annotations

import asyncio
import math
import os
import select
from collections.abc import Callable

LONGEST_S = 90.0
NAP_S = 0.005


async def until(condition: Callable[[], object], limit_s: float = LONGEST_S) -> None:
    """Wait for a condition; AssertionError after naps of limit_s together.

    Naps are counted, not seconds: a machine that stalls for ten of them has spent one nap.
    """
    for _ in range(math.ceil(limit_s / NAP_S)):
        if condition():
            return
        await asyncio.sleep(NAP_S)
    raise AssertionError(f"the condition did not come true within {limit_s:g} s")


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
