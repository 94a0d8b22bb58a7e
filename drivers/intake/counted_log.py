"""A library's log in which what strangers send is one counted line instead of a traceback each.

Guarantees: what `known` names is counted in `total` and written at most once in EVERY_NS, with the
number since the last line; everything else, above all a mistake of our own, is written as the
library means it, traceback included. The log is handed to the library: no logger of the process is
changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from drivers.contract import Clock

EVERY_NS = 600 * 1_000_000_000
"""Ten minutes: a scanner shows in the log on the day it comes and does not fill it."""

Known = Callable[[logging.LogRecord], str]
"""What a record says in our words, one clause; empty where it must be written as it is."""


class CountedLog(logging.Logger):
    """Log of one device's library, under the device's name.

    level: from which on the library need make records for `known`; below warning costs time.
    """

    def __init__(self, name: str, known: Known, clock: Clock, level: int = logging.WARNING) -> None:
        super().__init__(name, level)
        self.parent = logging.getLogger()
        self.total = 0
        """Records counted since start."""
        self._known = known
        self._clock = clock
        self._unsaid = 0
        self._quiet_until_ns: int | None = None

    def handle(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        said = self._known(record)
        if not said:
            if self.parent is not None and self.parent.isEnabledFor(record.levelno):
                super().handle(record)
            return
        self.total += 1
        self._unsaid += 1
        now_ns = self._clock.monotonic_ns()
        if self._quiet_until_ns is not None and now_ns < self._quiet_until_ns:
            return
        self._quiet_until_ns = now_ns + EVERY_NS
        times = "once" if self._unsaid == 1 else f"{self._unsaid} times"
        text = f"{said} ({times} since the last such line, {self.total} since start)"
        self._unsaid = 0
        where = (record.pathname, record.lineno)
        super().handle(logging.LogRecord(self.name, logging.WARNING, *where, text, None, None))


__all__ = ["EVERY_NS", "CountedLog", "Known"]
