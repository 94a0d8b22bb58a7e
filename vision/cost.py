"""Measures what one picture costs, stage by stage, in CPU time of this process.

Guarantees: CPU time of the process (all its threads), not wall time, so other work on the machine
hardly moves it; the median over the rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vision.frames import Image
from vision.people import FLOOR, People, sureness
from vision.ppe import join


@dataclass(frozen=True, slots=True)
class Stage:
    """Median CPU milliseconds of one stage."""

    name: str
    cpu_ms: float


def stages(people: People, image: Image, rounds: int) -> list[Stage]:
    """Cost of each stage on one picture."""

    def timed(name: str, work: Callable[[], object]) -> Stage:
        spent = []
        for _ in range(rounds):
            before = time.process_time_ns()
            work()
            spent.append((time.process_time_ns() - before) / 1e6)
        return Stage(name, round(statistics.median(spent), 3))

    height, width = image.shape[:2]
    found = [timed("people: letterbox, network, boxes", lambda: people.detector.feed(image, FLOOR))]
    if people.heads is not None:
        heads = people.heads
        found.append(
            timed("the same, with features kept", lambda: people.detector.see(image, FLOOR))
        )
        sight = people.detector.see(image, FLOOR)
        found.append(timed("heads", lambda: heads.feed(sight.features, sight.scale, width, height)))
        boxes, scores = sight.people.boxes, sight.people.scores
        some, chances = people.look_at_heads(image, sight, boxes, scores)
        seen = join(boxes, scores, some.boxes, sureness(chances), people.rules)
        looking = f"heads, and a second look at {len(some.boxes)}"
        found.append(timed(looking, lambda: people.look_at_heads(image, sight, boxes, scores)))
        judging = f"verdicts on {len(seen)} people"
        found.append(timed(judging, lambda: people.judge(image, list(seen), chances)))
    found.append(timed("everything", lambda: people.look(image)))
    return found


def picture(width: int, height: int) -> Image:
    """A picture to measure on where none is given: noise, which no stage finds easy."""
    return np.random.default_rng(1).integers(0, 255, (height, width, 3)).astype(np.uint8)


__all__ = ["Stage", "picture", "stages"]
