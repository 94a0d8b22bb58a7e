"""RangeSet against a plain set."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from buffer.ranges import RangeSet

Steps = st.lists(
    st.tuples(st.sampled_from(["add", "discard"]), st.integers(0, 40), st.integers(0, 8)),
    max_size=30,
)


@given(Steps, st.integers(0, 45), st.integers(0, 45))
def test_ranges_behave_as_a_set(steps: list[tuple[str, int, int]], low: int, high: int) -> None:
    ranges = RangeSet()
    model: set[int] = set()
    for kind, start, length in steps:
        if kind == "add":
            ranges.add(start, start + length)
            model |= set(range(start, start + length))
        else:
            ranges.discard(start, start + length)
            model -= set(range(start, start + length))
    held = [item for start, stop in ranges for item in range(start, stop)]
    assert held == sorted(model)
    assert len(ranges) == len(model)
    assert bool(ranges) == bool(model)
    assert all(
        stop < following
        for (_, stop), (following, _) in zip(list(ranges), list(ranges)[1:], strict=False)
    )
    missing = {item for start, stop in ranges.missing(low, high) for item in range(start, stop)}
    assert missing == set(range(low, high)) - model
    run = low
    while run in model:
        run += 1
    assert ranges.contiguous_stop(low) == run
    assert (low in ranges) == (low in model)
    copy = ranges.copy()
    assert copy == ranges
    copy.update(RangeSet([(100, 101)]))
    assert copy != ranges
