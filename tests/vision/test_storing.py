"""Weights in 8 bits: the same network to rounding, a quarter of the file, nothing to convert."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vision.ort import GraphOptimizationLevel, InferenceSession, SessionOptions
from vision.train.storing import store

CHANNELS = 64


def network(path: Path, weight: np.ndarray) -> None:
    """One convolution of 3 × 3."""
    bias = np.linspace(-1, 1, CHANNELS).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, 16, 16])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    found = InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    return np.asarray(found[0])


def test_channels_of_any_size_keep_their_precision(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    size = 10.0 ** rng.uniform(-4, 1, (CHANNELS, 1, 1, 1))
    weight = (rng.normal(0, 1, (CHANNELS, 8, 3, 3)) * size).astype(np.float32)
    weight[3] = 0
    path = tmp_path / "one.onnx"
    network(path, weight)
    x = rng.normal(0, 1, (1, 8, 16, 16)).astype(np.float32)
    before, whole = answer(path, x), path.stat().st_size
    store(path)
    assert path.stat().st_size < 0.35 * whole
    after = answer(path, x)
    spread = np.abs(before - before.mean(axis=(2, 3), keepdims=True)).max(axis=(0, 2, 3))
    assert (np.abs(after - before).max(axis=(0, 2, 3)) <= 0.02 * spread + 1e-6).all()


def test_onnxruntime_multiplies_out_at_load(tmp_path: Path) -> None:
    path, made = tmp_path / "one.onnx", tmp_path / "made.onnx"
    network(path, np.random.default_rng(1).normal(0, 1, (CHANNELS, 8, 3, 3)).astype(np.float32))
    store(path)
    options = SessionOptions()
    options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(made)
    InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    assert [node.op_type for node in onnx.load(made).graph.node] == ["Conv"]
