"""Planner: what holds for any points, limits and lessons; and the smallest number of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import Area
from drivers.modbus.plan import Limits, Span, aligned, plan

SPACE = 400

areas = st.sampled_from(Area)
spans = st.builds(
    lambda area, start, count: Span(area, start, 1 if area.bits else count),
    areas,
    st.integers(0, SPACE),
    st.sampled_from([1, 1, 2, 4]),
)
limits = st.builds(
    Limits,
    st.integers(4, 125),
    st.integers(1, 200),
    st.integers(0, 20),
    st.dictionaries(
        areas,
        st.lists(
            st.tuples(st.integers(0, SPACE), st.integers(1, 10)).map(lambda r: (r[0], r[0] + r[1])),
            max_size=4,
        ),
    ),
    st.dictionaries(areas, st.integers(4, 125)),
)
cuts = st.dictionaries(areas, st.sets(st.integers(0, SPACE), max_size=5))


def _legal(wanted: set[Span], within: Limits) -> set[Span]:
    return {
        span
        for span in wanted
        if not any(f < span.end and span.start < e for f, e in within.forbidden.get(span.area, ()))
    }


@given(st.sets(spans, max_size=60), limits, st.data())
def test_every_plan_is_legal_and_complete(
    wanted: set[Span], within: Limits, data: st.DataObject
) -> None:
    wanted = _legal(wanted, within)
    bad = data.draw(st.sets(st.sampled_from(sorted(wanted)), max_size=5)) if wanted else set()
    divided = data.draw(cuts)
    blocks = plan(wanted, within, bad, divided)

    read = [span for block in blocks for span in block.spans]
    assert sorted(read) == sorted(wanted - bad)  # each value once, whole, nothing else
    for block in blocks:
        assert block.count <= within.cap(block.area)
        assert block.start == block.spans[0].start
        assert block.end == max(span.end for span in block.spans)
        used = {at for span in block.spans for at in range(span.start, span.end)}
        for first, end in within.forbidden.get(block.area, ()):
            assert not set(range(block.start, block.end)) & set(range(first, end))
        idle = set(range(block.start, block.end)) - used
        for span in bad:
            if span.area is block.area:
                assert not idle & set(range(span.start, span.end))
        for cut in divided.get(block.area, ()):
            starts = [span.start for span in block.spans]
            assert not (starts[0] < cut <= starts[-1])
        gaps = [
            at for at in range(block.start, block.end - within.gap(block.area))
            if not used & set(range(at, at + within.gap(block.area) + 1))
        ]  # fmt: skip
        assert not gaps


def _fewest(ordered: list[Span], within: Limits) -> int:
    """Smallest number of legal blocks, by trying every division of the ordered spans."""
    best = [0] + [len(ordered)] * len(ordered)
    for end in range(1, len(ordered) + 1):
        for begin in range(end):
            part = ordered[begin:end]
            last = max(span.end for span in part)
            if last - part[0].start > within.cap(part[0].area):
                continue
            reach, legal = part[0].end, True
            for span in part[1:]:
                legal = legal and span.start - reach <= within.gap(span.area)
                reach = max(reach, span.end)
            if legal:
                best[end] = min(best[end], best[begin] + 1)
    return best[-1]


@given(
    st.sets(
        st.builds(Span, st.just(Area.HOLDING), st.integers(0, 80), st.sampled_from([1, 2, 4])),
        min_size=1,
        max_size=20,
    ),
    st.integers(4, 20),
    st.integers(0, 6),
)
def test_no_plan_has_fewer_requests(wanted: set[Span], cap: int, gap: int) -> None:
    within = Limits(max_registers=cap, max_gap=gap)
    assert len(plan(wanted, within)) == _fewest(sorted(wanted), within)


@given(st.sets(st.integers(0, 1000), min_size=1, max_size=100))
def test_one_request_for_each_contiguous_run(addresses: set[int]) -> None:
    runs = sum(at - 1 not in addresses for at in addresses)
    blocks = plan({Span(Area.INPUT, at, 1) for at in addresses}, Limits(max_gap=0))
    assert len(blocks) == runs  # no run here is longer than a request


@given(st.sets(spans, max_size=60), limits, st.sampled_from([2, 4, 8]))
def test_aligned_requests_begin_and_end_at_multiples(
    wanted: set[Span], within: Limits, align: int
) -> None:
    cells = {aligned(span, align) for span in wanted}
    fit = {cell for cell in _legal(cells, within) if cell.count <= within.cap(cell.area)}
    for block in plan(fit, within):
        if not block.area.bits:
            assert block.start % align == block.count % align == 0
    for span in wanted:
        cell = aligned(span, align)
        assert cell.start <= span.start
        assert span.end <= cell.end
        assert cell.count < span.count + 2 * align
        assert not span.area.bits or cell == span


def test_an_area_may_have_a_smaller_cap() -> None:
    within = Limits(max_registers=100, per_area={Area.INPUT: 32, Area.HOLDING: 125})
    wanted = {Span(area, at, 1) for area in (Area.INPUT, Area.HOLDING) for at in range(100)}
    counts = [(block.area, block.count) for block in plan(wanted, within)]
    assert sorted(counts) == sorted(
        [(Area.HOLDING, 100), *[(Area.INPUT, n) for n in (32, 32, 32, 4)]]
    )


def test_a_thousand_registers_take_eight_requests() -> None:
    blocks = plan({Span(Area.HOLDING, at, 1) for at in range(1000)}, Limits())
    assert [block.count for block in blocks] == [125] * 8


def test_a_value_is_never_torn() -> None:
    blocks = plan({Span(Area.HOLDING, at, 2) for at in range(0, 130, 2)}, Limits())
    assert [(block.start, block.count) for block in blocks] == [(0, 124), (124, 6)]


def test_bits_may_bridge_sixteen_times_the_gap() -> None:
    wanted = {Span(Area.COIL, 0, 1), Span(Area.COIL, 200, 1)}
    assert len(plan(wanted, Limits(max_gap=16))) == 1
    assert len(plan(wanted, Limits(max_gap=12))) == 2


@pytest.mark.parametrize(
    ("span", "within", "message"),
    [
        (Span(Area.HOLDING, 5, 4), Limits(max_registers=3), "larger than one request"),
        (Span(Area.HOLDING, 65535, 2), Limits(), "leaves"),
        (Span(Area.HOLDING, 5, 2), Limits(forbidden={Area.HOLDING: [(6, 8)]}), "forbidden"),
    ],
)
def test_what_cannot_be_read_is_refused(span: Span, within: Limits, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan([span], within)
