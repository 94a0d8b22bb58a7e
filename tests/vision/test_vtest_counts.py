"""The whole judgement on real frames, against people counted by eye.

The clip is judged from its start to its end as a camera is, five frames a second: once its even
frames and once its odd ones, so that every counted frame has what came before it. Five sets of
frames, each counted before any detector was run on them:

- `vtest_counts_unseen.json`, 71 frames: counted after everything was chosen, used only to measure.
- `vtest_counts.json` (11), `vtest_counts_held_out.json` (24), `vtest_counts_new.json` (28) and
  `vtest_counts_more.json` (34): on these the default score and the tracker's rules were chosen, so
  their figures are flattered.

All are of one camera with the same people: they say nothing about other views. The zone's edges
were placed knowing where people stood in the 11 frames, which flatters the figures of the zone
there; in the held-out frames people cross its edges.

Bounds are for regressions: what was measured (stated beside each) plus a margin for another
build of onnxruntime or FFmpeg.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vision.analyser import Analyser
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.detector import Detector
from vision.frames import Frame
from vision.manifest import ModelError, read_model
from vision.postprocess import Detections
from vision.snapshot import MOST_BYTES, Scene, snapshot

STEP = 2  # every second frame of a clip of 10 frames a second
LEAST_SCORE = 0.2  # under what any camera here asks for
CHOSEN = ("vtest_counts", "vtest_counts_held_out", "vtest_counts_new", "vtest_counts_more")
UNSEEN = "vtest_counts_unseen"
TRUTH: dict[str, dict[str, Any]] = {
    name: json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    for name in (*CHOSEN, UNSEEN)
}


@dataclass(frozen=True)
class Errors:
    """Judged minus counted, [frames, 2]: the whole frame, the zone."""

    people: np.ndarray

    @property
    def mean(self) -> list[float]:
        """Mean absolute error."""
        return [round(float(v), 3) for v in np.abs(self.people).mean(axis=0)]

    @property
    def exact(self) -> list[float]:
        """Share of frames without error."""
        return [round(float(v), 2) for v in (self.people == 0).mean(axis=0)]


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(read_model(DEFAULT_MODEL))


def config(**changes: Any) -> CameraConfig:
    """The default score, unless another is asked for."""
    whole = [[0, 0], [1, 0], [1, 1], [0, 1]]
    road = TRUTH["vtest_counts"]["zone"]
    zones = [{"name": "all", "polygon": whole}, {"name": "road", "polygon": road}]
    return CameraConfig.model_validate(
        {"name": "vtest", "source": "vtest.avi", "analyse_fps": 5, "zone": zones, **changes}
    )


def pictures(clip: Path) -> Iterator[np.ndarray]:
    """The frames of a clip, in order."""
    capture = cv2.VideoCapture(str(clip))
    while capture.grab():
        yield np.asarray(capture.retrieve()[1], np.uint8)
    capture.release()


class Looks:
    """What the network finds in the frame of now: looked for once, whoever asks."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def show(self, picture: np.ndarray) -> None:
        """Look at the next frame."""
        self._found, self._grey = self._detector.look(picture, LEAST_SCORE)
        self._grey = self._grey.copy()

    def detect(self, _: np.ndarray, threshold: float) -> tuple[Detections, np.ndarray]:
        """As `Detector.look` does: boxes come ordered by score, so more of them change none."""
        keep = self._found.scores >= threshold
        return Detections(self._found.boxes[keep], self._found.scores[keep]), self._grey


def follow(
    clip: Path, detector: Detector, cameras: dict[str, CameraConfig]
) -> dict[str, dict[int, tuple[int, ...]]]:
    """Judge the clip as each camera; returns people by zone of every frame."""
    looks = Looks(detector)
    runs = {
        name: [Analyser(camera, looks.detect, start_ns=0) for _ in range(STEP)]
        for name, camera in cameras.items()
    }
    counts: dict[str, dict[int, tuple[int, ...]]] = {name: {} for name in cameras}
    for index, picture in enumerate(pictures(clip)):
        looks.show(picture)
        time_ns = index * 100_000_000
        frame = Frame(picture, index, time_ns, time_ns + 1, index < STEP)
        for name, run in runs.items():
            run[index % STEP].feed(frame, now_ns=time_ns)
            counts[name][index] = run[index % STEP].counts
    return counts


@pytest.fixture(scope="module")
def counts(vtest: Path, detector: Detector) -> dict[str, dict[int, tuple[int, ...]]]:
    return follow(vtest, detector, {"default": config(), "own": config(score=0.5)})


def errors(counts: dict[int, tuple[int, ...]], *names: str) -> Errors:
    """Compare with the counts by eye."""
    frames = [frame for name in names for frame in TRUTH[name]["frames"]]
    found = [counts[frame["index"]] for frame in frames]
    return Errors(
        np.array(
            [
                (whole - frame["people"], zone - frame.get("in_zone", zone))
                for (whole, zone), frame in zip(found, frames, strict=True)
            ]
        )
    )


def test_held_out_frames_are_those_of_the_rule() -> None:
    tuned = [frame["index"] for frame in TRUTH["vtest_counts"]["frames"]]
    ruled = [i for i in range(17, 795, 21) if min(abs(i - t) for t in tuned) > 15]
    assert [frame["index"] for frame in TRUTH["vtest_counts_held_out"]["frames"]] == ruled


def test_unseen_frames_are_those_of_the_rule() -> None:
    others = [frame["index"] for name in CHOSEN for frame in TRUTH[name]["frames"]]
    ruled = sorted(i for first in (1, 14) for i in range(first, 795, 21))
    ruled = [i for i in ruled if min(abs(i - other) for other in others) >= 3]
    assert [frame["index"] for frame in TRUTH[UNSEEN]["frames"]] == ruled


Counts = dict[str, dict[int, tuple[int, ...]]]


def test_counts_on_unseen_frames(counts: Counts) -> None:
    found = errors(counts["default"], UNSEEN)
    assert found.mean[0] <= 0.35, found  # measured: 0.239
    assert found.exact[0] >= 0.7, found  # measured: 0.77


def test_counts_on_every_counted_frame(counts: Counts) -> None:
    found = errors(counts["default"], *CHOSEN, UNSEEN)
    assert found.mean[0] <= 0.42, found  # measured: 0.333
    assert errors(counts["own"], *CHOSEN, UNSEEN).mean[0] <= 0.42  # measured: 0.304


def test_counts_in_a_zone(counts: Counts) -> None:
    assert errors(counts["default"], "vtest_counts_held_out").mean[1] <= 0.6  # measured: 0.333
    assert errors(counts["default"], "vtest_counts").mean[1] <= 0.4  # measured: 0.182


def test_the_snapshot_is_a_jpeg_of_bounded_size(vtest: Path, detector: Detector) -> None:
    analyser = Analyser(config(), detector.look, start_ns=0)
    image = next(pictures(vtest))
    analyser.feed(Frame(image, 0, 0, 1, first=True), now_ns=0)
    picture = snapshot(image, config(), Scene.of(analyser), 10**18)
    assert picture[:3] == b"\xff\xd8\xff"
    assert 20_000 < len(picture) <= MOST_BYTES
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == image.shape


def test_a_huge_noisy_frame_still_fits() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1520, 2688, 3), np.uint8)
    assert 0 < len(snapshot(noise, config(), Scene([], [1, 1]), 10**18)) <= MOST_BYTES


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_model(tmp_path / "none.onnx")


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(DEFAULT_MODEL.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="needs its manifest"):
        read_model(model)
    model.with_suffix(".toml").write_text(DEFAULT_MODEL.with_suffix(".toml").read_text())
    with pytest.raises(ModelError, match="damaged or another one"):
        read_model(model)
