"""`python -m tests.vision.alarm_quality`: false and missed alarms a camera-hour, on real clips.

What a person sees in each clip was written down by hand (SCENES); the clip then runs through all
that judges a camera (network, tracks, zones, helmets, view watch) at 2 pictures a second of the
clip's own time, once as it is and once bent in each way, from its first third on. Counted are:

- false: an alarm raised at a time when nothing in the scene is one, and any event of the view;
- missed: a stretch of the scene that is an alarm, in which the alarm stood at no moment.

"one bad picture" replaces single pictures, far apart, by one of another scene: it must change
nothing. Clips that are not on this machine are left out and named: figures are of what was there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.clips import ROOT, find_clip
from tests.vision.bends import HARMLESS, Image
from vision.analyser import Analyser, Output, ViewChange
from vision.config import DEFAULT_MODEL, CameraConfig
from vision.frames import Frame, LinkState
from vision.people import load_people
from vision.wear import Missing
from vision.zones import OverCount

FPS = 2
STEP_NS = 10**9 // FPS
BAD_EVERY = 20
"""One bad picture in so many: 10 s apart, longer than any alarm's hold."""

WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
SHARED = Path(os.environ.get("PLANTGATE_SHARED", ROOT.parent / "shared")) / "vision" / "clips"
Span = tuple[float, float]
Alarm = tuple[str, str]
"""(zone, "over" or an item)."""


@dataclass(frozen=True)
class Scene:
    """A clip and what is to be seen in it.

    until_s: only so much of the clip, in seconds of its own time.
    zones: keys of [[camera.zone]].
    true: per alarm, spans in which raising it is right (or open to dispute); outside it is false.
    due: per alarm, spans in each of which it has to stand at some moment; else it is missed.
    """

    clip: str
    until_s: float
    zones: list[dict[str, Any]]
    true: dict[Alarm, list[Span]] = field(default_factory=dict)
    due: dict[Alarm, list[Span]] = field(default_factory=dict)


VISITS: list[Span] = [(7, 20), (23, 45), (51, 70), (75, 87), (93, 120), (124, 136)]
"""Seconds with somebody in the room, one at a time, each bare-headed; seen by eye at 1 fps."""

SCENES = (
    Scene(  # 2 to 9 people all the time, heads of 10 to 20 pixels: helmets cannot be told
        "vtest.avi",
        79.0,
        [
            {"name": "few", "polygon": WHOLE, "max_people": 1},
            {"name": "many", "polygon": WHOLE, "max_people": 10},
        ],
        true={("few", "over"): [(0, 79)]},
        due={("few", "over"): [(t, t + 10.0) for t in range(10, 70, 10)]},
    ),
    Scene(
        "intel_one-by-one-person-detection.mp4",
        139.0,
        [
            {"name": "nobody", "polygon": WHOLE, "max_people": 0, "require": ["helmet"]},
            {"name": "one", "polygon": WHOLE, "max_people": 1},
        ],
        true={
            ("nobody", "over"): VISITS,
            ("nobody", "helmet"): [(first, last + 1.0) for first, last in VISITS],
        },
        due={("nobody", "over"): VISITS, ("nobody", "helmet"): VISITS},
    ),
    Scene(  # nobody: a doll's house that burns
        "furg_house6.mp4",
        30.0,
        [{"name": "nobody", "polygon": WHOLE, "max_people": 0, "require": ["helmet"]}],
    ),
    Scene(  # until the tree falls: on the right two with helmets, on the left a bald cameraman
        "wujixiu_helmet_1.mp4",
        12.0,
        [
            {
                "name": "right",
                "polygon": [[0.25, 0], [1, 0], [1, 1], [0.25, 1]],
                "require": ["helmet"],
            },
            {
                "name": "left",
                "polygon": [[0, 0], [0.25, 0], [0.25, 1], [0, 1]],
                "require": ["helmet"],
            },
        ],
        true={("left", "helmet"): [(0, 12)]},
        due={("left", "helmet"): [(0, 8)]},
    ),
)


@dataclass
class Verdict:
    """What one run gave: seconds watched, and false and missed alarms by kind."""

    seconds: float = 0.0
    false: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    due: int = 0

    def add(self, other: Verdict) -> None:
        """Take another run in."""
        self.seconds += other.seconds
        self.false.update(other.false)
        self.missed.update(other.missed)
        self.due += other.due


def judge(scene: Scene, changes: Sequence[tuple[float, Output]], seconds: float) -> Verdict:
    """Compare what was raised, (seconds of the clip, output), with what is to be seen. Pure."""
    verdict = Verdict(seconds)
    standing: dict[Alarm, list[list[float]]] = {}
    for at_s, change in changes:
        if isinstance(change, ViewChange):
            verdict.false["view " + change.view.value] += change.view.value != "clear"
            continue
        if not isinstance(change, OverCount | Missing):
            continue
        alarm = (change.zone, "over" if isinstance(change, OverCount) else change.item)
        spans = standing.setdefault(alarm, [])
        if change.active:
            spans.append([at_s, seconds])
            right = any(first <= at_s <= last for first, last in scene.true.get(alarm, []))
            verdict.false[alarm[1]] += not right
        elif spans:
            spans[-1][1] = at_s
    for alarm, due in scene.due.items():
        for first, last in due:
            if last > seconds:
                continue
            verdict.due += 1
            stood = any(a < last and b > first for a, b in standing.get(alarm, []))
            verdict.missed[alarm[1]] += not stood
    return verdict


def pictures(path: Path, until_s: float) -> Iterator[Image]:
    """Pictures of a clip at FPS, in its own time."""
    capture = cv2.VideoCapture(str(path))
    try:
        own_fps = capture.get(cv2.CAP_PROP_FPS)
        number = due = 0
        while number / own_fps < until_s and capture.grab():
            if number / own_fps >= due / FPS:
                due += 1
                yield np.asarray(capture.retrieve()[1], np.uint8)
            number += 1
    finally:
        capture.release()


def _encoded_again(images: list[Image]) -> list[Image]:
    """Through MPEG-4 at half the size and back: blocks, smear between key pictures."""
    height, width = images[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "again.mp4"
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(path), fourcc, FPS, (width // 4 * 2, height // 4 * 2))
        for image in images:
            writer.write(cv2.resize(image, (width // 4 * 2, height // 4 * 2)))
        writer.release()
        back = list(pictures(path, 1e9))
    return [np.asarray(cv2.resize(image, (width, height)), np.uint8) for image in back]


WAYS = (*HARMLESS, "encoded again", "one bad picture")


def bent(images: list[Image], way: str, other: Image) -> list[Image]:
    """The pictures, bent in one way from the first third on."""
    start = len(images) // 3
    tail = images[start:]
    if way == "encoded again":
        tail = _encoded_again(tail)
    elif way == "one bad picture":
        size = (images[0].shape[1], images[0].shape[0])
        foreign = np.asarray(cv2.resize(other, size), np.uint8)
        tail = [
            foreign if i % BAD_EVERY == BAD_EVERY // 2 else image for i, image in enumerate(tail)
        ]
    else:
        rng = np.random.default_rng(1)
        tail = [HARMLESS[way](image, rng) for image in tail]
    return images[:start] + tail


def watch(scene: Scene, images: Sequence[Image]) -> Verdict:
    """Run the pictures through a camera's judgement."""
    settings = {"name": "cam", "source": scene.clip, "analyse_fps": float(FPS), "zone": scene.zones}
    config = CameraConfig.model_validate(settings)
    people = load_people(DEFAULT_MODEL, config.score, items=config.items)
    analyser = Analyser(config, people.detect, start_ns=0, judge=people.wear)
    changes: list[tuple[float, Output]] = []
    for number, image in enumerate(images):
        now_ns = number * STEP_NS
        frame = Frame(image, number, now_ns, now_ns, first=number == 0)
        found = analyser.feed(frame, now_ns=now_ns)
        found += analyser.tick(LinkState(now_ns, now_ns, ""), now_ns)
        changes += [(now_ns / 1e9, one) for one in found]
    return judge(scene, changes, len(images) / FPS)


def clip_path(name: str) -> Path | None:
    """Where a clip is on this machine."""
    if name == "vtest.avi":
        return find_clip()
    path = SHARED / name
    return path if path.is_file() else None


def measure(ways: Sequence[str], scenes: Sequence[Scene] = SCENES) -> dict[str, Verdict]:
    """Every scene that is here in every way."""
    loaded = [
        (scene, list(pictures(path, scene.until_s)))
        for scene in scenes
        if (path := clip_path(scene.clip)) is not None
    ]
    total: dict[str, Verdict] = {}
    for way in ways:
        total[way] = Verdict()
        for position, (scene, images) in enumerate(loaded):
            other = loaded[(position + 1) % len(loaded)][1][0] if len(loaded) > 1 else images[0] * 0
            total[way].add(watch(scene, bent(images, way, other)))
    return total


def table(total: dict[str, Verdict]) -> str:
    """One row a way, and the sum."""
    rows = ["way                camera-min  due  missed                        false"]
    everything = Verdict()
    for way, one in total.items():
        everything.add(one)
        rows.append(_row(way, one))
    rows.append(_row("all", everything))
    hours = everything.seconds / 3600
    rows.append(
        f"{sum(everything.false.values()) / hours:.1f} false and"
        f" {sum(everything.missed.values()) / hours:.1f} missed alarms a camera-hour,"
        f" {everything.due / hours:.0f} due a camera-hour, in {hours:.2f} camera-hours"
    )
    return "\n".join(rows)


def _row(way: str, one: Verdict) -> str:
    missed = ", ".join(f"{n} {kind}" for kind, n in one.missed.items() if n) or "0"
    false = ", ".join(f"{n} {kind}" for kind, n in one.false.items() if n) or "0"
    return f"{way:18s} {one.seconds / 60:10.1f} {one.due:4d}  {missed:28s}  {false}"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, action="append", help="only this (may be repeated)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for scene in SCENES:
        if clip_path(scene.clip) is None:
            print(f"left out, not on this machine: {scene.clip}", file=sys.stderr)
    total = measure(options.way or WAYS)
    if options.json:
        print(json.dumps({way: one.__dict__ for way, one in total.items()}, indent=1))
    else:
        print(table(total))
    return 0


if __name__ == "__main__":
    sys.exit(main())
