"""The shipped head finder reads a picture itself: a part like the whole, large like small."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper

from vision.heads import Heads
from vision.labels import read_folder
from vision.manifest import MODELS, Manifest, Model, ModelError, read_model
from vision.people import LARGE, PERSON, HeadFinder, People, load_people
from vision.postprocess import Detections, overlaps
from vision.ppe import heads_window
from vision.train.head_scenes import Scenes


def eager() -> Model:
    """The shipped one, told to name every local maximum, so that noise has heads."""
    model = read_model(MODELS / "heads.onnx")
    assert model.manifest.heads is not None
    plan = model.manifest.heads.model_copy(update={"look": 0.0})
    return Model(model.content, model.manifest.model_copy(update={"heads": plan}))


def noise(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height).integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def same(one: Heads, other: Heads) -> None:
    np.testing.assert_allclose(one.heat, other.heat, atol=1e-4)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)


def test_a_part_of_a_picture_is_seen_as_if_it_were_alone() -> None:
    finder, picture = HeadFinder(eager()), noise(240, 320)
    left, top, right, bottom = 40, 16, 232, 208
    part = finder.look_closer(picture, (left, top, right, bottom))
    assert len(part.boxes) > 5
    same(part, finder.look_closer(picture[top:bottom, left:right]).moved(left, top))


def test_a_picture_of_twice_the_size_has_the_same_heads_twice_as_large() -> None:
    finder, picture = HeadFinder(eager()), noise(448, 640)
    small = finder.look_closer(picture)
    large = finder.look_closer(picture.repeat(2, axis=0).repeat(2, axis=1))
    shared = overlaps(small.boxes[:10] * 2, large.boxes)
    assert (shared.max(axis=1) > 0.6).all()


def test_both_looks_see_the_same_place() -> None:
    """What is hot at either scale is told once, by the hotter of the two."""
    one = Heads(np.array([[10, 10, 30, 30], [50, 10, 70, 30]], np.float32),
                np.array([[0.9, 0.1], [0.2, 0.1]], np.float32))  # fmt: skip
    other = Heads(np.array([[51, 11, 71, 31], [90, 10, 110, 30]], np.float32),
                  np.array([[0.1, 0.8], [0.3, 0.1]], np.float32))  # fmt: skip
    found = one.together(other)
    assert found.boxes[:, 0].tolist() == [10, 51, 90]
    assert found.scores.tolist() == pytest.approx([0.9, 0.8, 0.3])
    nothing = Heads(np.zeros((0, 4), np.float32), np.zeros((0, 2), np.float32))
    assert len(nothing.together(nothing).boxes) == 0
    same(one, nothing.together(one))


def test_in_a_large_picture_people_are_looked_at_closely_and_the_rest_at_once() -> None:
    people = People(load_people(PERSON, 0.45, items=()).detector, HeadFinder(eager()))
    picture = noise(720, 1280)
    assert max(picture.shape) > LARGE
    there = Detections(np.array([[200, 100, 330, 500]], np.float32), np.array([0.9], np.float32))
    found = people.find_heads(picture, there)
    window = heads_window(there.boxes, 1280, 720)
    centre = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    inside = ((centre >= window[:2]) & (centre < window[2:])).all(axis=1)
    assert people.heads is not None
    close = people.heads.look_closer(picture, window)
    assert 0 < inside.sum() <= len(close.boxes)
    whole = people.heads.look_closer(picture)
    for row in np.flatnonzero(inside):
        assert (close.boxes == found.boxes[row]).all(axis=1).any()
    for row in np.flatnonzero(~inside):
        assert (np.concatenate((whole.boxes, close.boxes)) == found.boxes[row]).all(axis=1).any()


def test_a_finder_of_an_earlier_version_is_refused_with_what_to_do() -> None:
    """It read features of the person network; a site may have trained one."""
    shape = [1, 64, 8, 8]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["feature_4"], ["heads"])],
        "old",
        [helper.make_tensor_value_info("feature_4", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("heads", TensorProto.FLOAT, shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    content = made.SerializeToString()
    manifest = Manifest.model_validate(
        {
            "name": "heads",
            "task": "heads",
            "sha256": hashlib.sha256(content).hexdigest(),
            "licence": "",
            "source": "",
            "heads": {"beside": 0.3, "alone": 0.7, "weak_person": 0.15},
        }
    )
    with pytest.raises(ModelError, match="train it anew with `plantgate vision train --heads`"):
        HeadFinder(Model(content, manifest))


def test_what_is_taken_for_a_head_where_nobody_is_is_learned_as_none(tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "classes.txt").write_text("no_helmet\n", encoding="utf-8")
    for name, labels in (("nobody", ""), ("somebody", "0 0.5 0.5 0.1 0.2\n")):
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), noise(240, 320))
        (tmp_path / "labels" / f"{name}.txt").write_text(labels, encoding="utf-8")
    finder = HeadFinder(eager())
    scenes = Scenes(load_people(PERSON, 0.45, items=()).detector, finder, {}, finder.side)
    nobody, somebody = scenes.of(read_folder(tmp_path, {}).images)
    found = finder.look_closer(noise(240, 320))
    assert len(nobody.target.none) == 15
    np.testing.assert_array_equal(nobody.target.none, found.boxes[:15])
    assert not len(nobody.target.boxes)
    assert not len(nobody.target.unknown)
    assert len(somebody.target.boxes) == 1
    assert not len(somebody.target.none)
