"""What a site decided about telling people of alarms. Pure."""

from __future__ import annotations

from dataclasses import dataclass

S = 10**9


@dataclass(frozen=True, slots=True)
class CallPolicy:
    """What a site decided. Times in ns; wait_ns by priority 1 to 4.

    priority: alarms of this and higher priority (smaller number) call.  digest_ns: pause between
    two messages about one flood.
    """

    priority: int = 3
    wait_ns: tuple[int, int, int, int] = (60 * S, 120 * S, 300 * S, 600 * S)
    rounds: int = 3
    attempts: int = 5
    retry_ns: tuple[int, ...] = (5 * S, 15 * S, 60 * S)
    through: int = 1
    through_most: int = 20
    digest_ns: int = 300 * S
    tell_return: bool = True
    tell_tests: bool = False
