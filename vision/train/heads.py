"""Trains the head finder: a small network on the person network's own features.

The person network stays as it is; its features of stride 4, 8, 16 and 32 go in, maps of stride 4
come out: two of heat (a head in a helmet, a bare head), two of size (log of pixels / 16), two of
the centre's offset in cells. So finding heads costs a tenth of a second network, and the backbone's
training on COCO is kept.

Loss: the penalty-reduced focal loss of CenterNet (Zhou et al. 2019, arXiv 1904.07850, eq. 1) on the
heat, absolute error on size and offset at the centres. Where the labels do not say (the upper part
of a person without a label, a helmet that nobody wears) the heat has no loss. Weights are averaged
over the last steps (exponentially, AVERAGE a step).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from vision.train.layers import Mix
from vision.train.targets import Target, draw

CHANNELS = {4: 64, 8: 128, 16: 128, 32: 128}
WIDTH = 48
AVERAGE = 0.004
WINDOW = 192
"""Pixels of a side of what is trained on: a fifth of a view, five times as many heads a second."""


class HeadNet(nn.Module):
    """Features of strides 4, 8, 16, 32 → maps[n, 6, h/4, w/4]; heat as logits."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH))
            for c in CHANNELS.values()
        )
        self.coarse = nn.ModuleList(Mix(WIDTH, 5) for _ in range(3))
        self.fine = nn.Sequential(Mix(WIDTH, 5), Mix(WIDTH, 5))
        self.leave = nn.Conv2d(WIDTH, 6, 1)
        nn.init.constant_(self.leave.bias[:2], -4.0)

    def forward(
        self, f4: torch.Tensor, f8: torch.Tensor, f16: torch.Tensor, f32: torch.Tensor
    ) -> torch.Tensor:
        """See the class."""
        x = functional.relu(self.enter[3](f32))
        for mix, enter, feature in zip(
            self.coarse, (self.enter[2], self.enter[1], self.enter[0]), (f16, f8, f4), strict=True
        ):
            x = functional.interpolate(mix(x), scale_factor=2.0, mode="nearest")
            x = functional.relu(x + enter(feature))
        return self.leave(self.fine(x))


def loss_of(
    out: torch.Tensor, maps: torch.Tensor, weight: torch.Tensor, bare_weight: float
) -> torch.Tensor:
    """Loss of a batch."""
    heat = torch.sigmoid(out[:, :2]).clamp(1e-4, 1 - 1e-4)
    want = maps[:, :2]
    is_centre = (want == 1).float()
    each = weight[:, None] * torch.tensor([1.0, bare_weight]).view(1, 2, 1, 1)
    hit = is_centre * (1 - heat) ** 2 * torch.log(heat)
    miss = (1 - is_centre) * (1 - want) ** 4 * heat**2 * torch.log(1 - heat)
    count = is_centre.sum().clamp(min=1)
    focal = -((hit + miss) * each).sum() / count
    mask = maps[:, 6:7]
    shape = (torch.abs(out[:, 2:] - maps[:, 2:6]) * mask).sum() / mask.sum().clamp(min=1)
    return focal + 0.5 * shape


def train(
    features: Sequence[npt.NDArray[np.float16]],
    targets: Sequence[Target],
    rows: npt.NDArray[np.intp],
    *,
    epochs: int,
    seed: int,
    start: Path | None = None,
) -> HeadNet:
    """Train on the given rows, from the weights in `start` if given; prints one line an epoch."""
    torch.set_num_threads(1)  # two on a busy machine wait for each other: half as fast, measured
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = HeadNet().to(memory_format=torch.channels_last)
    if start is not None:
        with np.load(start) as saved:
            net.load_state_dict({key: torch.from_numpy(saved[key]) for key in saved.files})
    most = 4e-3 if start is None else 2e-3
    optimiser = torch.optim.AdamW(net.parameters(), lr=most, weight_decay=1e-3)
    batch = min(16, len(rows))
    steps = epochs * (len(rows) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, most, total_steps=steps + 1)
    average, taken = {key: value.clone() for key, value in net.state_dict().items()}, 0
    net.train()
    for epoch in range(epochs):
        order, total = rng.permutation(rows), 0.0
        for first in range(0, len(order) - batch + 1, batch):
            inputs, maps, weight = _batch(features, targets, order[first : first + batch], rng)
            loss = loss_of(net(*inputs), maps, weight, 2.0)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            taken += 1
            _average(average, net, max(AVERAGE, 1 / taken))
        print(f"epoch {epoch + 1} of {epochs}: loss {total / (len(rows) // batch):.3f}", flush=True)
    net.load_state_dict(average)
    return net


def _average(average: dict[str, torch.Tensor], net: HeadNet, share: float) -> None:
    """Move the averages by a share towards what the network has now; counters are taken over."""
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].mul_(1 - share).add_(value, alpha=share)
            else:
                average[key].copy_(value)


def _batch(
    features: Sequence[npt.NDArray[np.float16]],
    targets: Sequence[Target],
    rows: npt.NDArray[np.intp],
    rng: np.random.Generator,
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """Windows of WINDOW pixels, most of them around a head, bare ones first."""
    parts: list[list[npt.NDArray[np.float32]]] = [[] for _ in features]
    maps, weights = [], []
    for row in rows.tolist():
        left, top = _window(targets[row], features[0].shape[-1] * 4, rng)
        for part, feature, stride in zip(parts, features, CHANNELS, strict=True):
            y, x, size = top // stride, left // stride, WINDOW // stride
            part.append(feature[row, :, y : y + size, x : x + size].astype(np.float32))
        move = np.array([left, top, left, top], np.float32)
        target = targets[row]
        boxes = target.boxes - move
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        inside = ((middle >= 0) & (middle < WINDOW)).all(axis=1)
        one, weight = draw(
            Target(boxes[inside], target.worn[inside], target.unknown - move, target.none - move),
            WINDOW,
        )
        maps.append(one)
        weights.append(weight)
    return (
        [
            torch.from_numpy(np.stack(part)).contiguous(memory_format=torch.channels_last)
            for part in parts
        ],
        torch.from_numpy(np.stack(maps)),
        torch.from_numpy(np.stack(weights)),
    )


def _window(target: Target, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Left and top of a window, multiples of 32 pixels."""
    steps = (side - WINDOW) // 32
    if len(target.boxes) == 0 or rng.random() < 0.15:
        return int(rng.integers(0, steps + 1)) * 32, int(rng.integers(0, steps + 1)) * 32
    bare = np.flatnonzero(target.worn == 1)
    some = bare if len(bare) and rng.random() < 0.5 else np.arange(len(target.boxes))
    box = target.boxes[rng.choice(some)]
    place = (box[:2] + box[2:]) / 2 - rng.uniform(0.2, 0.8, 2) * WINDOW
    left, top = np.clip(np.round(place / 32), 0, steps).astype(int).tolist()
    return left * 32, top * 32


def save(net: HeadNet, path: Path) -> None:
    """Write the weights as float16, so that a site can go on from them."""
    np.savez_compressed(
        path,
        **{
            key: value.numpy().astype(np.float16) if value.is_floating_point() else value.numpy()
            for key, value in net.state_dict().items()
        },
    )


def export(net: HeadNet, path: Path) -> None:
    """Write ONNX, opset 17; heat comes out as probabilities."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(
            self, f4: torch.Tensor, f8: torch.Tensor, f16: torch.Tensor, f32: torch.Tensor
        ) -> torch.Tensor:
            """See the class."""
            out = self.net(f4, f8, f16, f32)
            return torch.cat((torch.sigmoid(out[:, :2]), out[:, 2:]), dim=1)

    net.eval()
    names = [f"feature_{stride}" for stride in CHANNELS]
    torch.onnx.export(
        Out().eval(),
        tuple(torch.zeros(1, c, 416 // s, 416 // s) for s, c in CHANNELS.items()),
        str(path),
        input_names=names,
        output_names=["heads"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={n: {0: "batch", 2: f"h{n}", 3: f"w{n}"} for n in names}
        | {"heads": {0: "batch", 2: "h", 3: "w"}},
    )
