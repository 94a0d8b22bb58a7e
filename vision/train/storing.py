"""Stores a network's weights in 8 bits: a quarter of the file, the same network to rounding.

Every convolution's and linear layer's weights become integers of -127 to 127 with one scale for
each output channel, and are multiplied out again where they are used:

    weight (int8) ─▶ Cast ─▶ Mul by scale[channels, 1, …] ─▶ Conv

Guarantees: what is computed stays in floats, so it costs no accuracy but the rounding of weights
(half a step of 1/127 of the largest of a channel); onnxruntime multiplies out once, at load.
Weights of under LEAST numbers, and biases, stay as they are.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST = 512


def store(path: Path) -> None:
    """Write the model in place, its weights in 8 bits."""
    model = onnx.load(path)
    graph = model.graph
    wanted = {node.input[1] for node in graph.node if node.op_type in {"Conv", "Gemm"}}
    there = {one.name: one for one in graph.initializer}
    added: list[onnx.NodeProto] = []
    for name in sorted(wanted & set(there)):
        values = numpy_helper.to_array(there[name])
        if values.dtype != np.float32 or values.size < LEAST:
            continue
        most = np.abs(values).reshape(len(values), -1).max(axis=1)
        scale = (np.maximum(most, 1e-12) / 127).reshape(-1, *[1] * (values.ndim - 1))
        whole = np.rint(values / scale).astype(np.int8)
        graph.initializer.remove(there[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(whole, f"{name}_whole"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
            ]
        )
        added += [
            helper.make_node("Cast", [f"{name}_whole"], [f"{name}_cast"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_cast", f"{name}_scale"], [name]),
        ]
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)


__all__ = ["store"]
