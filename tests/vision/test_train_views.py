"""What classifiers learn from: varied crops, hair of other colours, which found heads are none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision.crops import HEAD, SIDE
from vision.heads import Heads
from vision.measure import Truth
from vision.train.gather import CANNOT_TELL, MISSING, WORN, head_crops
from vision.train.views import cover, crowd, halve, middle, recolour, vary, wide


def head() -> np.ndarray:
    """A light face under dark hair on a grey wall, 112 pixels, the head 42 of them."""
    picture = np.full((112, 112, 3), 128, np.uint8)
    picture[35:50, 38:75] = (20, 18, 15)
    picture[50:76, 38:75] = (140, 170, 210)
    return picture


@given(st.integers(0, 1000))
def test_hair_changes_and_face_and_wall_stay(seed: int) -> None:
    before = head()
    after = recolour(before, 42.0, np.random.default_rng(seed))
    assert np.abs(after[38:46, 48:64].astype(int) - before[38:46, 48:64]).mean() > 2
    assert np.abs(after[60:76].astype(int) - before[60:76]).max() <= 2
    assert np.array_equal(after[:, :25], before[:, :25])
    assert np.array_equal(after, recolour(before, 42.0, np.random.default_rng(seed)))


@given(st.integers(0, 1000), st.integers(0, 255))
def test_a_picture_of_one_colour_is_drawn_without_error(seed: int, level: int) -> None:
    after = recolour(np.full((112, 112, 3), level, np.uint8), 42.0, np.random.default_rng(seed))
    assert after.shape == (112, 112, 3)


@given(st.integers(0, 1000), st.sampled_from(sorted(SIDE)))
def test_a_varied_crop_has_the_size_of_the_running_systems(seed: int, item: str) -> None:
    stored, side = wide(item), SIDE[item]
    crop = np.random.default_rng(seed).integers(0, 255, (stored, stored, 3)).astype(np.uint8)
    assert vary(crop, np.random.default_rng(seed)).shape == middle(crop).shape == (side, side, 3)


def test_a_head_that_touches_hides_less_than_half_of_the_one_in_the_middle() -> None:
    """But for one draw in a hundred, as in a crowd."""
    side = wide("helmet")
    mine, theirs = np.zeros((side, side, 3), np.uint8), np.full((side, side, 3), 255, np.uint8)
    low, high = (side - HEAD) // 2, (side + HEAD) // 2
    hidden = []
    for seed in range(300):
        shown = crowd(mine, theirs, HEAD, np.random.default_rng(seed))
        assert shown.shape == mine.shape
        assert (shown > 127).any(), "nobody came"
        hidden.append(float((shown[low:high, low:high] > 127).mean()))
    assert np.mean(np.array(hidden) >= 0.5) <= 0.01
    assert np.mean(hidden) > 0.05, "nobody touches"
    again = crowd(mine, theirs, HEAD, np.random.default_rng(299))
    assert np.array_equal(shown, again)


def test_what_is_before_a_head_mostly_leaves_some_of_it_to_be_seen() -> None:
    side = wide("helmet")
    mine, theirs = np.zeros((side, side, 3), np.uint8), np.full((side, side, 3), 255, np.uint8)
    low, high = (side - HEAD) // 2, (side + HEAD) // 2
    hidden = []
    for seed in range(300):
        shown = cover(mine, theirs, np.random.default_rng(seed))
        assert shown.shape == mine.shape
        hidden.append(float((shown[low:high, low:high] > 0).any(axis=2).mean()))
    assert np.mean(np.array(hidden) > 0) > 0.8, "nothing covers a head"
    assert np.mean(np.array(hidden) > 0.75) <= 0.05
    assert not mine.any(), "the crop itself stays as it is"
    assert np.array_equal(shown, cover(mine, theirs, np.random.default_rng(299)))


def test_some_heads_are_turned_sideways_and_torsos_never() -> None:
    """A picture that darkens downwards; turned far enough it does sideways."""
    heads = [varied("helmet", seed) for seed in range(400)]
    torsos = [varied("workwear", seed) for seed in range(400)]
    assert 0.02 < np.mean([sideways(one) for one in heads]) < 0.12
    assert not any(sideways(one) for one in torsos)


def varied(item: str, seed: int) -> np.ndarray:
    """A view of a picture that darkens downwards."""
    slope = np.linspace(255, 0, wide(item), dtype=np.float32)[:, None, None]
    crop = np.broadcast_to(slope, (wide(item), wide(item), 3)).astype(np.uint8)
    return vary(crop, np.random.default_rng(seed))


def sideways(view: np.ndarray) -> bool:
    """Does it change more across than down (by more than noise does)."""
    grey = view.astype(np.float32).mean(axis=2)
    across, down = (np.ptp(grey.mean(axis=axis)) for axis in (0, 1))
    return bool(across > down and across > 20)


def test_halving_takes_the_mean_of_four() -> None:
    feature = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert halve(feature)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]


def boxes(*some: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(some, np.float32).reshape(-1, 4)


def test_a_head_that_no_label_confirms_is_none_only_where_the_labels_say_so() -> None:
    """Two people, one with a labelled head; hands and walls are no heads, a stranger's may be."""
    image = np.full((200, 300, 3), 100, np.uint8)
    people = boxes((0, 20, 60, 180), (200, 20, 260, 180))
    truth = Truth({"no_helmet": boxes((20, 22, 40, 42))})
    found = boxes(
        (20, 22, 40, 42),
        (5, 60, 20, 75),
        (220, 24, 240, 44),
        (120, 150, 140, 170),
        (28, 30, 48, 50),
    )
    heat = np.full((5, 2), 0.3, np.float32)
    crops = head_crops(image, truth, people, Heads(found, heat), np.random.default_rng(1))
    kinds = [one.kind for one in crops if one.found]
    assert kinds == [MISSING, CANNOT_TELL, CANNOT_TELL]
    drawn = [one.kind for one in crops if not one.found]
    assert set(drawn) == {MISSING}
    assert len(drawn) > 1


def test_a_helmet_in_a_hand_is_no_helmet_to_learn() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    truth = Truth({"helmet": boxes((20, 22, 40, 42), (35, 120, 55, 140))})
    found = Heads(truth.of("helmet"), np.full((2, 2), 0.3, np.float32))
    crops = head_crops(image, truth, boxes((0, 20, 60, 180)), found, np.random.default_rng(1))
    assert [one.kind for one in crops if one.found] == [WORN, CANNOT_TELL]


def test_in_a_crowd_what_is_likely_a_head_is_unknown_unless_a_correction_says_none() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    labelled = boxes(*((20.0 * n, 10, 20.0 * n + 15, 25) for n in range(5)))
    found = Heads(
        boxes((200, 100, 220, 120), (250, 100, 270, 120)), np.full((2, 2), 0.4, np.float32)
    )
    nobody = boxes()
    unknown = head_crops(
        image, Truth({"helmet": labelled}), nobody, found, np.random.default_rng(1)
    )
    assert not [one for one in unknown if one.found]
    told = Truth({"helmet": labelled, "no_head": boxes((200, 100, 220, 120))})
    crops = head_crops(image, told, nobody, found, np.random.default_rng(1))
    assert [one.kind for one in crops if one.found] == [CANNOT_TELL]
    few = Truth({"helmet": labelled[:4]})
    crops = head_crops(image, few, nobody, found, np.random.default_rng(1))
    assert [one.kind for one in crops if one.found] == [CANNOT_TELL] * 2


def test_a_head_that_cannot_be_told_is_learned_as_such() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    truth = Truth({"helmet": boxes((20, 22, 40, 42)), "cannot_tell": boxes((100, 22, 120, 42))})
    found = Heads(boxes((20, 22, 40, 42), (100, 22, 120, 42)), np.full((2, 2), 0.3, np.float32))
    crops = head_crops(image, truth, boxes((90, 20, 130, 180)), found, np.random.default_rng(1))
    assert [one.kind for one in crops if one.found] == [WORN, CANNOT_TELL]


def test_the_hair_of_a_bare_head_is_learned_as_bare_and_a_stranger_beside_is_not() -> None:
    """Labels frame helmets, so a finder also frames hair; the frame decides nothing."""
    image = np.full((200, 300, 3), 100, np.uint8)
    truth = Truth({"no_helmet": boxes((100, 50, 140, 110))})
    hair, beside = (102, 50, 138, 72), (128, 60, 168, 100)
    found = Heads(boxes(hair, beside), np.full((2, 2), 0.6, np.float32))
    crops = head_crops(image, truth, boxes(), found, np.random.default_rng(1))
    assert [one.kind for one in crops if one.found] == [MISSING]


def test_labels_are_drawn_in_both_frames() -> None:
    """A white upper half: what is drawn of a bare head shows it larger too, of a helmet smaller."""
    image = np.zeros((300, 300, 3), np.uint8)
    image[100:120, 100:140] = 255
    nothing = Heads(boxes(), np.zeros((0, 2), np.float32))
    for name, label, larger in (
        ("no_helmet", boxes((100, 100, 140, 150)), True),
        ("helmet", boxes((100, 100, 140, 122)), False),
    ):
        plain, other = [], []
        for seed in range(20):
            rng = np.random.default_rng(seed)
            crops = head_crops(image, Truth({name: label}), boxes(), nothing, rng)
            shares = [float((one.pixels > 128).mean()) for one in crops]
            plain += shares[::2]
            other += shares[1::2]
        assert bool(np.mean(other) > np.mean(plain)) is larger
