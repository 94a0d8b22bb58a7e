"""Whether enough people stand within one circle, on the ground 聚集. Pure.

Exact: a circle that holds the most of them can be moved until two lie on its rim, or one is its
centre, so only those circles are looked at, never a grid. At most MOST of them are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]

MOST = 60
_ROUNDING_M = 1e-6


def together(places: Float64Array, radius_m: float) -> npt.NDArray[np.int64]:
    """Rows of places[n, 2] that the fullest circle of that radius holds; those with NaN never."""
    known = np.flatnonzero(np.isfinite(places).all(axis=1))[:MOST]
    if not len(known):
        return known
    at = places[known]
    centres = np.concatenate((at, _rims(at, radius_m)))
    far = np.linalg.norm(centres[:, None] - at[None], axis=2)
    held = far <= radius_m + _ROUNDING_M
    return np.asarray(known[held[int(held.sum(axis=1).argmax())]])


def _rims(at: Float64Array, radius_m: float) -> Float64Array:
    """Centres of circles through two points each."""
    first, last = np.triu_indices(len(at), 1)
    way = at[last] - at[first]
    length = np.linalg.norm(way, axis=1)
    near = (length <= 2 * radius_m) & (length > 0)
    middle, way, length = (at[first] + at[last])[near] / 2, way[near], length[near]
    side = np.stack((-way[:, 1], way[:, 0]), axis=1) / length[:, None]
    off = np.sqrt(np.maximum(0.0, radius_m**2 - np.square(length) / 4))[:, None] * side
    return np.concatenate((middle + off, middle - off))
