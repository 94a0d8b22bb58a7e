"""Views and targets that the head finder learns from: pictures as a camera would show them.

`plantgate vision train --heads` comes here. Offline: reads the folder, writes the output folder.
The same folder, seed and machine give the same views. Only images of the training side are looked
at (split.py, the same division as for the classifiers).

Three views of each picture (the whole, and two cut larger or smaller), six of one with a bare
head, since those are rare. Where labels do not say, nothing is learned: the upper part of a person
without a labelled head, and a helmet that nobody wears (below the upper 45 % of every person found,
with no labelled torso under it).
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.detector import Detector
from vision.labels import LabelledImage, LabelsError
from vision.manifest import MODELS
from vision.train.heads import CHANNELS, Target, export, save, train
from vision.train.views import cut, degrade

SIDE = 416
VIEWS = 3
VIEWS_BARE = 6
PERSON_AT = 0.25
"""Score from which a detection counts as a person when it is decided what labels do not say."""
UPPER = 0.45
WORN, BARE = 0, 1
Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """epochs: over the views.  start: folder of heads.npz to go on from; None: from nothing."""

    epochs: int = 12
    seed: int = 1
    start: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Labelled boxes of one view, float32[n, 4] pixels.  worn: 0 helmet, 1 bare."""

    heads: Boxes
    worn: npt.NDArray[np.intp]
    torsos: Boxes


def target_of(truth: Truth, persons: Boxes) -> Target:
    """What the view should give, and where the labels do not say."""
    unknown: list[list[float]] = []
    kept: list[int] = []
    for index, (box, kind) in enumerate(
        zip(truth.heads.tolist(), truth.worn.tolist(), strict=True)
    ):
        if kind == WORN and _in_a_hand(box, truth.torsos, persons):
            unknown.append(box)
        else:
            kept.append(index)
    heads = truth.heads[kept]
    for person in persons.tolist():
        x1, y1, x2, y2 = person
        across = (heads[:, 0] + heads[:, 2]) / 2
        down = (heads[:, 1] + heads[:, 3]) / 2
        if not ((x1 < across) & (across < x2) & (down < y1 + 0.5 * (y2 - y1))).any():
            unknown.append([x1, y1 - 0.1 * (y2 - y1), x2, y1 + 0.4 * (y2 - y1)])
    return Target(heads, truth.worn[kept], np.array(unknown, np.float32).reshape(-1, 4))


def _in_a_hand(box: Sequence[float], torsos: Boxes, persons: Boxes) -> bool:
    """Tell whether a helmet lies in the lower part of a person and over no torso."""
    x1, y1, x2, y2 = box
    across, down = (x1 + x2) / 2, (y1 + y2) / 2
    beside = persons[(persons[:, 0] < across) & (across < persons[:, 2])]
    from_top = (down - beside[:, 1]) / np.maximum(beside[:, 3] - beside[:, 1], 1e-6)
    if (from_top < UPPER).any() or not ((from_top >= UPPER) & (from_top < 1)).any():
        return False
    reach = 0.3 * (x2 - x1)
    under = (torsos[:, 0] - reach < across) & (across < torsos[:, 2] + reach)
    near = (torsos[:, 1] > y1) & (torsos[:, 1] < 2 * y2 - y1)
    return not (under & near).any()


def views(
    image: LabelledImage, rng: np.random.Generator
) -> Iterator[tuple[npt.NDArray[np.uint8], Truth]]:
    """Degraded square views of one labelled picture; none if it cannot be read."""
    read = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
    if read is None:
        return
    picture = np.asarray(read, np.uint8)
    height, width = picture.shape[:2]
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
        heads, torsos = (
            np.isin(here, ("helmet", "no_helmet")),
            np.isin(here, ("workwear", "no_workwear")),
        )
        worn = np.where(here[heads] == "helmet", WORN, BARE).astype(np.intp)
        yield degrade(view, rng), Truth(moved[heads], worn, moved[torsos])


def collect(
    images: Sequence[LabelledImage], detector: Detector, out: Path, seed: int
) -> tuple[list[npt.NDArray[np.float16]], list[Target]]:
    """Features of every view, kept on disk in OUT, and their targets, in the same order."""
    rng = np.random.default_rng(seed)
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
        for view, truth in views(image, rng):
            sight = detector.see(view, PERSON_AT)
            for feature, stride in zip(features, CHANNELS, strict=True):
                feature[len(targets)] = sight.features[f"feature_{stride}"][0]
            targets.append(target_of(truth, sight.people.boxes))
    return features, targets


def learn_heads(
    images: Sequence[LabelledImage], detector: Detector, out: Path, settings: HeadSettings
) -> int:
    """Write OUT/heads.onnx, heads.npz and heads.toml; returns the count of views learned from.

    The features of the views lie in OUT while it works, about 7 MB a view, and are removed.
    """
    with tempfile.TemporaryDirectory(dir=out, prefix="features-") as place:
        features, targets = collect(images, detector, Path(place), settings.seed)
        if not any(len(one.boxes) for one in targets):
            raise LabelsError("heads: no picture of the training side has a labelled head.")
        net = train(
            features,
            targets,
            np.arange(len(targets)),
            epochs=settings.epochs,
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


__all__ = ["HeadSettings", "collect", "learn_heads", "target_of", "views"]
