"""Moments of a batch: what an alarm over several points sees of it, in the order of time.

Guarantees:

- A row over several points (deviation, valve, disagreement, expression) is asked at every moment at
  which one of its points has a sample in the batch, oldest first by the samples' own times, with
  the latest value of each of its points at that moment. An excursion between the first and the
  last sample of a batch is seen.
- Samples of one moment are taken together: two values that were read by one poll are never compared
  with a mixture of old and new. Of several samples of a point with one time, the k-th belong
  together.
- Across batches the order is that of arrival: points of two devices come in two batches.
- Work is bounded by the samples of the batch that a row needs; a batch of one time in which no
  point comes twice costs what it was planned to cost, and nothing is sorted.

Pure, vectorised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.intp]
Times = npt.NDArray[np.int64]
Slots = Sequence[Sequence[tuple[int, int]]]
"""By point id: (row, slot) of every place where a row needs that point."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What rows take at one moment; of each row there is one moment at most in a round.

    samples, rows, slots: values to take.  asked: rows to ask then.  deciding: of each of them the
    sample that is reported.
    """

    samples: Rows
    rows: Rows
    slots: Rows
    asked: Rows
    deciding: Rows


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """Where the samples of a points array go, for the rows of one group.

    turn: how many samples of the same point and place came before in the array.
    whole: all of it as one moment, where no point comes twice; else None.
    """

    samples: Rows
    rows: Rows
    slots: Rows
    turn: Rows
    whole: Moment | None


def plan_members(table: Slots, ids: npt.NDArray[np.int32]) -> MemberPlan | None:
    """Plan a points array; None if no row needs any of its points."""
    found: list[tuple[int, int, int, int]] = []
    seen: dict[tuple[int, int], int] = {}
    for sample, number in enumerate(ids.tolist()):
        for place in table[number] if 0 <= number < len(table) else ():
            turn = seen.get(place, 0)
            seen[place] = turn + 1
            found.append((sample, *place, turn))
    if not found:
        return None
    samples, rows, slots, turns = np.array(found, np.intp).T
    whole = None if turns.any() else _moment(samples, rows, slots)
    return MemberPlan(samples, rows, slots, turns, whole)


def moments(plan: MemberPlan, times: int | Times) -> list[Moment]:
    """Rounds of moments: the k-th holds the k-th moment of every row that has so many."""
    if plan.whole is not None and (isinstance(times, int) or _one_time(times[plan.samples])):
        return [plan.whole]
    at = np.zeros(len(plan.samples), np.int64)
    if not isinstance(times, int):
        at = times[plan.samples]
    turn = _turns(plan, at)
    order = np.lexsort((plan.samples, turn, at, plan.rows))
    rows = plan.rows[order]
    same_row = np.diff(rows, prepend=-1) == 0
    same_moment = same_row & (np.diff(at[order], prepend=0) == 0)
    same_moment &= np.diff(turn[order], prepend=-1) == 0
    begins = np.cumsum(~same_moment)
    first_of_row = np.maximum.accumulate(np.where(same_row, 0, begins))
    rounds = begins - first_of_row
    return [
        _moment(*(part[order[rounds == k]] for part in (plan.samples, plan.rows, plan.slots)))
        for k in range(int(rounds.max()) + 1)
    ]


def _turns(plan: MemberPlan, at: Times) -> Rows:
    """Of each sample, how many of the same place and time come before it in the batch."""
    if not plan.turn.any():
        return plan.turn
    order = np.lexsort((plan.turn, at, plan.slots, plan.rows))
    keys = np.stack((plan.rows, plan.slots, at))[:, order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    places = np.arange(len(order))
    turn = np.empty(len(order), np.intp)
    turn[order] = places - np.maximum.accumulate(np.where(new, places, 0))
    return turn


def _one_time(times: Times) -> bool:
    return bool((times == times[0]).all())


def _moment(samples: Rows, rows: Rows, slots: Rows) -> Moment:
    """Of each row the last sample decides; samples are in order within a row."""
    deciding: dict[int, int] = {}
    for sample, row in zip(samples.tolist(), rows.tolist(), strict=True):
        deciding[row] = max(sample, deciding.get(row, -1))
    asked = np.array(list(deciding), np.intp)
    return Moment(samples, rows, slots, asked, np.array(list(deciding.values()), np.intp))
