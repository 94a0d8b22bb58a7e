"""The HTML page of an evaluation: the figures, and the images that went worst, drawn.

Guarantees: one file without a script or a link to elsewhere; at most WORST pictures, made small, so
it stays under a few megabytes; names from the folder are escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from vision.evaluate import Evaluation, Marked, table
from vision.frames import Image
from vision.ppe import Seen, Verdict

WORST = 50
WIDEST = 560
_TRUE = {"helmet": (0, 200, 0), "no_helmet": (0, 0, 255), "person": (200, 200, 200)}
_SAID = {Verdict.WORN: "+", Verdict.MISSING: "NO", Verdict.UNDECIDED: "?"}
_COLOUR = {
    Verdict.WORN: (0, 200, 0),
    Verdict.MISSING: (0, 0, 255),
    Verdict.UNDECIDED: (0, 200, 255),
}
_STYLE = (
    "body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;max-width:80em}pre{background:#f4f4f4;"
    "padding:1em;overflow:auto}figure{display:inline-block;margin:.5em;vertical-align:top}"
    "figcaption{font-size:12px;max-width:40em}img{display:block;max-width:100%}"
)


def page(document: Mapping[str, Any], evaluation: Evaluation) -> str:
    """The whole page."""
    worst = sorted(evaluation.images, key=lambda one: -one.badness)[:WORST]
    figures = "\n".join(_figure(one) for one in worst if one.badness > 0)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>plantgate vision eval</title><style>{_STYLE}</style>"
        f"<h1>plantgate vision eval</h1><pre>{html.escape(table(document))}</pre>"
        "<h2>The images that went worst</h2><p>Thin boxes: labels (green helmet, red no helmet,"
        " blue work wear, violet no work wear, grey person). Thick boxes:"
        " heads as found, with the verdict (+ worn, NO missing, ? cannot tell) and the"
        " probability that it is worn. White corners:"
        f" people that count.</p>{figures or '<p>None: nothing went wrong.</p>'}</html>"
    )


def draw(marked: Marked, image: Image) -> Image:
    """Labels and answer drawn into the picture, made at most WIDEST wide, at least half of it."""
    width = image.shape[1]
    scale = min(2.0, max(WIDEST / width, 0.1))
    drawn = np.asarray(cv2.resize(image, None, fx=scale, fy=scale), np.uint8)
    for name, boxes in marked.truth.boxes.items():
        colour = _TRUE.get(name, (255, 160, 0) if name == "workwear" else (255, 0, 200))
        for box in boxes.tolist():
            x1, y1, x2, y2 = (round(v * scale) for v in box)
            cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, 1)
    for one in marked.answer.seen:
        _draw_one(drawn, one, scale)
    return drawn


def _draw_one(drawn: Image, one: Seen, scale: float) -> None:
    x1, y1, x2, y2 = (round(v * scale) for v in one.box)
    for x, y in ((x1, y1), (x2, y1), (x1, y2), (x2, y2)):
        cv2.circle(drawn, (x, y), 3, (255, 255, 255), -1)
    for box, judgement in ((one.head, one.helmet), (one.torso, one.workwear)):
        undecided = judgement.verdict is Verdict.UNDECIDED
        if box is None or (undecided and np.isnan(judgement.worn)):
            continue
        a, b, c, d = (round(v * scale) for v in box)
        colour = _COLOUR[judgement.verdict]
        cv2.rectangle(drawn, (a, b), (c, d), colour, 2 if box is one.head else 1)
        text = f"{_SAID[judgement.verdict]} {judgement.worn:.2f}"
        cv2.putText(drawn, text, (a, max(10, b - 3)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1)


def _figure(marked: Marked) -> str:
    picture = cv2.imread(str(marked.path), cv2.IMREAD_COLOR)
    if picture is None:
        return ""
    drawn = draw(marked, np.asarray(picture, np.uint8))
    done, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 70])
    if not done:
        return ""
    text = base64.b64encode(encoded.tobytes()).decode()
    marks = marked.marks
    parts = [f"counted {marks.counted} of {marks.people}" if marks.people is not None else ""]
    for name, counts in marks.items.items():
        lost: dict[str, int] = {}
        for fates in counts.fates:
            for fate, count in fates.items():
                if count and fate.value != "right":
                    lost[fate.value] = lost.get(fate.value, 0) + count
        if lost:
            parts.append(f"{name}: " + ", ".join(f"{n} {k}" for k, n in lost.items()))
    caption = html.escape(f"{marked.path.name}: " + "; ".join(filter(None, parts)))
    return (
        f'<figure><img alt="" src="data:image/jpeg;base64,{text}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


__all__ = ["draw", "page"]
