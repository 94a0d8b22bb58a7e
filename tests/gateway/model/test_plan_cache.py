"""PlanCache: by identity, by content, bounded."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gateway.model.plan_cache import LEAST_BUDGET, PlanCache


def ids(*numbers: int) -> npt.NDArray[np.int32]:
    return np.array(numbers, np.int32)


def test_equal_arrays_are_planned_once() -> None:
    planned: list[list[int]] = []

    def make(points: npt.NDArray[np.int32]) -> int:
        planned.append(points.tolist())
        return len(planned)

    cache = PlanCache(make, point_count=3)
    first = ids(1, 2)
    assert [cache.of(first), cache.of(first), cache.of(ids(1, 2)), cache.of(ids(2, 1))] == [
        1, 1, 1, 2
    ]  # fmt: skip
    assert planned == [[1, 2], [2, 1]]


def test_a_plan_of_nothing_is_kept_too() -> None:
    planned = []
    cache = PlanCache(lambda points: planned.append(len(points)), point_count=0)
    points = ids(1)
    cache.of(points)
    cache.of(points)
    assert planned == [1]


def test_differing_arrays_cost_bounded_memory() -> None:
    cache = PlanCache(len, point_count=0)
    kept = [np.full(20_000, i, np.int32) for i in range(12)]
    for points in kept:
        assert cache.of(points) == 20_000
    assert len(cache) == LEAST_BUDGET // 20_032
    many = [np.empty(0, np.int32) for _ in range(3000)]
    for points in many:
        cache.of(points)
    assert len(cache) <= LEAST_BUDGET // 32


def test_an_array_larger_than_the_budget_is_still_served() -> None:
    cache = PlanCache(len, point_count=0)
    points = np.zeros(LEAST_BUDGET * 2, np.int32)
    assert cache.of(points) == cache.of(points) == LEAST_BUDGET * 2
    assert len(cache) == 1
