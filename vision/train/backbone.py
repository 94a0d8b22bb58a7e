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

from vision.labels import LabelsError

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
        return self.each(x)[-1]

    def each(self, x: torch.Tensor) -> list[torch.Tensor]:
        """What every stage gives: 64, 128 and 256 channels at strides 4, 8 and 16."""
        x = functional.max_pool2d(self.stem(x), 3, 2, 1)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def fill(net: nn.Module, path: Path) -> None:
    """Give the convolutions and linear layers, in their order, the weights of an ONNX file's first.

    The order of `net.modules()` must be the one in which they are used first: a layer that looks
    twice counts once. Batch normalisation is
    folded into the convolution before it in such a file; in `net` it must be as it was made, and
    takes the bias that its convolution has no room for. It changes nothing else while it is used
    as in `eval()`. Raises LabelsError where the file's layers are of other shapes.
    """
    graph = onnx.load(path).graph
    weights = {one.name: one for one in graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type in {"Cast", "Mul"}}

    def read(name: str) -> torch.Tensor:
        """A weight as it is used: stored in fewer bits, with or without a scale (storing.py)."""
        if name in weights:
            return torch.from_numpy(numpy_helper.to_array(weights[name]).astype(np.float32))
        parts = [read(one) for one in makers[name].input]
        return parts[0] if len(parts) == 1 else parts[0] * parts[1]

    used = [node for node in graph.node if node.op_type in {"Conv", "Gemm"}]
    first = {node.input[1]: number for number, node in reversed([*enumerate(used)])}
    there = (node for number, node in enumerate(used) if first[node.input[1]] == number)
    waiting: torch.Tensor | None = None
    with torch.no_grad():
        for one in net.modules():
            if isinstance(one, nn.BatchNorm2d) and waiting is not None:
                one.bias.copy_(waiting)
            if not isinstance(one, nn.Conv2d | nn.Linear):
                continue
            node = next(there, None)
            if node is None:
                break
            weight, bias = (read(name) for name in node.input[1:])
            if weight.shape != one.weight.shape:
                raise LabelsError(
                    f"{path} is a network of another version and cannot be gone on with: go on"
                    " from the one shipped, or train from nothing."
                )
            one.weight.copy_(weight)
            waiting = bias if one.bias is None else None
            if one.bias is not None:
                one.bias.copy_(bias)


__all__ = ["CHANNELS", "STRIDE", "Backbone", "fill"]
