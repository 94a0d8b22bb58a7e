"""The whole judgement on real frames, against people counted by eye.

Two sets of frames of one clip, each counted before any detector was run on them:

- `vtest_counts.json`, 11 frames: on these the default score of 0.45 was chosen from five. What it
  gives there (mean absolute error 0.45 on the whole frame, 0.18 in the zone) flatters it.
- `vtest_counts_held_out.json`, 24 frames picked by a rule, away from those: used only to measure,
  and to confirm 0.45 against 0.35. Same camera and people: it says nothing about other views.

- `vtest_counts_new.json`, 28 more by another rule: counted before this view's own score of 0.50 was
  chosen on the 35 frames above (mean absolute error there 0.43 at 0.50, 0.54 at 0.45), used only
  to measure it.

The zone's edges were placed knowing where people stood in the 11 frames, which flatters the figures
of the zone there; in the held-out frames people cross its edges.

Bounds are for regressions: what was measured (stated beside each) plus a margin for another
build of onnxruntime or FFmpeg.
"""

from __future__ import annotations

import json
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
from vision.snapshot import MOST_BYTES, Scene, snapshot

LEAD, STEP = 10, 2  # frames of run-up, every second one: 5 fps of a 10 fps clip
NAMES = ("vtest_counts", "vtest_counts_held_out", "vtest_counts_new")
TRUTH: dict[str, dict[str, Any]] = {
    name: json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))
    for name in NAMES
}


@dataclass(frozen=True)
class Errors:
    """Judged minus counted, [frames, 2]: the whole frame, the zone."""

    people: np.ndarray

    @property
    def mean(self) -> list[float]:
        """Mean absolute error."""
        return [round(float(v), 2) for v in np.abs(self.people).mean(axis=0)]

    @property
    def exact(self) -> list[float]:
        """Share of frames without error."""
        return [round(float(v), 2) for v in (self.people == 0).mean(axis=0)]


@pytest.fixture(scope="module")
def frames(vtest: Path) -> dict[int, np.ndarray]:
    indices = [frame["index"] for truth in TRUTH.values() for frame in truth["frames"]]
    wanted = {i - back for i in indices for back in range(0, LEAD + 1, STEP) if i >= back}
    capture = cv2.VideoCapture(str(vtest))
    found = {}
    for index in range(max(wanted) + 1):
        assert capture.grab()
        if index in wanted:
            found[index] = np.asarray(capture.retrieve()[1], np.uint8)
    capture.release()
    return found


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


def judged(
    detector: Detector, frames: dict[int, np.ndarray], index: int, camera: CameraConfig
) -> Analyser:
    """Run the frames that lead up to `index` and that one through a fresh analyser."""
    analyser = Analyser(camera, detector.look, start_ns=0)
    run = [i for i in range(index - LEAD, index + 1, STEP) if i >= 0]
    for i in run:
        time_ns = i * 100_000_000
        frame = Frame(frames[i], i, time_ns, time_ns + 1, i == run[0])
        analyser.feed(frame, now_ns=time_ns)
    return analyser


def measure(detector: Detector, frames: dict[int, np.ndarray], name: str, **changes: Any) -> Errors:
    """Compare the judgement, at the default score unless changed, with the counts by eye."""
    errors = []
    for truth in TRUTH[name]["frames"]:
        whole, zone = judged(detector, frames, truth["index"], config(**changes)).counts
        errors.append((whole - truth["people"], zone - truth.get("in_zone", zone)))
    return Errors(np.array(errors))


def test_held_out_frames_are_those_of_the_rule() -> None:
    tuned = [frame["index"] for frame in TRUTH["vtest_counts"]["frames"]]
    ruled = [i for i in range(17, 795, 21) if min(abs(i - t) for t in tuned) > 15]
    assert [frame["index"] for frame in TRUTH["vtest_counts_held_out"]["frames"]] == ruled


def test_counts_on_held_out_frames(detector: Detector, frames: dict[int, np.ndarray]) -> None:
    errors = measure(detector, frames, "vtest_counts_held_out")
    whole, zone = errors.mean  # measured: 0.63, 0.38
    assert whole <= 0.85, errors
    assert zone <= 0.6, errors
    assert errors.exact[0] >= 0.37, errors  # measured: 0.50


def test_counts_on_the_frames_on_which_the_score_was_chosen(
    detector: Detector, frames: dict[int, np.ndarray]
) -> None:
    errors = measure(detector, frames, "vtest_counts")
    whole, zone = errors.mean  # measured: 0.45, 0.18
    assert whole <= 0.6, errors
    assert zone <= 0.4, errors


def test_counts_on_new_frames_at_the_score_of_this_view(
    detector: Detector, frames: dict[int, np.ndarray]
) -> None:
    errors = measure(detector, frames, "vtest_counts_new", score=0.5)
    assert errors.mean[0] <= 0.5, errors  # measured: 0.32


def test_the_snapshot_is_a_jpeg_of_bounded_size(
    detector: Detector, frames: dict[int, np.ndarray]
) -> None:
    analyser = judged(detector, frames, 50, config())
    picture = snapshot(frames[50], config(), Scene.of(analyser), 10**18)
    assert picture[:3] == b"\xff\xd8\xff"
    assert 20_000 < len(picture) <= MOST_BYTES
    shown = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == frames[50].shape


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
