"""Lets the person model show its inner features: `python -m vision.train.features IN OUT`.

Four tensors become outputs under new names, which head finder and classifiers read; height, width
and count of the pictures that come in become free. Weights and the six outputs stay as they are.
The names are those that tf2onnx gave to this one file.
"""

from __future__ import annotations

import sys

import onnx
from onnx import TensorProto, helper

_PREFIX = "PartitionedCall/onnx_tf_prefix_"
FEATURES = {
    "feature_4": ("Concat_12:0", 64),
    "feature_8": ("LeakyRelu_151:0", 128),
    "feature_16": ("LeakyRelu_162:0", 128),
    "feature_32": ("LeakyRelu_173:0", 128),
}


def main(source: str, target: str) -> None:
    """Rewrite one file."""
    model = onnx.load(source)
    graph = model.graph
    for name, (inner, channels) in FEATURES.items():
        for node in graph.node:
            for names in (node.input, node.output):
                for index, one in enumerate(names):
                    if one == _PREFIX + inner:
                        names[index] = name
        shape: list[str | int | None] = ["batch", channels, f"h_{name}", f"w_{name}"]
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    sides = graph.input[0].type.tensor_type.shape.dim
    sides[0].dim_param = "batch"
    sides[2].dim_param, sides[3].dim_param = "height", "width"
    for output in graph.output[: -len(FEATURES)]:
        output.type.tensor_type.shape.dim[1].dim_param = f"cells_{output.name}"
    del graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
