"""The shipped helmet classifier: what it reads, and that a head is judged alike in any crowd."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from vision.crops import CONTEXT, HEAD, SIDE, square
from vision.detector import MOST_AT_ONCE, Detector, session
from vision.manifest import MODELS, read_model
from vision.people import CROPS, PERSON, Classifier


@pytest.fixture(scope="module")
def helmet() -> Classifier:
    """On the person network that it is shipped with."""
    return Classifier(read_model(MODELS / "helmet.onnx"), Detector(read_model(PERSON)))


def test_each_head_is_judged_alike_however_many_there_are(helmet: Classifier) -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 255, (240, 320, 3), np.uint8)
    count = 2 * MOST_AT_ONCE + 3
    corners = rng.uniform(-20, 200, (count, 2))
    boxes = np.hstack((corners, corners + rng.uniform(8, 90, (count, 2)))).astype(np.float32)
    heat = rng.uniform(0, 1, (count, 2)).astype(np.float32)
    together = helmet.feed(picture, boxes, heat)
    one_by_one = [helmet.feed(picture, boxes[row, None], heat[row, None]) for row in range(count)]
    assert together.shape == (count, 3)
    np.testing.assert_allclose(together, np.concatenate(one_by_one), atol=1e-4)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-4)
    assert helmet.feed(picture, boxes[:0], heat[:0]).shape == (0, 3)


def test_it_looks_itself_and_no_feature_is_computed_for_it(helmet: Classifier) -> None:
    class Blind(Detector):
        def describe(self, crops: object) -> dict[str, np.ndarray]:
            raise AssertionError(f"{CROPS} are what it reads, not features")

    model = read_model(MODELS / "helmet.onnx")
    alone = Classifier(model, Blind(read_model(PERSON)))
    picture = np.full((60, 60, 3), 90, np.uint8)
    box, heat = np.array([[10, 10, 40, 44]], np.float32), np.full((1, 2), 0.4, np.float32)
    np.testing.assert_array_equal(alone.feed(picture, box, heat), helmet.feed(picture, box, heat))


def test_it_is_shown_heads_of_the_size_that_it_learned_from() -> None:
    """A square of SIDE pixels with a head of HEAD in it, cut as in training."""
    looking = session(read_model(MODELS / "helmet.onnx"), None)
    shape = {one.name: one.shape for one in looking.get_inputs()}[CROPS]
    assert shape[1:] == [3, SIDE["helmet"], SIDE["helmet"]]
    assert SIDE["helmet"] == HEAD * CONTEXT["helmet"]
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[150:250, 150:250] = 255
    cut = square(picture, (150, 150, 250, 250), CONTEXT["helmet"], SIDE["helmet"])
    assert int((cut[SIDE["helmet"] // 2, :, 0] > 127).sum()) == HEAD


def test_a_classifier_of_an_earlier_version_is_shown_heads_as_it_learned_them(
    tmp_path: Path,
) -> None:
    """One of 64 pixels a side that tells how bright its crop is: a white head is half of it."""
    path = tmp_path / "helmet.onnx"
    path.write_bytes(brightness_of_crops(64))
    plan = (MODELS / "helmet.toml").read_text(encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".toml").write_text(
        re.sub('sha256 = "[0-9a-f]+"', f'sha256 = "{digest}"', plan), encoding="utf-8"
    )
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[150:250, 150:250] = 255
    box, heat = np.array([[150, 150, 250, 250]], np.float32), np.full((1, 2), 0.4, np.float32)
    detector = Detector(read_model(PERSON))
    black, white = detector.normalised(
        [np.full((1, 1, 3), level, np.uint8) for level in (0, 255)]
    ).mean(axis=(1, 2, 3))
    bright = Classifier(read_model(path), detector).feed(picture, box, heat)[0, 0]
    assert (bright - black) / (white - black) == pytest.approx(0.25, abs=0.02)


def brightness_of_crops(side: int) -> bytes:
    """A network that gives the mean of each crop, three times."""
    crops = helper.make_tensor_value_info(CROPS, TensorProto.FLOAT, ["batch", 3, side, side])
    heat = helper.make_tensor_value_info("heat", TensorProto.FLOAT, ["batch", 2])
    out = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])
    nodes = [
        helper.make_node("ReduceMean", [CROPS], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("ReduceMean", ["heat"], ["warm"], axes=[1], keepdims=0),
        helper.make_node("Mul", ["warm", "nothing"], ["none"]),
        helper.make_node("Add", ["mean", "none"], ["level"]),
        helper.make_node("Unsqueeze", ["level", "one"], ["column"]),
        helper.make_node("Concat", ["column"] * 3, ["probabilities"], axis=1),
    ]
    constants = [
        numpy_helper.from_array(np.zeros(1, np.float32), "nothing"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    graph = helper.make_graph(nodes, "brightness", [crops, heat], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def test_the_models_of_equipment_stay_small() -> None:
    """3 MB on disk, weights for fine-tuning included, so that a gateway's package stays small."""
    files = [
        path
        for path in MODELS.iterdir()
        if path.suffix in {".onnx", ".npz"} and not path.name.startswith("person")
    ]
    assert {"heads.onnx", "helmet.onnx", "workwear.onnx"} <= {path.name for path in files}
    assert sum(path.stat().st_size for path in files) <= 3_000_000
