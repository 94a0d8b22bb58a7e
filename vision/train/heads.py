"""Trains the head finder: the person network's first half, gone on with on pictures of heads.

    picture ─▶ backbone (strides 4, 8, 16) ─▶ far (stride 32: sees bodies around heads)
                   └── beside ──▶ back to stride 4, step by step ◀──────┘ ─▶ maps

Six maps: two of heat (a head in a helmet, a bare head), two of size (log of pixels / 16), two of
the centre's offset in cells. All of it learns, on windows that are drawn anew in every batch:
features made to find people tell less of heads that touch, bend down or are seen from behind.

Loss: the penalty-reduced focal loss of CenterNet (Zhou et al. 2019, arXiv 1904.07850, eq. 1) on the
heat, absolute error on size and offset at the centres. Where the labels do not say (the upper part
of a person without a label, a helmet that nobody wears) the heat has no loss.

Guarantees: offline, reads the folder and writes the output folder; only images of the training
side are looked at (split.py, the same division as for the classifiers); the same folder, seed and
machine give the same finder; weights are averaged over the last steps (exponentially, AVERAGE a
step).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from vision.detector import Detector
from vision.labels import LabelledImage, LabelsError
from vision.manifest import MODELS, read_model
from vision.people import PERSON, PICTURE, HeadFinder
from vision.train import backbone
from vision.train.corrections import Corrections
from vision.train.head_scenes import Scenes
from vision.train.head_windows import SIDE, Windows
from vision.train.layers import Mix, computes_in_halves
from vision.train.storing import store
from vision.train.targets import draw

NEAR, MIDDLE, WIDE, FAR = 48, 64, 96, 128
"""Channels at strides 4, 8, 16, 32 on the way back."""
STEPS, STEPS_FURTHER = 2400, 300
BATCH = 16
RATES = (3e-4, 2e-3)
"""Highest learning rates of the backbone and of what is new."""
GENTLE = 0.2
"""Of those, where training goes on from weights that know heads already."""
DECAY, CLIP = 2e-2, 5.0
AVERAGE = 0.004
BARE = 2.0
"""Weight of the rarer heat."""


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """steps: batches of 16 windows; 0: STEPS from nothing, STEPS_FURTHER from weights there are.

    start: folder of heads.onnx to go on from; None: from the person network.
    """

    steps: int = 0
    seed: int = 1
    start: Path | None = None
    corrections: Corrections = field(default_factory=dict)


class Step(nn.Module):
    """From one stride to the next finer one: what is there is added, and mixed."""

    def __init__(self, given: int, beside: int, out: int, reaches: tuple[int, ...]) -> None:
        super().__init__()
        self.down = _pointwise(given, out)
        self.beside = _pointwise(beside, out)
        self.mix = nn.Sequential(*(Mix(out, reach) for reach in reaches))

    def forward(self, x: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        """See the class. x: of half the size of `feature`."""
        x = functional.interpolate(self.down(x), scale_factor=2.0, mode="nearest")
        return self.mix(functional.relu(x + self.beside(feature)))


class HeadNet(nn.Module):
    """Pictures float[n, 3, h, w], normalised, sides multiples of 32 → maps[n, 6, h/4, w/4].

    Heat as logits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = backbone.Backbone()
        self.far = nn.Sequential(
            nn.Conv2d(backbone.CHANNELS, FAR, 3, 2, 1, bias=False),
            nn.BatchNorm2d(FAR),
            nn.ReLU(),
            *(Mix(FAR, 5) for _ in range(3)),
        )
        self.steps = nn.ModuleList(
            (
                Step(FAR, 256, WIDE, (5, 5)),
                Step(WIDE, 128, MIDDLE, (5,)),
                Step(MIDDLE, 64, NEAR, (5, 3)),
            )
        )
        self.leave = nn.Conv2d(NEAR, 6, 1)
        nn.init.constant_(self.leave.bias[:2], -4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        near, middle, wide = self.backbone.each(x)
        x = self.far(wide)
        for step, feature in zip(self.steps, (wide, middle, near), strict=True):
            x = step(x, feature)
        return self.leave(x)


def _pointwise(given: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, out, 1, bias=False), nn.BatchNorm2d(out))


def loss_of(out: torch.Tensor, maps: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Loss of a batch; maps and weight as `targets.draw` gives them."""
    heat = torch.sigmoid(out[:, :2]).clamp(1e-4, 1 - 1e-4)
    want = maps[:, :2]
    is_centre = (want == 1).float()
    each = weight[:, None] * torch.tensor([1.0, BARE]).view(1, 2, 1, 1)
    hit = is_centre * (1 - heat) ** 2 * torch.log(heat)
    miss = (1 - is_centre) * (1 - want) ** 4 * heat**2 * torch.log(1 - heat)
    count = is_centre.sum().clamp(min=1)
    focal = -((hit + miss) * each).sum() / count
    mask = maps[:, 6:7]
    shape = (torch.abs(out[:, 2:] - maps[:, 2:6]) * mask).sum() / mask.sum().clamp(min=1)
    return focal + 0.5 * shape


class Pupil:
    """One finder in training.

    detector: whose normalisation it is shown windows with.  person: the network it begins as the
    first half of.  start: an exported finder to go on from.
    """

    def __init__(self, detector: Detector, person: Path, start: Path | None, seed: int) -> None:
        torch.set_num_threads(1)  # two on a busy machine wait for each other: half as fast
        torch.manual_seed(seed)
        self._detector = detector
        self.net = HeadNet()
        backbone.fill(self.net.backbone, person)
        self._further = start is not None
        if start is not None:
            backbone.fill(self.net, start)
        self.net = self.net.to(memory_format=torch.channels_last)

    def learn(self, windows: Windows, steps: int) -> None:
        """Batches of BATCH windows; prints a line every 50 steps."""
        net = self.net
        rates = [rate * (GENTLE if self._further else 1.0) for rate in RATES]
        first = list(net.backbone.parameters())
        new = [one for part in (net.far, net.steps, net.leave) for one in part.parameters()]
        optimiser = torch.optim.AdamW(
            [{"params": part, "lr": rate} for part, rate in zip((first, new), rates, strict=True)],
            weight_decay=DECAY,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rates, total_steps=steps + 1, pct_start=0.12
        )
        average = {key: value.clone() for key, value in net.state_dict().items()}
        self._train()
        halves = computes_in_halves()
        total = 0.0
        for step in range(1, steps + 1):
            shown, maps, weight = self._batch(windows)
            with torch.autocast("cpu", torch.bfloat16, enabled=halves):
                out = net(shown)
            loss = loss_of(out.float(), maps, weight)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), CLIP)
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            _average(average, net, max(AVERAGE, 1 / step))
            if step % 50 == 0:
                print(f"step {step} of {steps}: loss {total / 50:.3f}", flush=True)
                total = 0.0
        net.load_state_dict(average)
        net.eval()

    def _train(self) -> None:
        """Go on as `fill` left it: folded normalisation is not measured anew."""
        self.net.train()
        if self._further:
            for one in self.net.modules():
                if isinstance(one, nn.BatchNorm2d):
                    one.eval()

    def _batch(self, windows: Windows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        drawn = [windows.draw() for _ in range(BATCH)]
        maps, weights = zip(*(draw(target, SIDE) for _, target in drawn), strict=True)
        shown = torch.from_numpy(self._detector.normalised([window for window, _ in drawn]))
        return (
            shown.to(memory_format=torch.channels_last),
            torch.from_numpy(np.stack(maps)),
            torch.from_numpy(np.stack(weights)),
        )


def _average(average: dict[str, torch.Tensor], net: HeadNet, share: float) -> None:
    """Move the averages by a share towards what the network has now; counters are taken over."""
    with torch.no_grad():
        for key, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].mul_(1 - share).add_(value, alpha=share)
            else:
                average[key].copy_(value)


def export(net: HeadNet, path: Path) -> None:
    """Write ONNX, opset 17, weights in 8 bits; heat comes out as probabilities."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            """See the class."""
            out = self.net(picture)
            return torch.cat((torch.sigmoid(out[:, :2]), out[:, 2:]), dim=1)

    net.eval()
    torch.onnx.export(
        Out().eval(),
        (torch.zeros(1, 3, SIDE, SIDE),),
        str(path),
        input_names=[PICTURE],
        output_names=["heads"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={
            PICTURE: {0: "batch", 2: "height", 3: "width"},
            "heads": {0: "batch", 2: "h", 3: "w"},
        },
    )
    store(path)


def learn_heads(
    images: Sequence[LabelledImage], detector: Detector, out: Path, settings: HeadSettings
) -> int:
    """Write OUT/heads.onnx and heads.toml; returns the count of pictures learned from."""
    before = (settings.start or MODELS) / "heads.onnx"
    finder = HeadFinder(read_model(before))
    made = Scenes(detector, finder, settings.corrections, finder.side)
    some = list(made.of(images))
    if not any(len(one.target.boxes) for one in some):
        raise LabelsError("heads: no picture of the training side has a labelled head.")
    pupil = Pupil(detector, PERSON, None if settings.start is None else before, settings.seed)
    steps = settings.steps or (STEPS if settings.start is None else STEPS_FURTHER)
    pupil.learn(Windows(some, np.random.default_rng(settings.seed)), steps)
    path = out / "heads.onnx"
    export(pupil.net, path)
    plan = (MODELS / "heads.toml").read_text(encoding="utf-8")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".toml").write_text(
        "# Manifest of a head finder trained by `plantgate vision train --heads`.\n"
        f'name = "heads"\ntask = "heads"\nfinds = "head"\nsha256 = "{digest}"\n'
        'licence = "of the images it was trained on"\nsource = "trained by vision/train"\n\n'
        + plan[plan.index("[input]") :],
        encoding="utf-8",
    )
    return len(some)


__all__ = ["HeadNet", "HeadSettings", "Pupil", "export", "learn_heads", "loss_of"]
