"""Trains the helmet classifier: a trunk that knows ImageNet, gone on with on crops of heads.

A thousand kinds of things, many hats among them, are where it starts (trunk.py): what tells a cap
from a helmet is texture and shape, which a network that looks at scenes for people hardly needs.
Its first blocks, down to stride 4, stay as they are, the others learn, on views that are drawn anew
in every batch.

    crop 160 x 160 ─┬▶ its middle, 96 x 96 ─▶ trunk ─▶ near, 6 x 6 ─┬▶ worn, missing, cannot tell
                    └▶ halved, 80 x 80 ─────▶ trunk ─▶ wide, 5 x 5 ─┘

The trunk is one, looking twice: near tells a cap from a helmet, wide (the body below, the
neighbours) a head from a hand, from behind and half hidden too.

Guarantees: the seed decides everything, each network by itself, so one machine gives the same
weights again (where the processor computes in bfloat16, convolutions are learned in it: a fifth
less time); weights are averaged over the last steps (exponentially, AVERAGE a step).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from vision.crops import HEAD, NEAR, SIDE
from vision.detector import Detector
from vision.frames import Image
from vision.light import lit
from vision.people import CROPS
from vision.train import backbone, trunk
from vision.train.gather import CANNOT_TELL, MISSING, WORN, Crop
from vision.train.items import AVERAGE, LEAST_HEAT, Answered, Calibration
from vision.train.layers import computes_in_halves
from vision.train.storing import store
from vision.train.views import cover, crowd, middle, recolour, vary

Float32Array = npt.NDArray[np.float32]
BATCH = 64
WIDTH = 48
HELD = 3
"""First blocks of the trunk that stay as they are, and what is before them."""
RATES = (4e-4, 2e-3)
"""Highest learning rates of the trunk and of what is new."""
GENTLE = 0.2
"""Of those, where training goes on from weights that know heads already."""
SHARES = {WORN: 1.0, MISSING: 0.9, CANNOT_TELL: 1.4}
"""How often each kind is drawn."""
FOUND = {WORN: 2.0, MISSING: 15.0, CANNOT_TELL: 2.0}
"""How much oftener a crop as found is drawn than one drawn from a label, by kind."""
RECOLOURED = 0.5
"""Share of bare heads that are shown with hair of another colour: the few there are have dark."""
CROWDED = 0.25
"""Share of crops that are shown with somebody else's head touching the one in the middle."""
COVERED = 0.12
"""Share of crops with something before the head (views.py, cover)."""


class TunedNet(nn.Module):
    """Crops float[n, 3, 160, 160], normalised → logits[n, 3]: worn, missing, cannot tell."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = trunk.Trunk()
        self.near, self.wide = _narrow(), _narrow()
        cells = (NEAR // trunk.STRIDE) ** 2 + (SIDE["helmet"] // 2 // trunk.STRIDE) ** 2
        self.leave = nn.Sequential(
            nn.Linear(WIDTH * cells, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See the class."""
        edge = (SIDE["helmet"] - NEAR) // 2
        middle_of = x[:, :, edge : edge + NEAR, edge : edge + NEAR]
        near = self.trunk(middle_of.contiguous(memory_format=torch.channels_last))
        wide = self.trunk(functional.avg_pool2d(x, 2))
        return self.leave(torch.cat((self.near(near), self.wide(wide)), dim=1))


def _narrow() -> nn.Sequential:
    """What the trunk says, in fewer channels, cell by cell in one row."""
    return nn.Sequential(
        nn.Dropout2d(0.1),
        nn.Conv2d(trunk.CHANNELS, WIDTH, 1),
        nn.BatchNorm2d(WIDTH),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.4),
    )


class Pupil:
    """One network in training.

    detector: the person network, whose normalisation it is shown crops with.  begin: the published
    weights (published.SOURCE), or an exported classifier (.onnx) to go on from.
    """

    def __init__(self, detector: Detector, begin: Path, seed: int) -> None:
        torch.manual_seed(seed)
        self._detector = detector
        self._rng = np.random.default_rng(seed)
        self.net = TunedNet()
        self._share = 1.0
        if begin.suffix == ".onnx":
            self._share = GENTLE
            backbone.fill(self.net, begin)
        else:
            ends = [np.full((1, 1, 3), value, np.uint8) for value in (0, 255)]
            black, white = detector.normalised(ends)[:, :, 0, 0]
            trunk.fill(self.net.trunk, begin, black, white)
        self.net = self.net.to(memory_format=torch.channels_last)

    def learn(self, crops: Sequence[Crop], steps: int) -> None:
        """Batches of BATCH crops; prints a line every 100 steps."""
        kinds = np.array([crop.kind for crop in crops], np.intp)
        others = [crop for crop in crops if crop.found and crop.kind != CANNOT_TELL]
        share = _weights(crops, kinds)
        rates = [rate * self._share for rate in RATES]
        new = [self.net.near, self.net.wide, self.net.leave]
        parts = (
            self.net.trunk.learning(HELD),
            [one for part in new for one in part.parameters()],
        )
        optimiser = torch.optim.AdamW(
            [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True)],
            weight_decay=2e-2,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, rates, total_steps=steps + 1, pct_start=0.25
        )
        average = {key: value.clone() for key, value in self.net.state_dict().items()}
        self.net.train()
        halves = computes_in_halves()
        total = 0.0
        for step in range(1, steps + 1):
            some = self._rng.choice(len(crops), BATCH, p=share)
            shown = self._shown([self._varied(crops[row], crops, others) for row in some.tolist()])
            with torch.autocast("cpu", torch.bfloat16, enabled=halves):
                out = self.net(shown).float()
            loss = functional.cross_entropy(
                out, torch.from_numpy(kinds[some]), label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
            with torch.no_grad():
                for key, value in self.net.state_dict().items():
                    if value.dtype.is_floating_point:
                        average[key].mul_(1 - AVERAGE).add_(value, alpha=AVERAGE)
                    else:
                        average[key].copy_(value)
            if step % 100 == 0:
                print(f"step {step} of {steps}: loss {total / 100:.3f}", flush=True)
                total = 0.0
        self.net.load_state_dict(average)
        self.net.eval()

    def logits_of(self, crops: Sequence[Crop]) -> Float32Array:
        """Logits[n, 3] of crops as found."""
        found = [np.zeros((0, 3), np.float32)]
        with torch.no_grad():
            for start in range(0, len(crops), 128):
                shown = self._shown([middle(one.pixels) for one in crops[start : start + 128]])
                found.append(self.net(shown).numpy())
        return np.concatenate(found)

    def _varied(self, crop: Crop, crops: Sequence[Crop], others: Sequence[Crop]) -> Image:
        """As a camera might have shown it; beside others, whose heads may come in front.

        crops: of which parts may cover it.
        """
        pixels = crop.pixels
        if crop.kind == MISSING and self._rng.random() < RECOLOURED:
            pixels = recolour(pixels, HEAD, self._rng)
        if others and self._rng.random() < CROWDED:
            other = others[int(self._rng.integers(len(others)))]
            pixels = crowd(pixels, other.pixels, HEAD, self._rng)
        if self._rng.random() < COVERED:
            pixels = cover(pixels, crops[int(self._rng.integers(len(crops)))].pixels, self._rng)
        return vary(pixels, self._rng)

    def _shown(self, crops: Sequence[Image]) -> torch.Tensor:
        tensor = torch.from_numpy(self._detector.normalised([lit(crop) for crop in crops]))
        return tensor.to(memory_format=torch.channels_last)

    def answer(self, crops: Sequence[Crop]) -> Answered:
        """What it says of crops as found, the others left out."""
        asked = [crop for crop in crops if crop.found]
        return Answered(
            self.logits_of(asked),
            np.array([crop.heat for crop in asked], np.float32).reshape(-1, 2),
            np.array([crop.kind for crop in asked], np.intp),
        )


def _weights(crops: Sequence[Crop], kinds: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    often = np.array([FOUND[crop.kind] if crop.found else 1.0 for crop in crops])
    for kind, share in SHARES.items():
        mine = kinds == kind
        often[mine] *= share / max(1.0, float(often[mine].sum()))
    return np.asarray(often / often.sum(), np.float64)


def export(net: TunedNet, calibration: Calibration, path: Path) -> None:
    """Write ONNX, opset 17, weights in 8 bits (storing.py), giving calibrated probabilities."""

    class Out(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net
            self.heads = nn.Parameter(torch.from_numpy(calibration.heads))
            self.shift = nn.Parameter(torch.from_numpy(calibration.shift))

        def forward(self, crops: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
            """See TunedNet and Calibration."""
            out = self.net(crops) * calibration.sharpness
            out = out + torch.log(known.clamp(min=LEAST_HEAT)) @ self.heads + self.shift
            return functional.softmax(out, dim=1)

    names = [CROPS, "heat"]
    torch.onnx.export(
        Out().eval(),
        (torch.zeros(1, 3, SIDE["helmet"], SIDE["helmet"]), torch.full((1, 2), 0.5)),
        str(path),
        input_names=names,
        output_names=["probabilities"],
        opset_version=17,
        dynamo=False,
        dynamic_axes={name: {0: "batch"} for name in [*names, "probabilities"]},
    )
    store(path)


__all__ = ["Pupil", "TunedNet", "export"]
