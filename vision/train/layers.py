"""What the training of the head finder and of the classifiers share."""

from __future__ import annotations

from pathlib import Path

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


def computes_in_halves() -> bool:
    """Does the processor multiply in bfloat16 (else it would only be imitated, slowly)."""
    told = Path("/proc/cpuinfo")
    return told.is_file() and "avx512_bf16" in told.read_text(encoding="utf-8", errors="replace")


__all__ = ["Mix", "computes_in_halves"]
