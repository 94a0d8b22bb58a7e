"""Runs one source for ever: a failure is reported, waited out and tried again.

Guarantees:

- A failure of the source never leaves `supervise`; only cancellation ends it, and at once.
- Every failure reaches `on_failure` with the delay that follows, expected (DeviceError) or not;
  an unexpected one carries its traceback in `error.__traceback__`.
- A run that lasted longer than STEADY_NS resets the back-off: a link that drops once an hour is
  tried again at once, one that drops at every start is not.
- `run` that simply returns is a failure too (StoppedError): a source runs until cancelled.

An ExceptionGroup of failures (a source that uses a TaskGroup) is one failure.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from drivers.contract import Clock
from gateway.runtime.backoff import FullJitter

STEADY_NS = 60_000_000_000
"""A run longer than this counts as success."""


class StoppedError(Exception):
    """A source returned from `run` though nobody cancelled it."""


async def supervise(
    name: str,
    run: Callable[[], Awaitable[None]],
    *,
    clock: Clock,
    backoff: FullJitter,
    on_failure: Callable[[str, Exception, float], None],
    expected: tuple[type[Exception], ...],
) -> None:
    """Run until cancelled. `on_failure(name, error, delay_ms)` must not raise.

    `expected` exceptions are reported as they are; any other is reported with a note that it was
    not expected, so that a report without `isinstance` still tells them apart.
    """
    while True:
        started_ns = clock.monotonic_ns()
        error: Exception
        try:
            await run()
        except expected as failure:
            error = failure
        except Exception as failure:  # the supervised boundary: reported, never lost
            failure.add_note(f"unexpected failure of {name}; it is started again")
            error = failure
        else:
            error = StoppedError(f"{name} stopped by itself; it is started again")
        now_ns = clock.monotonic_ns()
        if now_ns - started_ns > STEADY_NS:
            backoff.reset()
        delay_ms = backoff.next_delay_ms()
        on_failure(name, error, delay_ms)
        del error  # its traceback holds the frames of the run that failed
        await clock.sleep_until(now_ns + round(delay_ms * 1e6))
