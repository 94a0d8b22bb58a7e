"""Every kind of output: round trips on constructed tensors, and hostile numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.decoders import Placing, decoder_of
from vision.manifest import DecoderPlan

SIDE, CLASSES, WANTED = 64, 3, 1
CELLS = 64 + 16 + 4
KINDS = ["yolox", "yolov5", "yolov8", "yolov10", "detr"]


def plan(kind: str) -> DecoderPlan:
    return DecoderPlan.model_validate({"kind": kind, "classes": CLASSES, "wanted": WANTED})


def empty(kind: str) -> list[np.ndarray]:
    """Outputs of a network that found nothing."""
    shapes = {
        "yolox": [(1, CELLS, 5 + CLASSES)],
        "yolov5": [(1, 3 * CELLS, 5 + CLASSES)],
        "yolov8": [(1, 4 + CLASSES, CELLS)],
        "yolov10": [(1, 30, 6)],
        "detr": [(1, 30, CLASSES + 1), (1, 30, 4)],
    }[kind]
    outputs = [np.zeros(shape, np.float32) for shape in shapes]
    if kind == "detr":
        outputs[0][..., CLASSES] = 20.0  # nothing
    return outputs


def put(kind: str, outputs: list[np.ndarray], row: int, box: list[float], score: float) -> None:
    """Write one box (network pixels) into the outputs, as the network would say it."""
    x1, y1, x2, y2 = box
    cx, cy, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    if kind == "yolox":
        stride, cells, start = (8, 8, 0) if row < 64 else (16, 4, 64) if row < 80 else (32, 2, 80)
        y, x = divmod(row - start, cells)
        outputs[0][0, row, :5] = (
            cx / stride - x,
            cy / stride - y,
            np.log(w / stride),
            np.log(h / stride),
            1.0,
        )
        outputs[0][0, row, 5 + WANTED] = score
    elif kind == "yolov5":
        outputs[0][0, row, :5] = cx, cy, w, h, 1.0
        outputs[0][0, row, 5 + WANTED] = score
    elif kind == "yolov8":
        outputs[0][0, :4, row] = cx, cy, w, h
        outputs[0][0, 4 + WANTED, row] = score
    elif kind == "yolov10":
        outputs[0][0, row % 30] = x1, y1, x2, y2, score, WANTED
    else:
        outputs[0][0, row % 30] = 0.0
        outputs[0][0, row % 30, WANTED] = np.log(score * CLASSES / (1 - score))
        outputs[1][0, row % 30] = np.array([cx, cy, w, h]) / SIDE


@pytest.mark.parametrize("kind", KINDS)
@given(
    row=st.integers(0, CELLS - 1),
    corner=st.tuples(st.floats(2, 30), st.floats(2, 30)),
    size=st.tuples(st.floats(4, 30), st.floats(4, 30)),
    score=st.floats(0.5, 0.95),
    scale=st.sampled_from([0.25, 1.0, 2.0]),
)
def test_a_box_comes_back_as_it_was_put_in(
    kind: str,
    row: int,
    corner: tuple[float, float],
    size: tuple[float, float],
    score: float,
    scale: float,
) -> None:
    box = [*corner, corner[0] + size[0], corner[1] + size[1]]
    outputs = empty(kind)
    put(kind, outputs, row, box, score)
    placing = Placing(scale, left=2.0, top=1.0)
    found = decoder_of(plan(kind), SIDE).feed(outputs, 0.4, placing, 1000, 1000)
    expected = (np.array(box) - [2, 1, 2, 1]) / scale
    assert len(found) == 1
    assert found.boxes[0] == pytest.approx(expected, rel=1e-3, abs=1e-2)
    assert found.scores[0] == pytest.approx(score, rel=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_weak_boxes_and_other_classes_are_left_out(kind: str) -> None:
    outputs = empty(kind)
    put(kind, outputs, 3, [5, 5, 20, 20], 0.3)
    decoder = decoder_of(plan(kind), SIDE)
    assert len(decoder.feed(outputs, 0.4, Placing(1.0), 64, 64)) == 0
    assert decoder.check([out.shape for out in outputs]) == ""
    assert "manifest says" in decoder.check([(1, 7)])


@pytest.mark.parametrize("kind", ["yolox", "yolov5", "yolov8"])
def test_overlapping_boxes_are_suppressed(kind: str) -> None:
    outputs = empty(kind)
    put(kind, outputs, 3, [5, 5, 25, 25], 0.9)
    put(kind, outputs, 9, [6, 5, 26, 25], 0.8)
    found = decoder_of(plan(kind), SIDE).feed(outputs, 0.4, Placing(1.0), 64, 64)
    assert found.scores.tolist() == [pytest.approx(0.9)]


@pytest.mark.parametrize("kind", KINDS)
@given(value=st.sampled_from([np.nan, np.inf, -np.inf, 1e30, -1e30]))
def test_broken_numbers_never_become_a_box(kind: str, value: float) -> None:
    outputs = [np.full_like(out, value) for out in empty(kind)]
    found = decoder_of(plan(kind), SIDE).feed(outputs, 0.4, Placing(1.0), 64, 64)
    assert np.isfinite(found.boxes).all()
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_detr_with_one_logit_a_class_takes_the_sigmoid() -> None:
    outputs = [np.full((1, 5, CLASSES), -9, np.float32), np.zeros((1, 5, 4), np.float32)]
    outputs[0][0, 2, WANTED] = 0.0
    outputs[1][0, 2] = 0.5, 0.5, 0.25, 0.5
    found = decoder_of(plan("detr"), SIDE).feed(outputs, 0.4, Placing(1.0), 64, 64)
    assert found.boxes.tolist() == [[24, 16, 40, 48]]
    assert found.scores.tolist() == [0.5]
