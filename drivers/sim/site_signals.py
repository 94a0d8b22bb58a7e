"""Signals for the points of any site: plausible, quiet, and the same for the same seed. Pure.

Guarantees: `SiteSignals.values(second)` depends on seed, device, tag and second alone, so that a
point added to a table changes no other. A value stays within its point's alarm limits and range
(faults make alarms, signals do not), and within what its registers can hold; where nothing is said
about it, it moves between 20 and 80. Values are whole steps of what the device can express.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.sim.signals import Floats, mix, uniform

WORDS = ("AUTO", "MANUAL")
"""Values of texts; a text signal is 0 or 1 and stands for one of these."""

_DEFAULT_BAND = (20.0, 80.0)
_SLOW_S, _FAST_S, _HOLD_S = (300.0, 1800.0), (30.0, 120.0), (30.0, 600.0)
_SLOW, _FAST, _NOISE = 0.7, 0.2, 0.1
_DRAWS = 6


class Form(enum.Enum):
    """How a signal behaves."""

    NUMBER = enum.auto()
    TWO_STATES = enum.auto()


@dataclass(frozen=True, slots=True)
class SimPoint:
    """What the simulator has to know of a point, whatever its driver.

    value = raw * scale + offset. raw_low, raw_high: what the device can hold; whole: in whole
    numbers only. Limits and range in engineering units, None where there is none. rests_at: raw
    value that it holds unless a fault moves it, None for a signal that moves by itself.
    """

    tag: str
    form: Form = Form.NUMBER
    scale: float = 1.0
    offset: float = 0.0
    whole: bool = False
    raw_low: float = -1e30
    raw_high: float = 1e30
    low: float | None = None
    high: float | None = None
    range_low: float | None = None
    range_high: float | None = None
    rests_at: float | None = None


def band(point: SimPoint) -> tuple[float, float]:
    """Between which values a point moves undisturbed, both ends included."""
    bottom = point.low if point.low is not None else point.range_low
    top = point.high if point.high is not None else point.range_high
    if bottom is None and top is None:
        low, high = _DEFAULT_BAND
    elif bottom is None:
        assert top is not None  # noqa: S101  # for the type checker
        below = min(0.0, top - abs(top) - 1.0)
        low, high = below + 0.05 * (top - below), below + 0.3 * (top - below)
    elif top is None:
        above = bottom + max(abs(bottom), 1.0)
        low, high = bottom + 0.3 * (above - bottom), bottom + 0.8 * (above - bottom)
    elif point.low is None and point.high is not None:  # a gas detector is near its zero
        low, high = bottom + 0.01 * (top - bottom), bottom + 0.2 * (top - bottom)
    else:
        low, high = bottom + 0.25 * (top - bottom), bottom + 0.75 * (top - bottom)
    least, most = held(point)
    return min(max(low, least), most), min(max(high, least), most)


def held(point: SimPoint) -> tuple[float, float]:
    """Least and greatest value that the device can express."""
    ends = sorted(raw * point.scale + point.offset for raw in (point.raw_low, point.raw_high))
    return ends[0], ends[1]


class SiteSignals:
    """Signals of the points of one device."""

    def __init__(self, device: str, points: Sequence[SimPoint], seed: int) -> None:
        self.points = tuple(points)
        self.places = {point.tag: at for at, point in enumerate(self.points)}
        keys = np.array([_key(device, point.tag, seed) for point in points], np.uint64)
        self._keys = mix(keys.reshape(len(self.points)))
        draws = [self._draw(use) for use in range(_DRAWS)]
        self._slow_s, self._fast_s = _between(_SLOW_S, draws[0]), _between(_FAST_S, draws[1])
        self._slow_phase, self._fast_phase = draws[2], draws[3]
        self._hold_s = np.rint(_between(_HOLD_S, draws[4]))
        ends = np.array([band(point) for point in points], np.float64).reshape(-1, 2)
        self._middle, self._half = ends.mean(axis=1), (ends[:, 1] - ends[:, 0]) / 2.0
        self._two_states = np.array(
            [p.form is Form.TWO_STATES or p.rests_at is not None for p in points], np.bool_
        )
        states = np.array([_states(point) for point in points], np.float64).reshape(-1, 2)
        self._states = states
        self._scale = np.array([point.scale for point in points], np.float64)
        self._offset = np.array([point.offset for point in points], np.float64)
        self._whole = np.array([point.whole for point in points], np.bool_)
        self._raw_low = np.array([point.raw_low for point in points], np.float64)
        self._raw_high = np.array([point.raw_high for point in points], np.float64)

    def __len__(self) -> int:
        """Count of points."""
        return len(self.points)

    def values(self, second: int) -> Floats:
        """Engineering values `second` seconds after start, in order of the points."""
        slow = np.sin(2 * np.pi * (second / self._slow_s + self._slow_phase))
        fast = np.sin(2 * np.pi * (second / self._fast_s + self._fast_phase))
        noise = 2.0 * self._draw(_DRAWS, second) - 1.0
        moving = self._middle + self._half * (_SLOW * slow + _FAST * fast + _NOISE * noise)
        turn = np.floor(second / self._hold_s).astype(np.uint64)
        state = np.where(self._draw(_DRAWS + 1, turn) < 0.5, self._states[:, 0], self._states[:, 1])
        return np.where(self._two_states, state, moving)

    def raw(self, values: Floats) -> Floats:
        """What the device holds for these values: rounded and cut to what it can hold."""
        raw = (values - self._offset) / self._scale
        raw = np.where(self._whole, np.rint(raw), raw)
        return np.clip(raw, self._raw_low, self._raw_high)

    def _draw(self, use: int, turn: int | npt.NDArray[np.uint64] = 0) -> Floats:
        offset = np.uint64(use * 0x2545F4914F6CDD1D % 2**64)
        turns = np.broadcast_to(np.asarray(turn, np.uint64), self._keys.shape)
        return uniform(mix(self._keys + offset) + turns * np.uint64(0xDA942042E4DD58B5))


def _key(device: str, tag: str, seed: int) -> int:
    text = f"{seed}\0{device}\0{tag}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def _between(ends: tuple[float, float], drawn: Floats) -> Floats:
    return ends[0] + (ends[1] - ends[0]) * drawn


def _states(point: SimPoint) -> tuple[float, float]:
    """Values of a signal with two states; one of them twice where the other would be an alarm."""
    if point.rests_at is not None:
        value = point.rests_at * point.scale + point.offset
        return value, value
    off, on = point.offset, point.scale + point.offset
    low = -np.inf if point.low is None else point.low
    high = np.inf if point.high is None else point.high
    quiet = [state for state in (off, on) if low < state < high] or [off]
    return quiet[0], quiet[-1]


__all__ = ["WORDS", "Form", "SimPoint", "SiteSignals", "band", "held"]
