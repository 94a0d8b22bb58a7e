"""What the head finder learns from: labelled pictures, and where their labels do not say.

Where labels do not say, nothing is learned: the upper part of a person without a labelled head, a
helmet that nobody wears (below the upper 45 % of every person found, with no labelled torso under
it), what a correction calls `cannot_tell`, and in a crowd, where labels are incomplete, what the
finder before took for a head and nobody labelled. What a correction calls `no_head` is learned as
none. A picture without a label of ours, in which no person is found either, shows nobody: what the
finder before took for heads there is learned as none, at most MOST_NONE of them, hottest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from vision.detector import Detector
from vision.frames import Image
from vision.heads import Heads
from vision.labels import LabelledImage
from vision.people import MOST, HeadFinder
from vision.train.corrections import Corrections, corrected
from vision.train.head_windows import Scene
from vision.train.targets import BARE, WORN, Truth, target_of, unlabelled

PERSON_AT = 0.25
"""Score from which a detection counts as a person when it is decided what labels do not say."""
CROWD = 4
"""Labelled heads from which a picture is a crowd."""
KINDS = {"helmet": WORN, "no_helmet": BARE}
LIKELY = 0.15
"""Heat from which a finder's unlabelled head in a crowd is not learned as none."""
MOST_NONE = 15
"""What is taken for heads in one picture with nobody that is learned as none, at most."""


class Scenes:
    """Makes scenes of labelled pictures.

    detector: finds people. before: the finder before, for crowds. side: pixels of the longer side
    of a closer look.
    """

    def __init__(
        self, detector: Detector, before: HeadFinder, corrections: Corrections, side: int
    ) -> None:
        self._detector, self._before = detector, before
        self._corrections, self._side = corrections, side

    def of(self, images: Sequence[LabelledImage]) -> Iterator[Scene]:
        """Each picture that can be read, as large as a closer look shows it."""
        for image in images:
            read = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
            if read is not None:
                yield self._scene(image, np.asarray(read, np.uint8))

    def _scene(self, image: LabelledImage, picture: Image) -> Scene:
        height, width = picture.shape[:2]
        image = corrected(image, width, height, self._corrections)
        target = target_of(
            truth_of(image, width, height), self._detector.feed(picture, PERSON_AT).boxes
        )
        if not image.labels and not len(target.unknown):
            target = replace(target, none=self._before.look_closer(picture).boxes[:MOST_NONE])
        elif sum(one.name in KINDS for one in image.labels) >= CROWD:
            found = self._before.look_closer(picture)
            likely = found.heat.max(axis=1, initial=0) >= LIKELY
            more = unlabelled(Heads(found.boxes[likely], found.heat[likely]), target)
            target = replace(target, unknown=np.concatenate((target.unknown, more)))
        scale = min(1.0, self._side / max(height, width), math.sqrt(MOST / (height * width)))
        if scale < 1:
            small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            picture = np.asarray(small, np.uint8)
        return Scene(picture, target.scaled(scale))


def truth_of(image: LabelledImage, width: int, height: int) -> Truth:
    """Labels of a picture in its pixels."""
    boxes = np.array([one.pixels(width, height) for one in image.labels], np.float32)
    boxes = boxes.reshape(-1, 4)
    names = np.array([one.name for one in image.labels], np.str_)
    heads, torsos = np.isin(names, list(KINDS)), np.isin(names, ("workwear", "no_workwear"))
    worn = np.array([KINDS[name] for name in names[heads].tolist()], np.intp)
    return Truth(
        boxes[heads],
        worn,
        boxes[torsos],
        boxes[names == "cannot_tell"],
        boxes[names == "no_head"],
    )


__all__ = ["Scenes", "truth_of"]
