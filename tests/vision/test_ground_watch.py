"""Who runs and who gathers, in metres: never told without being sure, told where it is."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.vision.running_rates import camera, runs, walking
from tests.vision.walkers import HEIGHT, WIDTH, Mast
from vision.analyser import Analyser
from vision.frames import Frame
from vision.gathered import together
from vision.ground import Ground
from vision.ground_config import GatheringConfig, GroundConfig
from vision.ground_watch import Gathering, GroundWatch, Running
from vision.pace import Pace
from vision.postprocess import Detections
from vision.snapshot import Scene
from vision.speeds import Pacing, Run, Step, run_of
from vision.telling import told
from vision.track import Track

MAST = Mast(6.0, 0.35)
GROUND = MAST.ground(random.Random(1))
S = 1_000_000_000
FPS = 5
Way = list[tuple[float, float]]
Box = tuple[float, float, float, float]


def box(x: float, y: float, hidden: float = 0.0, mast: Mast = MAST) -> Box:
    """Box of somebody of 1.7 m. hidden: share of his height, from the feet up."""
    (u, low), (_, high) = mast.see(x, y, 0.0), mast.see(x, y, 1.7)
    wide = 0.38 * (low - high)
    low -= hidden * (low - high)
    return u - wide / 2, high, u + wide / 2, low


def track(number: int, where: tuple[float, float, float, float], missed: int = 0) -> Track:
    return Track(number, where, (0.0, 0.0), 0.9, 3, missed, True, 0, 0.9)


def shown(
    watch: GroundWatch, boxes: Sequence[Box | None], first: int = 31, fps: int = FPS
) -> list[Running]:
    """One track, a box a frame; None: not found in it."""
    changes = []
    for frame, where in enumerate(boxes, first):
        found = watch.feed(
            [track(1, where or (0.0, 0.0, 9.0, 9.0), missed=int(where is None))],
            WIDTH, HEIGHT, number=frame * 5, received_ns=frame * S // fps,
        )  # fmt: skip
        changes += [one for one in found if isinstance(one, Running)]
    return changes


def ahead(m_s: float, frames: int = 20, y: float = 14.0, fps: int = FPS) -> Way:
    return [(-5.0 + m_s * frame / fps, y) for frame in range(frames) if m_s * frame / fps < 11]


def fresh(fps: int = FPS, ground: Ground = GROUND) -> GroundWatch:
    """A watch that knows the pace, after 31 frames or 6 s."""
    watch = GroundWatch(camera(fps), ground)
    for frame in range(6 * fps + 1):
        now_ns = (frame - 6 * fps + 30) * S // fps
        watch.feed([], WIDTH, HEIGHT, number=(frame - 6 * fps + 30) * 5, received_ns=now_ns)
    return watch


def test_who_runs_is_told_once_and_who_walks_never() -> None:
    [change] = shown(fresh(), [box(*at) for at in ahead(4.0)])
    assert change.active
    [run] = change.runs.values()
    assert run.m_s == pytest.approx(4.0, rel=0.1)
    assert 2.5 < run.least_m_s < 4.0
    assert shown(fresh(), [box(*at) for at in ahead(2.0)]) == []


def test_it_is_over_once_nobody_has_run_for_clear_s() -> None:
    watch = fresh()
    way = [box(*at) for at in ahead(4.0)]
    changes = shown(watch, way + [way[-1]] * 6 * FPS)
    assert [one.active for one in changes] == [True, False]


@pytest.mark.parametrize("steps", [1, 3, 5, 10, 14])
@pytest.mark.parametrize("m_s", [0.0, 1.0])
def test_feet_that_go_behind_something_or_come_out_are_no_run(steps: int, m_s: float) -> None:
    """From a low mast, where half a person hidden looks like 7 m further away."""
    low = Mast(3.5, 0.15)
    ground = low.ground(random.Random(2))
    hides = [0.5 * step / steps for step in range(steps + 1)]
    for order in (hides, hides[::-1]):
        stages = [order[0]] * 10 + order + [order[-1]] * 10
        way = [box(-2.0 + m_s * i / FPS, 18.0, part, low) for i, part in enumerate(stages)]
        assert shown(fresh(ground=ground), way) == []


@pytest.mark.parametrize("fps", [5, 10])
@settings(max_examples=20)
@given(st.floats(0.5, 3.0), st.floats(0.0, 6.28), st.floats(0.1, 0.9), st.floats(0.0, 2.0))
@example(2.0, 0.0, 0.5, 2.0)
@example(1.4, 0.0, 0.5, 2.0)
def test_one_jump_to_somebody_else_is_no_run(
    fps: int, far: float, way: float, when: float, m_s: float
) -> None:
    """An exchange of ids between two people who walk, wherever the other stands."""
    at = ahead(m_s, 4 * fps, fps=fps)
    jumped = [
        (x + far * np.cos(way), y + far * np.sin(way)) if i >= when * len(at) else (x, y)
        for i, (x, y) in enumerate(at)
    ]
    assert shown(fresh(fps), [box(*one) for one in jumped], fps=fps) == []


def test_two_exchanges_one_after_the_other_are_no_run() -> None:
    """Found by running_rates: half a person behind a wall between two who walk 6 m apart."""
    walk = [box(-1.7 + 0.25 * i, 9.3 + 0.3 * i) for i in range(9)]
    meets = [box(0.8, 12.0), box(1.07, 12.4), box(1.55, 12.3, 0.5)]
    other = [box(2.4, 18.0), box(2.1, 18.1)]
    for gap in range(4):
        missed: list[Box | None] = [None] * gap
        way = [*walk, *missed[:2], *meets, *missed, *other, *other]
        assert shown(fresh(4), way, fps=4) == []


def test_a_line_that_gives_everything_at_once_makes_nobody_run() -> None:
    watch = fresh()
    changes: list[object] = []
    for frame in range(20):  # pictures come at three times their pace
        at = track(1, box(-5.0 + 1.3 * 3 * frame / FPS, 14.0))
        changes += watch.feed(
            [at], WIDTH, HEIGHT,
            number=(6 * FPS + 1 + 3 * frame) * 5, received_ns=(6 * FPS + 1 + frame) * S // FPS,
        )  # fmt: skip
    assert changes == []
    assert watch.untimed > 0


def test_a_view_that_cannot_be_judged_raises_nothing_and_ends_nothing() -> None:
    watch = fresh()
    way = [box(*at) for at in ahead(4.0)]
    [raised] = shown(watch, way)
    watch.blind()
    assert raised.active
    assert shown(watch, [way[0]] * 2, first=200) == []


def test_what_stood_before_a_restart_is_over_when_nobody_runs() -> None:
    again = GroundWatch(camera(FPS), GROUND, active=["all/running"])
    said = [
        one
        for frame in range(40)
        for one in again.feed([], WIDTH, HEIGHT, number=frame, received_ns=frame * S // FPS)
    ]
    assert [(one.zone, one.active) for one in said] == [("all", False)]


def test_walkers_on_drawn_ground_never_run_however_bad_the_line_and_the_boxes() -> None:
    """A few minutes; running_rates.py has the hours."""
    total = sum(walking(seed, 5.0, 90.0, people=5, hard=bool(seed)).false for seed in range(2))
    assert total == 0


def test_runners_on_drawn_ground_are_told() -> None:
    found = runs(3, 5.0, 3.5, 6)  # of 60: see vision/README.md
    assert found.told >= 4, found


# -- pace ------------------------------------------------------------------------------------


@given(st.floats(1.0, 30.0), st.lists(st.floats(0.05, 1.0), min_size=1, max_size=30))
def test_a_steady_pace_is_known_and_a_span_at_another_pace_is_not_timed(
    rate: float, waits: list[float]
) -> None:
    pace, at = Pace(), 0.0
    for wait in itertools.islice(itertools.cycle(waits), 400):
        at += max(wait, 1.0 / rate)
        pace.feed(round(at * rate), round(at * S))
    if at < 10:
        return
    assert pace.rate == pytest.approx(rate, rel=0.5)
    known = pace.rate or 0.0
    span = round(20 / known * S)
    assert pace.seconds(20, span) == pytest.approx(20 / known, rel=0.01)
    assert pace.seconds(40, span) is None
    assert pace.seconds(10, span) is None


def test_nothing_is_timed_before_the_pace_is_known() -> None:
    pace = Pace()
    assert pace.seconds(10, S) is None
    pace.feed(0, 0)
    pace.feed(5, S)
    assert pace.seconds(5, S) is None
    assert pace.unclear == 2


def test_a_reader_that_was_replaced_counts_anew_and_its_rate_is_learned() -> None:
    pace = Pace()
    for frame in range(60 * 25):
        pace.feed(1_000_000 + frame, frame * S // 25)
    for frame in range(62 * 10):
        pace.feed(frame, 60 * S + frame * S // 10)
    assert pace.rate == pytest.approx(10.0, rel=0.05)
    assert pace.seconds(20, 2 * S) == pytest.approx(2.0, rel=0.05)


# -- speeds ----------------------------------------------------------------------------------


def walked(m_s: float, jitter: float, told: float, rng: random.Random) -> list[Step]:
    """Steps of 2.2 s that shake by `jitter`, and are told to shake by `told`."""
    return [
        Step(i, i * S // FPS, m_s * i / FPS + rng.gauss(0, jitter), rng.gauss(0, jitter),
             (told**2, 0.0, told**2), 1.7, 0.5)
        for i in range(12)
    ]  # fmt: skip


def known_pace() -> Pace:
    pace = Pace()
    for frame in range(50):
        pace.feed(frame, frame * S // FPS)
    return pace


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(1.0, 4.0), st.floats(0.02, 0.3))
def test_the_error_that_is_told_holds_the_speed(seed: int, m_s: float, jitter: float) -> None:
    rng, pace = random.Random(seed), known_pace()
    outside = 0
    for _ in range(40):
        run = run_of(walked(m_s, jitter, jitter, rng), Pacing(-10.0, 1.5, 0.0), GROUND, pace)
        assert run is not None
        outside += not abs(run.m_s - m_s) <= 2 * run.error_m_s
    assert outside <= 4


def test_what_is_fast_and_not_surely_so_is_no_run() -> None:
    """Boxes whose places shake by a metre, and happen to lie in a row."""
    rng, pace = random.Random(1), known_pace()
    asked = Pacing(2.5, 1.5, 4.0)
    assert run_of(walked(3.2, 0.0, 0.05, rng), asked, GROUND, pace) is not None
    assert run_of(walked(3.2, 0.0, 1.0, rng), asked, GROUND, pace) is None


# -- gathering -------------------------------------------------------------------------------

PLACES = st.lists(st.tuples(st.floats(-20, 20), st.floats(-20, 20)), max_size=9)


@given(PLACES, st.floats(0.5, 10.0))
def test_the_fullest_circle_is_as_full_as_any(places: Way, radius: float) -> None:
    at = np.array(places, np.float64).reshape(-1, 2)
    rows = together(at, radius)
    if not len(at):
        assert not len(rows)
        return
    pairs = itertools.combinations(places, 2)
    middles = [((a + c) / 2, (b + d) / 2) for (a, b), (c, d) in pairs]
    best = max(
        int((np.linalg.norm(at - (x, y), axis=1) <= radius).sum()) for x, y in [*places, *middles]
    )
    assert len(rows) >= best
    assert len(set(rows.tolist())) == len(rows)
    if len(rows) > 1:
        apart = np.linalg.norm(at[rows][:, None] - at[rows][None], axis=2)
        assert apart.max() <= 2 * radius + 1e-5


def test_who_has_no_place_gathers_with_nobody() -> None:
    at = np.array([(0.0, 0.0), (np.nan, np.nan), (1.0, 0.0)])
    assert together(at, 2.0).tolist() == [0, 2]


def test_a_gathering_lasts_and_is_told_with_its_places() -> None:
    config = camera(FPS)
    zone = config.zones[0].model_copy(
        update={"running": None, "gathering": GatheringConfig(people=3, radius_m=3.0, hold_s=10.0)}
    )
    watch = GroundWatch(config.model_copy(update={"zones": (zone,)}), GROUND)
    spots = [(0.0, 12.0), (1.0, 13.0), (2.0, 12.0), (-6.0, 20.0)]
    changes: list[tuple[int, object]] = []
    for frame in range(30 * FPS):
        here = spots if frame < 20 * FPS else spots[2:]
        if frame % (4 * FPS) == 0:
            here = here[:2]  # somebody is not found for a moment
        tracks = [track(i, box(*at)) for i, at in enumerate(here)]
        found = watch.feed(tracks, WIDTH, HEIGHT, number=frame * 5, received_ns=frame * S // FPS)
        changes += [(frame // FPS, one) for one in found]
    [(first, raised), (last, over)] = changes
    assert isinstance(raised, Gathering)
    assert isinstance(over, Gathering)
    assert first == 10
    assert last in {22, 23}
    assert (raised.active, over.active, sorted(raised.places)) == (True, False, [0, 1, 2])
    assert raised.places[0] == pytest.approx(spots[0], abs=0.5)
    said = told(raised, config)
    assert (said.kind, said.attributes["people"], said.picture) == ("vision.gathering", 3, True)
    assert "人员聚集" in said.text


def test_a_run_is_told_with_how_sure_it_is() -> None:
    run = Run(3.61, 0.2, 1.6, 5.8, (0.0, 1.0), (5.8, 1.0))
    said = told(Running("yard", True, {7: run}), camera(FPS))
    assert said.text == (
        "Camera cam, zone yard: somebody runs 奔跑, 3.6 m/s, surely 3.2, over 5.8 m in 1.6 s."
    )
    assert said.attributes["from_m"] == "0.0,1.0"
    assert said.attributes["track_ids"] == "7"
    over = told(Running("yard", False, {}), camera(FPS))
    assert (over.attributes["active"], over.picture) == (False, False)


# -- in the whole judgement of a camera ------------------------------------------------------


def analysed(frames: int = 60) -> list[object]:
    """What a camera tells before which somebody stands, then runs past."""
    config = camera(FPS).model_copy(update={"motion_floor_s": 0.0})
    points = [
        {"picture": [a / WIDTH, b / HEIGHT], "metres": [x, y]}
        for x, y in ((-3.0, 9.0), (3.0, 9.0), (6.0, 20.0), (-6.0, 20.0))
        for a, b in [MAST.see(x, y, 0.0)]
    ]
    config = config.model_copy(update={"ground": GroundConfig.model_validate({"points": points})})
    noise = np.random.default_rng(1)
    at = iter([box(*one) for one in ahead(0.0, frames - 14)[:46] + ahead(4.0)])

    def detect(_: np.ndarray, __: float) -> tuple[Detections, np.ndarray]:
        seen = np.array([next(at)], np.float32)
        return Detections(seen, np.full(1, 0.9, np.float32)), noise.integers(
            0, 255, (8, 8), np.uint8
        )

    analyser = Analyser(config, detect, start_ns=0)
    outputs: list[object] = []
    for number in range(frames):
        image = noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        when = number * S // FPS
        outputs += analyser.feed(Frame(image, number * 5, when, when, number == 0), now_ns=when)
        if analyser.ground is not None and analyser.ground.runs:
            assert Scene.of(analyser).speeds
    return outputs


def test_a_run_comes_out_of_the_judgement_of_a_camera() -> None:
    told_runs = [one for one in analysed() if isinstance(one, Running)]
    assert [one.active for one in told_runs] == [True]
