"""Says that a part failed: in the log and as an event, and not again for each attempt.

Guarantees: the first failure is said at once, and so is every failure with another text; the same
text is said again every REPEAT_NS, with the count of failures since it was said last. A device that
is off for a week at one attempt in ten seconds makes 1,000 events, not 60,000. An unexpected error
carries its traceback into the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from drivers.contract import Clock
from gateway.observe.log import logger

REPEAT_NS = 600_000_000_000
_LOG = logger("app")

Note = Callable[[str, str, str, Mapping[str, str]], None]
"""(kind, source, text, attributes): stores an event."""


class FailureReport:
    """The failures of one part; call it as the `on_failure` of `supervise`."""

    def __init__(self, clock: Clock, note: Note, expected: tuple[type[Exception], ...]) -> None:
        self._clock = clock
        self._note = note
        self._expected = expected
        self._text = ""
        self._said_ns: int | None = None
        self._count = 0

    def __call__(self, name: str, error: Exception, delay_ms: float) -> None:
        """Take a failure; the part is tried again after `delay_ms`."""
        now_ns, text = self._clock.monotonic_ns(), str(error)
        self._count += 1
        recently = self._said_ns is not None and now_ns - self._said_ns < REPEAT_NS
        if recently and text == self._text:
            return
        expected = isinstance(error, self._expected)
        _LOG.warning("part failed", name=name, error=text, again_in_ms=round(delay_ms),
                     failures=self._count, exc_info=None if expected else error)  # fmt: skip
        attributes = {"expected": str(expected).lower(), "failures": str(self._count)}
        self._note("part.failed", name, text, attributes)
        self._text, self._said_ns, self._count = text, now_ns, 0
