"""When a picture must be looked at: drawn scenes, noise, light, and the clip with people."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.analyser import Analyser
from vision.config import CameraConfig
from vision.frames import Frame, Image, LinkState
from vision.motion import LINGER_NS, MotionGate
from vision.postprocess import Detections
from vision.zones import GOOD, Headcount

S = 1_000_000_000
TICK = S // 4
WIDTH, HEIGHT = 640, 360


def scene(seed: int = 1) -> np.ndarray:
    """A still picture with structure, float32[h, w, 3]."""
    rough = np.random.default_rng(seed).uniform(40, 200, (HEIGHT // 20, WIDTH // 20))
    return np.repeat(np.kron(rough, np.ones((20, 20)))[:, :, None], 3, axis=2).astype(np.float32)


def picture(levels: np.ndarray, sigma: float = 0.0, seed: int = 0) -> Image:
    """A frame of it, with a sensor's noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, levels.shape) if sigma else 0.0
    return np.clip(levels + noise, 0, 255).astype(np.uint8)


@cache
def still(sigma: float) -> list[Image]:
    """Frames until a gate has come to rest."""
    return [picture(scene(), sigma, seed) for seed in range(STARTED + 2)]


def looks(frames: list[Image], floor_ns: int = 10 * S) -> list[bool]:
    """What a gate says of frames at 4 a second."""
    gate = MotionGate(floor_ns)
    return [gate.feed(frame, S + number * TICK) for number, frame in enumerate(frames)]


STARTED = LINGER_NS // TICK


@pytest.mark.parametrize("sigma", [0.0, 2.0, 5.0, 10.0])
def test_a_still_picture_is_looked_at_at_the_floor_only(sigma: float) -> None:
    frames = [picture(scene(), sigma, seed) for seed in range(60)]
    said = looks(frames)
    assert said[:STARTED] == [True] * STARTED
    at = [number for number, look in enumerate(said) if look][STARTED:]
    assert at == [STARTED - 1 + 40], "10 s after the last look"


@pytest.mark.parametrize("sigma", [0.0, 5.0])
@pytest.mark.parametrize("contrast", [-60.0, -30.0, 30.0, 60.0])
@settings(max_examples=10)
@given(x=st.integers(0, WIDTH - 24), y=st.integers(0, HEIGHT - 40))
def test_a_small_person_who_comes_is_seen_wherever(
    sigma: float, contrast: float, x: int, y: int
) -> None:
    """16 × 32 pixels, dark or light against what is behind, on a sensor that is rather noisy."""
    with_person = scene()
    with_person[y : y + 32, x : x + 16] += contrast
    assert looks([*still(sigma), picture(with_person, sigma, 99)])[-2:] == [False, True]


def test_movement_too_slow_to_be_seen_adds_up() -> None:
    frames = [picture(scene()) for _ in range(STARTED)]
    for step in range(1, 40):
        levels = scene()
        levels[100:140, 100 : 100 + step] += 50
        frames.append(picture(levels))
    assert any(looks(frames)[STARTED:])


@pytest.mark.parametrize("change", [-30.0, -8.0, 8.0, 30.0])
def test_light_that_changes_evenly_is_no_movement(change: float) -> None:
    frames = [picture(scene()) for _ in range(STARTED)] + [picture(scene() + change)] * 4
    assert not any(looks(frames)[STARTED:])


@pytest.mark.parametrize("after", [scene() * 0.3, scene(2), 255 - scene()])
def test_another_picture_is_looked_at_and_then_is_the_picture(after: np.ndarray) -> None:
    frames = [picture(scene(), 2, n) for n in range(8)] + [picture(after, 2, n) for n in range(12)]
    said = looks(frames)
    assert said[8 : 8 + STARTED] == [True] * STARTED
    assert not any(said[8 + STARTED :])


def test_a_floor_of_nothing_looks_at_everything() -> None:
    assert all(looks([picture(scene())] * 10, floor_ns=0))


@given(st.lists(st.tuples(st.integers(1, 3 * S), st.integers(0, 255), st.booleans()), max_size=30))
def test_no_longer_than_the_floor_between_two_looks(steps: list[tuple[int, int, bool]]) -> None:
    gate, now_ns, looked_ns = MotionGate(S), 0, None
    for step_ns, level, must in steps:
        now_ns += step_ns
        frame = np.full((40, 60, 3), level, np.uint8)
        look = gate.feed(frame, now_ns, must=must)
        assert look or (looked_ns is not None and now_ns - looked_ns < S and not must)
        if look:
            looked_ns = now_ns


class Rig:
    """An analyser, what is shown to it and what is found in it."""

    def __init__(self, **more: object) -> None:
        zone = {"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "max_people": 1}
        config = {"name": "cam", "source": "x", "zone": [zone], **more}
        self.people = 1
        self.score = 0.9
        self.detected = 0
        self.levels = scene()
        self.now_ns = 0
        self.number = 0
        self.analyser = Analyser(CameraConfig.model_validate(config), self.detect, start_ns=0)

    def detect(self, image: Image, _: float) -> tuple[Detections, np.ndarray]:
        self.detected += 1
        boxes = np.array([[60 * n + 10, 10, 60 * n + 40, 90] for n in range(self.people)])
        boxes = boxes.reshape(-1, 4).astype(np.float32)
        return Detections(boxes, np.full(self.people, self.score, np.float32)), image[:, :, 1]

    def run(self, frames: int) -> list[Headcount]:
        found = []
        for _ in range(frames):
            self.now_ns += TICK
            image = picture(self.levels, 2, self.number)
            frame = Frame(image, self.number, self.now_ns, self.now_ns, not self.number)
            self.number += 1
            outputs = self.analyser.feed(frame, now_ns=self.now_ns)
            found += [output for output in outputs if isinstance(output, Headcount)]
        return found


def test_a_still_picture_keeps_its_count_for_a_quarter_of_the_work() -> None:
    rig = Rig()
    assert rig.run(40) == [Headcount((1,), GOOD)] * 10
    assert rig.detected == STARTED + 9
    assert rig.analyser.frames_still == 40 - rig.detected


def test_one_who_appears_is_counted_as_fast_as_without_a_gate() -> None:
    gated, plain = Rig(), Rig(motion_floor_s=0)
    for rig in (gated, plain):
        rig.run(12)
        rig.people = 2
        rig.levels[10:90, 70:100] += 50
        rig.run(2)
        assert rig.analyser.counts == (2,)


def test_one_who_is_missed_or_not_confirmed_is_looked_for_in_every_frame() -> None:
    rig = Rig()
    rig.run(12)
    rig.people = 0  # nothing moves; the look at the floor finds nobody
    rig.run(4)
    before = rig.detected
    rig.run(3)
    assert rig.detected == before + 3


def test_what_was_lost_is_not_counted_on_after_its_return() -> None:
    rig = Rig()
    rig.run(12)
    rig.now_ns += 10 * S
    rig.analyser.tick(LinkState(3 * S, rig.now_ns, ""), rig.now_ns)
    before = rig.detected
    rig.run(1)
    assert rig.detected == before + 1
    assert rig.analyser.counts == (1,)
