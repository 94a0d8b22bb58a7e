"""Corrections of a folder's labels of heads: who was not labelled, and what was labelled wrongly.

One CSV file beside the folder, so that what came from elsewhere stays as it came:

    image,what,x1,y1,x2,y2        fractions of the picture's width and height

what: `helmet`, `no_helmet`; `cannot_tell`: a head of which nobody can say it (a hood, a welding
mask, too blurred), or a helmet that nobody wears; `no_head`: what a finder took for one.

Guarantees: a row that overlaps a label of a head by at least SAME takes its place; all other labels
stay. A file that cannot be read as this is refused with its line.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from vision.labels import Label, LabelledImage, LabelsError
from vision.postprocess import overlaps

WHAT = ("helmet", "no_helmet", "cannot_tell", "no_head")
COLUMNS = ["image", "what", "x1", "y1", "x2", "y2"]
SAME = 0.5
Corrections = Mapping[str, Sequence[Label]]
"""By the image's name; boxes are fractions."""


def read_corrections(path: Path) -> Corrections:
    """Read the file; raises LabelsError with the line that is wrong."""
    found: dict[str, list[Label]] = {}
    with path.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.reader(text)
        if next(rows, None) != COLUMNS:
            raise LabelsError(f"{path}, line 1: the columns must be {','.join(COLUMNS)}.")
        for line, row in enumerate(rows, start=2):
            if row:
                found.setdefault(row[0], []).append(_label(path, line, row))
    return found


def _label(path: Path, line: int, row: list[str]) -> Label:
    try:
        name, what, *numbers = row
        x1, y1, x2, y2 = map(float, numbers)
    except ValueError:
        raise LabelsError(
            f"{path}, line {line}: six fields are needed, four of them numbers."
        ) from None
    if not name or what not in WHAT:
        raise LabelsError(f"{path}, line {line}: {what!r} is none of {', '.join(WHAT)}.")
    if not all(map(math.isfinite, (x1, y1, x2, y2))) or not (
        0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
    ):
        raise LabelsError(f"{path}, line {line}: 0 <= x1 < x2 <= 1 and the same for y must hold.")
    return Label(what, (x1, y1, x2, y2), relative=True)


def corrected(
    image: LabelledImage, width: int, height: int, corrections: Corrections
) -> LabelledImage:
    """The same image with its labels corrected; `cannot_tell` and `no_head` come as labels too."""
    rows = corrections.get(image.path.name, ())
    if not rows:
        return image
    new = np.array([one.pixels(width, height) for one in rows], np.float32)
    kept = [
        label
        for label in image.labels
        if label.name not in {"helmet", "no_helmet"}
        or overlaps(np.array([label.pixels(width, height)], np.float32), new).max() < SAME
    ]
    return LabelledImage(image.path, (*kept, *rows))


__all__ = ["WHAT", "Corrections", "corrected", "read_corrections"]
