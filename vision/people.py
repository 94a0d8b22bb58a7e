"""Sees people in a picture and what they wear: person network, head finder, classifiers in a row.

Guarantees:

- The person network runs once a picture (once a tile when tiled); heads are found on its features.
- Crops of all people of a picture go through a classifier in one batch.
- Without the models of protective equipment it finds people as the person network alone does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vision.crops import CONTEXT, CROP, square, tensor
from vision.detector import Detector, Runtime, Sight, session
from vision.frames import Image
from vision.heads import Heads, decode
from vision.manifest import MODELS, Model, ModelError, read_model
from vision.measure import Answer
from vision.postprocess import Detections
from vision.ppe import (
    Joining,
    Judgement,
    Seen,
    Verdict,
    attach,
    box_of,
    decide,
    join,
    judged,
    torso_of,
)

PERSON = MODELS / "person-nanodet-416.onnx"
Float32Array = npt.NDArray[np.float32]
FLOOR = 0.05
"""Score below which a person is not even a candidate."""

HEAD_FLOOR = 0.1
_TOLD = {Verdict.WORN, Verdict.MISSING}
"""A lone head of which the classifier cannot tell is often a glove, a lamp or a drum: nobody."""


class HeadFinder:
    """Heads in the features that the person network found people by."""

    def __init__(self, model: Model, runtime: Runtime | None = None) -> None:
        if model.manifest.heads is None:
            raise ModelError(f"The model {model.manifest.name} finds no heads.")
        self.plan = model.manifest.heads
        self.sha256 = model.manifest.sha256
        self._session = session(model, runtime)
        self._inputs = [one.name for one in self._session.get_inputs()]

    def feed(
        self, features: Mapping[str, Float32Array], scale: float, width: int, height: int
    ) -> Heads:
        """Heads in pixels of the frame."""
        given = {name: features[name] for name in self._inputs}
        maps = np.asarray(self._session.run(None, given)[0], np.float32)
        return decode(maps[0], HEAD_FLOOR, scale, width, height)


class Classifier:
    """Judges crops of one item."""

    def __init__(self, model: Model, runtime: Runtime | None = None) -> None:
        if model.manifest.item is None:
            raise ModelError(f"The model {model.manifest.name} judges no equipment.")
        self.plan = model.manifest.item
        self.sha256 = model.manifest.sha256
        self._session = session(model, runtime)
        self._input = self._session.get_inputs()[0].name

    def feed(self, crops: list[Image]) -> Float32Array:
        """Probabilities[n, 3]: worn, missing, cannot tell."""
        found = self._session.run(None, {self._input: tensor(crops)})[0]
        return np.asarray(found, np.float32)


@dataclass(slots=True)
class People:
    """Everything that looks at a picture."""

    detector: Detector
    heads: HeadFinder | None = None
    classifiers: list[Classifier] = field(default_factory=list)
    rules: Joining = field(default_factory=Joining)
    _sight: Sight | None = None

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each model in use."""
        found = {"person": self.detector.sha256}
        if self.heads is not None:
            found["heads"] = self.heads.sha256
        return found | {one.plan.name: one.sha256 for one in self.classifiers}

    def detect(self, image: Image, threshold: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        """People of at least `threshold`, and the sparse sample of `Detector.look`."""
        if self.heads is None:
            return self.detector.look(image, threshold)
        self._sight = self.detector.see(image, threshold)
        return self._sight.people, self.detector.pixels

    def wear(self, image: Image, boxes: Float32Array) -> list[Seen]:
        """The same people, judged; `image` is the one that `detect` saw last."""
        if self.heads is None or self._sight is None:
            return [Seen(box_of(row), 1.0, None, torso_of(box_of(row), None)) for row in boxes]
        height, width = image.shape[:2]
        found = self.heads.feed(self._sight.features, self._sight.scale, width, height)
        seen = attach(boxes, found.boxes, found.scores, self.rules.head)
        for classifier in self.classifiers:
            seen = self.judge(image, seen, classifier)
        return seen

    def look(self, image: Image) -> Answer:
        """Everybody in the picture, judged."""
        sight = self.detector.see(image, FLOOR)
        height, width = image.shape[:2]
        found = Heads(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32))
        if self.heads is not None:
            found = self.heads.feed(sight.features, sight.scale, width, height)
        seen = join(sight.people.boxes, sight.people.scores, found.boxes, found.scores, self.rules)
        for classifier in self.classifiers:
            seen = self.judge(image, seen, classifier)
        if any(one.plan.name == "helmet" for one in self.classifiers):
            seen = [one for one in seen if not one.alone or one.helmet.verdict in _TOLD]
        return Answer(sight.people.boxes, sight.people.scores, tuple(seen))

    def judge(self, image: Image, seen: list[Seen], classifier: Classifier) -> list[Seen]:
        """The same people with one item judged where it can be."""
        plan = classifier.plan
        item = plan.name
        regions = [one.head if item == "helmet" else one.torso for one in seen]
        rows = [
            row
            for row, box in enumerate(regions)
            if box is not None and max(box[2] - box[0], box[3] - box[1]) >= plan.smallest_px
        ]
        if not rows:
            return seen
        crops = [square(image, box, CONTEXT[item], CROP) for row in rows if (box := regions[row])]
        judgements: dict[int, Judgement] = dict(
            zip(
                rows,
                decide(classifier.feed(crops), plan.worn_at, plan.missing_at),
                strict=True,
            )
        )
        return [
            judged(one, item, judgements[row]) if row in judgements else one
            for row, one in enumerate(seen)
        ]


def load_people(
    person: Path,
    score: float,
    *,
    items: Iterable[str] = ("helmet", "workwear"),
    folder: Path = MODELS,
    runtime: Runtime | None = None,
) -> People:
    """The person model at `person` and what judges each item asked for.

    folder: of the classifiers; the head finder is the shipped one where it holds none. With no
    item it is the person network alone. Raises ModelError.
    """
    people = People(Detector(read_model(person), runtime), rules=Joining(person=score))
    wanted = sorted(set(items))
    if not wanted:
        return people
    own = folder / "heads.onnx"
    heads = HeadFinder(read_model(own if own.is_file() else MODELS / own.name), runtime)
    if not people.detector.features:
        raise ModelError(
            f"Heads are found on the features of {PERSON.name}; {person.name} does not give them:"
            " leave `model` out where a zone requires equipment."
        )
    people.heads = heads
    people.rules = Joining(score, heads.plan.weak_person, heads.plan.beside, heads.plan.alone)
    people.classifiers = [
        Classifier(read_model(folder / f"{item}.onnx"), runtime) for item in wanted
    ]
    return people


__all__ = ["Classifier", "HeadFinder", "People", "load_people"]
