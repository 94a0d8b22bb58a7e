"""Measures the whole judgement on a folder of labelled images and says what was found.

Guarantees: an image that cannot be read is left out and told of, never judged as empty; the figures
in table, JSON and page come from one report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from vision.frames import Image
from vision.labels import LabelledFolder
from vision.measure import (
    HEAD_SIZES,
    ITEMS,
    TORSO_SIZES,
    Answer,
    Fate,
    Figure,
    ImageMarks,
    Truth,
    average_precision,
    bootstrap,
    f1,
    mark,
    ratio,
)

Float64Array = npt.NDArray[np.float64]
Judge = Callable[[Image], Answer]
SEED = 20240601
UNKNOWN_NOTE = (
    "Verdicts where nothing is labelled count as false (labels taken as complete);"
    " precision_where_labelled leaves them out."
)
INCOMPLETE_NOTE = (
    "Labels taken as incomplete: a verdict where nothing is labelled is unknown and left out;"
    " precision_if_complete counts it as false."
)


@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """One image with its labels, the answer and the marks."""

    path: Path
    truth: Truth
    answer: Answer
    marks: ImageMarks

    @property
    def badness(self) -> float:
        """How far the answer is off; the worst images come first."""
        wrong = abs(self.marks.count_error or 0) * 0.5
        for name, counts in self.marks.items.items():
            weight = 2.0 if name == "no_helmet" else 1.0
            lost = sum(n for f in counts.fates for fate, n in f.items() if fate is not Fate.RIGHT)
            wrong += weight * (lost + 0.5 * sum(counts.wrong) + 0.3 * sum(counts.unmatched))
        return wrong


@dataclass(slots=True)
class Evaluation:
    """All images judged. names: classes that the folder labels."""

    names: frozenset[str]
    images: list[Marked] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def evaluate(
    folder: LabelledFolder, judge: Judge, progress: Callable[[int, int], None] | None = None
) -> Evaluation:
    """Judge every labelled image of the folder."""
    result = Evaluation(frozenset(folder.names))
    for number, image in enumerate(folder.images, start=1):
        picture = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
        if picture is None or min(picture.shape[:2]) < 2:
            result.unreadable.append(image.path.name)
            continue
        height, width = picture.shape[:2]
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        for label in image.labels:
            boxes.setdefault(label.name, []).append(label.pixels(width, height))
        truth = Truth({n: np.array(b, np.float32).reshape(-1, 4) for n, b in boxes.items()})
        answer = judge(np.asarray(picture, np.uint8))
        marks = mark(truth, answer, result.names)
        result.images.append(Marked(image.path, truth, answer, marks))
        if progress is not None:
            progress(number, len(folder.images))
    return result


def report(
    evaluation: Evaluation, *, incomplete: bool, rounds: int = 1000, **about: object
) -> dict[str, Any]:
    """The JSON document: keys `images`, `person`, one per item, and what it rests on."""
    marks = [image.marks for image in evaluation.images]
    document: dict[str, Any] = {
        "images": len(marks),
        "person": _person(marks, rounds),
        "labels": "incomplete" if incomplete else "complete",
        "unlabelled_rule": INCOMPLETE_NOTE if incomplete else UNKNOWN_NOTE,
        "classes": sorted(evaluation.names),
        "unreadable": evaluation.unreadable,
        **about,
    }
    for name in ITEMS:
        if any(name in m.items for m in marks):
            document[name] = _item(marks, name, incomplete=incomplete, rounds=rounds)
    return document


def _person(marks: Sequence[ImageMarks], rounds: int) -> dict[str, Any]:
    labelled = [m for m in marks if m.people is not None]
    errors = np.array([m.count_error for m in labelled], np.float64)

    def share(values: Float64Array) -> Callable[[Float64Array], float | None]:
        return lambda weights: ratio(float((values * weights).sum()), float(weights.sum()))

    people: dict[str, Any] = {}
    if any(m.labelled_people is not None for m in marks):
        ap = bootstrap(len(marks), lambda w: average_precision(marks, w), seed=SEED, rounds=rounds)
        people |= _named("ap50", ap)
    if labelled:
        count = len(labelled)
        people |= _named(
            "headcount_mae", bootstrap(count, share(np.abs(errors)), seed=SEED, rounds=rounds)
        )
        exact = (errors == 0).astype(np.float64)
        people |= _named("exact_share", bootstrap(count, share(exact), seed=SEED, rounds=rounds))
        people["headcount_bias"] = _short(float(errors.mean()))
        by_count = any(m.labelled_people is not None for m in marks)
        people["counted_against"] = "person" if by_count else "helmet + no_helmet"
    return people


def _sums(marks: Sequence[ImageMarks], name: str) -> Float64Array:
    """[images, buckets, 3 + fates]: right, wrong, unmatched verdicts, then the labels' fates."""
    rows = []
    for m in marks:
        counts = m.items[name]
        fates = np.array([[f[fate] for fate in Fate] for f in counts.fates])
        verdicts = np.array([counts.hits, counts.wrong, counts.unmatched]).T
        rows.append(np.concatenate((verdicts, fates), axis=1))
    return np.array(rows, np.float64)


def _figures(total: Float64Array, *, incomplete: bool) -> dict[str, float | None]:
    right, wrong, unmatched = total[:3].tolist()
    support = float(total[3:].sum())
    strict = ratio(right, right + wrong + unmatched)
    where_labelled = ratio(right, right + wrong)
    precision = where_labelled if incomplete else strict
    recall = ratio(float(total[3]), support)
    other = "precision_if_complete" if incomplete else "precision_where_labelled"
    return {
        "precision": precision,
        "recall": recall,
        "f1": f1(precision, recall),
        other: strict if incomplete else where_labelled,
    }


def _item(
    marks: Sequence[ImageMarks], name: str, *, incomplete: bool, rounds: int
) -> dict[str, Any]:
    with_item = [m for m in marks if name in m.items]
    sums = _sums(with_item, name)
    everything = sums.sum(axis=1)
    found = _item_part(everything.sum(axis=0), incomplete=incomplete)
    for key in ("precision", "recall", "f1"):
        figure = bootstrap(
            len(with_item),
            lambda w, key=key: _figures(  # type: ignore[misc]  # mypy takes no default in a lambda
                (everything * w[:, None]).sum(axis=0), incomplete=incomplete
            )[key],
            seed=SEED,
            rounds=rounds,
        )
        found |= _named(key, figure)
    sizes = HEAD_SIZES if ITEMS[name][0] == "helmet" else TORSO_SIZES
    buckets = sums.sum(axis=0)
    found["by_size_px"] = {
        label: _item_part(row, incomplete=incomplete)
        for label, row in zip(_bucket_names(sizes), buckets, strict=True)
    }
    found[f"from_{sizes[0]:g}_px"] = _item_part(buckets[1:].sum(axis=0), incomplete=incomplete)
    return found


def _item_part(total: Float64Array, *, incomplete: bool) -> dict[str, Any]:
    fates = dict(zip((fate.value for fate in Fate), map(int, total[3:]), strict=True))
    return {
        **{k: _short(v) for k, v in _figures(total, incomplete=incomplete).items()},
        "support": int(total[3:].sum()),
        "undecided": fates[Fate.UNDECIDED.value],
        "labels_became": fates,
        "verdicts": {
            "right": int(total[0]),
            "wrong": int(total[1]),
            "where nothing is labelled": int(total[2]),
        },
    }


def _bucket_names(sizes: Sequence[float]) -> list[str]:
    middle = [f"{low:g}-{high:g}" for low, high in pairwise(sizes)]
    return [f"<{sizes[0]:g}", *middle, f">={sizes[-1]:g}"]


def _named(key: str, figure: Figure) -> dict[str, Any]:
    if figure.value is None:
        return {key: None}
    found: dict[str, Any] = {key: _short(figure.value)}
    if figure.low is not None and figure.high is not None:
        found[f"{key}_95"] = [_short(figure.low), _short(figure.high)]
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def table(document: Mapping[str, Any]) -> str:
    """The report for a terminal."""
    lines = [f"{document['images']} images, labels taken as {document['labels']}"]
    person = document["person"]
    if person:
        lines.append(f"\npeople (counted against {person.get('counted_against', 'nothing')})")
        lines += [
            f"  {label:<28}{_with_interval(person, key)}"
            for key, label in (
                ("ap50", "AP at overlap 0.5"),
                ("headcount_mae", "headcount, mean abs. error"),
                ("exact_share", "images counted exactly"),
            )
            if key in person
        ]
    titles = f"{'precision':<22}{'recall':<22}{'F1':<22}{'labels':>7}{'undecided':>11}"
    head = f"\n{'':<14}{'px':<10}{titles}"
    rows = []
    for name in ITEMS:
        if name not in document:
            continue
        item = document[name]
        parts = [("all", item), *item["by_size_px"].items()]
        for size, part in parts:
            cells = "".join(f"{_with_interval(part, k):<22}" for k in ("precision", "recall", "f1"))
            title = name if size == "all" else ""
            rows.append(f"{title:<14}{size:<10}{cells}{part['support']:>7}{part['undecided']:>11}")
    if rows:
        lines += [head, *rows, "", "what became of the labels"]
        for name in ITEMS:
            if name in document:
                became = document[name]["labels_became"]
                lines.append(f"  {name:<14}" + ", ".join(f"{k} {v}" for k, v in became.items()))
    lines += ["", document["unlabelled_rule"], *document.get("notes", [])]
    return "\n".join(lines)


def _with_interval(part: Mapping[str, Any], key: str) -> str:
    value = part.get(key)
    if value is None:
        return "-"
    interval = part.get(f"{key}_95")
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")


__all__ = ["Evaluation", "Judge", "Marked", "evaluate", "report", "table"]
