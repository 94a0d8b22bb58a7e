"""Trains the classifiers of protective equipment on crops: worn, missing, cannot tell.

Guarantees: probabilities are calibrated by one temperature, fitted on the tuning side (Guo et al.
2017, arXiv 1706.04599, section 4.2) and folded into the exported network; the crops are degraded
anew in every epoch; the seed decides everything.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from vision.crops import CROP, tensor
from vision.train.views import degrade

Crops = npt.NDArray[np.uint8]
Kinds = npt.NDArray[np.intp]
MOST_STEPS = 64
"""Batches of 64 crops in what is called an epoch."""

WIDE = 88
"""Pixels of a stored crop; training cuts CROP of context out of it at a random place and scale."""


def _block(enter: int, leave: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(enter, leave, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(leave),
        nn.ReLU(),
    )


class ItemNet(nn.Module):
    """crops[n, 3, 64, 64] → logits[n, 3]: worn, missing, cannot tell. 200,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(3, 24, 2),
            _block(24, 32, 1),
            _block(32, 48, 2),
            _block(48, 64, 1),
            _block(64, 96, 2),
            _block(96, 96, 1),
        )
        self.leave = nn.Sequential(nn.Dropout(0.3), nn.Linear(96 * 2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        x = self.body(x)
        pooled = torch.cat((x.mean(dim=(2, 3)), x.amax(dim=(2, 3))), dim=1)
        return self.leave(pooled)


def vary(crop: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """One crop as the running system might have cut and seen it."""
    scale = rng.uniform(0.85, 1.2)
    turn = cv2.getRotationMatrix2D((WIDE / 2, WIDE / 2), rng.uniform(-12, 12), scale)
    shift = rng.uniform(-5, 5, 2) - (WIDE - CROP) / 2
    turn = np.asarray(turn, np.float64) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    out = cv2.warpAffine(crop, turn, (CROP, CROP), borderMode=cv2.BORDER_REPLICATE)
    if rng.random() < 0.5:
        out = out[:, ::-1]
    if rng.random() < 0.4:  # as small as far people are
        small = int(rng.integers(12, 40))
        tiny = cv2.resize(out, (small, small), interpolation=cv2.INTER_AREA)
        out = cv2.resize(tiny, (CROP, CROP), interpolation=cv2.INTER_CUBIC)
    out = degrade(np.ascontiguousarray(out, np.uint8), rng)
    if rng.random() < 0.25:  # something in front
        x, y = rng.integers(0, CROP, 2)
        out[y : y + rng.integers(6, 24), x : x + rng.integers(6, 24)] = rng.integers(0, 255, 3)
    return out


def middle(crops: Crops) -> list[npt.NDArray[np.uint8]]:
    """The crops as they are at run time."""
    edge = (WIDE - CROP) // 2
    return [crop[edge : edge + CROP, edge : edge + CROP] for crop in crops]


def train(
    crops: Crops,
    kinds: Kinds,
    weights: npt.NDArray[np.float32],
    *,
    epochs: int,
    seed: int,
    start: Path | None = None,
) -> ItemNet:
    """Train; each epoch draws as many crops as there are, by `weights`."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = ItemNet().to(memory_format=torch.channels_last)
    if start is not None:
        with np.load(start) as saved:
            net.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved.files})
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=5e-4)
    batch = 64
    steps = max(1, min(len(crops) // batch, MOST_STEPS))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 4e-3 if start is None else 8e-4, total_steps=epochs * steps + 1
    )
    share = weights / weights.sum()
    for epoch in range(epochs):
        net.train()
        total = 0.0
        for _ in range(steps):
            some = rng.choice(len(crops), batch, p=share)
            inputs = torch.from_numpy(tensor([vary(crops[i], rng) for i in some]))
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            loss = functional.cross_entropy(
                net(inputs), torch.from_numpy(kinds[some]), label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        print(f"epoch {epoch + 1} of {epochs}: loss {total / steps:.3f}", flush=True)
    net.eval()
    return net


def logits_of(net: ItemNet, crops: Crops) -> npt.NDArray[np.float32]:
    """Logits[n, 3] of crops as they are, and mirrored, averaged."""
    found = []
    with torch.no_grad():
        for start in range(0, len(crops), 256):
            inputs = torch.from_numpy(tensor(middle(crops[start : start + 256])))
            found.append(net(inputs).numpy())
    return np.concatenate(found)


def temperature(logits: npt.NDArray[np.float32], kinds: Kinds) -> float:
    """The temperature of the least negative log likelihood, from 0.3 to 5."""
    tried = np.geomspace(0.3, 5.0, 80)
    losses = []
    for value in tried:
        scaled = logits / value
        peak = scaled.max(axis=1, keepdims=True)
        logsum = peak[:, 0] + np.log(np.exp(scaled - peak).sum(axis=1))
        losses.append(float((logsum - scaled[np.arange(len(kinds)), kinds]).mean()))
    return float(tried[int(np.argmin(losses))])


def save(net: ItemNet, path: Path) -> None:
    """Write the weights, so that a site can go on from them."""
    np.savez_compressed(path, **{key: value.numpy() for key, value in net.state_dict().items()})


def export(net: ItemNet, heat: float, path: Path) -> None:
    """Write ONNX, opset 17, giving probabilities at the temperature."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """See the class."""
            return functional.softmax(self.net(x) / heat, dim=1)

    torch.onnx.export(
        Out().eval(),
        (torch.zeros(1, 3, CROP, CROP),),
        str(path),
        input_names=["crops"],
        output_names=["probabilities"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={"crops": {0: "batch"}, "probabilities": {0: "batch"}},
    )
