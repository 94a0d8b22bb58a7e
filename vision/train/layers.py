"""Layers that the head finder and the classifiers share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Mix(nn.Module):
    """Depthwise convolution, then pointwise, with what came in added.

    reach: side of the depthwise kernel, odd.
    """

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, reach, padding=reach // 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return functional.relu(x + self.body(x))


__all__ = ["Mix"]
