"""Two classifiers in one file say the geometric mean of what they say."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save
from onnxruntime import InferenceSession  # type: ignore[attr-defined]  # without __all__

from vision.manifest import MODELS, ModelError, read_model
from vision.train.team import join_into, join_models


def classifier(path: Path, bias: list[float], name: str = "heat") -> Path:
    """Softmax of what is read (a row of 3 numbers) plus a bias."""
    nodes = [
        helper.make_node("Add", [name, "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    read, told = (
        helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", 3])
        for one in (name, "probabilities")
    )
    graph = helper.make_graph(
        nodes, "one", [read], [told], [numpy_helper.from_array(np.array(bias, np.float32), "bias")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), str(path))
    return path


def said(path: Path, rows: np.ndarray) -> np.ndarray:
    return np.asarray(InferenceSession(str(path)).run(None, {"heat": rows})[0])


def test_the_mean_of_two_is_that_of_their_logarithms(tmp_path: Path) -> None:
    one = classifier(tmp_path / "one.onnx", [0, 1, 2])
    other = classifier(tmp_path / "other.onnx", [3, 0, -40])
    join_models(one, other, tmp_path / "both.onnx")
    rows = np.random.default_rng(1).normal(0, 2, (5, 3)).astype(np.float32)
    expected = np.sqrt(said(one, rows) * said(other, rows) + 1e-9)
    expected /= expected.sum(axis=1, keepdims=True)
    assert said(tmp_path / "both.onnx", rows) == pytest.approx(expected, abs=1e-5)
    assert said(tmp_path / "both.onnx", rows).sum(axis=1) == pytest.approx(1)


def test_what_reads_something_else_is_refused(tmp_path: Path) -> None:
    one = classifier(tmp_path / "one.onnx", [0, 1, 2])
    other = classifier(tmp_path / "other.onnx", [3, 0, 1], "feature_4")
    with pytest.raises(ModelError, match="do not read the same"):
        join_models(one, other, tmp_path / "both.onnx")


def test_the_manifest_follows_the_file(tmp_path: Path) -> None:
    for name in ("workwear.onnx", "workwear.toml"):
        shutil.copy(MODELS / name, tmp_path)
    join_into(tmp_path / "workwear.onnx", MODELS / "workwear.onnx")
    joined = read_model(tmp_path / "workwear.onnx")
    assert joined.manifest.item == read_model(MODELS / "workwear.onnx").manifest.item
    assert joined.content != (MODELS / "workwear.onnx").read_bytes()
