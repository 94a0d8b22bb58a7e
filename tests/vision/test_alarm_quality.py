"""The count of false and missed alarms itself, and the part of it that is quick."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.clips import clip_or_fail
from tests.vision.alarm_quality import SCENES, WAYS, Scene, bent, judge, pictures, table, watch
from vision.analyser import Output, ViewChange
from vision.health import View
from vision.zones import OverCount

ZONE = [{"name": "a", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "max_people": 1}]
SCENE = Scene(
    "drawn", 100.0, ZONE, true={("a", "over"): [(10, 30)]}, due={("a", "over"): [(10, 30)]}
)


def _over(active: bool) -> OverCount:
    return OverCount("a", active, 2, 1, ())


@pytest.mark.parametrize(
    ("changes", "false", "missed"),
    [
        ([], 0, 1),
        ([(12.0, _over(True)), (31.0, _over(False))], 0, 0),
        ([(12.0, _over(True))], 0, 0),  # it still stands at the end
        ([(9.5, _over(True)), (12.0, _over(False))], 1, 0),  # too early, but it stood
        ([(30.5, _over(True))], 1, 1),
        ([(2.0, _over(True)), (10.0, _over(False))], 1, 1),
        ([(12.0, _over(True)), (13.0, _over(False)), (40.0, _over(True))], 1, 0),
        ([(12.0, _over(True)), (50.0, ViewChange(View.MOVED))], 1, 0),
        ([(12.0, _over(True)), (50.0, ViewChange(View.CLEAR))], 0, 0),
    ],
)
def test_what_counts_as_false_and_as_missed(
    changes: list[tuple[float, Output]], false: int, missed: int
) -> None:
    verdict = judge(SCENE, changes, 100.0)
    assert (sum(verdict.false.values()), sum(verdict.missed.values())) == (false, missed)
    assert verdict.due == 1


def test_what_was_not_watched_to_its_end_is_not_due() -> None:
    assert judge(SCENE, [], 20.0).due == 0


def test_each_way_bends_the_last_two_thirds_only() -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(45)]
    for way in WAYS:
        after = bent(images, way, images[0])
        assert len(after) == 45, way
        assert all(a is b for a, b in zip(images[:15], after[:15], strict=True))
        assert all(a.shape == b.shape for a, b in zip(images, after, strict=True)), way
        assert (way == "nothing") == all(
            np.array_equal(a, b) for a, b in zip(images, after, strict=True)
        )


def test_one_bad_picture_raises_nothing_and_hides_nothing() -> None:
    street = dataclasses.replace(SCENES[0], until_s=21.0)
    images = list(pictures(clip_or_fail(), street.until_s))
    for way in ("nothing", "one bad picture"):
        verdict = watch(street, bent(images, way, np.zeros_like(images[0])))
        assert (verdict.due, +verdict.false, +verdict.missed) == (1, {}, {}), way
        assert "a camera-hour" in table({way: verdict})
