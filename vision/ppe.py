"""Who is in the picture and what each of them wears: joins people, heads and judgements. Pure.

Guarantees:

- A head belongs to at most one person and a person has at most one head.
- A person whose head is not found, is too small or is judged with too little certainty is
  `UNDECIDED`, never taken for one without a helmet.
- A head alone, found with certainty, is a person too: somebody seen only above a wall or a crowd.

How: whatever may be a head is looked at again at full resolution (`worth_a_look`), and how sure
that look is counts from then on. A head may belong to a person if its centre lies within the box's
width and in its upper part (HEAD_SHARE); pairs are taken by falling fit, each head and person once.
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

APART = 0.45
RAISED, ASIDE, WORN = 0.15, 0.35, 0.8
LOOKS_EACH = 2
MOST_LOOKS = 80
ROOM, DOWN, LEAST_ROOM = 0.3, 0.7, 16.0
"""Around people whose heads are looked for: shares of the box beside, above and down it; pixels."""


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
    head: None where none was found.  torso: where the work wear is judged.  row: of the head among
    those that were given.
    """

    box: Box
    score: float
    head: Box | None
    torso: Box
    alone: bool = False
    row: int | None = None
    helmet: Judgement = Judgement()
    workwear: Judgement = Judgement()


@dataclass(frozen=True, slots=True)
class Joining:
    """Thresholds of the joining.

    person: a person of this score counts, with a head if one of `head` is found.  weak: so does
    one of this score with a head of `weak_head`.  alone: a head of this score counts without a
    person.  look, look_alone: heat from which something in the upper part of a person, or
    anywhere, is looked at again.  heat_counts: see `weighed`.
    """

    person: float = 0.45
    weak: float = 0.2
    head: float = 0.3
    weak_head: float = 0.6
    alone: float = 0.5
    look: float = 0.05
    look_alone: float = 0.2
    heat_counts: float = 0.0


def worth_a_look(
    people: Float32Array,
    scores: Float32Array,
    heads: Float32Array,
    heat: Float32Array,
    rules: Joining,
) -> npt.NDArray[np.intp]:
    """Rows of heads[m, 4], best first, that a second look is spent on.

    Those of at least `look_alone`, and the LOOKS_EACH hottest of at least `look` in the upper part
    of each person of at least `weak`; at most MOST_LOOKS, so that a crowd does not stop the camera.
    """
    wanted = heat >= rules.look_alone
    near = people[scores >= rules.weak]
    if len(near) and len(heads):
        fits = (_fit(near, heads) > 0) & (heat >= rules.look)[None, :]
        for row in np.where(fits, heat[None, :], 0):
            best = np.argsort(-row, kind="stable")[:LOOKS_EACH]
            wanted[best[row[best] > 0]] = True
    rows = np.flatnonzero(wanted)
    return rows[np.argsort(-heat[rows], kind="stable")[:MOST_LOOKS]]


def weighed(chances: Float32Array, heat: Float32Array, counts: float) -> Float32Array:
    """Chances[n, 3] of the second look (in a helmet, bare, no head) with the first look's heat[n].

    The odds that it is a head are multiplied by those of the heat to the power of `counts`, where
    the heat is above a half: the head finder sees the body below and the crowd around, which a crop
    does not show. Below a half nothing is taken away, because where pictures are unlike those of
    training all heads are colder. What the head wears stays the second look's.
    """
    told = np.maximum(chances[:, :2].astype(np.float64), 1e-9)  # nothing of both is half of each
    head = np.clip(told.sum(axis=1), 1e-6, 1 - 1e-6)
    hot = np.clip(heat, 0.5, 1 - 1e-6).astype(np.float64)
    odds = np.log(head / (1 - head)) + counts * np.log(hot / (1 - hot))
    now = 1 / (1 + np.exp(-odds))
    out = np.column_stack((told * (now / told.sum(axis=1))[:, None], 1 - now))
    return np.asarray(out, np.float32)


def heads_window(people: Float32Array, width: int, height: int) -> tuple[int, int, int, int]:
    """Part of a width × height picture that holds the heads of people[n >= 1, 4], with room.

    Left, top, right, bottom in whole pixels; at least one of each side.
    """
    sides = people[:, 2:] - people[:, :2]
    low = people[:, :2] - np.maximum(ROOM * sides, LEAST_ROOM)
    high = np.stack((people[:, 2] + ROOM * sides[:, 0], people[:, 1] + DOWN * sides[:, 1]), axis=1)
    high = np.maximum(high, people[:, :2] + LEAST_ROOM)
    left, top = np.floor(low.min(axis=0)).astype(int).tolist()
    right, bottom = np.ceil(high.max(axis=0)).astype(int).tolist()
    left, top = min(max(0, left), width - 1), min(max(0, top), height - 1)
    return left, top, max(left + 1, min(right, width)), max(top + 1, min(bottom, height))


def one_each(heads: Float32Array, good: Float32Array, apart: float = APART) -> npt.NDArray[np.intp]:
    """Rows of heads[m, 4] that are heads of their own, best first.

    Of two whose centres are nearer than `apart` times the larger one's longer side only the better
    stays: the face under a helmet is not a second, bare head. What is good: to be a head for the
    second look, in a box that the head finder likes.
    """
    centre = (heads[:, :2] + heads[:, 2:]) / 2
    size = (heads[:, 2:] - heads[:, :2]).max(axis=1) if len(heads) else np.zeros(0)
    kept: list[int] = []
    for row in np.argsort(-good, kind="stable").tolist():
        off = np.hypot(*(centre[kept] - centre[row]).T)
        if not (off < apart * np.maximum(size[kept], size[row])).any():
            kept.append(row)
    return np.array(kept, np.intp)


def under_a_helmet(heads: Float32Array, chances: Float32Array) -> npt.NDArray[np.bool_]:
    """Which of heads[m, 4] are the face under a helmet that is among them, too.

    chances: float[m, 3], in a helmet, bare, no head. A face in a box of its own is a bare head to
    whoever sees only the box; the helmet on it says otherwise, however hot the face is. It is one
    of the same head (APART) that lies higher in all (RAISED of the face's longer side) and little
    to a side (ASIDE), and a worn helmet for certain (WORN). Hair above a face is none, and a box
    that is judged to be in a helmet itself needs none above it.
    """
    centre = (heads[:, :2] + heads[:, 2:]) / 2
    size = (heads[:, 2:] - heads[:, :2]).max(axis=1)[:, None]
    off = centre[:, None] - centre[None]  # of each from each other: right, below
    same = np.hypot(off[..., 0], off[..., 1]) < APART * np.maximum(size, size.T)
    lower = heads[:, None, 3] - heads[None, :, 3] > RAISED * size
    above = (off[..., 1] > RAISED * size) & (heads[:, None, 1] > heads[None, :, 1]) & lower
    on_it = same & above & (np.abs(off[..., 0]) < ASIDE * size) & (chances[:, 0] > WORN)[None]
    return np.asarray(on_it.any(axis=1) & (chances[:, 1] > chances[:, 0]), np.bool_)


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
        helped = head is not None and scores[row] >= rules.weak and heat[head] >= rules.weak_head
        if not (strong or helped):
            continue
        box = box_of(people[row])
        found = None if head is None or heat[head] < rules.head else box_of(heads[head])
        mine = None if found is None else head
        seen.append(Seen(box, float(scores[row]), found, torso_of(box, found), row=mine))
    taken = {head for row, head in owner.items() if scores[row] >= rules.weak}
    for index in range(len(heads)):
        if index in taken or heat[index] < rules.alone:
            continue
        head_box = box_of(heads[index])
        whole = body_of(head_box)
        torso = torso_of(whole, head_box)
        seen.append(Seen(whole, float(heat[index]), head_box, torso, alone=True, row=index))
    return sorted(seen, key=lambda one: -one.score)


def attach(
    people: Float32Array, heads: Float32Array, heat: Float32Array, least: float
) -> list[Seen]:
    """People of people[n, 4] in their order, each with a head of at least `least`, if there is."""
    good = np.flatnonzero(heat >= least)
    owner = _owners(people, np.ones(len(people), np.float32), heads[good], heat[good])
    seen = []
    for row in range(len(people)):
        box = box_of(people[row])
        mine = int(good[owner[row]]) if row in owner else None
        head = None if mine is None else box_of(heads[mine])
        seen.append(Seen(box, 1.0, head, torso_of(box, head), row=mine))
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


@dataclass(frozen=True, slots=True)
class Deciding:
    """When a verdict is given.

    sure: worn and missing together must be as likely as this, or it cannot be told.  worn,
    missing: share of the two from which it is one or the other; in between it cannot be told.
    """

    sure: float
    worn: float
    missing: float


def decide(probabilities: Float32Array, rules: Deciding) -> list[Judgement]:
    """Judgements of probabilities[n, 3]: worn, missing, cannot tell."""
    judgements = []
    for worn, missing, _ in probabilities.tolist():
        told = worn + missing
        verdict = Verdict.UNDECIDED
        if told > 0 and told >= rules.sure:
            if missing >= rules.missing * told:
                verdict = Verdict.MISSING
            elif worn >= rules.worn * told:
                verdict = Verdict.WORN
        judgements.append(Judgement(verdict, worn))
    return judgements


def _owners(
    people: Float32Array, scores: Float32Array, heads: Float32Array, heat: Float32Array
) -> dict[int, int]:
    """Head of each person: row of people → row of heads."""
    if not len(people) or not len(heads):
        return {}
    fit = _fit(people, heads)
    value = fit * (0.3 + scores[:, None]) * (0.3 + heat[None, :])
    owners: dict[int, int] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(value)
    for pick in np.argsort(-value[rows, columns], kind="stable").tolist():
        row, column = int(rows[pick]), int(columns[pick])
        if row not in owners and column not in taken:
            owners[row] = column
            taken.add(column)
    return owners


def _fit(people: Float32Array, heads: Float32Array) -> Float32Array:
    """How well each head[m] sits on each person[n]: float[n, m], 0 where it cannot be theirs."""
    centre = (heads[:, :2] + heads[:, 2:]) / 2
    size = people[:, 2:] - people[:, :2]
    across = (centre[None, :, 0] - people[:, None, 0]) / np.maximum(size[:, None, 0], 1e-6)
    down = (centre[None, :, 1] - people[:, None, 1]) / np.maximum(size[:, None, 1], 1e-6)
    ratio = (heads[:, 2] - heads[:, 0])[None, :] / np.maximum(size[:, None, 0], 1e-6)
    fits = (across > 0) & (across < 1) & (down > -0.1) & (down < HEAD_SHARE) & (ratio < 1.3)
    fit = (1 - np.clip(down, 0, 1)) * (1 - 0.5 * np.abs(across - 0.5) * 2)
    return np.asarray(np.where(fits, fit, 0), np.float32)


def box_of(row: Float32Array) -> Box:
    """Four numbers as a box."""
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2
