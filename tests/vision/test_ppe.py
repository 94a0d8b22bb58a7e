"""Joining heads with people, deciding, decoding heads, writing on pictures."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision.crops import square
from vision.heads import Heads, decode
from vision.lettering import knows, strip, write
from vision.ppe import (
    Deciding,
    Joining,
    Verdict,
    attach,
    decide,
    heads_window,
    join,
    one_each,
    under_a_helmet,
    weighed,
    worth_a_look,
)

RULES = Joining(person=0.45, weak=0.2, head=0.25, weak_head=0.25, alone=0.5)


def rows(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_a_head_makes_a_weak_person_count_and_a_lone_one_is_somebody() -> None:
    people = rows((0, 0, 40, 120), (100, 0, 140, 120), (200, 0, 240, 120))
    heads = rows((110, 2, 128, 22), (300, 5, 320, 25), (400, 5, 420, 25))
    seen = join(people, scores(0.9, 0.25, 0.25), heads, scores(0.6, 0.7, 0.4), RULES)
    assert [(one.box[0], one.head is not None, one.alone) for one in seen] == [
        (0, False, False),
        (280, True, True),
        (100, True, False),
    ]


share = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(share, share, share), max_size=6), st.floats(0, 3))
@example([(0.0, 0.0, 0.0)], 1.5)
@example([(1.0, 0.0, 1.0)], 1.5)
def test_heat_says_whether_it_is_a_head_and_not_what_it_wears(
    drawn: list[tuple[float, float, float]], counts: float
) -> None:
    head, bare, heat = np.array(drawn, np.float32).reshape(-1, 3).T
    chances = np.stack((head * (1 - bare), head * bare, 1 - head), axis=1)
    found = weighed(chances, heat, counts)
    assert found.shape == chances.shape
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-3)
    worn, missing = found[:, 0], found[:, 1]
    known = head > 1e-3
    np.testing.assert_allclose((worn * bare)[known], (missing * (1 - bare))[known], atol=1e-3)
    before, now = head, worn + missing
    assert (now >= before - 1e-3).all()
    np.testing.assert_allclose(now[heat <= 0.5], before[heat <= 0.5], atol=1e-3)
    np.testing.assert_allclose(weighed(chances, heat, 0.0), chances, atol=1e-3)


def test_an_unsure_second_look_at_what_is_hot_is_a_head() -> None:
    chances = np.array([[0.2, 0.1, 0.7], [0.2, 0.1, 0.7]], np.float32)
    hot, cold = weighed(chances, scores(0.8, 0.2), 1.5)
    assert hot[:2].sum() > 0.7
    assert cold[:2].sum() == pytest.approx(0.3, abs=1e-4)


boxes_of = st.lists(
    st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(1, 60), st.floats(1, 90)), max_size=8
).map(lambda all_of: rows(*((x, y, x + w, y + h) for x, y, w, h in all_of)))


@given(boxes_of, boxes_of)
def test_every_head_has_at_most_one_owner(people: np.ndarray, heads: np.ndarray) -> None:
    seen = attach(people, heads, np.full(len(heads), 0.5, np.float32), 0.2)
    taken = [one.head for one in seen if one.head is not None]
    assert len(seen) == len(people)
    assert len(taken) == len(set(taken)) or len({tuple(h) for h in heads.tolist()}) < len(heads)


def test_uncertainty_is_neither_worn_nor_missing() -> None:
    chances = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])
    verdicts = [one.verdict for one in decide(chances.astype(np.float32), Deciding(0.5, 0.6, 0.6))]
    undecided = Verdict.UNDECIDED
    assert verdicts == [Verdict.WORN, Verdict.MISSING, undecided, undecided]


def test_missing_counts_by_its_share_of_what_can_be_told() -> None:
    chances = np.array([[0.25, 0.15, 0.6], [0.6, 0.3, 0.1], [0, 0, 1], [0.7, 0.2, 0.1]], np.float32)
    verdicts = [one.verdict for one in decide(chances, Deciding(0.3, 0.5, 0.33))]
    assert verdicts == [Verdict.MISSING, Verdict.MISSING, Verdict.UNDECIDED, Verdict.WORN]


def test_a_second_look_is_spent_on_people_first_and_never_without_end() -> None:
    people = rows((0, 0, 40, 120), (100, 0, 140, 120))
    at_head, at_foot = (10, 2, 30, 22), (10, 100, 30, 120)
    heads = rows(at_head, at_foot, (300, 5, 320, 25), (400, 5, 420, 25), (110, 2, 130, 22))
    heat = scores(0.06, 0.06, 0.3, 0.06, 0.01)
    rules = Joining(look=0.05, look_alone=0.2)
    assert worth_a_look(people, scores(0.9, 0.9), heads, heat, rules).tolist() == [2, 0]
    assert worth_a_look(people, scores(0.1, 0.1), heads, heat, rules).tolist() == [2]
    crowd = rows(*[(10 * n, 0, 10 * n + 9, 9) for n in range(500)])
    assert (
        len(worth_a_look(people, scores(0.9, 0.9), crowd, np.full(500, 0.5, np.float32), rules))
        < 100
    )


@given(boxes_of.filter(len), st.integers(2, 200), st.integers(2, 200))
@example(rows((5, 5, 6, 6)), 2, 2)
def test_the_window_of_heads_lies_in_the_picture_and_holds_them(
    people: np.ndarray, width: int, height: int
) -> None:
    left, top, right, bottom = heads_window(people, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    for x1, y1, x2, y2 in people.tolist():  # the upper part of each, as far as it is in the picture
        assert left <= max(0, min(x1, width - 1))
        assert top <= max(0, min(y1, height - 1))
        assert right >= min(x2, width)
        assert bottom >= min(y1 + 0.45 * (y2 - y1), height)


def test_heads_of_a_part_are_put_beside_those_of_the_rest() -> None:
    near = Heads(rows((5, 5, 15, 15)), np.array([[0.4, 0.1]], np.float32)).moved(100, 50)
    assert near.boxes.tolist() == [[105, 55, 115, 65]]
    rest = Heads(
        rows((104, 54, 116, 66), (10, 10, 20, 20)), np.array([[0.9, 0], [0, 0.5]], np.float32)
    )
    both = near.beside((100, 50, 200, 150), rest)
    assert both.boxes.tolist() == [[10, 10, 20, 20], [105, 55, 115, 65]]
    assert both.scores.tolist() == pytest.approx([0.5, 0.4])
    nobody = Heads(rows(), np.zeros((0, 2), np.float32))
    assert nobody.beside((0, 0, 9, 9), nobody).boxes.shape == (0, 4)


@given(boxes_of, st.randoms(use_true_random=False))
def test_no_head_is_seen_twice_and_the_best_stays(heads: np.ndarray, random: Random) -> None:
    sure = scores(*(random.random() for _ in heads))
    kept = one_each(heads, sure)
    assert not len(heads) or kept[0] == sure.argmax()
    centre = (heads[:, :2] + heads[:, 2:]) / 2
    size = (heads[:, 2:] - heads[:, :2]).max(axis=1)
    for row in range(len(heads)):
        off = np.hypot(*(centre[kept] - centre[row]).T) < 0.45 * np.maximum(size[kept], size[row])
        assert off.sum() == 1 if row in kept else off.any()


def test_the_face_under_a_helmet_is_no_second_head() -> None:
    heads = rows((10, 10, 40, 40), (12, 20, 38, 46), (50, 10, 80, 40))
    assert one_each(heads, scores(0.9, 0.8, 0.7)).tolist() == [0, 2]


def test_a_helmet_on_a_hotter_face_is_what_the_head_wears() -> None:
    # a man at a table: his face, hotter and surely bare to whoever sees no more, and his helmet
    heads = rows((157, 30, 263, 155), (144, 15, 263, 88), (400, 0, 533, 77))
    worn, bare = [0.94, 0.05, 0.01], [0.04, 0.94, 0.02]
    chances = np.array([bare, worn, worn], np.float32)
    assert under_a_helmet(heads, chances).tolist() == [True, False, False]
    good = np.where(under_a_helmet(heads, chances), 0, scores(0.8, 0.76, 0.7)).astype(np.float32)
    assert one_each(heads, good).tolist() == [1, 2]
    masked = np.array([[0.7, 0.2, 0.1], worn, worn], np.float32)
    assert not under_a_helmet(heads, masked).any(), "in a helmet by its own box"
    hair = np.array([bare, [0.7, 0.25, 0.05], worn], np.float32)
    assert not under_a_helmet(heads, hair).any(), "hair on a face leaves it bare"
    beside = rows((157, 30, 263, 155), (214, 15, 333, 88))
    assert not under_a_helmet(beside, chances[:2]).any(), "somebody else's helmet"
    whole = rows((157, 30, 263, 155), (150, 28, 262, 150))
    assert not under_a_helmet(whole, chances[:2]).any(), "the same box, judged otherwise"


@given(boxes_of, st.randoms(use_true_random=False))
def test_over_every_face_under_a_helmet_there_is_one(heads: np.ndarray, random: Random) -> None:
    worn = [random.choice((0.02, 0.9)) for _ in heads]
    chances = np.array([[one, 0.95 - one, 0.05] for one in worn], np.float32).reshape(-1, 3)
    under = under_a_helmet(heads, chances)
    assert not len(heads) or not under[heads[:, 1].argmin()], "nothing lies above the highest"
    middle = (heads[:, :2] + heads[:, 2:]) / 2
    size = (heads[:, 2:] - heads[:, :2]).max(axis=1)
    for face in np.flatnonzero(under):
        near = np.hypot(*(middle - middle[face]).T) < 0.45 * np.maximum(size, size[face])
        assert (near & (heads[:, 1] < heads[face, 1]) & (chances[:, 0] > 0.8)).any()
        assert chances[face, 1] > chances[face, 0]


@given(
    st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), max_size=6),
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_any_chances_give_one_judgement_each(
    chances: list[tuple[float, float, float]], sure: float, worn: float, missing: float
) -> None:
    given_chances = np.array(chances, np.float32).reshape(-1, 3)
    found = decide(given_chances, Deciding(sure, worn, missing))
    assert len(found) == len(chances)
    for one, (p_worn, p_missing, _) in zip(found, given_chances.tolist(), strict=True):
        if p_worn + p_missing == 0:
            assert one.verdict is Verdict.UNDECIDED


def test_a_head_decodes_to_the_box_computed_by_hand() -> None:
    maps = np.zeros((6, 8, 8), np.float32)
    maps[1, 3, 5] = 0.9
    maps[2, 3, 5] = np.log(2.0)  # 32 pixels wide
    maps[4, 3, 5] = 0.25
    found = decode(maps, 0.5, 0.5, 1000, 1000)
    cx, cy = (5.5 + 0.25) * 4, 3.5 * 4
    expected = np.array([cx - 16, cy - 8, cx + 16, cy + 8]) / 0.5
    assert found.boxes[0] == pytest.approx(np.clip(expected, 0, 1000))
    assert found.heat[0].tolist() == [0, pytest.approx(0.9)]


@given(st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
def test_broken_maps_never_become_a_head(value: float) -> None:
    found = decode(np.full((6, 8, 8), value, np.float32), 0.5, 1.0, 32, 32)
    assert np.isfinite(found.boxes).all()


@given(st.tuples(*[st.floats(-500, 500)] * 2), st.tuples(*[st.floats(0.1, 900)] * 2))
def test_a_crop_has_its_size_wherever_the_box_lies(
    corner: tuple[float, float], size: tuple[float, float]
) -> None:
    image = np.full((30, 50, 3), 77, np.uint8)
    box = (*corner, corner[0] + size[0], corner[1] + size[1])
    assert square(image, box, 1.6, 64).shape == (64, 64, 3)


def test_chinese_is_written_without_a_font_of_the_system() -> None:
    assert all(map(knows, "动火作业区未戴安全帽监护人甲醇合成塔°℃"))
    assert strip("未戴").any()
    assert not np.array_equal(strip("未"), strip("戴"))
    picture = np.full((60, 300, 3), 90, np.uint8)
    write(picture, "未戴安全帽 A-101 \U0001f600\n", (-50, 5))
    assert (picture == 255).any()
    assert (picture < 20).any()


@given(st.text(max_size=20), st.integers(-50, 200), st.integers(-50, 200))
def test_any_text_anywhere_is_drawn_inside(text: str, x: int, y: int) -> None:
    write(np.zeros((40, 60, 3), np.uint8), text, (x, y))
