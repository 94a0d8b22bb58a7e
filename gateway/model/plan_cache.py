"""Plans per points array: what a vector stage works out once for the points of a batch.

Guarantees: an array object seen before costs one dictionary look-up; another array with equal
content costs one hash of its bytes; anything else is planned. Arrays are immutable by contract
(drivers/contract.py), and a cached array is held, so its identity cannot pass to another one.

The cache is bounded by the total length of the arrays it holds, not by their number: 800 blocks
of 125 registers fit as well as five notifications of 20,000 items, and a subscription whose arrays
differ every time costs bounded memory. The oldest plan goes first.

Pure; not thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Plan = TypeVar("Plan")
Key = TypeVar("Key", bound=Hashable)
_Points = npt.NDArray[np.int32]

LEAST_BUDGET = 65_536
"""Ids held at least; a plan costs up to 40 bytes an id, so this is under 3 MB a stage."""

_OVERHEAD = 32  # what an entry weighs besides its ids, so that empty arrays are bounded too


class PlanCache(Generic[Plan]):
    """Bounded cache of `make(points)`, by identity and then by content of the array."""

    def __init__(self, make: Callable[[_Points], Plan], *, point_count: int) -> None:
        """Hold arrays of up to four times `point_count` ids in total (at least LEAST_BUDGET)."""
        self._make = make
        budget = max(LEAST_BUDGET, 4 * point_count)
        self._by_object: _Oldest[int, tuple[_Points, Plan]] = _Oldest(budget)
        self._by_content: _Oldest[bytes, Plan] = _Oldest(budget)

    def of(self, points: _Points) -> Plan:
        """Return the plan for a points array; whatever `make` raises passes through."""
        found = self._by_object.entries.get(id(points))
        if found is not None:
            return found[0][1]
        content = points.tobytes()
        known = self._by_content.entries.get(content)
        if known is None:
            plan = self._make(points)
            self._by_content.add(content, plan, len(points) + _OVERHEAD)
        else:
            plan = known[0]
        self._by_object.add(id(points), (points, plan), len(points) + _OVERHEAD)
        return plan

    def __len__(self) -> int:
        """Count of array objects held."""
        return len(self._by_object.entries)


class _Oldest(Generic[Key, Plan]):
    """Dictionary whose oldest entries go when the weights add up to more than a budget."""

    def __init__(self, budget: int) -> None:
        self.entries: dict[Key, tuple[Plan, int]] = {}
        self._left = budget

    def add(self, key: Key, item: Plan, weight: int) -> None:
        self.entries[key] = (item, weight)
        self._left -= weight
        while self._left < 0 and len(self.entries) > 1:
            oldest = next(iter(self.entries))
            self._left += self.entries.pop(oldest)[1]
