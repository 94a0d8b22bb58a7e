"""The first half of the person network as something that can be trained, starting from its weights.

    picture ─▶ stem (stride 4) ─▶ 64 channels ─▶ 128 (stride 8) ─▶ 256 (stride 16)

Guarantees: filled from the shipped person network it gives what that one gives inside (where its
last stage begins), to rounding. Its batch normalisation was folded into the convolutions by
those who published it, so there is none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

SLOPE = 0.1
"""Of the leaky rectifier, as in the file."""
STRIDE, CHANNELS = 16, 256


def _convolution(given: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, out, 3, stride, 1), nn.LeakyReLU(SLOPE, inplace=True))


class Stage(nn.Module):
    """A convolution, pairs of narrow ones side by side, one more; its first beside its last."""

    def __init__(self, given: int, width: int, pairs: int, stride: int) -> None:
        super().__init__()
        self.enter = _convolution(given, width, stride)
        half = width // 2
        self.pairs = nn.ModuleList(
            nn.ModuleList((_convolution(width, half), _convolution(half, half)))
            for _ in range(pairs)
        )
        self.leave = _convolution(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice `width` channels."""
        first = self.enter(x)
        x = first
        for one, other in self.pairs:
            x = one(x)
            x = torch.cat((other(x), x), dim=1)
        return torch.cat((self.leave(x), first), dim=1)


class Backbone(nn.Module):
    """Pictures float[n, 3, h, w], normalised as for the person network → [n, 256, h/16, w/16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _convolution(3, 32, 2)
        self.stages = nn.ModuleList(
            (Stage(32, 32, 1, 1), Stage(64, 64, 2, 2), Stage(128, 128, 2, 2))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        return x


def fill(net: nn.Module, path: Path) -> None:
    """Give the convolutions and linear layers, in their order, the weights of an ONNX file's first.

    Batch normalisation is folded into the convolution before it in such a file; in `net` it must
    be as it was made, changing nothing.
    """
    graph = onnx.load(path).graph
    weights = {one.name: one for one in graph.initializer}
    stored = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    there = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
    mine = [one for one in net.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for one, node in zip(mine, there, strict=False):
            for value, name in zip(one.parameters(), node.input[1:], strict=True):
                read = numpy_helper.to_array(weights[stored.get(name, name)])
                value.copy_(torch.from_numpy(read.astype(np.float32)))


__all__ = ["CHANNELS", "STRIDE", "Backbone", "fill"]
