"""The machine's clock, watched like a device: steps become events, true time becomes anchors.

Guarantees: both clocks are read together (a reading torn apart by a stall is taken again); what
gateway/rules/clock_watch.py finds is on record before the next reading is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from buffer.contract import Stream
from drivers.contract import Clock
from gateway.model.clock import Anchor, ServerTime, anchor_event
from gateway.rules.clock_watch import ClockQuality, ClockWatch, Reading, Stepped

EVERY_NS = 1_000_000_000
TORN_NS = 1_000_000
"""Two clocks read further apart than this say nothing of each other."""
ATTEMPTS = 5


class MachineClock(Clock, Protocol):
    """A clock that knows whether something disciplines it."""

    def kernel_error_ns(self) -> int | None:
        """Most that the wall clock may be wrong by; None if nothing disciplines it."""
        ...


class Keeper(Protocol):
    """What the watch needs of the log."""

    def add_record(self, stream: Stream, payload: bytes) -> object:
        """Queue one record."""
        ...

    def set_clock_quality(
        self, offset_ns: int, *, synchronised: bool, wall_less_monotonic_ns: int
    ) -> None:
        """Tell what is known of the wall clock's error."""
        ...


Note = Callable[[str, str, str, Mapping[str, str]], None]


class Timekeeper:
    """Runs beside the uplinks, which tell it what receivers say (`heard`)."""

    def __init__(
        self,
        boot_id: bytes,
        clock: MachineClock,
        log: Keeper,
        note: Note,
    ) -> None:
        self._watch = ClockWatch(boot_id)
        self.clock = clock
        self._log = log
        self._note = note
        self._steps = 0
        self._anchors = 0

    def heard(self, said: ServerTime) -> None:
        """Take what a receiver says the time is."""
        self._watch.heard(said)

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            self.look()
            await self.clock.sleep_until(self.clock.monotonic_ns() + EVERY_NS)

    def look(self) -> None:
        """Read both clocks and carry out what the watch makes of them."""
        reading = self._read()
        if reading is None:
            return
        for found in self._watch.feed(reading):
            match found:
                case Stepped():
                    self._tell_step(found)
                case Anchor():
                    self._store_anchor(found, reading)
                case ClockQuality(offset_ns, synchronised, base_ns):
                    self._log.set_clock_quality(
                        offset_ns, synchronised=synchronised, wall_less_monotonic_ns=base_ns
                    )

    def statistics(self) -> dict[str, float]:
        """Counters and gauges for metrics."""
        quality = self._watch.quality
        return {
            "synchronised": float(quality is not None and quality.synchronised),
            "offset_s": quality.offset_ns / 1e9 if quality is not None else 0.0,
            "steps": float(self._steps),
            "anchors": float(self._anchors),
        }

    def _read(self) -> Reading | None:
        clock = self.clock
        for _ in range(ATTEMPTS):
            before_ns, wall_ns, after_ns = (
                clock.monotonic_ns(),
                clock.wall_ns(),
                clock.monotonic_ns(),
            )
            if after_ns - before_ns <= TORN_NS:
                return Reading(wall_ns, (before_ns + after_ns) // 2, clock.kernel_error_ns())
        return None

    def _tell_step(self, step: Stepped) -> None:
        self._steps += 1
        way = "forward" if step.by_ns > 0 else "back"
        text = f"The clock was set {way} by {abs(step.by_ns) / 1e9:.3f} s."
        attributes = {
            "by_ns": str(step.by_ns), "from_ns": str(step.from_ns), "to_ns": str(step.to_ns),
        }  # fmt: skip
        self._note("clock.step", "gateway", text, attributes)

    def _store_anchor(self, anchor: Anchor, reading: Reading) -> None:
        self._anchors += 1
        behind_s = (anchor.true_ns - reading.wall_ns) / 1e9
        text = (
            f"The true time is known from {anchor.source}, within "
            f"{anchor.uncertainty_ns / 1e9:.3f} s; this machine's clock is {abs(behind_s):.3f} s "
            f"{'behind' if behind_s >= 0 else 'ahead'}."
        )
        self._log.add_record(Stream.EVENT, anchor_event(anchor, reading.wall_ns, text))
