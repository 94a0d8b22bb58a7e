"""How a float64 becomes an int64 and comes back bit for bit. Pure.

Every point has one mode in a group of records; an encoder only ever widens it (in this order)
until the point's value comes back with the same bits:

    mode 0..12    decimal        value == q / 10**mode
    mode 16..22   decimal of f32 value == float64(float32(q / 10**(mode - 16)))
                  (a float32 register read into a float64 is no exact decimal)
    mode 32       float32 bits   value == float64(float32 with bits q)
    mode 33       float64 bits   always

NaN has no mode: it travels in a null mask and comes back as the canonical NaN.
q / 10**e is one correctly rounded IEEE 754 division on both sides, so it needs no tolerance.

Callers switch numpy's floating-point warnings off (`quiet`): values that overflow a mode are tried
on purpose, and found not to fit.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
ModeArray = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]

FIRST_F32_DECIMAL = 16
RAW_F32 = 32
RAW_F64 = 33
MODES = (*range(13), *range(FIRST_F32_DECIMAL, 23), RAW_F32, RAW_F64)
F32_DIGITS_LIMIT = 1 << 24
"""A float32 has 24 bits: a decimal that needs more says no more than the bits themselves."""


def quiet() -> np.errstate:
    """Context in which this module's arithmetic belongs."""
    return np.errstate(all="ignore")


def _scales() -> Float64Array:
    scales = np.ones(256)
    scales[:13] = 10.0 ** np.arange(13)
    scales[FIRST_F32_DECIMAL:23] = 10.0 ** np.arange(7)
    return scales


_SCALE = _scales()
_VALID = np.zeros(256, np.bool_)
_VALID[list(MODES)] = True


def valid_modes(modes: ModeArray) -> bool:
    """Tell whether every mode is one of the table."""
    return bool(_VALID[modes].all())


class Scaling:
    """The modes of a column, and what follows from them: made once, used for many columns.

    modes must not change afterwards. Overflows inside are meant: `fits` finds them.
    """

    __slots__ = ("_f32", "_raw", "_scale", "modes")

    def __init__(self, modes: ModeArray, scale: Float64Array | None = None) -> None:
        """scale: of these modes, where it is at hand."""
        self.modes = modes
        self._scale = _SCALE[modes] if scale is None else scale
        top = int(modes.max()) if len(modes) else 0
        self._f32: Positions | None = None
        self._raw: tuple[Positions, Positions] | None = None
        if top >= FIRST_F32_DECIMAL:
            self._f32 = ((modes >= FIRST_F32_DECIMAL) & (modes < RAW_F32)).nonzero()[0]
        if top >= RAW_F32:
            self._raw = (modes == RAW_F32).nonzero()[0], (modes == RAW_F64).nonzero()[0]

    def changed(self, at: Positions, modes: ModeArray) -> Scaling:
        """Scaling with other modes at some positions, made of this one."""
        after, scale = self.modes.copy(), self._scale.copy()
        after[at] = modes
        scale[at] = _SCALE[modes]
        return Scaling(after, scale)

    def to_integers(self, values: Float64Array) -> Int64Array:
        """Scale each value by its mode; meaningless where it does not fit."""
        scaled = values * self._scale
        integers = np.rint(scaled, scaled).astype(np.int64)
        if self._raw is not None:
            raw32, raw64 = self._raw
            integers[raw32] = values[raw32].astype(np.float32).view(np.int32)
            integers[raw64] = values[raw64].view(np.int64)
        return integers

    def from_integers(self, integers: Int64Array) -> Float64Array:
        """Undo `to_integers`: the only definition of what an integer means."""
        values: Float64Array = integers.astype(np.float64)  # a division would cast by pieces
        values /= self._scale
        if self._f32 is not None:
            values[self._f32] = values[self._f32].astype(np.float32)
        if self._raw is not None:
            raw32, raw64 = self._raw
            values[raw32] = integers[raw32].astype(np.int32).view(np.float32)
            values[raw64] = integers[raw64].view(np.float64)
        return values

    def fits(self, values: Float64Array, integers: Int64Array) -> npt.NDArray[np.bool_]:
        """Tell where the integers give back the very bits of the values."""
        exact: npt.NDArray[np.bool_]
        exact = self.from_integers(integers).view(np.int64) == values.view(np.int64)
        return exact


def wider_modes(values: Float64Array, modes: ModeArray) -> ModeArray:
    """For values that do not fit their mode: the first wider mode that fits each."""
    chosen = np.full(len(values), RAW_F64, np.uint8)
    left = np.ones(len(values), np.bool_)
    for mode in MODES[:-1]:
        candidates = (left & (modes < mode)).nonzero()[0]
        if not len(candidates):
            continue
        scaling = Scaling(np.full(len(candidates), mode, np.uint8))
        integers = scaling.to_integers(values[candidates])
        good = scaling.fits(values[candidates], integers)
        if FIRST_F32_DECIMAL <= mode < RAW_F32:
            good &= (integers <= F32_DIGITS_LIMIT) & (integers >= -F32_DIGITS_LIMIT)
        found = candidates[good]
        chosen[found] = mode
        left[found] = False
        if not left.any():
            break
    return chosen
