"""Anchors: a corrected time is as right as it says, and what needs no correction gets none."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.clock import (
    DRIFT,
    LEAST_SHIFT_NS,
    Anchor,
    Anchors,
    Stamp,
    anchor_event,
    anchor_of,
    corrected_ns,
    corrected_times_ns,
)
from gateway.wire.v1 import uplink_pb2 as wire

BOOT = b"b" * 16
BOOTED_NS = 1_790_000_000 * 10**9
DAY_NS = 86_400 * 10**9

moments = st.integers(0, 400 * DAY_NS)


def true_ns(monotonic_ns: int, drift: float) -> int:
    return BOOTED_NS + monotonic_ns + round(monotonic_ns * drift)


@given(
    drift=st.floats(-DRIFT / 2, DRIFT / 2),
    anchors=st.lists(st.tuples(moments, st.integers(0, 10**10), st.floats(-1, 1)), min_size=1),
    record=moments,
    wall_error_ns=st.integers(-60 * 365 * DAY_NS, 60 * 365 * DAY_NS),
)
def test_a_corrected_time_is_as_right_as_the_best_anchor_says(
    drift: float, anchors: list[tuple[int, int, float]], record: int, wall_error_ns: int
) -> None:
    known, found = Anchors(), []
    for at_ns, uncertainty_ns, part in anchors:
        error_ns = int(uncertainty_ns * part)
        anchor = Anchor(BOOT, at_ns, true_ns(at_ns, drift) + error_ns, uncertainty_ns, "ntp")
        found.append(anchor)
        known.add(anchor)
    wall_ns = true_ns(record, drift) + wall_error_ns
    corrected = wall_ns + known.shift_ns(Stamp(BOOT, record, wall_ns, synchronised=False))
    bound_ns = min(one.bound_ns(record) for one in found)
    # Doubles hold 400 days to 4 ns.
    least_ns = max(bound_ns, LEAST_SHIFT_NS) + bound_ns + 8
    assert abs(corrected - true_ns(record, drift)) <= least_ns
    if corrected != wall_ns:
        assert abs(corrected - true_ns(record, drift)) <= bound_ns + 8


@given(record=moments, wall_ns=st.integers(0, 2 * BOOTED_NS), other=st.booleans())
def test_what_was_synchronised_or_of_another_boot_stands(
    record: int, wall_ns: int, other: bool
) -> None:
    known = Anchors()
    known.add(Anchor(BOOT, 0, BOOTED_NS, 0, "ntp"))
    boot = b"c" * 16 if other else BOOT
    assert known.shift_ns(Stamp(boot, record, wall_ns, synchronised=not other)) == 0


@given(
    times=st.lists(st.integers(0, 4 * 10**18), min_size=1),
    gateway=st.integers(0, 2 * 10**18),
    shift=st.integers(-(10**18), 2 * 10**18),
)
@example(times=[5], gateway=5, shift=0)
def test_columns_are_corrected_like_single_times(
    times: list[int], gateway: int, shift: int
) -> None:
    columns = corrected_times_ns(np.array(times, np.int64), gateway, shift)
    assert columns.tolist() == [corrected_ns(one, gateway, shift) for one in times]


def test_a_device_with_a_clock_of_its_own_keeps_its_time() -> None:
    gateway_ns, true = 1_000 * 10**9, BOOTED_NS
    shift_ns = true - gateway_ns
    assert corrected_ns(gateway_ns - 40_000_000, gateway_ns, shift_ns) == true - 40_000_000
    assert corrected_ns(true - 40_000_000, gateway_ns, shift_ns) == true - 40_000_000


def test_an_anchor_travels_in_an_event() -> None:
    anchor = Anchor(BOOT, 7, BOOTED_NS, 3, "province")
    event = wire.Event.FromString(anchor_event(anchor, 9, "The true time is known."))
    assert (event.kind, event.time_ns, anchor_of(event)) == ("clock.anchor", 9, anchor)
    assert anchor_of(wire.Event(kind="link.up")) is None
