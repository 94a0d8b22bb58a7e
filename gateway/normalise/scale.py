"""Scale and range: raw values of a batch become engineering values 工程量.

Guarantees:

- FLOAT points: value = raw * scale + offset in float64. Where scale and offset are short decimals
  it is computed as (raw * a + b) / 10**k with integers a and b, one correctly rounded division of
  exact numbers: 123 * 0.1 gives 12.3, the double that "12.3" reads as, not 12.3000001. This is
  what lets the block codec store the column as small integers. The special case 1/10**k is
  raw / 10**k. Exact for |raw| < 2**32, which covers every register of up to 32 bits.
- INT and UINT points keep every bit. A scale or offset on one is refused at construction.
- A value below range_low or above range_high turns good quality into uncertain:out_of_range. It
  never changes the value, nor a quality that is already uncertain or bad, nor good:simulated
  (which says more: not for alarm). NaN is neither in nor out of range.
- NaN is no value: where the source calls it good or uncertain it becomes bad:sensor_fault, so that
  whoever waits for an alarm of that point is told that nobody can judge it. Infinity is a value.
- A batch with nothing to do is returned as the very same object; arrays that do not change are
  passed on as the same objects; nothing is written in place.

Planned once per points array (gateway/model/plan_cache.py); then up to eight numpy calls a batch.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from drivers.contract import SEVERITY_MASK, Batch, Quality, UInt16Array, ValueKind
from gateway.model.plan_cache import PlanCache
from gateway.model.point import Point

_Floats = npt.NDArray[np.float64]
_Numbers = npt.NDArray[np.float64] | npt.NDArray[np.int64] | npt.NDArray[np.uint64]
_Points = npt.NDArray[np.int32]

_MOST_FACTOR = 2**20  # times a 32-bit raw value is 2**52 ...
_MOST_TERM = 2**52  # ... plus this is 2**53: still an exact float64
_BAD = 0x8000
_MOST_DIGITS = 22  # 10**22 is the largest power of ten that a float64 holds exactly


@dataclass(frozen=True, slots=True)
class _Steps:
    """What to do with the columns of one points array; None where there is nothing to do."""

    factor: _Floats | None
    term: _Floats | None
    divisor: _Floats | None
    low: _Numbers | None
    high: _Numbers | None


class Normaliser:
    """Turns raw batches into batches of engineering values. Stateless but for its plans."""

    def __init__(self, points: Sequence[Point]) -> None:
        """Plan for these points. Raises ValueError that names every wrong point.

        Wrong are: a scale of 0 or not finite, an offset not finite, a scale or offset on a point
        that is not FLOAT, a range that is empty or not a number.
        """
        wrong = [text for point in points for text in _mistakes(point)]
        if wrong:
            raise ValueError("; ".join(wrong))
        size = 1 + max((point.id for point in points), default=0)
        self._known = np.zeros(size, np.bool_)
        self._terms = np.zeros((3, size), np.float64)  # factor, term, divisor
        self._terms[0::2] = 1.0
        self._low = np.full(size, -math.inf)
        self._high = np.full(size, math.inf)
        for point in points:
            self._known[point.id] = True
            self._terms[:, point.id] = _rational(point.scale, point.offset)
            if point.range_low is not None:
                self._low[point.id] = point.range_low
            if point.range_high is not None:
                self._high[point.id] = point.range_high
        self._plans = {
            "f": self._cache(np.dtype(np.float64), len(points)),
            "i": self._cache(np.dtype(np.int64), len(points)),
            "u": self._cache(np.dtype(np.uint64), len(points)),
        }

    def apply(self, batch: Batch) -> Batch:
        """Return the batch in engineering values; the same object if nothing changes.

        Raises ValueError for a batch that names a point this normaliser was not given: a value
        without its scale would be a wrong value.
        """
        values = batch.values
        if isinstance(values, tuple):
            return batch
        steps = self._plans[values.dtype.kind].of(batch.points)
        scaled = _scale(values, steps)
        quality = _without_nothing(scaled, _judge_range(scaled, batch.quality, steps))
        if scaled is values and quality is batch.quality:
            return batch
        return Batch(
            batch.points,
            scaled,
            quality,
            batch.source_time_ns,
            batch.gateway_time_ns,
            batch.sequence,
            batch.is_history,
        )

    def _cache(self, dtype: np.dtype[np.generic], point_count: int) -> PlanCache[_Steps]:
        return PlanCache(lambda ids: self._plan(ids, dtype), point_count=point_count)

    def _plan(self, ids: _Points, dtype: np.dtype[np.generic]) -> _Steps:
        unknown = (ids < 0) | (ids >= len(self._known))
        if unknown.any() or not self._known[ids].all():
            raise ValueError(f"batch names points outside the catalogue: {self._strangers(ids)}")
        factor, term, divisor = self._terms[:, ids]
        low, high = self._low[ids], self._high[ids]
        integer = dtype.kind in "iu"
        return _Steps(
            factor=None if integer or bool((factor == 1.0).all()) else factor,
            term=None if integer or not term.any() else term,
            divisor=None if integer or bool((divisor == 1.0).all()) else divisor,
            low=None if np.isneginf(low).all() else _bounds(low, dtype, math.ceil),
            high=None if np.isposinf(high).all() else _bounds(high, dtype, math.floor),
        )

    def _strangers(self, ids: _Points) -> list[int]:
        found = {int(i) for i in ids if not (0 <= i < len(self._known) and self._known[i])}
        return sorted(found)[:10]


def _mistakes(point: Point) -> list[str]:
    """Say what is wrong with a point's scale and range."""
    found = []
    if not (math.isfinite(point.scale) and math.isfinite(point.offset)) or point.scale == 0.0:
        found.append(
            f"{point.name}: scale {point.scale!r} and offset {point.offset!r} must be finite, "
            "the scale not 0"
        )
    elif point.kind is not ValueKind.FLOAT and (point.scale, point.offset) != (1.0, 0.0):
        found.append(
            f"{point.name}: a {point.kind.name.lower()} point keeps every bit and takes no scale "
            "or offset; remove them, or choose a type of up to 32 bits"
        )
    low = -math.inf if point.range_low is None else point.range_low
    high = math.inf if point.range_high is None else point.range_high
    if not low <= high:
        found.append(f"{point.name}: range {point.range_low!r} to {point.range_high!r} is empty")
    return found


def _rational(scale: float, offset: float) -> tuple[float, float, float]:
    """Give (factor, term, divisor) so that value = (raw * factor + term) / divisor.

    Decimal where both numbers are short enough for exact arithmetic, else (scale, offset, 1).
    """
    parts = [Decimal(repr(scale)).normalize(), Decimal(repr(offset)).normalize()]
    digits = max(0, *(-int(part.as_tuple().exponent) for part in parts))
    if digits > _MOST_DIGITS:
        return scale, offset, 1.0
    factor, term = (int(part.scaleb(digits)) for part in parts)
    if abs(factor) > _MOST_FACTOR or abs(term) > _MOST_TERM:
        return scale, offset, 1.0
    return float(factor), float(term), float(10**digits)


def _bounds(
    limits: _Floats, dtype: np.dtype[np.generic], round_to: Callable[[float], int]
) -> _Numbers:
    """Bounds in the column's own type, so that integers above 2**53 are compared exactly.

    A bound beyond the type's span is drawn to its end.
    """
    if dtype.kind == "f":
        return limits
    span = np.iinfo(dtype.name)
    exact = [
        (span.min if limit < 0 else span.max)
        if math.isinf(limit)
        else min(max(round_to(limit), span.min), span.max)
        for limit in limits.tolist()
    ]
    return np.array(exact, dtype)


def _scale(values: _Numbers, steps: _Steps) -> _Numbers:
    out = values
    if steps.factor is not None or steps.term is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # inf is the honest answer
            if steps.factor is not None:
                out = out * steps.factor
            if steps.term is not None:
                out = out + steps.term
    return out if steps.divisor is None else out / steps.divisor


def _judge_range(values: _Numbers, quality: UInt16Array, steps: _Steps) -> UInt16Array:
    """Turn good into uncertain:out_of_range; count_nonzero is the cheapest way to ask any()."""
    if steps.low is None:
        if steps.high is None:
            return quality
        outside = values > steps.high
    else:
        outside = values < steps.low
        if steps.high is not None:
            outside |= values > steps.high
    if not np.count_nonzero(outside):
        return quality
    outside &= ((quality & SEVERITY_MASK) == 0) & (quality != Quality.GOOD_SIMULATED)
    if not np.count_nonzero(outside):
        return quality
    return np.where(outside, np.uint16(Quality.UNCERTAIN_OUT_OF_RANGE), quality)


def _without_nothing(values: _Numbers, quality: UInt16Array) -> UInt16Array:
    """Turn into bad what is no number though its source calls it one."""
    if values.dtype.kind != "f":
        return quality
    nothing = np.isnan(values)
    if not np.count_nonzero(nothing):
        return quality
    nothing &= (quality & SEVERITY_MASK) < _BAD
    if not np.count_nonzero(nothing):
        return quality
    return np.where(nothing, np.uint16(Quality.BAD_SENSOR_FAULT), quality)
