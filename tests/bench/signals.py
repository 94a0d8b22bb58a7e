"""The signals that every row about telemetry uses: a plant at 1 s, the same from the same seed.

70 % slow noisy analogs quantised to 0.1, 15 % constants, 15 % on/off: the mix of the simulated
devices (tests/fakes/modbus_server.py, mode signal). Synthetic: a real plant has its own ratio.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

NOISE = 3.0  # standard deviation of an analog's step, in quantisation steps
FLIP_RATIO = 0.01  # share of the on/off points that change each second


def seconds(points: int, seed: int = 1) -> Iterator[npt.NDArray[np.float64]]:
    """Values of all points, float64[points], one array a second, for ever."""
    random = np.random.default_rng(seed)
    share = np.arange(points) % 20
    analog, switch = share < 14, share >= 17
    level = random.uniform(1000, 9000, points)
    on = np.zeros(points, bool)
    while True:
        level += np.where(analog, random.normal(0.0, NOISE, points), 0.0)
        np.clip(level, 0, 65535, out=level)
        on ^= switch & (random.random(points) < FLIP_RATIO)
        yield np.where(switch, on, np.floor(level)) / 10
