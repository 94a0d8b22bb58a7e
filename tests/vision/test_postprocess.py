"""Decoding and suppression: against a slow oracle, and on hostile numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vision.postprocess import MOST_CANDIDATES, Decoder, Head, overlaps, suppress

HEAD = Head(side=64, strides=(8, 16, 32), bins=11, classes=3, wanted=1)
CELLS = (64, 16, 4)


def quiet() -> list[np.ndarray]:
    classes = [np.zeros((1, n, 3), np.float32) for n in CELLS]
    return classes + [np.zeros((1, n, 44), np.float32) for n in CELLS]


def peak(distance: int) -> np.ndarray:
    """Bins with all weight on one distance, for four sides."""
    bins = np.full((4, 11), -50.0, np.float32)
    bins[:, distance] = 50.0
    return bins.ravel()


def test_one_cell_decodes_to_the_box_computed_by_hand() -> None:
    outputs = quiet()
    outputs[1][0, 6, 1] = 0.9  # stride 16, cell 6 of 4 x 4: row 1, column 2
    outputs[4][0, 6] = peak(2)  # 2 bins = 32 pixels to each side
    found = Decoder(HEAD).feed(outputs, 0.5, 0.5, 128, 128)
    centre_x, centre_y = 2 * 16 + 7.5, 1 * 16 + 7.5
    expected = np.array([centre_x - 32, centre_y - 32, centre_x + 32, centre_y + 32]) / 0.5
    assert found.boxes == pytest.approx(np.clip(expected, 0, 128)[None])
    assert found.scores.tolist() == [pytest.approx(0.9)]


def test_an_input_that_is_no_square_decodes_to_the_box_computed_by_hand() -> None:
    cells = (4 * 12, 2 * 6, 1 * 3)  # 96 x 32 pixels
    outputs = [np.zeros((1, n, 3), np.float32) for n in cells]
    outputs += [np.zeros((1, n, 44), np.float32) for n in cells]
    outputs[1][0, 11, 1] = 0.9  # stride 16, cell 11 of 6 x 2: row 1, column 5
    outputs[4][0, 11] = peak(1)
    wide = Decoder(replace(HEAD, side=96, height=32))
    assert wide.check([list(out.shape) for out in outputs]) == ""
    found = wide.feed(outputs, 0.5, 1.0, 96, 32)
    centre_x, centre_y = 5 * 16 + 7.5, 1 * 16 + 7.5
    expected = np.array([centre_x - 16, centre_y - 16, centre_x + 16, centre_y + 16])
    assert found.boxes == pytest.approx(np.clip(expected, 0, [96, 32, 96, 32])[None])


def test_other_classes_and_weak_scores_are_no_people() -> None:
    outputs = quiet()
    outputs[0][0, 5, 0] = 0.99
    outputs[0][0, 9, 1] = 0.49
    assert len(Decoder(HEAD).feed(outputs, 0.5, 1.0, 64, 64)) == 0


def test_a_frame_full_of_candidates_is_bounded_and_ordered() -> None:
    head = Head(side=416, strides=(8, 16, 32), bins=11, classes=1, wanted=0)
    rng = np.random.default_rng(7)
    counts = (2704, 676, 169)
    outputs = [rng.random((1, n, 1), np.float32) for n in counts]
    outputs += [rng.normal(size=(1, n, 44)).astype(np.float32) for n in counts]
    found = Decoder(head).feed(outputs, 0.1, 1.0, 416, 416)
    assert 0 < len(found) <= MOST_CANDIDATES
    assert (np.diff(found.scores) <= 0).all()


@given(
    arrays.arrays(
        np.float32, (1, 4, 44), elements=st.sampled_from([np.nan, np.inf, -np.inf, 0, 1e30, -3])
    )
)
def test_broken_numbers_never_become_a_box(distances: np.ndarray) -> None:
    outputs = quiet()
    outputs[2][0, :, 1] = (0.9, np.nan, 0.8, np.inf)
    outputs[5][:] = distances
    found = Decoder(HEAD).feed(outputs, 0.5, 1.0, 64, 64)
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_a_model_of_another_shape_is_named() -> None:
    shapes = [list(out.shape) for out in quiet()]
    assert Decoder(HEAD).check(shapes) == ""
    assert "manifest says" in Decoder(HEAD).check(shapes[:-1])


boxes_of = arrays.arrays(
    np.float32, st.tuples(st.integers(0, 12), st.just(4)), elements=st.integers(0, 12)
)


def slow_overlap(a: list[float], b: list[float]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high
    return wide * high / union if union > 0 else 0.0


@given(boxes_of, st.sampled_from([0.1, 0.5, 0.7]))
def test_suppression_agrees_with_slow_oracle(raw: np.ndarray, limit: float) -> None:
    boxes = np.concatenate((raw[:, :2], raw[:, :2] + raw[:, 2:]), axis=1)
    kept: list[int] = []
    for index, box in enumerate(boxes.tolist()):
        if all(slow_overlap(box, boxes[other].tolist()) <= limit for other in kept):
            kept.append(index)
    assert suppress(boxes, limit).tolist() == kept


@given(boxes_of)
def test_overlaps_is_symmetric_and_one_with_itself(raw: np.ndarray) -> None:
    boxes = np.concatenate((raw[:, :2], raw[:, :2] + raw[:, 2:] + 1), axis=1)
    shared = overlaps(boxes, boxes)
    assert np.allclose(shared, shared.T)
    assert np.allclose(np.diag(shared), 1)
