"""From the picture to the ground in metres, by points that somebody measured 地面标定. Pure.

Guarantees:

- A calibration that cannot be right is refused with one sentence: fewer than 4 points, a point
  twice, points on one line, points that do not fit together (and which one), a mirrored plan, a
  plan that a small error of pointing would overturn.
- What is seen at or above the horizon, further than `reach_m` outside the measured points, or not
  to within `error_m`, has no position: NaN, never a number.
- An error in metres goes with each position: of the box's lower edge, and of the calibration.

How: a plane seen by a camera without distortion is a homography, ground to picture, fitted by
least squares of the distances in the picture (direct linear transform, then Gauss-Newton). With
4 points it fits whatever was measured: only a fifth tells an error. The ground is a plan seen from
above, y to the left of x as north is of east; its origin and its directions are anybody's choice.
Picture coordinates are those of zones (vision/geometry.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.geometry import Corner, inside

Float64Array = npt.NDArray[np.float64]

LEAST_POINTS = 4
POINTING = 0.003
"""Standard error of a point in the picture, each way, as fraction of the frame: 2 of 640 pixels."""
MOST_OFF = 0.02
"""Distance in the picture by which a point may lie off the fit, in fractions of the frame: 13 of
640 pixels. Of the published calibration of a camera with a lens that bends by 2.5 % it is 0.004."""
_LINE = 0.02  # spread of points across a line, of that along it
_OVERTURNED = 0.15  # error of a point's place by POINTING, of the distance between the furthest two
_STEPS = 30


class GroundError(ValueError):
    """A calibration that cannot be used; one sentence says why, and what would be right."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where things stand.

    metres: float64[n, 2], NaN where there is no position.  error_m: standard error of it, of
    calibration and box.  jitter: float64[n, 2, 2], covariance in square metres of the part of the
    box alone, which differs from frame to frame.  across_m: metres that the frame's width is wide
    there, across the line of sight.
    """

    metres: Float64Array
    error_m: Float64Array
    jitter: Float64Array
    across_m: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """How well points fit.  off: float64[n], distances in the picture, fractions of the frame.

    off_m: the same on the ground, metres; infinite where the picture point lies beyond the horizon.
    """

    off: Float64Array
    off_m: Float64Array


class Ground:
    """Calibration of one camera.

    picture, metres: float64[n, 2], n >= 4.  Raises GroundError, unless the points merely do not fit
    well: then `misfit` says so, for whoever wants to look at it.
    """

    def __init__(
        self,
        picture: Float64Array,
        metres: Float64Array,
        *,
        reach_m: float = 15.0,
        error_m: float = 1.0,
    ) -> None:
        _check_points(picture, metres)
        self._reach_m = reach_m
        self._most_error_m = error_m
        self._middle = metres.mean(axis=0)
        self._scale = float(np.sqrt(np.square(metres - self._middle).sum(axis=1).mean()))
        self._hull = _hull(metres)
        plan = (metres - self._middle) / self._scale
        self._to_picture = _fitted(picture, plan)
        try:
            self._to_plan = np.linalg.inv(self._to_picture)
        except np.linalg.LinAlgError:
            raise GroundError(_OVERTURN.format(part="far")) from None
        self.fit = self._judge_fit(picture, metres)
        self.misfit = _misfit(picture, plan, self.fit)
        if not self.misfit:
            self._check_side(plan)
        self._spread = self._covariance(picture, plan)
        if not self.misfit:
            self._check_firm(metres)

    def where(self, points: Float64Array, jitter: Float64Array) -> Places:
        """Ground under points[n, 2] of the picture, whose standard errors jitter[n, 2] are."""
        plan, seen = self._plan_of(points)
        slopes = self._slopes(plan)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            turned = _inverses(slopes) * self._scale
            shaken = turned * jitter[:, None, :]
            own = shaken @ shaken.transpose(0, 2, 1)
            by_fit = turned @ self._parameter_slopes(plan)
            shared = np.einsum("nij,jk,nik->n", by_fit, self._spread, by_fit)
            error_m = np.sqrt(np.trace(own, axis1=1, axis2=2) + shared)
            metres = plan * self._scale + self._middle
            known = seen & (error_m <= self._most_error_m) & self._within_reach(metres)
        metres[~known] = np.nan
        across_m = np.sqrt(np.square(turned[:, :, 0]).sum(axis=1))
        return Places(metres, error_m, own, across_m)

    def picture_of(self, metres: Float64Array) -> Float64Array:
        """Where ground points[n, 2] are in the picture; NaN where they are behind the camera."""
        plan = (metres - self._middle) / self._scale
        seen = np.concatenate((plan, np.ones((len(plan), 1))), axis=1) @ self._to_picture.T
        with np.errstate(divide="ignore", invalid="ignore"):
            found = seen[:, :2] / seen[:, 2:]
        found[seen[:, 2] <= 0] = np.nan
        return found

    def apart_error_m(self, first: Float64Array, last: Float64Array) -> float:
        """Standard error, by the calibration, of the way from one ground point[2] to another."""
        plan = (np.stack((first, last)) - self._middle) / self._scale
        moved = _inverses(self._slopes(plan)) * self._scale @ self._parameter_slopes(plan)
        way = moved[1] - moved[0]
        return float(np.sqrt(np.trace(way @ self._spread @ way.T)))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Least x, least y, largest x, largest y of the measured points, metres."""
        low, high = self._hull.min(axis=0), self._hull.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    # -- of the plan, which is the ground moved and scaled -------------------------------------

    def _plan_of(self, points: Float64Array) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
        """Plan under picture points, and which of them lie below the horizon."""
        back = np.concatenate((points, np.ones((len(points), 1))), axis=1) @ self._to_plan.T
        with np.errstate(divide="ignore", invalid="ignore"):
            return back[:, :2] / back[:, 2:], back[:, 2] > 0

    def _slopes(self, plan: Float64Array) -> Float64Array:
        """How the picture changes with the plan, [n, 2, 2]."""
        h = self._to_picture
        full = np.concatenate((plan, np.ones((len(plan), 1))), axis=1) @ h.T
        w = full[:, 2, None, None]
        at = full[:, :2, None] / w
        return np.asarray((h[None, :2, :2] - at * h[None, 2:, :2]) / w)

    def _parameter_slopes(self, plan: Float64Array) -> Float64Array:
        """How the picture changes with the 8 parameters of the fit, [n, 2, 8]."""
        return _parameter_slopes(self._to_picture, plan)

    def _covariance(self, picture: Float64Array, plan: Float64Array) -> Float64Array:
        """Covariance of the 8 parameters: by what is left over, and by POINTING at least."""
        slopes = _parameter_slopes(self._to_picture, plan).reshape(-1, 8)
        left = float(np.square(self.fit.off).sum())
        spare = 2 * len(picture) - 8
        variance = max(POINTING**2, left / spare if spare else 0.0)
        normal = slopes.T @ slopes
        if not np.isfinite(normal).all() or np.linalg.cond(normal) > 1e15:
            raise GroundError(_OVERTURN.format(part="far"))
        return np.asarray(np.linalg.inv(normal) * variance)

    def _within_reach(self, metres: Float64Array) -> npt.NDArray[np.bool_]:
        near = np.nan_to_num(metres, nan=1e12, posinf=1e12, neginf=-1e12)
        return inside(near, self._hull) | (_distances(near, self._hull) <= self._reach_m)

    def _judge_fit(self, picture: Float64Array, metres: Float64Array) -> Fit:
        left = _left(self._to_picture, picture, (metres - self._middle) / self._scale)
        plan, seen = self._plan_of(picture)
        off_m = np.linalg.norm(plan * self._scale + self._middle - metres, axis=1)
        return Fit(np.linalg.norm(left, axis=1), np.where(seen, off_m, np.inf))

    def _check_side(self, plan: Float64Array) -> None:
        """Refuse a plan that no camera above it could see so."""
        depth = np.concatenate((plan, np.ones((len(plan), 1))), axis=1) @ self._to_picture[2]
        if (depth <= 0).any():
            raise GroundError(
                "no camera sees points that stand so: two of them are probably exchanged; the order"
                " does not matter, but picture and metres of a point belong together"
            )
        if np.linalg.det(self._to_picture) > 0:
            raise GroundError(
                "the plan is mirrored: seen from above, y has to run to the left of x, as north is"
                " to the left of east; exchange x and y of metres, or the sign of one of them"
            )

    def _check_firm(self, metres: Float64Array) -> None:
        """Refuse what a small error of pointing would overturn."""
        marks = np.concatenate((metres, self._middle[None]))
        plan = (marks - self._middle) / self._scale
        moved = _inverses(self._slopes(plan)) * self._scale @ self._parameter_slopes(plan)
        variances = np.einsum("nij,jk,nik->n", moved, self._spread, moved)
        error_m = float(np.sqrt(variances.max()))
        most_m = float(np.linalg.norm(metres[:, None] - metres[None], axis=2).max())
        if not error_m <= _OVERTURNED * most_m:
            raise GroundError(_OVERTURN.format(part=f"{error_m:.1f} m"))


_OVERTURN = (
    "an error of 0.003 of the picture in pointing at them moves places by {part}: take points that"
    " lie further apart in the picture, no three of four on one line"
)


def _check_points(picture: Float64Array, metres: Float64Array) -> None:
    count = len(picture)
    if count < LEAST_POINTS:
        raise GroundError(
            f"it takes at least {LEAST_POINTS} points of the ground, better 6, here are {count}"
        )
    for what, points in (("the picture", picture), ("the ground", metres)):
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        apart[np.diag_indices(count)] = np.inf
        one, other = np.unravel_index(int(apart.argmin()), apart.shape)
        if apart[one, other] < 1e-6 * max(1.0, float(np.abs(points).max())):
            raise GroundError(
                f"points {min(one, other) + 1} and {max(one, other) + 1} are one place on {what}"
            )
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[1] < _LINE * spread[0]:
            raise GroundError(
                f"the points lie on one line in {what}: take corners of an area, such as a"
                " truck's bay or a rectangle of floor tiles"
            )


def _fitted(picture: Float64Array, plan: Float64Array) -> Float64Array:
    """Homography plan → picture [3, 3], its last number 1; least squares in the picture."""
    ones, zeros = np.ones((len(plan), 1)), np.zeros((len(plan), 3))
    full = np.concatenate((plan, ones), axis=1)
    u, v = picture[:, 0, None], picture[:, 1, None]
    rows = np.concatenate(
        (np.hstack((full, zeros, -u * full)), np.hstack((zeros, full, -v * full)))
    )
    *_, right = np.linalg.svd(rows)
    found = right[-1].reshape(3, 3)
    if abs(found[2, 2]) < 1e-9 * np.abs(found).max():
        raise GroundError(_OVERTURN.format(part="far"))
    return _refined(picture, plan, np.asarray(found / found[2, 2]))


def _refined(picture: Float64Array, plan: Float64Array, start: Float64Array) -> Float64Array:
    """Gauss-Newton with damping, from the linear solution on."""
    found, damping = start, 1e-9
    left = _left(found, picture, plan)
    for _ in range(_STEPS):
        slopes = _parameter_slopes(found, plan).reshape(-1, 8)
        normal = slopes.T @ slopes
        normal[np.diag_indices(8)] *= 1.0 + damping
        if not np.isfinite(normal).all() or not np.isfinite(left).all():
            return start
        step = np.linalg.lstsq(normal, slopes.T @ left.ravel(), rcond=None)[0]
        tried = found + np.append(step, 0.0).reshape(3, 3)
        rest = _left(tried, picture, plan)
        if np.square(rest).sum() < np.square(left).sum():
            found, left, damping = tried, rest, max(damping / 10, 1e-12)
        else:
            damping = max(damping, 1e-6) * 10
        if np.abs(step).max() < 1e-12:
            break
    return found


def _left(to_picture: Float64Array, picture: Float64Array, plan: Float64Array) -> Float64Array:
    full = np.concatenate((plan, np.ones((len(plan), 1))), axis=1) @ to_picture.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(picture - full[:, :2] / full[:, 2:])


def _parameter_slopes(to_picture: Float64Array, plan: Float64Array) -> Float64Array:
    full = np.concatenate((plan, np.ones((len(plan), 1))), axis=1)
    seen = full @ to_picture.T
    with np.errstate(divide="ignore", invalid="ignore"):
        over = full / seen[:, 2:]
        at = seen[:, :2] / seen[:, 2:]
    slopes = np.zeros((len(plan), 2, 8))
    slopes[:, 0, 0:3] = over
    slopes[:, 1, 3:6] = over
    slopes[:, :, 6:8] = -at[:, :, None] * over[:, None, :2]
    return slopes


def _misfit(picture: Float64Array, plan: Float64Array, fit: Fit) -> str:
    """Why the points do not fit together; empty where they do."""
    if float(fit.off.max()) <= MOST_OFF:
        return ""
    worst = int(fit.off.argmax())
    alone = _liar(picture, plan) if len(plan) > LEAST_POINTS + 1 else None
    said = (
        f"the points do not fit together: point {worst + 1} lies {fit.off[worst]:.3f} of the"
        f" picture, {fit.off_m[worst]:.1f} m, from where all of them put it, and {MOST_OFF:g} is"
        " allowed"
    )
    if alone is not None:
        return f"{said}; without point {alone + 1} the others fit: measure it again"
    return (
        f"{said}; measure again, and use no points on steps, kerbs or in a bent picture's corners"
    )


def _liar(picture: Float64Array, plan: Float64Array) -> int | None:
    """The point without which the others fit, if there is one."""
    best, least = None, MOST_OFF
    for one in range(len(plan)):
        rest = np.arange(len(plan)) != one
        try:
            found = _fitted(picture[rest], plan[rest])
        except GroundError:
            continue
        off = float(np.linalg.norm(_left(found, picture[rest], plan[rest]), axis=1).max())
        if off <= least:
            best, least = one, off
    return best


def _inverses(slopes: Float64Array) -> Float64Array:
    """Inverses of [n, 2, 2]; infinite or NaN where there is none."""
    a, b, c, d = slopes[:, 0, 0], slopes[:, 0, 1], slopes[:, 1, 0], slopes[:, 1, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        over = 1.0 / (a * d - b * c)
        return np.stack((np.stack((d, -b), -1), np.stack((-c, a), -1)), 1) * over[:, None, None]


def _hull(points: Float64Array) -> Float64Array:
    """Convex hull, anticlockwise (monotone chain)."""
    ordered = sorted(map(tuple, points.tolist()))
    halves: list[list[Corner]] = []
    for run in (ordered, ordered[::-1]):
        half: list[Corner] = []
        for x, y in run:
            while len(half) > 1 and _turn(half[-2], half[-1], (x, y)) <= 0:
                half.pop()
            half.append((x, y))
        halves.append(half[:-1])
    return np.array(halves[0] + halves[1], np.float64)


def _turn(a: Corner, b: Corner, c: Corner) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _distances(points: Float64Array, polygon: Float64Array) -> Float64Array:
    """Distance of points[n, 2] from the outline of polygon[m, 2]."""
    start = polygon[None]
    way = np.roll(polygon, -1, axis=0)[None] - start
    along = ((points[:, None] - start) * way).sum(-1) / np.square(way).sum(-1)
    nearest = start + np.clip(along, 0.0, 1.0)[..., None] * way
    return np.asarray(np.linalg.norm(points[:, None] - nearest, axis=2).min(axis=1))
