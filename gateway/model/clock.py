"""True time: what ties a boot's monotonic clock to it, and what that makes of recorded times. Pure.

A gateway whose wall clock is wrong (a dead battery: 1970) records all the same; once the true time
is known it writes an anchor record: monotonic time m of boot b was true time t. Nothing stored is
changed. Whoever reads a record of that boot adds `Anchors.shift_ns` to the wall-clock times in it.

Guarantees: a record made while the clock was synchronised is never shifted; the error of a shifted
time is at most the uncertainty of the best anchor plus DRIFT of the time between record and anchor;
a shift that is not larger than that, or below LEAST_SHIFT_NS, is none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gateway.wire.v1 import uplink_pb2 as wire

DRIFT = 100e-6
"""Most that an undisciplined clock is taken to run wrong. Quartz of PC boards is specified at 20 to
50 parts per million over temperature; ntpd corrects up to 500 (RFC 5905, section 12), which a
healthy oscillator never needs."""
LEAST_SHIFT_NS = 1_000_000_000
"""Smaller errors are stated with the record (clock_offset_ns) and left alone."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """At monotonic_ns of a boot (16 bytes) it was true_ns (since 1970 UTC), give or take.

    source: who said so, in words for people.
    """

    boot_id: bytes
    monotonic_ns: int
    true_ns: int
    uncertainty_ns: int
    source: str

    def bound_ns(self, monotonic_ns: int) -> float:
        """Largest error of what this anchor says of a monotonic time of its boot."""
        return self.uncertainty_ns + DRIFT * abs(monotonic_ns - self.monotonic_ns)

    def at_ns(self, monotonic_ns: int) -> int:
        """True time at a monotonic time of its boot."""
        return self.true_ns + monotonic_ns - self.monotonic_ns


@dataclass(frozen=True, slots=True)
class ServerTime:
    """A receiver's clock said server_ns at some moment between two monotonic times of ours."""

    source: str
    sent_ns: int
    server_ns: int
    heard_ns: int


@dataclass(frozen=True, slots=True)
class Stamp:
    """By which clocks a record was made: see buffer.contract.Record."""

    boot_id: bytes
    monotonic_ns: int
    time_ns: int
    synchronised: bool


class Anchors:
    """Anchors of one gateway, of any of its boots, in any order."""

    def __init__(self) -> None:
        self._by_boot: dict[bytes, list[Anchor]] = {}

    def add(self, anchor: Anchor) -> None:
        """Take one more; the same one twice changes nothing."""
        known = self._by_boot.setdefault(anchor.boot_id, [])
        if anchor not in known:
            known.append(anchor)

    def shift_ns(self, stamp: Stamp) -> int:
        """What to add to the wall-clock times of a record; 0 where they stand or none is known."""
        known = self._by_boot.get(stamp.boot_id)
        if stamp.synchronised or not known:
            return 0
        best = min(known, key=lambda one: one.bound_ns(stamp.monotonic_ns))
        shift_ns = best.at_ns(stamp.monotonic_ns) - stamp.time_ns
        least_ns = max(LEAST_SHIFT_NS, best.bound_ns(stamp.monotonic_ns))
        return shift_ns if abs(shift_ns) >= least_ns else 0


def corrected_ns(time_ns: int, by_gateway_ns: int, shift_ns: int) -> int:
    """Shift one time of a record, unless a device's own clock gave it.

    by_gateway_ns: a time of the gateway's own wall clock beside it. A time nearer to that than to
    the true time comes from the gateway's clock; nearer to the true time, from a clock that is
    right and stays.
    """
    own = abs(time_ns - by_gateway_ns) <= abs(time_ns - by_gateway_ns - shift_ns)
    return time_ns + shift_ns if own else time_ns


def corrected_times_ns(
    times_ns: npt.NDArray[np.int64], by_gateway_ns: int, shift_ns: int
) -> npt.NDArray[np.int64]:
    """`corrected_ns` of each time."""
    behind = np.abs(times_ns - by_gateway_ns)
    own = behind <= np.abs(times_ns - by_gateway_ns - shift_ns)
    return np.where(own, times_ns + shift_ns, times_ns)


def anchor_event(anchor: Anchor, time_ns: int, text: str) -> bytes:
    """Payload of the event record that carries an anchor."""
    return wire.Event(
        kind="clock.anchor",
        source="gateway",
        time_ns=time_ns,
        text=text,
        clock_anchor=wire.ClockAnchor(
            boot_id=anchor.boot_id,
            monotonic_ns=anchor.monotonic_ns,
            true_ns=anchor.true_ns,
            uncertainty_ns=anchor.uncertainty_ns,
            source=anchor.source,
        ),
    ).SerializeToString(deterministic=True)


def anchor_of(event: wire.Event) -> Anchor | None:
    """Anchor in an event, if it carries one."""
    if not event.HasField("clock_anchor"):
        return None
    said = event.clock_anchor
    return Anchor(said.boot_id, said.monotonic_ns, said.true_ns, said.uncertainty_ns, said.source)
