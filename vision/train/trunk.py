"""The first stages of EfficientNet-lite0 as something that can be trained, from ImageNet's weights.

    crop ─▶ stem (stride 2) ─▶ 16 ─▶ 24 (stride 4) ─▶ 40 (8) ─▶ 80 (16) ─▶ 112 channels (16)

Guarantees: reads pictures normalised as for the person network, as everything else here does: the
other normalisation (RGB, (value - 127) / 128) is folded into the first convolution, and batch
normalisation into every one, so there is none. Filled from the published weights it gives what
that network gives inside, to rounding, except within a pixel of the edge.

Architecture: Tan and Le 2019 (arXiv 1905.11946, table 1), without squeeze and excitation and with
ReLU6 as in its lite variants (github.com/tensorflow/tpu, models/official/efficientnet/lite).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from vision.train.published import published

Float32Array = npt.NDArray[np.float32]
STEM = 32
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
)
"""Side of the depthwise kernel, stride, how much wider inside, channels, blocks."""
STRIDE, CHANNELS = 16, 112
EPSILON = 1e-3
"""Of the batch normalisation that is folded."""
MIDDLE, SPREAD = 127.0, 128.0


class Floats(nn.Conv2d):
    """Computes in 32 bits: depthwise ones are learned in 16 by PyTorch's slow reference code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As a convolution; the answer is of the type that was given."""
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


def _convolution(given: int, out: int, reach: int, stride: int) -> list[nn.Module]:
    """Depthwise where it is as wide as what it is given, but for a reach of 1.

    Edges as TensorFlow fills them (SAME): where that is uneven, one more below and right.
    """
    more = reach - stride
    even = more % 2 == 0
    groups = given if given == out and reach > 1 else 1
    kind = Floats if groups > 1 and (reach, stride) != (3, 1) else nn.Conv2d
    made = kind(given, out, reach, stride, more // 2 if even else 0, groups=groups)
    return [made] if even else [nn.ZeroPad2d((more // 2, more - more // 2) * 2), made]


class Block(nn.Module):
    """Made wider, a depthwise convolution, made narrow; with what came in added, if it fits."""

    def __init__(self, given: int, out: int, reach: int, stride: int, wider: int) -> None:
        super().__init__()
        inner = given * wider
        parts: list[nn.Module] = []
        if wider > 1:
            parts += [nn.Conv2d(given, inner, 1), nn.ReLU6(inplace=True)]
        parts += [*_convolution(inner, inner, reach, stride), nn.ReLU6(inplace=True)]
        self.body = nn.Sequential(*parts, nn.Conv2d(inner, out, 1))
        self.adds = stride == 1 and given == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        found = self.body(x)
        return found + x if self.adds else found


class Trunk(nn.Module):
    """Pictures float[n, 3, h, w], sides multiples of 16 → [n, 112, h/16, w/16]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, STEM, 3, 2), nn.ReLU6(inplace=True))
        blocks, given = [], STEM
        for reach, stride, wider, out, count in STAGES:
            for number in range(count):
                blocks.append(Block(given, out, reach, stride if number == 0 else 1, wider))
                given = out
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.blocks(self.stem(x))

    def learning(self, held: int) -> list[nn.Parameter]:
        """Its weights from the block `held` on; those before do not learn."""
        for part in (self.stem, *self.blocks[:held]):
            part.requires_grad_(requires_grad=False)
        return [one for one in self.parameters() if one.requires_grad]


def fill(net: Trunk, path: Path, black: Float32Array, white: Float32Array) -> None:
    """Give it the published weights.

    black, white: float[3], what it is shown for the values 0 and 255 of blue, green and red.
    Raises LabelsError where the file is not the published one (published.py).
    """
    saved = torch.load(published(path), map_location="cpu", weights_only=True)
    made = [one for one in net.modules() if isinstance(one, nn.Conv2d)]
    with torch.no_grad():
        for (weight, norm), one in zip(_names(), made, strict=True):
            scale = saved[f"{norm}.weight"] / torch.sqrt(saved[f"{norm}.running_var"] + EPSILON)
            one.weight.copy_(saved[f"{weight}.weight"] * scale.view(-1, 1, 1, 1))
            _bias(one).copy_(saved[f"{norm}.bias"] - saved[f"{norm}.running_mean"] * scale)
        turned = made[0].weight.flip(1)  # as published: red, green, blue
        unit = 255 / (torch.from_numpy(white) - torch.from_numpy(black))
        moved = (-torch.from_numpy(black) * unit - MIDDLE) / SPREAD
        _bias(made[0]).add_((turned * moved.view(1, 3, 1, 1)).sum(dim=(1, 2, 3)))
        made[0].weight.copy_(turned * (unit / SPREAD).view(1, 3, 1, 1))


def _bias(made: nn.Conv2d) -> torch.Tensor:
    if made.bias is None:
        raise ValueError("every convolution of the trunk is made with a bias")
    return made.bias


def _names() -> Iterator[tuple[str, str]]:
    """Of each convolution and the normalisation after it, as they are named in the file."""
    yield "_conv_stem", "_bn0"
    number = 0
    for _, _, wider, _, count in STAGES:
        for _ in range(count):
            block = f"_blocks.{number}"
            if wider > 1:
                yield f"{block}._expand_conv", f"{block}._bn0"
            yield f"{block}._depthwise_conv", f"{block}._bn1"
            yield f"{block}._project_conv", f"{block}._bn2"
            number += 1


__all__ = ["CHANNELS", "STRIDE", "Trunk", "fill"]
