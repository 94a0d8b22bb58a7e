"""The newest value of every point, against a plain dict; bits of large integers are kept."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import Batch, Values
from gateway.control.latest import MOST_WAITING, LatestValues

LAYOUTS = [np.array(ids, np.int32) for ids in ([1, 2, 3], [3, 4], [2, 2], [900], [])]
NUMBERS = st.sampled_from([0.0, -1.5, 2.0**53 + 2, float(2**60)])


def columns(kind: str, count: int, number: float) -> Values:
    if kind == "text":
        return tuple(f"{number}-{n}" for n in range(count))
    if kind == "float":
        return np.array([n + number for n in range(count)], np.float64)
    large = [2**53 + 1 + n for n in range(count)]
    return np.array(large, np.int64) if kind == "int" else np.array(large, np.uint64)


STEPS = st.tuples(
    st.integers(0, len(LAYOUTS) - 1), st.sampled_from(["float", "int", "uint", "text"]), NUMBERS,
    st.booleans(),
)  # fmt: skip


@given(st.lists(STEPS, max_size=30))
@example([(2, "text", 0.0, False), (0, "float", 1.0, True)])
def test_it_is_the_last_that_was_fed(steps: list[tuple[int, str, float, bool]]) -> None:
    table, model = LatestValues(), dict[int, tuple[object, int, int]]()
    for at, (layout, kind, number, ask) in enumerate(steps):
        points = LAYOUTS[layout]
        values = columns(kind, len(points), number)
        quality = np.full(len(points), at, np.uint16)
        table.feed(Batch(points, values, quality, at, at, at))
        for place, point in enumerate(points.tolist()):
            value = values[place]
            model[point] = value.item() if isinstance(value, np.generic) else value, at, at
        if ask:
            table.of([1])
    for point in (0, 1, 2, 3, 4, 900, 901, -1):
        [found] = table.of([point])
        assert (tuple(found) if found is not None else None) == model.get(point)


def test_batches_with_arrays_of_their_own_do_not_pile_up() -> None:
    table = LatestValues()
    for number in range(3 * MOST_WAITING):
        table.feed(
            Batch(
                np.array([7], np.int32), np.array([float(number)]), np.zeros(1, np.uint16), 0, 0, 0
            )
        )
        assert len(table._waiting) <= MOST_WAITING
    [found] = table.of([7])
    assert found is not None
    assert found.value == 3 * MOST_WAITING - 1
