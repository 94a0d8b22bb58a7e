"""Verification and repair of a damaged file while the log runs: what is told whom, on the loop.

`Mending` decides (pure), the writer of the file carries it out, and the log begins anew under a new
id. Meanwhile everything else goes on: the other file is written to, alarms that must wait are told
as volatile, telemetry waits in memory as far as that is bounded.
"""

from __future__ import annotations

from collections.abc import Callable

from buffer.contract import Clock
from buffer.mending import Mending, Step
from buffer.outcome import Outcome


class Mender:
    """Both files of one log.

    verify(kind) queues a verification, repair(kind, damage) a repair; mended(kind) is called after
    a repair that succeeded, before the listeners.
    """

    def __init__(
        self,
        clock: Clock,
        verify: Callable[[str], None],
        repair: Callable[[str, str], None],
        mended: Callable[[str, str], None],
    ) -> None:
        self._clock = clock
        self._verify, self._repair, self._mended = verify, repair, mended
        self._mending = Mending()
        self._listeners: list[Callable[[str], None]] = []
        self._stopped = False
        self._trouble: dict[str, str] = {}

    def add_listener(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a sentence after each repair, and each that failed."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """Begin nothing more: the log is being closed."""
        self._stopped = True

    def trouble(self) -> list[str]:
        """What is wrong, a sentence a file."""
        return [text for text in self._trouble.values() if text]

    def suspect(self, kind: str, why: str, *, by_writer: bool = False) -> None:
        """Take that a file may be damaged."""
        now_ns = self._clock.monotonic_ns()
        self._trouble[kind] = why
        step = self._mending.suspected(kind, why, by_writer=by_writer, now_ns=now_ns)
        self._take(kind, step)

    def settle(self, kind: str, outcome: Outcome) -> None:
        """Take in what the writer of a file did."""
        now_ns, mending = self._clock.monotonic_ns(), self._mending
        if outcome.suspicion:
            self.suspect(kind, outcome.suspicion, by_writer=True)
        if outcome.verified is not None:
            self._trouble[kind] = outcome.verified
            self._take(kind, mending.verified(kind, outcome.verified, now_ns))
        if outcome.repaired is not None:
            mending.repaired(kind, now_ns, failed=bool(outcome.error))
            failed = f"{kind}.db could not be repaired: {outcome.error}" if outcome.error else ""
            self._trouble[kind] = failed
            if not failed:
                self._mended(kind, outcome.repaired)
            for listener in tuple(self._listeners):
                listener(failed or outcome.repaired)
        self._take(kind, mending.due(kind, now_ns))

    def _take(self, kind: str, step: Step) -> None:
        if self._stopped or step is Step.NOTHING:
            return
        if step is Step.VERIFY:
            self._verify(kind)
            return
        damage = self._mending.why(kind)
        self._trouble[kind] = f"{kind}.db is damaged and is being repaired: {damage}"
        self._repair(kind, damage)
