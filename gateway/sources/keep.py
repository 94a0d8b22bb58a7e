"""Keeps parts running, and ends them: the supervisor's settings, and a stop that has a bound.

Guarantees: a part that was cancelled counts as cancelled even where a library wrapped that into
another exception; a part that has not ended STOP_S after its cancellation is named in the log and
cancelled again, which breaks off whatever farewell it was waiting for.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from drivers.contract import Clock, DeviceError
from gateway.observe.failures import FailureReport, Note
from gateway.observe.log import logger
from gateway.runtime.backoff import FullJitter
from gateway.runtime.supervise import supervise

BACKOFF_BASE_MS = 500
BACKOFF_CAP_MS = 4_000
"""So that a server's items are all back 10 s after it returned: 4 s of waiting at the most, then
connecting and asking for the items."""
STOP_S = 6.0
"""A camera's process takes at most 3 s to end, an OPC UA session about 4."""
MOST_CANCELS = 5
_LOG = logger("app")


class Part(Protocol):
    """What runs beside the flow and says how it is: an uplink, the notifiers, the console."""

    async def run(self) -> None:
        """Run until cancelled."""
        ...

    def statistics(self) -> Mapping[str, float]:
        """Counters and gauges by name."""
        ...

    def health(self) -> tuple[bool, str]:
        """Whether all is well, and a sentence."""
        ...


async def keep_running(
    name: str, run: Callable[[], Awaitable[None]], *, note: Note, clock: Clock
) -> None:
    """Supervise one part until cancelled; what it fails with is logged and stored as an event."""
    try:
        await supervise(
            name,
            run,
            clock=clock,
            backoff=FullJitter(BACKOFF_BASE_MS, BACKOFF_CAP_MS, random.SystemRandom()),
            on_failure=FailureReport(clock, note, (DeviceError,)),
            expected=(DeviceError,),
        )
    except BaseExceptionGroup as group:  # asyncua's wait_for2 cancels with a subclass, which
        if group.split(asyncio.CancelledError)[1] is not None:  # a TaskGroup takes for an error
            raise
        raise asyncio.CancelledError from group


async def end(tasks: Sequence[asyncio.Task[None]], *, patience_s: float = STOP_S) -> None:
    """Cancel tasks and wait for their end."""
    pending = set(tasks)
    for _ in range(MOST_CANCELS):
        for task in pending:
            task.cancel()
        if not pending:
            return
        _, pending = await asyncio.wait(pending, timeout=patience_s)
        for task in pending:
            _LOG.warning("does not end; it is cancelled again", name=task.get_name())
