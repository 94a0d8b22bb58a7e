"""Judges the machine's wall clock: does it step, is it right, and if not, what is the true time.

Pure. Fed once a second with a reading of both clocks and what the kernel says of its own (`feed`),
and with every time a receiver tells (`heard`); gives back what is to be done about it.

Guarantees:

- A step of the wall clock against the monotonic one of STEP_NS or more is reported once.
- An anchor is given when the true time becomes known, after a step, when it is known four times
  better than the last one said, and, while nobody disciplines the clock, every ANCHOR_EVERY_NS.
- The true time is the kernel's where that says it is synchronised, else that of the receiver whose
  answer bounds it most tightly: between sending and hearing it was server_ns, so the error is at
  most half of the round trip, plus the drift since.
- An answer that contradicts older ones of the same receiver replaces them: its clock was set.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from gateway.model.clock import DRIFT, LEAST_SHIFT_NS, Anchor, ServerTime

STEP_NS = 128_000_000
"""From here on ntpd steps and does not slew (RFC 5905, section 12: STEPT)."""
ANCHOR_EVERY_NS = 3_600_000_000_000
SAMPLES = 32
"""Answers of one receiver that are remembered: the tightest of the last minutes counts."""
BETTER = 4
KERNEL = "system clock"


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment, and what the kernel says of the wall clock's error.

    kernel_error_ns: the most it may be wrong, where something disciplines it; else None.
    """

    wall_ns: int
    monotonic_ns: int
    kernel_error_ns: int | None


@dataclass(frozen=True, slots=True)
class ClockQuality:
    """What records are to say from now on: true time less wall time, and whether to trust it.

    wall_less_monotonic_ns: of the clock that was judged; one that has stepped since was not.
    """

    offset_ns: int
    synchronised: bool
    wall_less_monotonic_ns: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """The wall clock was set: `by_ns` forward, or back if negative."""

    by_ns: int
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class _Known:
    """True time less monotonic time, how far that may be wrong, and who says so."""

    base_ns: int
    error_ns: float
    source: str


class ClockWatch:
    """See the module's text. One per run of the gateway."""

    def __init__(self, boot_id: bytes) -> None:
        self._boot_id = boot_id
        self._heard: dict[str, deque[ServerTime]] = {}
        self._base_ns: int | None = None  # wall less monotonic at the last reading
        self._said: ClockQuality | None = None
        self._anchor: Anchor | None = None
        self._anchor_due = True

    @property
    def quality(self) -> ClockQuality | None:
        """What was said last; None before the first reading."""
        return self._said

    def heard(self, said: ServerTime) -> None:
        """Take what a receiver says the time is."""
        if said.heard_ns < said.sent_ns:
            return
        samples = self._heard.setdefault(said.source, deque(maxlen=SAMPLES))
        if any(_contradict(one, said) for one in samples):
            samples.clear()
        samples.append(said)

    def feed(self, reading: Reading) -> list[Stepped | Anchor | ClockQuality]:
        """Judge one reading. What is returned is to be carried out in order."""
        out: list[Stepped | Anchor | ClockQuality] = []
        base_ns = reading.wall_ns - reading.monotonic_ns
        before_ns, self._base_ns = self._base_ns, base_ns
        if before_ns is not None and abs(base_ns - before_ns) >= STEP_NS:
            by_ns = base_ns - before_ns
            out.append(Stepped(by_ns, reading.wall_ns - by_ns, reading.wall_ns))
            self._anchor_due = True
        known = self._known(reading)
        quality = _judge(base_ns, known)
        if self._said is None or _worth_saying(self._said, quality):
            self._said = quality
            out.append(quality)
        if known is not None and self._wants_anchor(known, reading.monotonic_ns):
            true_ns = reading.monotonic_ns + known.base_ns
            self._anchor = Anchor(
                self._boot_id, reading.monotonic_ns, true_ns, int(known.error_ns), known.source
            )
            self._anchor_due = False
            out.append(self._anchor)
        return out

    def _known(self, reading: Reading) -> _Known | None:
        if reading.kernel_error_ns is not None:
            base_ns = reading.wall_ns - reading.monotonic_ns
            return _Known(base_ns, float(reading.kernel_error_ns), KERNEL)
        found = [
            _Known(
                said.server_ns - (said.sent_ns + said.heard_ns) // 2,
                (said.heard_ns - said.sent_ns) / 2
                + DRIFT * max(0, reading.monotonic_ns - said.heard_ns),
                source,
            )
            for source, samples in self._heard.items()
            for said in samples
        ]
        return min(found, key=lambda one: one.error_ns, default=None)

    def _wants_anchor(self, known: _Known, now_ns: int) -> bool:
        last = self._anchor
        if self._anchor_due or last is None:
            return True
        if known.error_ns * BETTER <= last.uncertainty_ns:
            return True
        return known.source != KERNEL and now_ns - last.monotonic_ns >= ANCHOR_EVERY_NS


def _judge(base_ns: int, known: _Known | None) -> ClockQuality:
    if known is None:
        return ClockQuality(0, synchronised=False, wall_less_monotonic_ns=base_ns)
    if known.source == KERNEL:
        return ClockQuality(0, synchronised=True, wall_less_monotonic_ns=base_ns)
    offset_ns = known.base_ns - base_ns
    right = abs(offset_ns) + known.error_ns < LEAST_SHIFT_NS
    return ClockQuality(offset_ns, synchronised=right, wall_less_monotonic_ns=base_ns)


def _worth_saying(said: ClockQuality, now: ClockQuality) -> bool:
    """Tell whether records would say something else: a slew of 1 ms, another verdict."""
    return (
        said.synchronised != now.synchronised
        or abs(said.offset_ns - now.offset_ns) >= 1_000_000
        or abs(said.wall_less_monotonic_ns - now.wall_less_monotonic_ns) >= 1_000_000
    )


def _contradict(one: ServerTime, other: ServerTime) -> bool:
    """Tell whether no clock that runs at most DRIFT wrong can have said both."""
    drift_ns = DRIFT * abs(other.heard_ns - one.heard_ns)
    earliest = max(one.server_ns - one.heard_ns, other.server_ns - other.heard_ns)
    latest = min(one.server_ns - one.sent_ns, other.server_ns - other.sent_ns)
    return earliest > latest + drift_ns
