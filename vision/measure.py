"""Measures judgements against labels: AP50, headcount, precision and recall of each item. Pure.

Guarantees:

- End to end: a labelled head counts as found only if a person's head was found there; a person who
  was missed, a head that was missed and a verdict of "cannot tell" all cost recall, each told apart
  (`Fate`).
- One label matches at most one person and the other way round, best overlap first.
- Two precisions are always computed. `precision` takes the labels as complete: a verdict where
  nothing is labelled is a false one. `precision_where_labelled` leaves those verdicts out, which is
  right for folders whose labels are incomplete (there an unlabelled person is unknown, neither
  right nor wrong); the caller chooses which of them is the headline (`incomplete`).
- Intervals are 95 % percentile bootstrap over images (Efron 1979), from the seed that is given.

A verdict matches a label if head box (or torso box) and label overlap by at least MATCH, or each
holds the other's centre; datasets draw a head with or without its helmet, neck or shoulders. Labels
drawn around the whole person match the person's box at an overlap of at least PERSON_MATCH.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from vision.postprocess import overlaps
from vision.ppe import Seen, Verdict

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

MATCH = 0.3
PERSON_MATCH = 0.5
HEAD_SIZES = (20.0, 40.0, 80.0)
"""Edges of the size buckets in pixels of the longer side of a head."""

TORSO_SIZES = (60.0, 120.0, 240.0)
ITEMS: Mapping[str, tuple[str, Verdict]] = {
    "helmet": ("helmet", Verdict.WORN),
    "no_helmet": ("helmet", Verdict.MISSING),
    "workwear": ("workwear", Verdict.WORN),
    "no_workwear": ("workwear", Verdict.MISSING),
}


class Fate(enum.Enum):
    """What became of one labelled head or torso."""

    RIGHT = "right"
    WRONG = "wrong"
    UNDECIDED = "undecided"
    HEAD_MISSED = "head not found"
    PERSON_MISSED = "person not found"


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Labels of one image by name: boxes float32[n, 4] in pixels."""

    boxes: Mapping[str, Float32Array]

    def of(self, name: str) -> Float32Array:
        """Boxes of one name; none if there are none."""
        return self.boxes.get(name, np.zeros((0, 4), np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the system said of one image.

    people, scores: every person's box above a low floor, for AP.  seen: those that count.
    """

    people: Float32Array
    scores: Float32Array
    seen: tuple[Seen, ...]


@dataclass(slots=True)
class ItemCounts:
    """Of one name and image, per size bucket: right, wrong, unmatched verdicts; fates of labels."""

    hits: list[int]
    wrong: list[int]
    unmatched: list[int]
    fates: list[dict[Fate, int]]

    @classmethod
    def empty(cls, buckets: int) -> ItemCounts:
        """Nothing yet."""
        return cls(
            [0] * buckets,
            [0] * buckets,
            [0] * buckets,
            [dict.fromkeys(Fate, 0) for _ in range(buckets)],
        )


@dataclass(slots=True)
class ImageMarks:
    """Marks of one image. hits: of `scores` (falling), whether each is a labelled person."""

    people: int | None = None
    counted: int = 0
    labelled_people: int | None = None
    scores: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    items: dict[str, ItemCounts] = field(default_factory=dict)

    @property
    def count_error(self) -> int | None:
        """Counted minus true people; None where people are not labelled."""
        return None if self.people is None else self.counted - self.people


def mark(truth: Truth, answer: Answer, names: frozenset[str]) -> ImageMarks:
    """Compare one image. names: the classes that the folder labels at all."""
    marks = ImageMarks(counted=len(answer.seen))
    if "person" in names:
        marks.people = marks.labelled_people = len(truth.of("person"))
        _mark_people(truth.of("person"), answer, marks)
    elif names & {"helmet", "no_helmet"}:
        marks.people = len(truth.of("helmet")) + len(truth.of("no_helmet"))
    for item, sizes in (("helmet", HEAD_SIZES), ("workwear", TORSO_SIZES)):
        if names & {item, f"no_{item}"}:
            _mark_item(item, sizes, truth, answer.seen, marks)
    return marks


def _mark_people(people: Float32Array, answer: Answer, marks: ImageMarks) -> None:
    """AP's greedy rule: by falling score, each label once, overlap at least 0.5."""
    order = np.argsort(-answer.scores, kind="stable")
    shared = overlaps(answer.people[order], people)
    free = np.ones(len(people), np.bool_)
    for row in range(len(order)):
        open_overlap = np.where(free, shared[row], 0) if len(people) else np.zeros(0)
        best = int(open_overlap.argmax()) if len(people) else -1
        hit = best >= 0 and bool(open_overlap[best] >= 0.5)
        if hit:
            free[best] = False
        marks.hits.append(hit)
    marks.scores = answer.scores[order].tolist()


def _mark_item(
    item: str, sizes: Sequence[float], truth: Truth, seen: Sequence[Seen], marks: ImageMarks
) -> None:
    names = (item, f"no_{item}")
    counts = {name: ItemCounts.empty(len(sizes) + 1) for name in names}
    boxes = np.concatenate([truth.of(name) for name in names])
    labelled = [name for name in names for _ in truth.of(name)]
    pairs = _pairs(item, boxes, seen)
    matched = {person: label for label, person in pairs.items()}
    for label, name in enumerate(labelled):
        fates = counts[name].fates[bucket_of(boxes[label], sizes)]
        fates[_fate(item, name, boxes[label], seen, pairs.get(label))] += 1
    for person, one in enumerate(seen):
        judgement = one.helmet if item == "helmet" else one.workwear
        said = {Verdict.WORN: names[0], Verdict.MISSING: names[1]}.get(judgement.verdict)
        if said is None:
            continue
        owned = matched.get(person)
        size = boxes[owned] if owned is not None else np.array(_region(item, one) or one.box)
        into = counts[said]
        bucket = bucket_of(size, sizes)
        if owned is None:
            into.unmatched[bucket] += 1
        elif labelled[owned] == said:
            into.hits[bucket] += 1
        else:
            into.wrong[bucket] += 1
    marks.items.update(counts)


def _fate(
    item: str, name: str, box: Float32Array, seen: Sequence[Seen], person: int | None
) -> Fate:
    if person is not None:
        judgement = seen[person].helmet if item == "helmet" else seen[person].workwear
        if judgement.verdict is Verdict.UNDECIDED:
            return Fate.UNDECIDED
        return Fate.RIGHT if judgement.verdict is ITEMS[name][1] else Fate.WRONG
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    inside = any(s.box[0] <= x <= s.box[2] and s.box[1] <= y <= s.box[3] for s in seen)
    return Fate.HEAD_MISSED if inside else Fate.PERSON_MISSED


def bucket_of(box: npt.ArrayLike, sizes: Sequence[float]) -> int:
    """Index of a box's size bucket by its longer side."""
    x1, y1, x2, y2 = np.asarray(box, np.float64).tolist()
    return sum(max(x2 - x1, y2 - y1) >= edge for edge in sizes)


def _region(item: str, one: Seen) -> tuple[float, float, float, float] | None:
    return one.head if item == "helmet" else one.torso


def _pairs(item: str, labels: Float32Array, seen: Sequence[Seen]) -> dict[int, int]:
    """Label → person, one to one."""
    if not len(labels) or not seen:
        return {}
    nothing = (0.0, 0.0, 0.0, 0.0)
    regions = np.array([_region(item, one) or nothing for one in seen], np.float32)
    bodies = np.array([one.box for one in seen], np.float32)
    shared = overlaps(labels, regions)
    mutual = _holds(labels, regions) & _holds(regions, labels).T
    value = np.where((shared >= MATCH) | (mutual & (shared > 0.1)), shared + 0.5, 0)
    whole = overlaps(labels, bodies)
    value = np.maximum(value, np.where(whole >= PERSON_MATCH, whole + 0.4, 0))
    if item == "workwear":  # a torso inside a person's box is that person's
        value = np.maximum(value, np.where(_within(labels, bodies) >= 0.8, 0.2 + shared, 0))
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    rows, columns = np.nonzero(value)
    for pick in np.argsort(-value[rows, columns], kind="stable").tolist():
        row, column = int(rows[pick]), int(columns[pick])
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return pairs


def _holds(outer: Float32Array, inner: Float32Array) -> npt.NDArray[np.bool_]:
    """[n, m]: does outer box n hold the centre of inner box m."""
    x, y = (inner[:, 0] + inner[:, 2]) / 2, (inner[:, 1] + inner[:, 3]) / 2
    return np.asarray(
        (outer[:, None, 0] < x)
        & (x < outer[:, None, 2])
        & (outer[:, None, 1] < y)
        & (y < outer[:, None, 3])
    )


def _within(one: Float32Array, other: Float32Array) -> Float32Array:
    """Share of each box of one[n] that lies in each box of other[m]."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    sizes = np.maximum((one[:, 2:] - one[:, :2]).prod(axis=1), 1e-9)
    return np.asarray(np.clip(high - low, 0, None).prod(axis=2) / sizes[:, None], np.float32)


def average_precision(
    marks: Sequence[ImageMarks], weights: Float64Array | None = None
) -> float | None:
    """AP at an overlap of 0.5, all points interpolated (VOC 2010); None without labelled people."""
    weighing = np.ones(len(marks)) if weights is None else weights
    total = sum(w * (m.labelled_people or 0) for m, w in zip(marks, weighing, strict=True))
    if total <= 0:
        return None
    scores = np.array([s for m in marks for s in m.scores])
    hits = np.array([h for m in marks for h in m.hits], np.bool_)
    weight = np.repeat(weighing, [len(m.scores) for m in marks])
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(weight[order] * hits[order])
    made = np.cumsum(weight[order])
    recall = np.concatenate(([0.0], found / total))
    precision = found / np.maximum(made, 1e-9)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * envelope).sum())


@dataclass(frozen=True, slots=True)
class Figure:
    """A value with its 95 % interval; None where there is nothing to measure on."""

    value: float | None
    low: float | None = None
    high: float | None = None


def bootstrap(
    count: int,
    measure: Callable[[Float64Array], float | None],
    *,
    seed: int,
    rounds: int = 1000,
) -> Figure:
    """measure(weights of the images) with its interval."""
    value = measure(np.ones(count))
    if value is None or count < 2 or rounds < 2:
        return Figure(value)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(rounds):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)
        again = measure(weights)
        if again is not None:
            drawn.append(again)
    if not drawn:
        return Figure(value)
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return Figure(value, low, high)


def ratio(over: float, under: float) -> float | None:
    """Over / under; None for nothing at all."""
    return over / under if under > 0 else None


def f1(precision: float | None, recall: float | None) -> float | None:
    """Harmonic mean; 0 if either is, None if recall has nothing to measure on."""
    if recall is None:
        return None
    if not precision or not recall:
        return 0.0
    return 2 * precision * recall / (precision + recall)


__all__ = [
    "HEAD_SIZES",
    "ITEMS",
    "TORSO_SIZES",
    "Answer",
    "Fate",
    "Figure",
    "ImageMarks",
    "ItemCounts",
    "Truth",
    "average_precision",
    "bootstrap",
    "bucket_of",
    "f1",
    "mark",
    "ratio",
]
