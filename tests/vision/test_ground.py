"""From the picture to metres: right where it can be, refused or unknown everywhere else."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.vision.walkers import HEIGHT, WIDTH, Mast
from vision.config import CameraConfig
from vision.ground import MOST_OFF, Ground, GroundError
from vision.ground_config import GroundConfig

BAY = np.array([(-2.0, 8.0), (2.0, 8.0), (2.0, 20.0), (-2.0, 20.0), (0.0, 12.0), (-1.0, 16.0)])
MASTS = st.builds(Mast, st.floats(3.0, 12.0), st.floats(0.15, 0.6), st.floats(350.0, 800.0))
NONE = np.zeros((1, 2))


def seen(mast: Mast, metres: np.ndarray) -> np.ndarray:
    return np.array([mast.see(x, y, 0.0) for x, y in metres]) / (WIDTH, HEIGHT)


@given(MASTS, st.floats(-3.0, 3.0), st.floats(7.0, 30.0))
def test_exact_points_give_exact_places(mast: Mast, x: float, y: float) -> None:
    ground = Ground(seen(mast, BAY), BAY, error_m=20.0)
    assert not ground.misfit
    at = ground.where(seen(mast, np.array([(x, y)])), NONE)
    assert at.metres[0] == pytest.approx((x, y), abs=1e-5)
    assert ground.picture_of(np.array([(x, y)]))[0] == pytest.approx(
        seen(mast, np.array([(x, y)]))[0], abs=1e-7
    )


@given(MASTS, st.floats(0.0, 6.3), st.floats(-500, 500), st.floats(-500, 500))
def test_origin_and_direction_of_the_plan_are_anybodys_choice(
    mast: Mast, turn: float, x: float, y: float
) -> None:
    turned = BAY @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + (x, y)
    point = seen(mast, np.array([(1.0, 14.0)]))
    one = Ground(seen(mast, BAY), BAY, error_m=20.0).where(point, NONE)
    other = Ground(seen(mast, BAY), turned, error_m=20.0).where(point, NONE)
    far = [
        np.linalg.norm(at - spot)
        for at, spot in ((one.metres[0], BAY[0]), (other.metres[0], turned[0]))
    ]
    assert far[0] == pytest.approx(far[1], abs=1e-4)
    assert one.error_m == pytest.approx(other.error_m, rel=1e-3)


@given(MASTS, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_no_place_above_the_horizon_out_of_reach_or_too_uncertain(
    mast: Mast, u: float, v: float
) -> None:
    ground = Ground(seen(mast, BAY), BAY, reach_m=10.0, error_m=1.0)
    at = ground.where(np.array([(u, v)]), np.full((1, 2), 0.004))
    horizon = (HEIGHT / 2 - mast.focal * np.tan(mast.down)) / HEIGHT
    x, y = at.metres[0]
    if v <= horizon:
        assert np.isnan(x)
    if not np.isnan(x):
        assert -12.01 <= x <= 12.01
        assert -2.01 <= y <= 30.01
        assert at.error_m[0] <= 1.0
        assert (u, v) == pytest.approx(seen(mast, np.array([(x, y)]))[0], abs=1e-6)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_error_that_is_told_is_the_error_that_is_made(seed: int) -> None:
    """Over calibrations pointed at with an error, deviations are as large as they are told."""
    rng, mast, spot = random.Random(seed), Mast(6.0, 0.35), np.array([(1.0, 17.0)])
    ratios = []
    for _ in range(20):
        pointed = seen(mast, BAY) + [(rng.gauss(0, 0.003), rng.gauss(0, 0.003)) for _ in BAY]
        ground = Ground(pointed, BAY, error_m=20.0)
        shaken = seen(mast, spot) + np.array([(rng.gauss(0, 0.002), rng.gauss(0, 0.006))])
        at = ground.where(shaken, np.array([(0.002, 0.006)]))
        ratios.append(float(np.linalg.norm(at.metres[0] - spot[0]) / at.error_m[0]))
    assert 0.5 < np.sqrt(np.mean(np.square(ratios))) < 1.5


def refused(picture: np.ndarray, metres: np.ndarray) -> str:
    try:
        return Ground(picture, metres).misfit
    except GroundError as error:
        return str(error)


def test_every_calibration_that_cannot_be_right_has_its_sentence() -> None:
    mast = Mast(6.0, 0.35)
    picture = seen(mast, BAY)
    four, swapped = BAY[:4], BAY[[1, 0, 2, 3]]
    assert "at least 4 points" in refused(picture[:3], BAY[:3])
    assert "points 1 and 5 are one place on the ground" in refused(picture, BAY[[0, 1, 2, 3, 0, 5]])
    line = np.array([(0.0, y) for y in (8.0, 10.0, 14.0, 20.0, 25.0)])
    assert "one line in the picture" in refused(seen(mast, line), line)
    assert "one line in the ground" in refused(picture[:5], line)
    assert "exchanged" in refused(picture[:4], swapped)
    assert "mirrored" in refused(picture, BAY * (-1, 1))
    assert "mirrored" in refused(picture[:4], four[:, ::-1])
    assert refused(picture[:4], four) == ""
    wrong = BAY.copy()
    wrong[2] += (0.0, -5.0)
    assert "without point 3 the others fit" in refused(picture, wrong)
    assert "point" in refused(picture[:5], wrong[:5])
    far = np.array([(-0.5, 60.0), (0.5, 60.0), (0.5, 61.0), (-0.5, 61.0)])
    assert "lie further apart" in refused(seen(mast, far), far)
    three = np.array([(-2.0, 8.0), (0.0, 8.0), (2.0, 8.0), (0.0, 20.0)])
    assert "no three of four" in refused(seen(mast, three), three)


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(-50, 50)] * 2), max_size=9))
def test_whatever_is_measured_is_refused_or_fits(rows: list[tuple[float, ...]]) -> None:
    points = np.array(rows, np.float64).reshape(-1, 4)
    try:
        ground = Ground(points[:, :2], points[:, 2:], error_m=20.0, reach_m=1000.0)
    except GroundError as error:
        said = str(error)
        assert said
        return
    assert bool(ground.misfit) == bool(ground.fit.off.max() > MOST_OFF)
    if not ground.misfit:
        at = ground.where(points[:, :2], np.full((len(points), 2), 0.003))
        assert np.isfinite(at.error_m).all()


# -- the site file ---------------------------------------------------------------------------

GOOD = [
    {"picture": list(map(float, picture)), "metres": list(map(float, metres))}
    for picture, metres in zip(seen(Mast(6.0, 0.35), BAY), BAY, strict=True)
]
WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]


def camera(**changes: object) -> CameraConfig:
    return CameraConfig.model_validate({"name": "cam", "source": "rtsp://h/1", **changes})


def test_a_calibrated_camera_may_judge_in_metres() -> None:
    zone = {"name": "yard", "polygon": WHOLE, "running": {},
            "gathering": {"people": 5, "radius_m": 5.0}}  # fmt: skip
    config = camera(ground={"points": GOOD}, zone=[zone])
    assert CameraConfig.model_validate_json(config.model_dump_json()) == config
    assert config.ground is not None
    assert config.ground.fitted().fit.off_m.max() < 0.01
    running = config.zones[0].running
    assert running is not None
    assert (running.over_m_s, running.for_s, running.least_m) == (2.5, 1.5, 4.0)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"ground": {"points": GOOD[:3]}}, "at least 4 points"),
        ({"ground": {"points": [{**GOOD[0], "picture": [320, 0.5]}, *GOOD[1:]]}}, "not pixels"),
        ({"ground": {"points": [{**GOOD[0], "metres": [0, 1e9]}, *GOOD[1:]]}}, "nearby"),
        ({"ground": {"points": [{**GOOD[0], "metres": [9, 9]}, *GOOD[1:]]}}, "without point 1"),
        ({"ground": {"points": GOOD}, "kind": "ptz"}, "has many"),
        ({"zone": [{"name": "a", "polygon": WHOLE, "running": {}}]}, "takes .camera.ground."),
        ({"ground": {"points": GOOD}, "analyse_fps": 3,
          "zone": [{"name": "a", "polygon": WHOLE, "running": {}}]}, "4 frames a second"),
        ({"ground": {"points": GOOD}, "source": "a.avi", "pace": "fast",
          "zone": [{"name": "a", "polygon": WHOLE, "running": {}}]}, "without its time"),
        ({"ground": {"points": GOOD},
          "zone": [{"name": "a", "polygon": WHOLE, "gathering": {"people": 5}}]}, "required"),
    ],
)  # fmt: skip
def test_wrong_grounds_are_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        camera(**changes)


def test_the_ground_travels_with_its_numbers() -> None:
    ground = GroundConfig.model_validate({"points": GOOD, "reach_m": 3.0})
    assert (ground.reach_m, ground.error_m) == (3.0, 1.0)
