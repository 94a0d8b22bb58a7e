"""Tracker: ids are stable through motion, occlusion and doubt."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision.postprocess import Detections
from vision.track import BELIEF_S, Track, Tracker, TrackerRules

WIDTH, HEIGHT = 640, 360
STEP_NS = 250_000_000  # 4 fps
RULES = TrackerRules.for_rate(4.0)


def seen(*people: tuple[float, float], score: float = 0.8) -> Detections:
    """Detections of people 24 x 60 pixels large at the given left upper corners."""
    boxes = np.array([[x, y, x + 24, y + 60] for x, y in people], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(people), score, np.float32))


class Scene:
    def __init__(self, rules: TrackerRules = RULES) -> None:
        self.tracker = Tracker(rules, 0.35)
        self.now_ns = 0

    def step(self, found: Detections) -> list[Track]:
        self.now_ns += STEP_NS
        return self.tracker.feed(found, WIDTH, HEIGHT, now_ns=self.now_ns)


def ids(tracks: list[Track]) -> list[int]:
    return [track.id for track in tracks]


def test_everybody_in_the_first_frame_counts_at_once() -> None:
    assert ids(Scene().step(seen((100, 100), (300, 100)))) == [1, 2]


def test_later_a_person_counts_from_the_second_hit() -> None:
    scene = Scene()
    scene.step(seen())
    assert scene.step(seen((100, 100))) == []
    assert ids(scene.step(seen((104, 100)))) == [1]


def test_a_false_detection_of_one_frame_never_counts() -> None:
    scene = Scene()
    scene.step(seen())
    counts = [len(scene.step(found)) for found in (seen((9, 9)), seen(), seen((400, 99)), seen())]
    assert counts == [0, 0, 0, 0]


def test_a_hidden_person_stays_counted_for_coast_frames_and_keeps_the_id() -> None:
    scene = Scene()
    for x in (100, 110, 120):
        scene.step(seen((x, 100)))
    counts = [len(scene.step(seen())) for _ in range(RULES.coast + 1)]
    assert counts == [1] * RULES.coast + [0]
    assert ids(scene.step(seen((120 + 10 * (RULES.coast + 2), 100)))) == [1]


def test_after_misses_frames_the_person_is_somebody_new() -> None:
    scene = Scene()
    scene.step(seen((100, 100)))
    for _ in range(RULES.misses + 1):
        scene.step(seen())
    scene.step(seen((100, 100)))
    assert ids(scene.step(seen((100, 100)))) == [2]


def test_a_person_who_walks_out_of_the_frame_is_not_carried_on() -> None:
    scene = Scene()
    for x in (580, 600, 620):
        assert len(scene.step(seen((x, 100)))) == 1
    assert scene.step(seen()) == []


def test_weak_detections_continue_a_track_and_never_start_one() -> None:
    scene = Scene()
    for _ in range(4):
        scene.step(seen((100, 100)))
    for _ in range(8):
        assert ids(scene.step(seen((100, 100), (400, 100), score=0.25))) == [1]


def test_a_thing_that_seldom_looks_like_a_person_does_not_count_for_long() -> None:
    scene = Scene()
    scene.step(seen())
    cone = (0.36, 0.36, *[0.25, 0.25, 0.25, 0.36] * 30)
    counts = [len(scene.step(seen((100, 100), score=score))) for score in cone]
    assert counts[1] == 1
    assert sum(counts) <= 2, counts


def test_scores_that_waver_about_a_mean_that_is_high_enough_count_throughout() -> None:
    scene = Scene()
    counts = [
        len(scene.step(seen((100, 100), score=score))) for score in (0.5, 0.5, *[0.25, 0.5] * 40)
    ]
    assert counts == [1] * len(counts)


def test_who_is_firmly_known_and_then_half_hidden_counts_on_for_seconds_and_not_for_ever() -> None:
    scene = Scene()
    for _ in range(40):
        scene.step(seen((100, 100)))
    counts = [len(scene.step(seen((100, 100), score=0.25))) for _ in range(160)]
    lasting = counts.index(0)
    # From 0.8 towards 0.25, down to 0.35: 5 s x ln(0.55 / 0.10), 8.5 s.
    assert abs(lasting / 4 - BELIEF_S * np.log(5.5)) < 0.5
    assert counts == [1] * lasting + [0] * (160 - lasting)
    assert len(scene.tracker.everybody) == 1
    again = [len(scene.step(seen((100, 100)))) for _ in range(12)]
    assert again[-1] == 1
    assert ids(scene.tracker.feed(seen((100, 100)), WIDTH, HEIGHT, now_ns=scene.now_ns)) == [1]


def test_who_is_hidden_where_the_motion_leads_out_of_the_picture_has_walked_out() -> None:
    scene = Scene()
    for x in (600, 604, 608, 612):
        assert len(scene.step(seen((x, 100)))) == 1
    # 0, 4, then 8 of 24 pixels would be outside.
    assert [len(scene.step(seen())) for _ in range(3)] == [1, 1, 0]
    assert ids(scene.step(seen((616, 100)))) == [1]  # it was only a pipe


def test_who_stands_at_the_edge_and_is_hidden_stays_counted() -> None:
    scene = Scene()
    for _ in range(4):
        scene.step(seen((WIDTH - 24, HEIGHT - 60)))
    assert [len(scene.step(seen())) for _ in range(RULES.coast)] == [1] * RULES.coast


def test_two_people_who_cross_keep_two_ids() -> None:
    scene = Scene()
    found = [ids(scene.step(seen((100 + 8 * i, 100), (220 - 8 * i, 110)))) for i in range(16)]
    assert all(sorted(pair) == [1, 2] for pair in found)


def test_reset_begins_again_with_new_ids() -> None:
    scene = Scene()
    scene.step(seen((100, 100)))
    scene.tracker.reset()
    assert ids(scene.step(seen((100, 100)))) == [2]


def test_below_one_frame_a_second_each_frame_counts_as_it_is() -> None:
    scene = Scene(TrackerRules.for_rate(0.5))
    scene.step(seen())
    assert len(scene.step(seen((100, 100), (300, 100)))) == 2
    assert scene.step(seen()) == []


def test_below_one_frame_a_second_earlier_scores_say_nothing() -> None:
    tracker = Tracker(TrackerRules.for_rate(0.5), 0.35)
    counts = [
        len(tracker.feed(seen((100, 100), score=score), WIDTH, HEIGHT, now_ns=number * 2 * 10**9))
        for number, score in enumerate((0.4, 0.25, 0.25, 0.25, 0.4))
    ]
    assert counts == [1, 0, 0, 0, 1]


def test_who_is_seen_at_the_threshold_counts() -> None:
    for threshold in (0.45, 0.1, 0.7):
        tracker = Tracker(RULES, threshold)
        assert tracker.feed(seen((100, 100), score=threshold), WIDTH, HEIGHT, now_ns=0)


@given(
    st.lists(st.tuples(st.integers(-14, 14), st.integers(-6, 6)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_steady_walkers_keep_their_ids_whatever_the_order_of_detections(
    speeds: list[tuple[int, int]], rng: random.Random
) -> None:
    scene = Scene()
    where = [(60.0 + 95 * i, 150.0) for i in range(len(speeds))]
    names: dict[int, int] = {}
    for step in range(4):  # at most 4 x 14 pixels: neighbours 95 apart never meet
        where = [(x + vx, y + vy) for (x, y), (vx, vy) in zip(where, speeds, strict=True)]
        order = list(range(len(where)))
        rng.shuffle(order)
        tracks = scene.step(seen(*(where[i] for i in order)))
        assert len(tracks) == len(where)
        for person, (x, _) in enumerate(where):
            track = min(tracks, key=lambda track: abs(track.box[0] - x))
            assert names.setdefault(person, track.id) == track.id, step
