"""Views and targets that the head finder learns from: pictures as a camera would show them.

`plantgate vision train --heads` comes here. Offline: reads the folder, writes the output folder.
The same folder, seed and machine give the same views. Only images of the training side are looked
at (split.py, the same division as for the classifiers).

Two views of each picture (the whole, and one cut larger or smaller), six of one with a bare
head, since those are rare. Where labels do not say, nothing is learned: the upper part of a person
without a labelled head, a helmet that nobody wears (below the upper 45 % of every person found,
with no labelled torso under it), what a correction calls `cannot_tell`, and in a crowd, where
labels are incomplete, what the finder before took for a head and nobody labelled. What a
correction calls `no_head` is learned as none.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.detector import Detector
from vision.heads import Heads
from vision.labels import LabelledImage, LabelsError
from vision.manifest import MODELS, read_model
from vision.people import HeadFinder
from vision.train.corrections import Corrections, corrected
from vision.train.heads import CHANNELS, export, save, train
from vision.train.targets import BARE, WORN, Target, Truth, target_of, unlabelled
from vision.train.views import cut, degrade

SIDE = 416
EPOCHS, EPOCHS_FURTHER = 12, 4
VIEWS = 2
VIEWS_BARE = 6
PERSON_AT = 0.25
"""Score from which a detection counts as a person when it is decided what labels do not say."""
CROWD = 5
"""Labelled heads from which a picture is a crowd."""

LIKELY = 0.3
"""Heat from which a finder's unlabelled head in a crowd is not learned as none."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """epochs: over the views; 0: EPOCHS from nothing, EPOCHS_FURTHER from weights that are there.

    start: folder of heads.onnx with heads.npz to go on from; None: from nothing.
    """

    epochs: int = 0
    seed: int = 1
    start: Path | None = None
    corrections: Corrections = field(default_factory=dict)


def views(
    image: LabelledImage, corrections: Corrections, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.uint8], Truth]]:
    """Degraded square views of one labelled picture; none if it cannot be read."""
    read = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
    if read is None:
        return
    picture = np.asarray(read, np.uint8)
    height, width = picture.shape[:2]
    image = corrected(image, width, height, corrections)
    boxes = np.array([one.pixels(width, height) for one in image.labels], np.float32).reshape(-1, 4)
    names = np.array([one.name for one in image.labels], np.str_)
    for number in range(VIEWS_BARE if (names == "no_helmet").any() else VIEWS):
        if number == 0:
            scale = SIDE / max(height, width)
            small = cv2.resize(picture, (round(width * scale), round(height * scale)))
            view = np.zeros((SIDE, SIDE, 3), np.uint8)
            view[: small.shape[0], : small.shape[1]] = small
            moved, kept = boxes * np.float32(scale), np.arange(len(boxes))
        else:
            made = cut(picture, boxes, SIDE, rng)
            view, moved, kept = made.image, made.boxes, made.kept
        here = names[kept]
        heads = np.isin(here, ("helmet", "no_helmet"))
        torsos = np.isin(here, ("workwear", "no_workwear"))
        worn = np.where(here[heads] == "helmet", WORN, BARE).astype(np.intp)
        unknown, none = moved[here == "cannot_tell"], moved[here == "no_head"]
        yield degrade(view, rng), Truth(moved[heads], worn, moved[torsos], unknown, none)


def collect(
    images: Sequence[LabelledImage], detector: Detector, out: Path, settings: HeadSettings
) -> tuple[list[npt.NDArray[np.float16]], list[Target]]:
    """Features of every view, kept on disk in OUT, and their targets, in the same order."""
    rng = np.random.default_rng(settings.seed)
    before = None
    if settings.start is not None:
        before = HeadFinder(read_model(settings.start / "heads.onnx"))
    most = VIEWS_BARE * len(images)
    features: list[npt.NDArray[np.float16]] = [
        np.lib.format.open_memmap(
            out / f"feature_{stride}.npy", "w+", np.float16,
            (most, channels, SIDE // stride, SIDE // stride),
        )
        for stride, channels in CHANNELS.items()
    ]  # fmt: skip
    targets: list[Target] = []
    for image in images:
        crowd = sum(one.name in {"helmet", "no_helmet"} for one in image.labels) >= CROWD
        for view, truth in views(image, settings.corrections, rng):
            sight = detector.see(view, PERSON_AT)
            for feature, stride in zip(features, CHANNELS, strict=True):
                feature[len(targets)] = sight.features[f"feature_{stride}"][0]
            target = target_of(truth, sight.people.boxes)
            if crowd and before is not None:
                found = before.feed(sight.features, sight.scale, SIDE, SIDE)
                likely = found.heat.max(axis=1, initial=0) >= LIKELY
                more = unlabelled(Heads(found.boxes[likely], found.heat[likely]), target)
                target = replace(target, unknown=np.concatenate((target.unknown, more)))
            targets.append(target)
    return features, targets


def learn_heads(
    images: Sequence[LabelledImage], detector: Detector, out: Path, settings: HeadSettings
) -> int:
    """Write OUT/heads.onnx, heads.npz and heads.toml; returns the count of views learned from.

    The features of the views lie in OUT while it works, about 7 MB a view, and are removed.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix="features-") as place:
        features, targets = collect(images, detector, Path(place), settings)
        if not any(len(one.boxes) for one in targets):
            raise LabelsError("heads: no picture of the training side has a labelled head.")
        net = train(
            features,
            targets,
            np.arange(len(targets)),
            epochs=settings.epochs or (EPOCHS if settings.start is None else EPOCHS_FURTHER),
            seed=settings.seed,
            start=None if settings.start is None else settings.start / "heads.npz",
        )
    path = out / "heads.onnx"
    export(net, path)
    save(net, path.with_suffix(".npz"))
    plan = (MODELS / "heads.toml").read_text(encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".toml").write_text(
        "# Manifest of a head finder trained by `plantgate vision train --heads`.\n"
        f'name = "heads"\ntask = "heads"\nfinds = "head"\nsha256 = "{digest}"\n'
        'licence = "of the images it was trained on"\nsource = "trained by vision/train"\n\n'
        + plan[plan.index("[heads]") :],
        encoding="utf-8",
    )
    return len(targets)


__all__ = ["HeadSettings", "collect", "learn_heads", "views"]
