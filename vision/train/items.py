"""Trains the work wear classifier, worn, missing, cannot tell; calibrates any.

A crop goes through the person network, and a small network judges the features that come out
(strides 4, 8, 16, 32): what COCO taught about people is kept, and a few hundred examples of what is
rare are enough. Features of every varied crop are computed once, so training takes minutes.

Guarantees: the seed decides everything; weights are averaged over the last steps (exponentially,
AVERAGE a step); probabilities are calibrated (`Calibration`) on crops that the network did not
learn from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from vision.crops import CROP
from vision.train.layers import Mix

Kinds = npt.NDArray[np.intp]
Float32Array = npt.NDArray[np.float32]
Features = Sequence[npt.NDArray[np.float16]]
"""Of n crops: float16[n, channels, side, side] of strides 4, 8, 16, 32."""

CHANNELS = {4: 64, 8: 128, 16: 128, 32: 128}
WIDTH = 48
BATCH = 128
AVERAGE = 0.01
LEAST_HEAT = 0.01


class ItemNet(nn.Module):
    """Features of crops of 64 px → logits[n, 3]: worn, missing, cannot tell. 130,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for c in CHANNELS.values()
        )
        self.drop = nn.Dropout2d(0.15)
        self.mix = nn.ModuleList(Mix(WIDTH, 3) for _ in range(3))
        self.narrow = nn.Sequential(
            nn.Conv2d(WIDTH, 64, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
        )
        self.leave = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(0.4),
            nn.Linear(64 * 16, 64),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(64, 3),
        )

    def forward(
        self, f4: torch.Tensor, f8: torch.Tensor, f16: torch.Tensor, f32: torch.Tensor
    ) -> torch.Tensor:
        """See the class; f4 comes at stride 8 already (`halve`)."""
        e4, e8, e16, e32 = self.enter
        x = functional.relu(e32(self.drop(f32)))
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.mix[0](functional.relu(x + e16(self.drop(f16))))
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = functional.relu(x + e8(self.drop(f8)) + e4(self.drop(f4)))
        return self.leave(self.narrow(self.mix[2](self.mix[1](x))))


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """Logits float32[n, 3] of crops as found that the answering network had not learned from.

    heat: float32[n, 2], of the head finder.
    """

    logits: Float32Array
    heat: Float32Array
    kinds: Kinds


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Probabilities = softmax(logits · sharpness + log(heat) @ heads + shift), as ItemNet's.

    sharpness: one over the temperature of Guo et al. 2017 (arXiv 1706.04599, section 4.2).
    heads: float32[2, 3], what the head finder's two heats add to each; 0 for what is no head.
    """

    sharpness: float
    heads: Float32Array
    shift: Float32Array

    def apply(self, logits: Float32Array, heat: Float32Array) -> Float32Array:
        """Probabilities[n, 3]."""
        known = np.log(np.maximum(heat, LEAST_HEAT))
        all_of = logits * self.sharpness + known @ self.heads + self.shift
        all_of = np.exp(all_of - all_of.max(axis=1, keepdims=True))
        return np.asarray(all_of / all_of.sum(axis=1, keepdims=True), np.float32)


def calibrate(logits: Float32Array, heat: Float32Array, kinds: Kinds) -> Calibration:
    """Least negative log likelihood; a small penalty keeps what few examples say near nothing."""
    x, target = torch.from_numpy(logits), torch.from_numpy(kinds)
    known = torch.from_numpy(np.log(np.maximum(heat, LEAST_HEAT)).astype(np.float32))
    use = 1.0 if (heat > 0).any() else 0.0
    sharpness = torch.ones(1, requires_grad=True)
    heads = torch.zeros(2, 2, requires_grad=True)
    shift = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.LBFGS([sharpness, heads, shift], max_iter=200)
    none = torch.zeros(len(kinds), 1)

    def step() -> torch.Tensor:
        optimiser.zero_grad()
        added = torch.cat((use * (known @ heads + shift), none), dim=1)
        loss = functional.cross_entropy(x * sharpness + added, target)
        loss = loss + 1e-3 * (heads**2).sum() + 1e-3 * (shift**2).sum()
        loss.backward()
        return loss

    optimiser.step(step)
    columns = np.zeros((2, 3), np.float32)
    moved = np.zeros(3, np.float32)
    columns[:, :2] = use * heads.detach().numpy()
    moved[:2] = use * shift.detach().numpy()
    return Calibration(float(np.clip(sharpness.detach().numpy()[0], 0.05, 5.0)), columns, moved)


def train(
    features: Features,
    kinds: Kinds,
    rows: npt.NDArray[np.intp],
    weights: Float32Array,
    *,
    steps: int,
    seed: int,
    start: Path | None = None,
) -> ItemNet:
    """Train on the rows, drawn by their weights; prints a line every 100 steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ItemNet()
    if start is not None:
        with np.load(start) as saved:
            net.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved.files})
    most = 3e-3 if start is None else 6e-4
    optimiser = torch.optim.AdamW(net.parameters(), lr=most, weight_decay=2e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, most, total_steps=steps + 1)
    share = weights[rows] / weights[rows].sum()
    average = {key: value.clone() for key, value in net.state_dict().items()}
    net.train()
    total = 0.0
    for step in range(1, steps + 1):
        some = rng.choice(rows, BATCH, p=share)
        loss = functional.cross_entropy(
            net(*_tensors(features, some)), torch.from_numpy(kinds[some]), label_smoothing=0.05
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        total += float(loss.detach())
        with torch.no_grad():
            for key, value in net.state_dict().items():
                if value.dtype.is_floating_point:
                    average[key].mul_(1 - AVERAGE).add_(value, alpha=AVERAGE)
                else:
                    average[key].copy_(value)
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {total / 100:.3f}", flush=True)
            total = 0.0
    net.load_state_dict(average)
    return net.eval()


def logits_of(net: ItemNet, features: Features, rows: npt.NDArray[np.intp]) -> Float32Array:
    """Logits[n, 3] of the rows."""
    found = [np.zeros((0, 3), np.float32)]
    with torch.no_grad():
        for start in range(0, len(rows), 512):
            found.append(net(*_tensors(features, rows[start : start + 512])).numpy())
    return np.concatenate(found)


def _tensors(features: Features, rows: npt.NDArray[np.intp]) -> list[torch.Tensor]:
    return [torch.from_numpy(one[rows].astype(np.float32)) for one in features]


def save(net: ItemNet, path: Path) -> None:
    """Write the weights as float16, so that a site can go on from them."""
    np.savez_compressed(
        path,
        **{
            key: value.numpy().astype(np.float16)
            if value.dtype.is_floating_point
            else value.numpy()
            for key, value in net.state_dict().items()
        },
    )


def export(net: ItemNet, calibration: Calibration, path: Path) -> None:
    """Write ONNX, opset 17, giving calibrated probabilities."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(
            self, f4: torch.Tensor, f8: torch.Tensor, f16: torch.Tensor, f32: torch.Tensor
        ) -> torch.Tensor:
            """See ItemNet and Calibration."""
            out = self.net(functional.avg_pool2d(f4, 2), f8, f16, f32) * calibration.sharpness
            return functional.softmax(out, dim=1)

    names = [f"feature_{stride}" for stride in CHANNELS]
    inputs = [torch.zeros(1, c, CROP // s, CROP // s) for s, c in CHANNELS.items()]
    torch.onnx.export(
        Out().eval(),
        tuple(inputs),
        str(path),
        input_names=names,
        output_names=["probabilities"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={name: {0: "batch"} for name in [*names, "probabilities"]},
    )
