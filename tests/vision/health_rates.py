"""`python -m tests.vision.health_rates`: what is told of a camera's health, falsely and rightly.

Real clips, played there and back to 130 s at 2 pictures a second, 640 wide, with a clock drawn on
every picture, run through a camera's judgement (all but the networks). False: any event of view or
clock while the picture is bent harmlessly (tests/vision/bends.py), from the first third on.
Found: the clip is tampered with from the middle on, or its clock is; told in how many clips, as
what, and after how many seconds. Clips that are not on this machine are left out and named.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from tests.vision.alarm_quality import SCENES, clip_path, pictures
from tests.vision.bends import HARMLESS, TAMPERED, Image
from tests.vision.clocks import region, with_clock, written
from vision.analyser import Analyser, Output, ViewChange
from vision.clock_watch import Clock, ClockChange
from vision.config import CameraConfig
from vision.frames import Frame
from vision.postprocess import Detections

FPS = 2
STEP_NS = 10**9 // FPS
COUNT = 260
START_S = 1_795_000_000
CLOCKS = (("hershey", 12.0), ("noto", 11.0), ("hershey", 20.0), ("noto", 16.0))
WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
Draw = Callable[[int, Image], Image]
"""(number of the picture, picture with its clock) → as it comes from the camera."""


def looped(path: Path, until_s: float) -> list[Image]:
    """COUNT pictures of a clip, there and back, 640 wide."""
    read = [np.asarray(cv2.resize(one, _size(one)), np.uint8) for one in pictures(path, until_s)]
    way = [*read, *read[-2:0:-1]]
    return [way[number % len(way)] for number in range(COUNT)]


def _size(image: Image) -> tuple[int, int]:
    height, width = image.shape[:2]
    return 640, round(height * 640 / width / 2) * 2


def run(
    images: list[Image], draw: Draw, face: tuple[str, float], shown_s: Callable[[int], float]
) -> Iterator[tuple[int, Output]]:
    """Everything told, with the number of the picture. shown_s: what the clock shows then."""
    box = region(written(START_S), *face, images[0].shape)
    config = CameraConfig.model_validate(
        {"name": "cam", "source": "clip", "analyse_fps": FPS, "motion_floor_s": 0.0,
         "zone": [{"name": "all", "polygon": WHOLE}], "clock": {"region": box}}
    )  # fmt: skip
    nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    def detect(image: Image, _: float) -> tuple[Detections, Image]:
        small = cv2.resize(image, (416, image.shape[0] * 416 // image.shape[1]))
        return nobody, np.ascontiguousarray(small[:, :, 1])

    analyser = Analyser(config, detect, start_ns=0)
    for number, image in enumerate(images):
        with_it = with_clock(image, written(shown_s(number)), face=face[0], high=face[1])
        now_ns = number * STEP_NS
        wall_ns = START_S * 10**9 + now_ns + 300_000_000
        frame = Frame(draw(number, with_it), number, now_ns, wall_ns, first=number == 0)
        for output in analyser.feed(frame, now_ns=now_ns):
            yield number, output


def right(number: int) -> float:
    """A clock that is right."""
    return START_S + number / FPS


def word(output: Output) -> str:
    """What a change tells, empty where that is nothing wrong."""
    if isinstance(output, ViewChange):
        return "" if output.view.value == "clear" else output.view.value
    if isinstance(output, ClockChange):
        return "" if output.state is Clock.RIGHT else f"clock {output.state.value}"
    return ""


def false_ones(clips: dict[str, list[Image]]) -> None:
    """Print false events, by way and kind, and how often the clock could be read."""
    counted: Counter[tuple[str, str]] = Counter()
    read = hours = 0.0
    for how, bend in HARMLESS.items():
        for place, (name, images) in enumerate(clips.items()):
            rng = np.random.default_rng(1)

            def draw(number: int, image: Image) -> Image:
                return bend(image, rng) if number >= COUNT // 3 else image  # noqa: B023  # used at once

            face = CLOCKS[place % len(CLOCKS)]
            said = list(run(images, draw, face, right))
            read += any(isinstance(one, ClockChange) for _, one in said)
            hours += COUNT / FPS / 3600
            for number, output in said:
                if word(output):
                    counted[how, word(output)] += 1
                    print(f"  false: {name}, {how}: {word(output)} after {number / FPS:g} s")
    rounds = len(HARMLESS) * len(clips)
    print(f"false: {sum(counted.values())} in {hours:.2f} camera-hours; the clock was read in"
          f" {read:.0f} of {rounds} runs")  # fmt: skip


def found_ones(clips: dict[str, list[Image]]) -> None:
    """Print what was told of each tampering: in how many clips, as what, after how long."""
    half = COUNT // 2
    ways: dict[str, Draw] = {}
    rng = np.random.default_rng(1)
    for how, bend in TAMPERED.items():
        ways[how] = lambda number, image, bend=bend: bend(image, rng) if number >= half else image  # type: ignore[misc]  # bound by default
    clocks: dict[str, Callable[[int], float]] = {
        "clock an hour fast": lambda number: right(number) + 3600.0,
        "clock 15 s slow": lambda number: right(number) - 15.0,
        "clock stops": lambda number: right(min(number, half)),
    }
    for how in (*ways, "frozen", *clocks):
        told: dict[str, list[float]] = defaultdict(list)
        for place, images in enumerate(clips.values()):
            stands = [*images[:half], *[images[half]] * half] if how == "frozen" else images
            shows = clocks.get(how, right)
            if how == "frozen":
                shows = lambda number: right(min(number, half))  # noqa: E731  # one of two clocks
            begins = 0 if how in clocks and how != "clock stops" else half
            draw = ways.get(how, lambda _, image: image)
            face = CLOCKS[place % len(CLOCKS)]
            first = next(
                ((n, word(one)) for n, one in run(stands, draw, face, shows) if word(one)), None
            )
            told[first[1] if first else "nothing"].append((first[0] - begins) / FPS if first else 0)
        words = ", ".join(
            f"{kind} in {len(after)}" + (f" after {max(after):.0f} s at most" if max(after) else "")
            for kind, after in told.items()
        )
        print(f"{how:20s} {words}")


def main() -> int:
    """Measure and print."""
    clips = {}
    for scene in SCENES:
        path = clip_path(scene.clip)
        if path is None:
            print(f"left out, not on this machine: {scene.clip}", file=sys.stderr)
        else:
            clips[scene.clip] = looped(path, min(60.0, scene.until_s))
    false_ones(clips)
    found_ones(clips)
    return 0


if __name__ == "__main__":
    sys.exit(main())
