"""Sees people in a picture and what they wear: person network, head finder, classifiers in a row.

    picture ─▶ person network ─▶ people
                     │ torsos      │ where they are, closer ─▶ head finder
                     ▼             ▼                 crops, full resolution │
          features of each ─▶ work wear classifier                          ▼
                              worn, missing, cannot tell             helmet classifier
                                                       worn, missing, cannot tell (no head)

Guarantees:

- What the person network learned from COCO serves people, torsos and finding: it describes each
  torso, and the head finder is its first half, gone on with on heads: of features made to find
  people, heads that touch, bend down or are seen from behind tell less. The helmet classifier began
  with ImageNet, which knows hats.
- Heads are looked for at full resolution where that is affordable (MOST): of a
  camera, only where people stand whose equipment is asked for; with nobody there it costs nothing.
- Crops go through in batches of a fixed size: a crowd costs time, not memory.
- Whatever is no head to the second look is nobody's head, and no head is seen twice.
- Without the models of protective equipment it finds people as the person network alone does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vision.crops import CONTEXT, CONTEXT_BEFORE, CROP, SIDE, square
from vision.detector import MOST_AT_ONCE, STEP, Detector, Runtime, session
from vision.frames import Image
from vision.heads import Heads, decode
from vision.light import brightened, gain, lit
from vision.manifest import MODELS, Model, ModelError, read_model
from vision.measure import Answer
from vision.postprocess import Detections
from vision.ppe import (
    Box,
    Deciding,
    Joining,
    Seen,
    Verdict,
    attach,
    box_of,
    decide,
    heads_window,
    join,
    judged,
    one_each,
    torso_of,
    under_a_helmet,
    weighed,
    worth_a_look,
)
from vision.preprocess import Letterbox, Preprocessor

PERSON = MODELS / "person-nanodet-416.onnx"
Float32Array = npt.NDArray[np.float32]
FLOOR = 0.05
"""Score below which a person is not even a candidate."""

MOST = 640 * 448
"""Pixels of a closer look at most; those of its longer side are in the manifest."""
AGAIN = 0.65
"""Scale of the second look at the same place over the first's: what one misses the other sees."""

SHADOWS = 0.6
"""Gamma of the second look at the same place: whoever stands in the shade of a bright picture."""

LARGE = 800
"""Longer side of a picture from which heads are looked for where people are."""
PICTURE = "picture"
"""Input of a head finder: float32[n, 3, h, w], normalised, sides multiples of STEP."""
CROPS = "crops"
"""Input of a classifier that looks at crops itself."""

_TOLD = {Verdict.WORN, Verdict.MISSING}
"""A lone head of which the classifier cannot tell is often a glove, a lamp or a drum: nobody."""


class HeadFinder:
    """Heads in a picture. Not safe for two threads at a time. Raises ModelError."""

    def __init__(self, model: Model, runtime: Runtime | None = None) -> None:
        manifest = model.manifest
        if manifest.heads is None:
            raise ModelError(f"The model {manifest.name} finds no heads.")
        self.plan = manifest.heads
        self.sha256 = manifest.sha256
        self._session = session(model, runtime)
        given = manifest.input
        if given is None or [one.name for one in self._session.get_inputs()] != [PICTURE]:
            raise ModelError(
                f"The head finder {manifest.name} reads no picture, it is one of an earlier"
                " version: train it anew with `plantgate vision train --heads`."
            )
        self.side = given.side
        self._looks = [
            Preprocessor(
                round(given.side * scale),
                given.mean,
                given.deviation,
                Letterbox(
                    rgb=given.colour == "rgb",
                    pad=given.pad,
                    step=STEP,
                    most=round(MOST * scale**2),
                    at_most=scale,
                ),
            )
            for scale in (1.0, AGAIN)
        ]

    def look_closer(self, image: Image, window: tuple[int, int, int, int] | None = None) -> Heads:
        """Heads in the picture, or in a part of it (left, top, right, bottom), in its pixels.

        Seen as it is, or made smaller to what the manifest and MOST allow, and at AGAIN of that,
        its shadows lifted; in the dark both with more light (light.py).
        """
        height, width = image.shape[:2]
        left, top, right, bottom = window or (0, 0, width, height)
        part = image[top:bottom, left:right]
        much = gain(part)
        shown = (brightened(much), brightened(much, SHADOWS))
        one, other = (self._look(part, *how) for how in zip(self._looks, shown, strict=True))
        return one.together(other).moved(left, top)

    def _look(self, image: Image, how: Preprocessor, levels: npt.NDArray[np.uint8]) -> Heads:
        maps = self._session.run(None, {PICTURE: how.feed(image, levels)})[0]
        height, width = image.shape[:2]
        return decode(np.asarray(maps[0], np.float32), self.plan.look, how.scale, width, height)


class Classifier:
    """Judges crops of one item: itself (it reads CROPS), or by features that `detector` gives."""

    def __init__(self, model: Model, detector: Detector, runtime: Runtime | None = None) -> None:
        if model.manifest.item is None:
            raise ModelError(f"The model {model.manifest.name} judges no equipment.")
        self.plan = model.manifest.item
        self.rules = Deciding(self.plan.sure_at, self.plan.worn_at, self.plan.missing_at)
        self.sha256 = model.manifest.sha256
        self._detector = detector
        self._session = session(model, runtime)
        self._inputs = [one.name for one in self._session.get_inputs()]
        shapes = {one.name: one.shape for one in self._session.get_inputs()}
        self._side = int(shapes[CROPS][2]) if CROPS in shapes else CROP
        is_before = CROPS in shapes and self._side != SIDE[self.plan.name]
        self._around = CONTEXT_BEFORE if is_before else CONTEXT[self.plan.name]
        missing = set(self._inputs) - {*detector.features, CROPS, "heat"}
        if missing:
            raise ModelError(
                f"The classifier {model.manifest.name} reads {', '.join(sorted(missing))}, which"
                " the person model does not give: train it anew with `plantgate vision train`."
            )

    def feed(self, image: Image, boxes: Float32Array, heat: Float32Array) -> Float32Array:
        """Probabilities[n, 3] of boxes[n, 4]: worn, missing, cannot tell.

        heat: float[n, 2], what the head finder said (in a helmet, bare); read only by classifiers
        of heads.
        """
        if not len(boxes):
            return np.zeros((0, 3), np.float32)
        crops = [square(image, box_of(box), self._around, self._side) for box in boxes]
        if CROPS in self._inputs:
            return self._judged([lit(crop) for crop in crops], heat)
        given = self._detector.describe(crops) | {"heat": heat}
        found = self._session.run(None, {name: given[name] for name in self._inputs})[0]
        return np.asarray(found, np.float32)

    def _judged(self, crops: list[Image], heat: Float32Array) -> Float32Array:
        """By the classifier alone, at most MOST_AT_ONCE together."""
        found = []
        for start in range(0, len(crops), MOST_AT_ONCE):
            part = slice(start, start + MOST_AT_ONCE)
            given = {CROPS: self._detector.normalised(crops[part]), "heat": heat[part]}
            found.append(self._session.run(None, {name: given[name] for name in self._inputs})[0])
        return np.asarray(np.concatenate(found), np.float32)


@dataclass(slots=True)
class People:
    """Everything that looks at a picture. heads, helmet: both or neither."""

    detector: Detector
    heads: HeadFinder | None = None
    helmet: Classifier | None = None
    workwear: Classifier | None = None
    rules: Joining = field(default_factory=Joining)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each model in use."""
        used = {"person": self.detector, "heads": self.heads, "helmet": self.helmet,
                "workwear": self.workwear}  # fmt: skip
        return {name: one.sha256 for name, one in used.items() if one is not None}

    def detect(self, image: Image, threshold: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """People of at least `threshold`, and the sparse sample of `Detector.look`."""
        return self.detector.look(image, threshold)

    def wear(self, image: Image, boxes: Float32Array) -> list[Seen]:
        """The same people, judged. Only where they stand is looked for heads."""
        if self.heads is None or not len(boxes):
            return [Seen(box_of(row), 1.0, None, torso_of(box_of(row), None)) for row in boxes]
        height, width = image.shape[:2]
        window = heads_window(boxes, width, height)
        found = self.heads.look_closer(image, window)
        found, chances = self.judge_heads(image, found, boxes, np.ones(len(boxes), np.float32))
        seen = attach(boxes, found.boxes, sureness(chances), self.rules.head)
        return self.judge(image, seen, chances)

    def look(self, image: Image) -> Answer:
        """Everybody in the picture, judged."""
        people = self.detector.feed(image, FLOOR)
        boxes, scores = people.boxes, people.scores
        found, chances = self.judge_heads(image, self.find_heads(image, people), boxes, scores)
        seen = join(boxes, scores, found.boxes, sureness(chances), self.rules)
        seen = self.judge(image, seen, chances)
        if self.helmet is not None:
            seen = [one for one in seen if not one.alone or one.helmet.verdict in _TOLD]
        return Answer(boxes, scores, tuple(seen))

    def find_heads(self, image: Image, people: Detections) -> Heads:
        """What may be heads anywhere: closer where people are if the picture is a large one."""
        if self.heads is None:
            return Heads(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32))
        anywhere = self.heads.look_closer(image)
        height, width = image.shape[:2]
        there = people.boxes[people.scores >= self.rules.weak]
        if max(height, width) <= LARGE or not len(there):
            return anywhere
        window = heads_window(there, width, height)
        return self.heads.look_closer(image, window).beside(window, anywhere)

    def judge_heads(
        self, image: Image, found: Heads, boxes: Float32Array, scores: Float32Array
    ) -> tuple[Heads, Float32Array]:
        """Those of the heads found that are, and of each the chances[n, 3].

        In a helmet, bare, no head. boxes, scores: of people.
        """
        if self.helmet is None:
            return found, np.zeros((len(found.boxes), 3), np.float32)
        rows = worth_a_look(boxes, scores, found.boxes, found.scores, self.rules)
        some = Heads(found.boxes[rows], found.heat[rows])
        chances = self.helmet.feed(image, some.boxes, some.heat)
        chances = weighed(chances, some.scores, self.rules.heat_counts)
        good = sureness(chances) * np.sqrt(some.scores)
        good[under_a_helmet(some.boxes, chances)] = 0
        own = one_each(some.boxes, good)
        return Heads(some.boxes[own], some.heat[own]), chances[own]

    def judge(self, image: Image, seen: list[Seen], chances: Float32Array) -> list[Seen]:
        """The same people, judged. chances: of the heads that they were joined with."""
        if self.helmet is not None:
            plan = self.helmet.plan
            verdicts = decide(chances, self.helmet.rules)
            seen = [
                judged(one, plan.name, verdicts[one.row])
                if one.row is not None
                and one.head is not None
                and _side(one.head) >= plan.smallest_px
                else one
                for one in seen
            ]
        if self.workwear is not None:
            plan = self.workwear.plan
            rows = [n for n, one in enumerate(seen) if _side(one.torso) >= plan.smallest_px]
            torsos = np.array([seen[row].torso for row in rows], np.float32).reshape(-1, 4)
            heat = np.zeros((len(rows), 2), np.float32)
            found = decide(self.workwear.feed(image, torsos, heat), self.workwear.rules)
            for row, judgement in zip(rows, found, strict=True):
                seen[row] = judged(seen[row], plan.name, judgement)
        return seen


def sureness(chances: Float32Array) -> Float32Array:
    """How sure it is that each is a head, whatever it wears."""
    return np.asarray(chances[:, 0] + chances[:, 1], np.float32)


def _side(box: Box) -> float:
    """Longer side of a box in pixels."""
    return max(box[2] - box[0], box[3] - box[1])


def load_people(
    person: Path,
    score: float,
    *,
    items: Iterable[str] = ("helmet", "workwear"),
    folder: Path = MODELS,
    runtime: Runtime | None = None,
) -> People:
    """The person model at `person` and what judges each item asked for.

    folder: of a site's own models; those that it does not hold are the shipped ones. The helmet
    classifier is used for any item, because it is what tells heads from anything else. With no item
    it is the person network alone. Raises ModelError.
    """
    people = People(Detector(read_model(person), runtime), rules=Joining(person=score))
    wanted = set(items)
    if not wanted:
        return people
    if not people.detector.features:
        raise ModelError(
            f"Equipment is judged on the features of {PERSON.name}; {person.name} does not give"
            " them: leave `model` out where a zone requires equipment."
        )

    def model(name: str) -> Model:
        own = folder / f"{name}.onnx"
        return read_model(own if own.is_file() else MODELS / own.name)

    people.heads = HeadFinder(model("heads"), runtime)
    plan = people.heads.plan
    people.rules = Joining(
        person=score,
        weak=plan.weak_person,
        head=plan.beside,
        weak_head=plan.weak_beside,
        alone=plan.alone,
        look=plan.look,
        look_alone=plan.look_alone,
        heat_counts=plan.heat_counts,
    )
    people.helmet = Classifier(model("helmet"), people.detector, runtime)
    if "workwear" in wanted:
        people.workwear = Classifier(model("workwear"), people.detector, runtime)
    return people


__all__ = ["CROPS", "PICTURE", "Classifier", "HeadFinder", "People", "load_people", "sureness"]
