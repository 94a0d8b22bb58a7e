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
from vision.heads import Heads
from vision.people import FLOOR, People, sureness
from vision.ppe import Float32Array, join, worth_a_look


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

    found = [timed("people: letterbox, network, boxes", lambda: people.detector.feed(image, FLOOR))]
    if people.heads is not None:
        there = people.detector.feed(image, FLOOR)
        boxes, scores = there.boxes, there.scores
        heads = people.find_heads(image, there)
        found.append(timed("a closer look for heads", lambda: people.find_heads(image, there)))

        def look() -> tuple[Heads, Float32Array]:
            return people.judge_heads(image, heads, boxes, scores)

        some, chances = look()
        seen = join(boxes, scores, some.boxes, sureness(chances), people.rules)
        asked = worth_a_look(boxes, scores, heads.boxes, heads.scores, people.rules)
        found.append(timed(f"a second look at {len(asked)} of {len(heads.boxes)}", look))
        judging = f"verdicts on {len(seen)} people"
        found.append(timed(judging, lambda: people.judge(image, list(seen), chances)))
        counted = boxes[scores >= people.rules.person]
        name = f"heads and equipment of {len(counted)} people, as a camera does"
        found.append(timed(name, lambda: people.wear(image, counted)))
    found.append(timed("everything", lambda: people.look(image)))
    return found


def picture(width: int, height: int) -> Image:
    """A picture to measure on where none is given: noise, which no stage finds easy."""
    return np.random.default_rng(1).integers(0, 255, (height, width, 3)).astype(np.uint8)


__all__ = ["Stage", "picture", "stages"]
