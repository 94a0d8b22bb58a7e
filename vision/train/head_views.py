"""Views and targets that the head finder learns from: pictures as a camera would show them.

    python -m vision.train.head_views IMAGES_AND_LABELS OUT [--map THEIRS=OURS,…] [--epochs N]

Offline: reads the folder, writes OUT/heads.onnx and the features it was trained on (about 7 MB a
view). The same folder, seed and machine give the same views. Only images of the training side are
looked at (vision/train/split.py, the same division as for the classifiers).

Three views of each picture (the whole, and two cut larger or smaller), six of one with a bare
head, since those are rare. Where labels do not say, nothing is learned: the upper part of a person
without a labelled head, and a helmet that nobody wears (below the upper 45 % of every person found,
with no labelled torso under it).

The shipped heads.onnx was trained on views made by these same steps before they stood in this file;
the file as it is has been tried on a few dozen pictures, not on all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.config import DEFAULT_MODEL
from vision.detector import Detector
from vision.labels import LabelledFolder, LabelledImage, parse_map, read_folder
from vision.manifest import read_model
from vision.people import load_people
from vision.train.heads import CHANNELS, Target, export, train
from vision.train.run import gather
from vision.train.views import cut, degrade

SIDE = 416
VIEWS = 3
VIEWS_BARE = 6
PERSON_AT = 0.25
"""Score from which a detection counts as a person when it is decided what labels do not say."""
UPPER = 0.45
WORN, BARE = 0, 1
SCORE = 0.45
"""The camera's default; the division into sides does not depend on it."""

Boxes = npt.NDArray[np.float32]


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a head finder from a labelled folder."""
    parser = argparse.ArgumentParser(prog="vision.train.head_views", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--map", default="")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    folder: LabelledFolder = read_folder(given.folder, parse_map(given.map))
    sides = gather(folder, load_people(DEFAULT_MODEL, SCORE), given.seed).sides
    images = [image for image in folder.images if sides.get(image.path.name) == "train"]
    detector = Detector(read_model(DEFAULT_MODEL))
    features, targets = collect(images, detector, given.out, given.seed)
    rows = np.arange(len(targets))
    net = train(features, targets, rows, epochs=given.epochs, seed=given.seed)
    export(net, given.out / "heads.onnx")
    print(f"{len(targets)} views of {len(images)} pictures: {given.out / 'heads.onnx'}")


if __name__ == "__main__":
    main()
