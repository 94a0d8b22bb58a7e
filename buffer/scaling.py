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
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
ModeArray = npt.NDArray[np.uint8]

FIRST_F32_DECIMAL = 16
RAW_F32 = 32
RAW_F64 = 33
MODES = (*range(13), *range(FIRST_F32_DECIMAL, 23), RAW_F32, RAW_F64)
F32_DIGITS_LIMIT = 1 << 24
"""A float32 has 24 bits: a decimal that needs more says no more than the bits themselves."""


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


def to_integers(values: Float64Array, modes: ModeArray) -> Int64Array:
    """Scale each value by its mode; meaningless where it does not fit (see `from_integers`)."""
    with np.errstate(all="ignore"):
        integers = np.rint(values * _SCALE[modes]).astype(np.int64)
        if len(modes) and modes.max() >= RAW_F32:
            raw32 = np.flatnonzero(modes == RAW_F32)
            integers[raw32] = values[raw32].astype(np.float32).view(np.int32)
            raw64 = np.flatnonzero(modes == RAW_F64)
            integers[raw64] = values[raw64].view(np.int64)
    return integers


def from_integers(integers: Int64Array, modes: ModeArray) -> Float64Array:
    """Undo `to_integers`: the only definition of what an integer means."""
    top = int(modes.max()) if len(modes) else 0
    with np.errstate(all="ignore"):
        values: Float64Array = integers / _SCALE[modes]
        if top < FIRST_F32_DECIMAL:
            return values
        narrow = np.flatnonzero((modes >= FIRST_F32_DECIMAL) & (modes < RAW_F32))
        values[narrow] = values[narrow].astype(np.float32)
        if top >= RAW_F32:
            raw32 = np.flatnonzero(modes == RAW_F32)
            values[raw32] = integers[raw32].astype(np.int32).view(np.float32)
            raw64 = np.flatnonzero(modes == RAW_F64)
            values[raw64] = integers[raw64].view(np.float64)
    return values


def fits(values: Float64Array, integers: Int64Array, modes: ModeArray) -> npt.NDArray[np.bool_]:
    """Tell where the integers give back the very bits of the values."""
    exact: npt.NDArray[np.bool_] = from_integers(integers, modes).view(np.int64) == values.view(
        np.int64
    )
    return exact


def wider_modes(values: Float64Array, modes: ModeArray) -> ModeArray:
    """For values that do not fit their mode: the first wider mode that fits each."""
    chosen = np.full(len(values), RAW_F64, np.uint8)
    left = np.arange(len(values))
    for mode in MODES[:-1]:
        candidates = left[modes[left] < mode]
        if not len(candidates):
            continue
        tried = np.full(len(candidates), mode, np.uint8)
        integers = to_integers(values[candidates], tried)
        good = fits(values[candidates], integers, tried)
        if FIRST_F32_DECIMAL <= mode < RAW_F32:
            good &= (integers <= F32_DIGITS_LIMIT) & (integers >= -F32_DIGITS_LIMIT)
        chosen[candidates[good]] = mode
        left = np.setdiff1d(left, candidates[good], assume_unique=True)
        if not len(left):
            break
    return chosen
