"""`plantgate vision train`: from a folder of labelled images to models with their manifests.

Guarantees:

- Offline: reads the folder, writes the output folder, nothing else.
- The validation side, whose images are named in `validate.txt` for `plantgate vision eval --only`,
  is neither learned from nor used to choose anything.
- Calibration and thresholds rest on answers of networks that had not learned from the image: the
  rest is divided into FOLDS by scene, and each part is answered by a network that learned from the
  others; of heads one part is: the tuning side, or the first if that holds too few. The model that
  is written learned from all of them, the one that answered about heads lies in `tuning/` beside
  it: for choosing thresholds end to end on images that it has not seen.
- The same folder, seed and machine give the same weights.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from vision.detector import Detector
from vision.frames import Image
from vision.labels import LabelledFolder, LabelledImage, LabelsError
from vision.measure import Truth
from vision.people import FLOOR, HeadFinder
from vision.ppe import Joining, join
from vision.train import items, tuned
from vision.train.corrections import Corrections, corrected
from vision.train.gather import CANNOT_TELL, MISSING, WORN, Crop, head_crops, torso_crops
from vision.train.published import SOURCE, published
from vision.train.split import Side, difference_hash, divide
from vision.train.split import clusters as clusters_of
from vision.train.views import halve, middle, vary

Float32Array = npt.NDArray[np.float32]
FOLDS = 3
MORE = FOLDS
"""Fold of what every network may learn from and none is asked about."""
ASKED = 0
"""Fold that thresholds of heads rest on where the tuning side holds too few."""
LEAST_ASKED = 30
"""Found heads of each of the two kinds that are enough."""
PERSON_AT = 0.15
TORSOS = Joining(person=0.3, weak=0.15, head=0.25, alone=0.5)
"""How people are joined with heads while torsos are gathered: by the heat alone, generously."""

VIEWS = {WORN: 2, MISSING: 2, CANNOT_TELL: 1}
"""Varied views of a torso as found; 1 of one drawn from a label."""

SHARES = {WORN: 1.0, MISSING: 1.0, CANNOT_TELL: 0.15}
"""How often each kind of torso is drawn."""


@dataclass(frozen=True, slots=True)
class Settings:
    """steps: batches of 128 torsos or 64 heads.

    start: folder of models to go on from; None: from nothing, of heads from `trunk`, the weights
    of published.SOURCE.
    """

    steps: int = 700
    seed: int = 1
    start: Path | None = None
    trunk: Path | None = None


@dataclass(slots=True)
class Gathered:
    """Crops by item and image; the side and the fold of each image."""

    crops: dict[str, dict[str, list[Crop]]] = field(default_factory=dict)
    sides: dict[str, Side] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Learnable:
    """Of n views. plain: as the running system would cut it."""

    features: list[npt.NDArray[np.float16]]
    kinds: npt.NDArray[np.intp]
    folds: npt.NDArray[np.intp]
    heat: Float32Array
    plain: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Finders:
    """What finds people, and their heads."""

    detector: Detector
    heads: HeadFinder


def gather(
    folder: LabelledFolder, people: Finders, seed: int, corrections: Corrections
) -> Gathered:
    """The side of every image, and crops for the classifiers of all but the validation side's."""
    rng = np.random.default_rng(seed)
    found = Gathered()
    found.sides, found.folds = scenes(folder, people.detector)
    for image in folder.images:
        if found.sides.get(image.path.name) == "validate":
            continue
        picture = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
        if picture is not None:
            drawn = np.asarray(picture, np.uint8)
            fixed = corrected(image, drawn.shape[1], drawn.shape[0], corrections)
            for item, crops in _crops(fixed, drawn, folder.names, people, rng).items():
                found.crops.setdefault(item, {})[image.path.name] = crops
    return found


def gather_more(gathered: Gathered, folder: LabelledFolder, people: Finders, seed: int) -> None:
    """Add another folder's pictures, which are learned from only: no threshold rests on them."""
    rng = np.random.default_rng(seed)
    for image in folder.images:
        picture = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        name = f"more/{image.path.name}"
        gathered.sides[name], gathered.folds[name] = "train", MORE
        drawn = np.asarray(picture, np.uint8)
        for item, crops in _crops(image, drawn, folder.names, people, rng).items():
            gathered.crops.setdefault(item, {})[name] = crops


def scenes(folder: LabelledFolder, detector: Detector) -> tuple[dict[str, Side], dict[str, int]]:
    """Side and fold of each image by name; alike ones have the same (split.py)."""
    hashes, signatures, names = [], [], []
    for image in folder.images:
        picture = cv2.imread(str(image.path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        names.append(image.path.name)
        hashes.append(_hashes(np.asarray(picture, np.uint8)))
        signatures.append(_signature(detector, np.asarray(picture, np.uint8)))
    if len(names) < 20:
        raise LabelsError(
            f"{len(names)} labelled images are too few to learn from: give 20 or more."
        )
    cluster = clusters_of(hashes, np.array(signatures, np.float32))
    folds = {
        name: int(hashlib.sha256(f"fold{names[number]}".encode()).hexdigest()[:8], 16) % FOLDS
        for name, number in zip(names, cluster, strict=True)
    }
    return divide(names, cluster), folds


def learn(
    gathered: Gathered, item: str, detector: Detector, out: Path, settings: Settings
) -> dict[str, float]:
    """Train, calibrate, choose thresholds and export one item; returns what was found."""
    torch.set_num_threads(1)
    usable = {
        n: c for n, c in gathered.crops.get(item, {}).items() if gathered.sides[n] != "validate"
    }
    counts = Counter(crop.kind for crops in usable.values() for crop in crops if crop.found)
    if min(counts[WORN], counts[MISSING]) < 10:
        raise LabelsError(
            f"{item}: {counts[WORN]} worn and {counts[MISSING]} missing were found in the pictures,"
            " too few to learn from: label at least 10 of each, in 20 scenes or more."
        )
    path, start = out / f"{item}.onnx", settings.start
    if item == "helmet":
        answered, calibration = _asked(usable, gathered, detector, out / "tuning", settings)
        whole = tuned.Pupil(detector, begins_with(settings), settings.seed)
        whole.learn([one for some in usable.values() for one in some], settings.steps)
        tuned.export(whole.net, calibration, path)
    else:
        views = describe(usable, gathered.folds, detector, settings.seed)
        start = None if start is None else start / f"{item}.npz"
        net, answered = _frozen(views, settings, start)
        calibration = items.calibrate(answered.logits, answered.heat, answered.kinds)
        items.export(net, calibration, path)
        items.save(net, path.with_suffix(".npz"))
    result = _found(answered, calibration)
    _write_manifest(path, item, result)
    return result


def _asked(
    crops: dict[str, list[Crop]], gathered: Gathered, detector: Detector, out: Path,
    settings: Settings,
) -> tuple[items.Answered, items.Calibration]:  # fmt: skip
    """What a network that had not seen them says of some heads; it is written too.

    Raises LabelsError where they lack one of the two kinds.
    """
    asked = {name for name in crops if gathered.sides[name] == "tune"}
    if _fewest(crops, asked) < LEAST_ASKED:
        asked = {name for name in crops if gathered.folds[name] == ASKED}
    if not _fewest(crops, asked):
        raise LabelsError(
            "helmet: no head of one of the two kinds was found in the third of the scenes that"
            " thresholds are chosen on: label heads with and without a helmet in more scenes."
        )
    one = tuned.Pupil(detector, begins_with(settings), settings.seed)
    one.learn([c for name, some in crops.items() if name not in asked for c in some],
              settings.steps)  # fmt: skip
    answered = one.answer([c for name, some in crops.items() if name in asked for c in some])
    calibration = items.calibrate(answered.logits, answered.heat, answered.kinds)
    out.mkdir(exist_ok=True)
    tuned.export(one.net, calibration, out / "helmet.onnx")
    _write_manifest(out / "helmet.onnx", "helmet", _found(answered, calibration))
    return answered, calibration


def begins_with(settings: Settings) -> Path:
    """The weights that the helmet classifier begins with; raises LabelsError."""
    if settings.start is not None:
        return settings.start / "helmet.onnx"
    if settings.trunk is None:
        raise LabelsError(
            f"helmet: from nothing means from the weights of ImageNet, {SOURCE}: name the file"
            " with --trunk."
        )
    return published(settings.trunk)


def _fewest(crops: dict[str, list[Crop]], names: set[str]) -> int:
    """Found heads of the rarer of the two kinds in these images."""
    counts = Counter(crop.kind for name in names for crop in crops[name] if crop.found)
    return min(counts[WORN], counts[MISSING])


def _found(answered: items.Answered, calibration: items.Calibration) -> dict[str, float]:
    """Thresholds, and how right the answers are."""
    chances = calibration.apply(answered.logits, answered.heat)
    worn_at, missing_at = thresholds(chances, answered.kinds)
    return {
        "worn_at": worn_at,
        "missing_at": missing_at,
        "crops": float(len(chances)),
        "accuracy": round(float((chances.argmax(axis=1) == answered.kinds).mean()), 4),
    }


def _frozen(
    views: Learnable, settings: Settings, start: Path | None
) -> tuple[items.ItemNet, items.Answered]:
    """The network of all, and what those of FOLDS - 1 parts each answered about the part left."""
    weights = _weights(views.kinds)
    answers, rows = [], []
    for fold in [*range(FOLDS), None]:
        some = np.flatnonzero(views.folds != (-1 if fold is None else fold))
        net = items.train(
            views.features, views.kinds, some, weights,
            steps=settings.steps, seed=settings.seed, start=start,
        )  # fmt: skip
        if fold is not None:
            rows.append(np.flatnonzero(views.plain & (views.folds == fold)))
            answers.append(items.logits_of(net, views.features, rows[-1]))
    row = np.concatenate(rows)
    return net, items.Answered(np.concatenate(answers), views.heat[row], views.kinds[row])


def describe(
    crops: dict[str, list[Crop]], folds: dict[str, int], detector: Detector, seed: int
) -> Learnable:
    """Features of every crop as found, and of varied views of all."""
    rng = np.random.default_rng(seed)
    pixels: list[Image] = []
    rows: list[tuple[int, int, Float32Array, bool]] = []
    parts: list[list[npt.NDArray[np.float16]]] = [[] for _ in items.CHANNELS]
    nothing = np.zeros(2, np.float32)

    def flush() -> None:
        found = detector.describe(pixels)
        found["feature_4"] = halve(found["feature_4"])
        for part, stride in zip(parts, items.CHANNELS, strict=True):
            part.append(found[f"feature_{stride}"].astype(np.float16))
        pixels.clear()

    for name, some in crops.items():
        for crop in some:
            heat = nothing if crop.heat is None else crop.heat
            if crop.found:
                pixels.append(middle(crop.pixels))
                rows.append((crop.kind, folds[name], heat, True))
            for _ in range(VIEWS[crop.kind] if crop.found else 1):
                pixels.append(vary(crop.pixels, rng))
                rows.append((crop.kind, folds[name], heat, False))
        if len(pixels) >= 256:
            flush()
    if pixels:
        flush()
    kinds, fold, heats, plain = zip(*rows, strict=True)
    return Learnable(
        [np.concatenate(part) for part in parts],
        np.array(kinds, np.intp),
        np.array(fold, np.intp),
        np.array(heats, np.float32),
        np.array(plain, np.bool_),
    )


def thresholds(chances: Float32Array, kinds: npt.NDArray[np.intp]) -> tuple[float, float]:
    """worn_at, missing_at: each of the best F1 of its verdict, together leaving no overlap.

    chances: float[n, 3]; by shares of what can be told, as `vision.ppe.decide` takes them.
    """
    told = kinds != CANNOT_TELL
    share = chances[told, MISSING] / np.maximum(chances[told, WORN] + chances[told, MISSING], 1e-9)
    missing = kinds[told] == MISSING
    tried = np.arange(0.1, 0.91, 0.05)
    scores = []
    for at in tried:
        said = share >= at
        right = float((said & missing).sum())
        scores.append(2 * right / max(1.0, float(said.sum() + missing.sum())))
    near = np.flatnonzero(np.array(scores) >= max(scores) - 0.002)
    missing_at = round(float(tried[near[len(near) // 2]]), 2)
    return round(1 - missing_at, 2), missing_at


def write_sides(gathered: Gathered, out: Path) -> None:
    """Names of the images of each side, one a line."""
    for side in ("train", "tune", "validate"):
        names = sorted(name for name, one in gathered.sides.items() if one == side)
        (out / f"{side}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def _crops(
    image: LabelledImage, drawn: Image, names: set[str], people: Finders, rng: np.random.Generator
) -> dict[str, list[Crop]]:
    height, width = drawn.shape[:2]
    boxes: dict[str, list[tuple[float, float, float, float]]] = {}
    for label in image.labels:
        boxes.setdefault(label.name, []).append(label.pixels(width, height))
    truth = Truth({n: np.array(b, np.float32).reshape(-1, 4) for n, b in boxes.items()})
    seen = people.detector.feed(drawn, FLOOR)
    persons, scores = seen.boxes, seen.scores
    heads = people.heads.look_closer(drawn)
    found: dict[str, list[Crop]] = {}
    if names & {"helmet", "no_helmet"}:
        found["helmet"] = head_crops(drawn, truth, persons[scores >= PERSON_AT], heads, rng)
    if names & {"workwear", "no_workwear"}:
        joined = join(persons, scores, heads.boxes, heads.scores, TORSOS)
        torsos = np.array([one.torso for one in joined], np.float32).reshape(-1, 4)
        found["workwear"] = torso_crops(drawn, truth, torsos, rng)
    return found


def _weights(kinds: npt.NDArray[np.intp]) -> Float32Array:
    counts = np.maximum(np.bincount(kinds, minlength=3), 1)
    share = np.array([SHARES[kind] for kind in (WORN, MISSING, CANNOT_TELL)]) / counts
    return np.asarray(share[kinds], np.float32)


def _hashes(image: Image) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    small = np.asarray(cv2.resize(grey, (9, 8), interpolation=cv2.INTER_AREA), np.uint8)
    return difference_hash(small), difference_hash(np.ascontiguousarray(small[:, ::-1]))


def _signature(detector: Detector, image: Image) -> Float32Array:
    square = np.asarray(cv2.resize(image, (416, 416)), np.uint8)
    coarse = detector.see(square, 0.9).features["feature_32"][0]
    fields = [cv2.resize(plane, (4, 4), interpolation=cv2.INTER_AREA) for plane in coarse]
    return np.stack(fields).astype(np.float32).reshape(-1)


def _write_manifest(path: Path, item: str, result: dict[str, float]) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    smallest, sure = (10.0, 0.1) if item == "helmet" else (24.0, 0.5)
    path.with_suffix(".toml").write_text(
        f"# Manifest of a classifier trained by `plantgate vision train`.\n"
        f'name = "{item}"\ntask = "item"\nfinds = "{item}"\nsha256 = "{digest}"\n'
        'licence = "of the images it was trained on"\nsource = "trained by vision/train"\n\n'
        f'[item]\nname = "{item}"\nsure_at = {sure}\nworn_at = {result["worn_at"]}\n'
        f"missing_at = {result['missing_at']}\nsmallest_px = {smallest}\n\n"
        "# On crops of images that the answering network had not learned from.\n"
        f"[tuning]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in result.items()),
        encoding="utf-8",
    )


__all__ = [
    "Finders",
    "Gathered",
    "Settings",
    "begins_with",
    "describe",
    "gather",
    "learn",
    "scenes",
    "thresholds",
    "write_sides",
]
