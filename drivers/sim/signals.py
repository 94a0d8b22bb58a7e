"""Signals of the simulated plant: the same seed and second always give the same values.

Guarantees: `Plant.values(second)` is a pure function of count, seed and second, at any second in
any order; every value is a whole number of tenths, as transmitters and control systems round.

Of every ten signals seven are slow analogs (two sines and noise), one is a step (a set point that
moves now and then), one a gas detector, one a contact. Gas concentrations stay below 2.5 %LEL but
for excursions of 45 seconds; at the whole plant one begins about every 90 s, the first
after FIRST_EXCURSION_S. The first of each detector reaches 30 or 60 %LEL, so that alarms come soon
whatever the seed; later ones draw their height. One analog in a hundred, a level, swings through
its limits.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NAMESPACE = "urn:plantgate:sim"
"""OPC UA namespace of the tags."""
FIRST_EXCURSION_S = 10
_RISE_S, _HOLD_S, _FALL_S = 15.0, 10.0, 20.0
_BETWEEN_FIRST_S = 17


class Form(enum.Enum):
    """How a signal behaves."""

    ANALOG = enum.auto()
    STEP = enum.auto()
    GAS = enum.auto()
    CONTACT = enum.auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """Alarm limits of a signal; None where there is none."""

    low_low: float | None = None
    low: float | None = None
    high: float | None = None
    high_high: float | None = None
    deadband: float = 0.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal: tag in the manner of ISA-5.1, unit, what it is, limits."""

    tag: str
    form: Form
    unit: str
    description: str
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class _Family:
    """A kind of analog: mean and swing are drawn uniformly from these."""

    letters: str
    unit: str
    description: str
    mean: tuple[float, float]
    swing: tuple[float, float]


_FAMILIES = (
    _Family("TI", "°C", "Temperature 温度", (40.0, 180.0), (1.0, 12.0)),
    _Family("PI", "kPa", "Pressure 压力", (200.0, 1500.0), (5.0, 40.0)),
    _Family("LI", "%", "Level 液位", (45.0, 55.0), (2.0, 15.0)),
    _Family("FI", "m³/h", "Flow 流量", (50.0, 300.0), (2.0, 20.0)),
)
_LEVEL_LIMITS = Limits(low_low=10.0, low=20.0, high=80.0, high_high=90.0, deadband=1.0)
_GAS_LIMITS = Limits(high=25.0, high_high=50.0, deadband=1.0)
_WIDE_SWING = 33.0  # a mean of 45 to 55 and this reaches 80, seldom 90

_MEAN, _SLOW, _FAST, _SLOW_S, _FAST_S, _SLOW_PHASE, _FAST_PHASE, _HOLD, _PERIOD, _NOISE = range(10)


class Plant:
    """`count` signals; `seed` decides everything that is drawn."""

    def __init__(self, count: int, seed: int) -> None:
        """Raises ValueError for a negative count or seed."""
        if count < 0 or seed < 0:
            raise ValueError(f"count and seed are 0 or more, not {count} and {seed}")
        self._seed = seed
        index = np.arange(count, dtype=np.int64)
        place = index % 10
        self.analog: Indices = index[place < 7]
        self.step: Indices = index[place == 7]
        self.gas: Indices = index[place == 8]
        self.contact: Indices = index[place == 9]
        self.signals = tuple(_signal(i) for i in range(count))
        self._mean, self._swing = self._draw_analogs()
        busy = max(1.0, len(self.gas) / 4.0)  # of four detectors one leaks every 90 s
        self._gas_period_s = np.rint(busy * (240.0 + 240.0 * self._draw(self.gas, _PERIOD)))
        self._gas_first_s = FIRST_EXCURSION_S + _BETWEEN_FIRST_S * np.arange(len(self.gas))

    def __len__(self) -> int:
        """Count of signals."""
        return len(self.signals)

    def values(self, second: int) -> Floats:
        """Values of all signals `second` seconds after start, in order of `signals`."""
        out = np.empty(len(self), np.float64)
        out[self.analog] = self._analogs(second)
        out[self.step] = 12.5 * np.floor(8.0 * self._held(self.step, second, 60.0, 900.0))
        out[self.gas] = self._gas(second)
        out[self.contact] = self._held(self.contact, second, 30.0, 600.0) < 0.5
        return np.rint(out * 10.0) / 10.0

    def _draw_analogs(self) -> tuple[Floats, Floats]:
        families = [_FAMILIES[i % len(_FAMILIES)] for i in self.analog.tolist()]
        means = np.array([family.mean for family in families], np.float64).reshape(-1, 2)
        swings = np.array([family.swing for family in families], np.float64).reshape(-1, 2)
        mean = means[:, 0] + (means[:, 1] - means[:, 0]) * self._draw(self.analog, _MEAN)
        swing = swings[:, 0] + (swings[:, 1] - swings[:, 0]) * self._draw(self.analog, _SLOW)
        return mean, np.where(_is_wide(self.analog), _WIDE_SWING, swing)

    def _analogs(self, second: int) -> Floats:
        slow_s = 300.0 + 3300.0 * self._draw(self.analog, _SLOW_S)
        fast_s = 30.0 + 270.0 * self._draw(self.analog, _FAST_S)
        slow = np.sin(2 * np.pi * (second / slow_s + self._draw(self.analog, _SLOW_PHASE)))
        fast = np.sin(2 * np.pi * (second / fast_s + self._draw(self.analog, _FAST_PHASE)))
        noise = self._draw(self.analog, _NOISE, second) - 0.5
        return self._mean + self._swing * slow + 0.05 * self._swing * (fast + noise)

    def _held(self, which: Indices, second: int, least_s: float, most_s: float) -> Floats:
        """Uniform in [0, 1), drawn anew at each signal's own period."""
        period_s = np.rint(least_s + (most_s - least_s) * self._draw(which, _PERIOD))
        return self._draw(which, _HOLD, np.floor(second / period_s).astype(np.int64))

    def _gas(self, second: int) -> Floats:
        background = 2.5 * self._draw(self.gas, _NOISE, second // 5)
        since = second - self._gas_first_s
        cycle = np.floor(since / self._gas_period_s).astype(np.int64)
        moment = since - cycle * self._gas_period_s
        drawn = 10.0 + 60.0 * self._draw(self.gas, _FAST, cycle)
        first = np.where(np.arange(len(self.gas)) % 2 == 0, 30.0, 60.0)
        height = np.where(cycle == 0, first, drawn)
        shape = np.interp(
            moment, [0.0, _RISE_S, _RISE_S + _HOLD_S, _RISE_S + _HOLD_S + _FALL_S], [0, 1, 1, 0]
        )
        return np.where(cycle >= 0, np.maximum(background, height * shape), background)

    def _draw(self, which: Indices, use: int, turn: int | Indices = 0) -> Floats:
        """Uniform numbers in [0, 1) for (seed, signal, use, turn): splitmix64 of a mixed key.

        Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
        """
        turns = np.broadcast_to(np.asarray(turn, np.int64), which.shape).astype(np.uint64)
        offset = np.uint64((self._seed * 0xD1342543DE82EF95 + use * 0x2545F4914F6CDD1D) % 2**64)
        key = which.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + offset
        return uniform(mix(key) + turns * np.uint64(0xDA942042E4DD58B5))


def _signal(index: int) -> Signal:
    place, number = index % 10, index + 1
    if place == 7:
        return Signal(f"ZI-{number:05d}", Form.STEP, "%", "Valve position 阀位")
    if place == 8:
        return Signal(f"AT-{number:05d}", Form.GAS, "%LEL", "Combustible gas 可燃气体", _GAS_LIMITS)
    if place == 9:
        return Signal(f"XS-{number:05d}", Form.CONTACT, "", "Pump runs 泵运行")
    family = _FAMILIES[index % len(_FAMILIES)]
    limits = _LEVEL_LIMITS if family.letters == "LI" else Limits()
    tag = f"{family.letters}-{number:05d}"
    return Signal(tag, Form.ANALOG, family.unit, family.description, limits)


def _is_wide(index: Indices) -> npt.NDArray[np.bool_]:
    # A level: 2 is LI in _FAMILIES, and 100 is a multiple of its length.
    return np.equal(index % 100, 2)


def mix(key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Spread keys over all 64 bits (the finaliser of splitmix64)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


def uniform(key: npt.NDArray[np.uint64]) -> Floats:
    """Uniform numbers in [0, 1), one for each key."""
    return (mix(key) >> np.uint64(11)).astype(np.float64) * 2.0**-53
