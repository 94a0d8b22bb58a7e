"""Rows of vision's cost: cameras a core carries, and where a frame's time goes.

In one process on one thread, CPU time of the process. A camera is 640x360 H.264 at 25 frames a
second, every one decoded, as capture does it; of these 2 or 5 a second are analysed by the very
Analyser of a camera's process. Two clips: people walking (something always moves), and a yard in
which nothing does but a sensor's noise. Cameras a core carries is the clip's length over the CPU
time it took. The stages are timed on every frame of the first clip, one after the other; medians.

`python -m tests.bench cameras` takes about 2 minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tests.bench.table import Row
from tests.bench.vision import make_clip
from tests.clips import clip_or_exit
from vision.analyser import Analyser
from vision.config import DEFAULT_MODEL, INT8_MODEL, CameraConfig
from vision.frames import Frame, Image
from vision.motion import MotionGate
from vision.people import People, load_people
from vision.track import Tracker, TrackerRules

SOURCE_FPS, SECONDS, STAGE_FRAMES = 25, 12, 40
RATES = (2, 5)
LEAST_CAMERAS = 8
"""design: 8 cameras of 640x360 at 2 fps on one core, and that beside acquisition."""


def rows(folder: Path) -> list[Row]:
    """Cameras a core carries in each setting, then the stages."""
    cv2.setNumThreads(1)
    clips = {
        "people walking": make_clip(folder / "people.mp4"),
        "nothing moves": _still(clip_or_exit(), folder / "still.mp4"),
    }
    people = load_people(DEFAULT_MODEL, 0.45, items=())
    found = [
        _carried(name, clip, people, fps, gate=gate)
        for name, clip in clips.items()
        for fps in RATES
        for gate in (True, False)
    ]
    integers = load_people(INT8_MODEL, 0.45, items=())
    found += [
        _carried("people walking, int8", clips["people walking"], integers, fps, gate=True)
        for fps in RATES
    ]
    return [*found, *_stages(clips["people walking"])]


def _still(source: Path, target: Path) -> Path:
    """One frame for SECONDS, with a sensor's noise."""
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(source), "-an", "-vf",
         "crop=768:432,scale=640:360,trim=end_frame=1,loop=-1:1,setpts=N/25/TB,noise=alls=4:allf=t",
         "-t", str(SECONDS), "-r", "25", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset",
         "veryfast", "-bf", "0", "-g", "50", "-b:v", "600k", str(target)],
        check=True,
    )  # fmt: skip
    return target


def _camera(fps: float, *, gate: bool, require: tuple[str, ...] = ()) -> CameraConfig:
    zone = {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "require": list(require)}
    return CameraConfig.model_validate(
        {"name": "bench", "source": "clip", "analyse_fps": fps, "zone": [zone],
         "motion_floor_s": 1.0 if gate else 0.0}
    )  # fmt: skip


def _carried(name: str, clip: Path, people: People, fps: int, *, gate: bool) -> Row:
    """Decode SECONDS of a clip and analyse `fps` frames of each second."""
    analyser = Analyser(_camera(fps, gate=gate), people.detect, start_ns=0)
    capture = _opened(clip)
    every, picture = SOURCE_FPS / fps, None
    due, analysed, began = 0.0, 0, time.process_time()
    for number in range(SECONDS * SOURCE_FPS):
        if not capture.grab():
            raise SystemExit(f"bench: {clip} has too few frames")
        if number < due:
            continue
        due += every
        picture = np.asarray(capture.retrieve(picture)[1], np.uint8)
        now_ns = number * 1_000_000_000 // SOURCE_FPS
        analyser.feed(Frame(picture, number, now_ns, now_ns, number == 0), now_ns=now_ns)
        analysed += 1
    spent = time.process_time() - began
    capture.release()
    return Row(
        f"cameras a core carries, {name}, {fps} fps, motion gate {'on' if gate else 'off'}",
        SECONDS / spent,
        "cameras",
        LEAST_CAMERAS if fps == min(RATES) else 0,
        more_is_better=True,
        detail=f"{spent / SECONDS:.1%} of a core each; of {analysed} frames"
        f" {analyser.frames_still} cost no inference",
    )


def _stages(clip: Path) -> list[Row]:
    """What each stage of one analysed frame costs."""
    people = load_people(DEFAULT_MODEL, 0.45, items=("helmet", "workwear"))
    names = ("decode, one frame", "motion gate", "letterbox", "onnxruntime alone",
             "boxes", "track", "heads and equipment")  # fmt: skip
    spent: dict[str, list[float]] = {name: [] for name in names}
    tracker = Tracker(TrackerRules.for_rate(4.0), 0.45)
    gate, picture, capture = MotionGate(1_000_000_000), None, _opened(clip)

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.process_time_ns()
        work()
        spent[name].append((time.process_time_ns() - began) / 1e6)

    detector = people.detector
    for number, image in enumerate(_pictures(capture, timed, names[0])):
        if number >= STAGE_FRAMES:
            break
        picture, now_ns = image, number * 250_000_000
        height, width = picture.shape[:2]
        timed(names[1], partial(gate.feed, picture, now_ns))
        timed(names[2], partial(detector._preprocessor.feed, picture))
        tensor = detector._preprocessor.feed(picture)
        timed(names[3], partial(detector.infer, tensor))
        out, place = detector.infer(tensor), detector._placing()
        timed(names[4], partial(detector._decoder.feed, out, 0.27, place, width, height))
        found, _ = people.detect(picture, 0.27)
        timed(names[5], partial(tracker.feed, found, width, height, now_ns=now_ns))
        timed(names[6], partial(people.wear, picture, found.boxes[found.scores >= 0.45]))
    capture.release()
    whole = sum(statistics.median(times) for times in spent.values())
    bare = statistics.median(spent["onnxruntime alone"])
    return [
        Row(f"vision, CPU a frame: {name}", statistics.median(times), "ms", 0,
            limit=f"{statistics.median(times) / bare:.3f} x bare onnxruntime",
            detail=f"{len(times)} frames, most {max(times):.2f} ms")
        for name, times in spent.items()
    ] + [
        Row("vision, CPU a frame: all stages", whole, "ms", 0,
            limit=f"{whole / bare:.3f} x bare onnxruntime")
    ]  # fmt: skip


def _pictures(
    capture: cv2.VideoCapture, timed: Callable[[str, Callable[[], object]], None], name: str
) -> Iterator[Image]:
    held: list[Image] = []

    def decode() -> None:
        if not capture.grab():
            raise SystemExit("bench: the clip has too few frames")
        held[:] = [np.asarray(capture.retrieve(held[0] if held else None)[1], np.uint8)]

    while True:
        timed(name, decode)
        yield held[0]


def _opened(clip: Path) -> cv2.VideoCapture:
    return cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
