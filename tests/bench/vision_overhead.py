"""What the vision pipeline costs beyond decoding and bare onnxruntime, on the same frames.

    python tests/bench/vision_overhead.py CLIP [--frames 150] [--rounds 5] [--json]

The bar: at most 10 % over decode plus bare onnxruntime. Each round measures, in the same process
and on one thread: (a) decoding the frames to pictures, (b) the network alone on a prepared tensor,
(c) decode plus everything the camera process does per frame: letterbox, network, decoding of
boxes, suppression, view watch, tracking, zones. CPU time of the process counts, not wall time, so
other load disturbs less; rounds alternate, and the median of the per-round ratios is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vision.analyser import Analyser
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.detector import Detector, read_model
from vision.frames import Frame
from vision.preprocess import Preprocessor

FPS = 4.0


def camera() -> CameraConfig:
    """Two zones, one with a limit."""
    return CameraConfig.model_validate(
        {
            "name": "bench",
            "source": "clip",
            "score": 0.45,
            "analyse_fps": FPS,
            "zone": [
                {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]},
                {
                    "name": "hot-work-1",
                    "polygon": [[0.3, 0.34], [0.88, 0.34], [0.88, 0.66], [0.3, 0.66]],
                    "max_people": 6,
                },
            ],
        }
    )


def decode(clip: Path, count: int, then: Callable[[int, np.ndarray], object]) -> None:
    """Decode `count` frames into one reused picture and hand each on."""
    one_thread = [cv2.CAP_PROP_N_THREADS, 1]
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, one_thread)
    picture = None
    for index in range(count):
        if not capture.grab():
            raise SystemExit(f"{clip} has only {index} frames")
        picture = np.asarray(capture.retrieve(picture)[1], np.uint8)
        then(index, picture)
    capture.release()


def first_tensor(clip: Path) -> np.ndarray:
    """The clip's first frame as the network sees it."""
    given = read_model(DEFAULT_MODEL).manifest.input
    tensors: list[np.ndarray] = []
    preprocessor = Preprocessor(given.side, given.mean, given.deviation)
    decode(clip, 1, lambda _, picture: tensors.append(preprocessor.feed(picture)))
    return tensors[0]


def cpu_ms(count: int, work: Callable[[], object]) -> float:
    """CPU milliseconds per frame of this process."""
    begin = time.process_time_ns()
    work()
    return (time.process_time_ns() - begin) / 1e6 / count


def measure(clip: Path, count: int, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds a frame of each part, and the median ratio."""
    detector = Detector(read_model(DEFAULT_MODEL))
    tensor = first_tensor(clip)
    rows = []

    def bare() -> None:
        for _ in range(count):
            detector.infer(tensor)

    def whole() -> None:
        analyser = Analyser(camera(), detector.look, start_ns=0)

        def judge(index: int, picture: np.ndarray) -> None:
            now_ns = round(index * 1e9 / FPS)
            frame = Frame(picture, index, now_ns, now_ns, index == 0)
            analyser.feed(frame, now_ns=now_ns)

        decode(clip, count, judge)

    bare()
    for _ in range(rounds):
        decoding = cpu_ms(count, lambda: decode(clip, count, lambda _, __: None))
        network = cpu_ms(count, bare)
        pipeline = cpu_ms(count, whole)
        rows.append((decoding, network, pipeline, pipeline / (decoding + network) - 1))
    columns = list(zip(*rows, strict=True))
    names = ("decode_ms", "onnxruntime_ms", "pipeline_ms", "overhead")
    return {
        name: statistics.median(column) for name, column in zip(names, columns, strict=True)
    } | {"overhead_least": min(columns[3]), "overhead_most": max(columns[3])}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    result = measure(given.clip, given.frames, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
        return
    for name in ("decode_ms", "onnxruntime_ms", "pipeline_ms"):
        sys.stdout.write(f"{name:16}{result[name]:8.2f}\n")
    sys.stdout.write(
        f"{'overhead':16}{result['overhead']:8.1%}  (bar 10 %; rounds"
        f" {result['overhead_least']:.1%} to {result['overhead_most']:.1%})\n"
    )


if __name__ == "__main__":
    main()
