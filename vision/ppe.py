"""Who is in the picture and what each of them wears: joins people, heads and judgements. Pure.

Guarantees:

- A head belongs to at most one person and a person has at most one head.
- A person whose head is not found, is too small or is judged with too little certainty is
  `UNDECIDED`, never taken for one without a helmet.
- A head alone, found with certainty, is a person too: somebody seen only above a wall or a crowd.

How: a head may belong to a person if its centre lies within the box's width and in its upper part
(HEAD_SHARE); pairs are taken by falling fit, each head and person once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]

HEAD_SHARE = 0.45
"""A head's centre lies in the upper 45 % of a person's box, bent and seated people included."""


class Verdict(enum.Enum):
    """What can be said of one item on one person."""

    WORN = "worn"
    MISSING = "missing"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the probability (calibrated) that the item is worn; nan if none was made."""

    verdict: Verdict = Verdict.UNDECIDED
    worn: float = float("nan")


@dataclass(frozen=True, slots=True)
class Seen:
    """One person in one picture. Boxes are x1, y1, x2, y2 in pixels.

    score: of the person, or of the head where no person was found around it (`alone`).
    head: None where none was found.  torso: where the work wear is judged.
    """

    box: Box
    score: float
    head: Box | None
    torso: Box
    alone: bool = False
    helmet: Judgement = Judgement()
    workwear: Judgement = Judgement()


@dataclass(frozen=True, slots=True)
class Joining:
    """Thresholds of the joining.

    person: a person of this score counts.  weak: so does one of this score with a head of
    `head`.  alone: a head of this score counts without a person.
    """

    person: float = 0.45
    weak: float = 0.2
    head: float = 0.3
    alone: float = 0.5


def join(
    people: Float32Array,
    scores: Float32Array,
    heads: Float32Array,
    heat: Float32Array,
    rules: Joining,
) -> list[Seen]:
    """People of people[n, 4] and heads[m, 4] by their scores[n] and heat[m], best first."""
    owner = _owners(people, scores, heads, heat)
    seen: list[Seen] = []
    for row in range(len(people)):
        head = owner.get(row)
        strong = scores[row] >= rules.person
        helped = head is not None and scores[row] >= rules.weak and heat[head] >= rules.head
        if not (strong or helped):
            continue
        box = box_of(people[row])
        found = None if head is None or heat[head] < rules.head else box_of(heads[head])
        seen.append(Seen(box, float(scores[row]), found, torso_of(box, found)))
    taken = {head for row, head in owner.items() if scores[row] >= rules.weak}
    for index in range(len(heads)):
        if index in taken or heat[index] < rules.alone:
            continue
        head_box = box_of(heads[index])
        whole = body_of(head_box)
        seen.append(Seen(whole, float(heat[index]), head_box, torso_of(whole, head_box), True))
    return sorted(seen, key=lambda one: -one.score)


def attach(
    people: Float32Array, heads: Float32Array, heat: Float32Array, least: float
) -> list[Seen]:
    """People of people[n, 4] in their order, each with a head of at least `least`, if there is."""
    good = heat >= least
    owner = _owners(people, np.ones(len(people), np.float32), heads[good], heat[good])
    seen = []
    for row in range(len(people)):
        box = box_of(people[row])
        head = box_of(heads[good][owner[row]]) if row in owner else None
        seen.append(Seen(box, 1.0, head, torso_of(box, head)))
    return seen


def torso_of(box: Box, head: Box | None) -> Box:
    """Where a person's upper body is: under the head, or a share of the box without one."""
    x1, y1, x2, y2 = box
    if head is None:
        height, width = y2 - y1, x2 - x1
        tall = height > 1.6 * width
        top, bottom = (0.16, 0.55) if tall else (0.28, 1.0)
        return x1 + 0.05 * width, y1 + top * height, x2 - 0.05 * width, y1 + bottom * height
    size = max(head[2] - head[0], head[3] - head[1])
    middle = (head[0] + head[2]) / 2
    left, right = max(x1, middle - 1.6 * size), min(x2, middle + 1.6 * size)
    top = head[3] + 0.1 * size
    bottom = min(y2, top + 2.6 * size)
    if right - left < 0.5 * size or bottom - top < 0.5 * size:
        return max(x1, middle - size), min(top, y2 - 1), max(middle + size, x1 + 1), y2
    return left, top, right, bottom


def body_of(head: Box) -> Box:
    """A standing person's box guessed from the head: 3 heads wide, 7 high, from the head's top."""
    width, height = head[2] - head[0], head[3] - head[1]
    size = max(width, height)
    middle = (head[0] + head[2]) / 2
    return middle - 1.5 * size, head[1], middle + 1.5 * size, head[1] + 7 * size


def judged(seen: Seen, item: str, judgement: Judgement) -> Seen:
    """The same person with one item judged."""
    if item == "helmet":
        return replace(seen, helmet=judgement)
    return replace(seen, workwear=judgement)


def decide(probabilities: Float32Array, worn_at: float, missing_at: float) -> list[Judgement]:
    """Judgements of probabilities[n, 3]: worn, missing, cannot tell.

    Worn needs `worn_at` of the first, missing `missing_at` of the second; else undecided.
    """
    judgements = []
    for worn, missing, _ in probabilities.tolist():
        if missing >= missing_at and missing > worn:
            verdict = Verdict.MISSING
        elif worn >= worn_at:
            verdict = Verdict.WORN
        else:
            verdict = Verdict.UNDECIDED
        judgements.append(Judgement(verdict, worn))
    return judgements


def _owners(
    people: Float32Array, scores: Float32Array, heads: Float32Array, heat: Float32Array
) -> dict[int, int]:
    """Head of each person: row of people → row of heads."""
    if not len(people) or not len(heads):
        return {}
    centre = (heads[:, :2] + heads[:, 2:]) / 2
    size = people[:, 2:] - people[:, :2]
    across = (centre[None, :, 0] - people[:, None, 0]) / np.maximum(size[:, None, 0], 1e-6)
    down = (centre[None, :, 1] - people[:, None, 1]) / np.maximum(size[:, None, 1], 1e-6)
    ratio = (heads[:, 2] - heads[:, 0])[None, :] / np.maximum(size[:, None, 0], 1e-6)
    fits = (across > 0) & (across < 1) & (down > -0.1) & (down < HEAD_SHARE) & (ratio < 1.3)
    fit = (1 - np.clip(down, 0, 1)) * (1 - 0.5 * np.abs(across - 0.5) * 2)
    value = np.where(fits, fit * (0.3 + scores[:, None]) * (0.3 + heat[None, :]), 0)
    owners: dict[int, int] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(value)
    for pick in np.argsort(-value[rows, columns], kind="stable").tolist():
        row, column = int(rows[pick]), int(columns[pick])
        if row not in owners and column not in taken:
            owners[row] = column
            taken.add(column)
    return owners


def box_of(row: Float32Array) -> Box:
    """Four numbers as a box."""
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2
