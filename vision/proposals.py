"""Proposals for labelling: a site's pictures with what was found, to be corrected by hand.

Writes a folder that any labelling tool opens and that `plantgate vision eval` and `train` read:
images/ (the pictures, copied), labels/ (YOLO text), classes.txt, and index.html, a page to look at
every picture with its proposals drawn. It is no editor: boxes are corrected in a labelling tool
that reads YOLO text.
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from vision.evaluate import Marked
from vision.evaluate_page import draw
from vision.labels import OURS
from vision.measure import ImageMarks, Truth
from vision.people import People
from vision.ppe import Seen, Verdict

Box = tuple[float, float, float, float]


def propose(pictures: Iterable[Path], people: People, out: Path) -> int:
    """Write the folder; returns the count of pictures. Existing labels are never overwritten."""
    for name in ("images", "labels", "drawn"):
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in OURS), encoding="utf-8")
    rows = []
    for path in pictures:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        image = np.asarray(picture, np.uint8)
        answer = people.look(image)
        label = out / "labels" / f"{path.stem}.txt"
        if not label.exists():
            height, width = image.shape[:2]
            lines = [_line(name, box, width, height) for s in answer.seen for name, box in said(s)]
            label.write_text("".join(lines), encoding="utf-8")
        if path.resolve().parent != (out / "images").resolve():
            shutil.copyfile(path, out / "images" / path.name)
        shown = draw(Marked(path, Truth({}), answer, ImageMarks()), image)
        cv2.imwrite(str(out / "drawn" / f"{path.stem}.jpg"), shown)
        rows.append(
            f'<figure><img loading="lazy" src="drawn/{html.escape(path.stem)}.jpg" alt="">'
            f"<figcaption>{html.escape(path.name)}: {len(answer.seen)} people</figcaption></figure>"
        )
    (out / "index.html").write_text(
        '<!doctype html><meta charset="utf-8"><title>Proposals</title>'
        f"<h1>{len(rows)} pictures with proposals</h1>" + "".join(rows),
        encoding="utf-8",
    )
    return len(rows)


def said(one: Seen) -> list[tuple[str, Box]]:
    """What is proposed of one person: name and box."""
    found = [("person", one.box)] if not one.alone else []
    for box, verdict, names in (
        (one.head, one.helmet.verdict, ("helmet", "no_helmet")),
        (one.torso, one.workwear.verdict, ("workwear", "no_workwear")),
    ):
        if box is not None and verdict is not Verdict.UNDECIDED:
            found.append((names[verdict is Verdict.MISSING], box))
    return found


def _line(name: str, box: Box, width: int, height: int) -> str:
    x1, x2 = (min(max(v / width, 0.0), 1.0) for v in (box[0], box[2]))
    y1, y2 = (min(max(v / height, 0.0), 1.0) for v in (box[1], box[3]))
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    return f"{OURS.index(name)} {cx:.6f} {cy:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"


__all__ = ["propose", "said"]
