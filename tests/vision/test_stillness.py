"""What does not move is told and goes on being counted; only a mask leaves something out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from vision.config import CameraConfig, MaskConfig
from vision.masks import Masks
from vision.postprocess import Detections
from vision.stillness import FORGET_NS, Still, Stillness
from vision.telling import told
from vision.track import Track

S_NS = 1_000_000_000
THING = (100.0, 100.0, 120.0, 160.0)


def track(number: int, box: tuple[float, float, float, float], missed: int = 0) -> Track:
    return Track(number, box, (0.0, 0.0), 0.9, 9, missed, True, 0, 0.9)


def shifted(by: float) -> tuple[float, float, float, float]:
    return (THING[0] + by, THING[1], THING[2] + by, THING[3])


def test_a_thing_is_told_once_though_it_is_lost_and_found_under_new_ids() -> None:
    still, said = Stillness(600.0), []
    for second in range(1500):
        seen = [track(1 + second // 40, shifted(second % 3 - 1.0))]
        said += still.feed(seen if second % 5 else [], second * S_NS)
    assert [(round(one.seconds), one.came) for one in said] == [(600, False)]


def test_somebody_who_walks_in_and_falls_is_told_as_one_who_came() -> None:
    still, said = Stillness(600.0), []
    for second in range(700):
        seen = [track(7, shifted(-20.0 * max(0, 10 - second)))]
        said += still.feed(seen, second * S_NS)
    assert [one.came for one in said] == [True]


def test_who_moves_or_goes_away_for_a_while_is_not_told() -> None:
    still = Stillness(600.0)
    said = []
    for second in range(2000):  # a step aside every five minutes
        said += still.feed([track(1, shifted(30.0 * (second // 300 % 2)))], second * S_NS)
    assert said == []
    gone = Stillness(600.0)
    away = FORGET_NS // S_NS + 5
    for second in range(1800):
        present = second % 500 > away
        said += gone.feed([track(1, THING)] if present else [], second * S_NS)
    assert said == []
    assert Stillness(0.0).feed([track(1, THING)], 10**15) == []


@given(st.lists(st.lists(st.floats(0, 500), max_size=4), max_size=60))
def test_each_place_is_told_at_most_once_and_only_who_is_seen(places: list[list[float]]) -> None:
    still, said = Stillness(5.0), 0
    for second, xs in enumerate(places):
        boxes = [(x, 10.0, x + 20.0, 60.0) for x in xs]
        found = still.feed([track(n, box) for n, box in enumerate(boxes)], second * S_NS)
        assert all(one.box in boxes and one.seconds >= 5.0 for one in found)
        said += len(found)
    assert said <= sum(map(len, places))


def test_the_words_say_both_what_it_may_be() -> None:
    config = CameraConfig.model_validate({"name": "cam", "source": "clip.avi"})
    event = told(Still(THING, 601.4, came=True), config)
    assert (event.kind, event.picture) == ("vision.motionless", True)
    assert "has not moved for 10 min and was seen to come" in event.text
    assert "a person may need help" in event.text
    assert dict(event.attributes) == {"seconds": 601, "box": "100,100,120,160", "came": True}


MASK = MaskConfig.model_validate({"polygon": [[0.1, 0.1], [0.3, 0.1], [0.3, 0.6], [0.1, 0.6]]})


@pytest.mark.parametrize(
    ("box", "left_out"),
    [
        ((24, 25, 56, 110), True),  # the thing, wholly inside: 20 to 60 across, 20 to 120 down
        ((18, 18, 60, 118), True),  # its box shakes
        ((30, 30, 75, 118), False),  # a third outside: somebody walks past
        ((24, 25, 56, 160), False),  # somebody nearer, taller than the mask
        ((10, 10, 90, 180), False),  # somebody before it, larger
        ((100, 25, 130, 110), False),
    ],
)
def test_only_what_lies_in_a_mask_is_left_out(
    box: tuple[float, float, float, float], left_out: bool
) -> None:
    masks = Masks([MASK])
    found = Detections(np.array([box], np.float32), np.array([0.9], np.float32))
    assert len(masks.feed(found, 200, 200)) == (not left_out)
    assert masks.left_out == left_out
    assert len(Masks([]).feed(found, 200, 200)) == 1
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
    assert len(masks.feed(none, 200, 200)) == 0
    assert masks.left_out == 0


def test_a_mask_is_a_polygon_as_a_zone_is() -> None:
    with pytest.raises(ValidationError, match="fractions of the frame"):
        MaskConfig.model_validate({"polygon": [[0, 0], [100, 0], [100, 100]]})
