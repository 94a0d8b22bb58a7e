"""`plantgate vision train`: from a folder of labelled images to classifiers with their manifests.

Guarantees:

- Offline: reads the folder, writes the output folder, nothing else.
- Thresholds are chosen on the tuning side and never on the validation side, whose images are named
  in `validate.txt` for `plantgate vision eval --only`.
- The same folder, seed and machine give the same weights.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from vision.frames import Image
from vision.labels import LabelledFolder, LabelsError
from vision.measure import Truth
from vision.people import FLOOR, People
from vision.train import items
from vision.train.gather import Crop, head_crops, torso_crops
from vision.train.split import Side, difference_hash, divide
from vision.train.split import clusters as clusters_of

Float32Array = npt.NDArray[np.float32]
SEEN_AT = 0.15
"""Score from which people and heads are taken as found while crops are gathered."""


@dataclass(frozen=True, slots=True)
class Settings:
    """epochs: over the crops.  start: folder of .npz weights to go on from; None: from nothing."""

    epochs: int = 14
    seed: int = 1
    start: Path | None = None


@dataclass(slots=True)
class Gathered:
    """Crops by item and side; the side of each image."""

    crops: dict[tuple[str, Side], list[Crop]]
    sides: dict[str, Side]


def gather(folder: LabelledFolder, people: People, seed: int) -> Gathered:
    """Look at every image once: its scene for the split, its crops for the classifiers."""
    rng = np.random.default_rng(seed)
    hashes, signatures, names = [], [], []
    kept: list[tuple[str, str, list[Crop]]] = []
    for image in folder.images:
        picture = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        drawn = np.asarray(picture, np.uint8)
        height, width = drawn.shape[:2]
        boxes: dict[str, list[tuple[float, float, float, float]]] = {}
        for label in image.labels:
            boxes.setdefault(label.name, []).append(label.pixels(width, height))
        truth = Truth({n: np.array(b, np.float32).reshape(-1, 4) for n, b in boxes.items()})
        sight = people.detector.see(drawn, FLOOR)
        persons = sight.people.boxes[sight.people.scores >= SEEN_AT]
        heads = np.zeros((0, 4), np.float32)
        if people.heads is not None:
            found = people.heads.feed(sight.features, sight.scale, width, height)
            heads = found.boxes[found.scores >= SEEN_AT]
        names.append(image.path.name)
        hashes.append(_hashes(drawn))
        signatures.append(_signature(people, drawn))
        if folder.names & {"helmet", "no_helmet"}:
            kept.append((names[-1], "helmet", head_crops(drawn, truth, persons, heads, rng)))
        if folder.names & {"workwear", "no_workwear"}:
            kept.append((names[-1], "workwear", torso_crops(drawn, truth, persons, heads, rng)))
    if len(names) < 20:
        raise LabelsError(
            f"{len(names)} labelled images are too few to learn from: give 20 or more."
        )
    sides = divide(names, clusters_of(hashes, np.array(signatures, np.float32)))
    crops: dict[tuple[str, Side], list[Crop]] = {}
    for name, item, some in kept:
        crops.setdefault((item, sides[name]), []).extend(some)
    return Gathered(crops, sides)


def learn(gathered: Gathered, item: str, out: Path, settings: Settings) -> dict[str, float]:
    """Train, calibrate, choose thresholds and export one item; returns what was found on tuning."""
    torch.set_num_threads(1)
    training = gathered.crops.get((item, "train"), [])
    tuning = gathered.crops.get((item, "tune"), [])
    counts = Counter(crop.kind for crop in training)
    if min(counts.get(0, 0), counts.get(1, 0)) < 10 or not tuning:
        raise LabelsError(
            f"{item}: {counts.get(0, 0)} worn and {counts.get(1, 0)} missing are too few to learn"
            " from: label at least 10 of each, in 20 scenes or more."
        )
    pixels, kinds = _arrays(training)
    start = None if settings.start is None else settings.start / f"{item}.npz"
    net = items.train(
        pixels, kinds, _weights(training), epochs=settings.epochs, seed=settings.seed,
        start=start,
    )  # fmt: skip
    found = [crop for crop in tuning if crop.found] or tuning
    pixels, kinds = _arrays(found)
    logits = items.logits_of(net, pixels)
    heat = items.temperature(logits, kinds)
    path = out / f"{item}.onnx"
    items.export(net, heat, path)
    items.save(net, out / f"{item}.npz")
    chances = np.exp(logits / heat - (logits / heat).max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    worn_at, missing_at = thresholds(chances, kinds)
    result = {
        "temperature": round(heat, 3),
        "worn_at": worn_at,
        "missing_at": missing_at,
        "tuning_crops": float(len(found)),
        "tuning_accuracy": round(float((logits.argmax(axis=1) == kinds).mean()), 4),
    }
    _write_manifest(path, item, result)
    return result


def thresholds(chances: Float32Array, kinds: npt.NDArray[np.intp]) -> tuple[float, float]:
    """worn_at, missing_at of the best F1 of "missing" (and of "worn") on the tuning side."""

    def best(column: int) -> float:
        tried = np.arange(0.3, 0.86, 0.05)
        scores = []
        for at in tried:
            said = chances[:, column] >= at
            right = float((said & (kinds == column)).sum())
            scores.append(2 * right / max(1.0, float(said.sum() + (kinds == column).sum())))
        near = np.flatnonzero(np.array(scores) >= max(scores) - 0.002)
        return round(float(tried[near[len(near) // 2]]), 2)

    return best(0), best(1)


def write_sides(gathered: Gathered, out: Path) -> None:
    """Names of the images of each side, one a line."""
    for side in ("train", "tune", "validate"):
        names = sorted(name for name, one in gathered.sides.items() if one == side)
        (out / f"{side}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _weights(crops: Sequence[Crop]) -> Float32Array:
    """Draws: worn 1, missing 0.8, cannot tell 0.5; regions as found count half as much again."""
    share = {0: 1.0, 1: 0.8, 2: 0.5}
    counts = Counter(crop.kind for crop in crops)
    return np.array(
        [share[c.kind] / counts[c.kind] * (1.5 if c.found else 1.0) for c in crops], np.float32
    )


def _arrays(crops: Sequence[Crop]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
    return np.stack([crop.pixels for crop in crops]), np.array([crop.kind for crop in crops])


def _hashes(image: Image) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    return difference_hash(small), difference_hash(np.ascontiguousarray(small[:, ::-1]))


def _signature(people: People, image: Image) -> Float32Array:
    square = np.asarray(cv2.resize(image, (416, 416)), np.uint8)
    coarse = people.detector.see(square, 0.9).features["feature_32"][0]
    fields = [cv2.resize(plane, (4, 4), interpolation=cv2.INTER_AREA) for plane in coarse]
    return np.stack(fields).astype(np.float32).reshape(-1)


def _write_manifest(path: Path, item: str, result: dict[str, float]) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    smallest = 10.0 if item == "helmet" else 24.0
    path.with_suffix(".toml").write_text(
        f"# Manifest of a classifier trained by `plantgate vision train`.\n"
        f'name = "{item}"\ntask = "item"\nfinds = "{item}"\nsha256 = "{digest}"\n'
        'licence = "of the images it was trained on"\nsource = "trained by vision/train"\n\n'
        f'[item]\nname = "{item}"\nworn_at = {result["worn_at"]}\n'
        f"missing_at = {result['missing_at']}\nsmallest_px = {smallest}\n\n"
        f"[tuning]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in result.items()),
        encoding="utf-8",
    )


__all__ = ["Gathered", "Settings", "gather", "learn", "thresholds", "write_sides"]
