"""Cuts a picture into overlapping tiles, and makes one list of people of what each shows. Pure.

For people far off: the network sees a picture of 1920 pixels at 416, so that somebody of 60 pixels
is 13 high to it; in a tile of 520 pixels he is 48. The whole picture is looked at too, for whoever
is larger than a tile shows whole.

Guarantees:

- The tiles cover the picture, and whoever is not larger than the overlap stands wholly in at least
  one of them (`plan`).
- Nobody is counted twice or lost at a seam (`merge`): two parts of the picture mean the same person
  if they agree where both look, so half a person in one tile is the whole one of the next, and two
  halves without a whole are joined. The order of the parts does not matter.
- Two people whom one look told apart are never made one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vision.config import MOST_TILES, TilesConfig
from vision.postprocess import MOST_CANDIDATES, Detections, Float32Array

ENOUGH_PX = 24
"""Height in pixels of the network at which people are found about as well as larger ones: of those
found at a larger scale the shipped model found 95 % at 24 to 27, 84 % at 20 to 23, 43 % at 16 to 19
and 8 % at 12 to 15 (972 people of vtest.avi, scaled down; measured here)."""
WIDTH_SHARE = 0.6
"""Width of a person over the height, at most: standing people have 0.3 to 0.5."""
SAME = 0.5
"""Intersection over union, where both parts look, from which they mean the same person."""
WITHIN = 0.7
"""Share of a cut box inside a whole one from which it is a piece of that."""
EDGE_SHARE = 0.02
"""Share of a tile's shorter side within which a box touches its edge, and may go on beyond."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of the picture, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class Part:
    """What one look at one tile found, in pixels of the picture. whole: the tile is all of it."""

    tile: Tile
    found: Detections
    whole: bool = False


def plan(width: int, height: int, wanted: TilesConfig, side: int) -> tuple[Tile, ...]:
    """Tiles for a network of side × side; none where the whole picture shows enough.

    Of more than MOST_TILES by `least_person_px` the tiles are made larger until they are not.
    """
    if wanted.columns * wanted.rows > 1:
        tall = wanted.overlap_px or _shown_well(width, height, side)
        across = _by_count(width, wanted.columns, _overlap_across(tall))
        down = _by_count(height, wanted.rows, tall)
        return _grid(across, down)
    least = wanted.least_person_px
    while least:
        size = max(2, side * least // ENOUGH_PX)
        if size >= max(width, height):
            return ()
        tall = min(size // 2, wanted.overlap_px or _shown_well(width, height, side))
        across = _by_size(width, size, min(size // 2, _overlap_across(tall)))
        down = _by_size(height, size, tall)
        if len(across[0]) * len(down[0]) <= MOST_TILES:
            return _grid(across, down)
        least += 1
    return ()


def touching(
    tiles: Sequence[Tile],
    polygons: Sequence[Sequence[tuple[float, float]]],
    width: int,
    height: int,
) -> tuple[Tile, ...]:
    """Tiles in which somebody may stand in one of the zones (corners as fractions); all of none.

    Whoever is counted has the middle of the box's lower edge in a zone, and the tile that shows him
    whole holds that point.
    """
    if not polygons:
        return tuple(tiles)
    bounds = []
    for polygon in polygons:
        xs, ys = [x * width for x, _ in polygon], [y * height for _, y in polygon]
        bounds.append((min(xs), min(ys), max(xs), max(ys)))
    return tuple(
        tile
        for tile in tiles
        if any(
            tile.left <= right and left <= tile.left + tile.width
            and tile.top <= bottom and top <= tile.top + tile.height
            for left, top, right, bottom in bounds
        )
    )  # fmt: skip


def merge(parts: Sequence[Part]) -> Detections:
    """One box for each person.

    The first choice is a box that no edge cuts: of a tile, or of the whole picture where it is too
    large for the tiles; then a small one of the whole picture; then what cut boxes add up to.
    """
    boxes, scores, looks, tiles = _laid_out(parts)
    if not len(boxes):
        return Detections(boxes, scores)
    cut = _cut(boxes, tiles)
    alike = _alike(boxes, tiles, looks)
    piece = _inside(boxes) & (looks[:, None] != looks[None, :])
    kept: list[int] = []
    for row in np.flatnonzero(~cut).tolist():
        if not alike[row, kept].any():
            kept.append(row)
    left = [
        row
        for row in np.flatnonzero(cut).tolist()
        if not (alike[row, kept] | piece[row, kept]).any()
    ]
    joined = [boxes[kept]], [scores[kept]]
    for group in _components(left, alike):
        corners = np.concatenate((boxes[group, :2].min(axis=0), boxes[group, 2:].max(axis=0)))
        joined[0].append(corners[None])
        joined[1].append(scores[group].max(keepdims=True))
    found, sure = np.concatenate(joined[0]), np.concatenate(joined[1])
    order = np.lexsort((*found.T[::-1], -sure))[:MOST_CANDIDATES]
    return Detections(found[order], sure[order])


def _shown_well(width: int, height: int, side: int) -> int:
    """Height of the smallest person whom the network finds in the whole picture."""
    return math.ceil(ENOUGH_PX * max(width, height) / side)


def _overlap_across(tall: int) -> int:
    return math.ceil(WIDTH_SHARE * tall)


def _by_count(length: int, count: int, overlap: int) -> tuple[list[int], int]:
    """Starts and size of `count` tiles along one side."""
    size = min(length, math.ceil((length + (count - 1) * overlap) / count))
    return _starts(length, size, count if size < length else 1), size


def _by_size(length: int, size: int, overlap: int) -> tuple[list[int], int]:
    """Starts and size of as many tiles as it takes."""
    if size >= length:
        return [0], length
    return _starts(length, size, math.ceil((length - overlap) / (size - overlap))), size


def _starts(length: int, size: int, count: int) -> list[int]:
    """Evenly spread; two neighbours are at most the mean distance apart, rounded up."""
    return [round(i * (length - size) / max(1, count - 1)) for i in range(count)]


def _grid(across: tuple[list[int], int], down: tuple[list[int], int]) -> tuple[Tile, ...]:
    tiles = tuple(Tile(x, y, across[1], down[1]) for y in down[0] for x in across[0])
    return tiles if len(tiles) > 1 else ()


def _laid_out(
    parts: Sequence[Part],
) -> tuple[Float32Array, Float32Array, npt.NDArray[np.intp], Float32Array]:
    """Boxes, scores, number of the look and its tile, in an order that only they decide."""
    parts = sorted(parts, key=lambda part: (part.tile.box, part.whole))
    boxes = np.concatenate([p.found.boxes for p in parts] or [np.zeros((0, 4), np.float32)])
    scores = np.concatenate([p.found.scores for p in parts] or [np.zeros(0, np.float32)])
    looks = np.repeat(np.arange(len(parts)), [len(p.found) for p in parts])
    tiles = np.array([p.tile.box for p in parts], np.float32).reshape(-1, 4)[looks]
    whole = np.array([p.whole for p in parts], np.bool_)[looks]
    small = whole & _fits(boxes, parts)
    order = np.lexsort((looks, *boxes.T[::-1], -scores, small))
    return boxes[order], scores[order], looks[order], tiles[order]


def _fits(boxes: Float32Array, parts: Sequence[Part]) -> npt.NDArray[np.bool_]:
    """Tell of which boxes a tile would show all: it sees them better than the whole picture."""
    fits = np.zeros(len(boxes), np.bool_)
    for part in parts:
        if not part.whole:
            x1, y1, x2, y2 = part.tile.box
            fits |= (boxes[:, :2] >= (x1, y1)).all(axis=1) & (boxes[:, 2:] <= (x2, y2)).all(axis=1)
    return fits


def _cut(boxes: Float32Array, tiles: Float32Array) -> npt.NDArray[np.bool_]:
    """Tell which boxes touch an edge of their tile that is none of the picture."""
    edge = EDGE_SHARE * (tiles[:, 2:] - tiles[:, :2]).min(axis=1)[:, None]
    before = (tiles[:, :2] > 0) & (boxes[:, :2] - tiles[:, :2] <= edge)
    after = (tiles[:, 2:] < tiles[:, 2:].max(axis=0)) & (tiles[:, 2:] - boxes[:, 2:] <= edge)
    return np.asarray((before | after).any(axis=1))


def _alike(
    boxes: Float32Array, tiles: Float32Array, looks: npt.NDArray[np.intp]
) -> npt.NDArray[np.bool_]:
    """Tell which boxes of two looks mean one person: where both look, they show the same."""
    low = np.maximum(tiles[:, None, :2], tiles[None, :, :2])
    high = np.maximum(low, np.minimum(tiles[:, None, 2:], tiles[None, :, 2:]))
    one = np.clip(boxes[:, None, :2], low, high), np.clip(boxes[:, None, 2:], low, high)
    other = np.clip(boxes[None, :, :2], low, high), np.clip(boxes[None, :, 2:], low, high)
    shared = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    common = np.clip(shared, 0, None).prod(axis=2)
    either = (one[1] - one[0]).prod(axis=2) + (other[1] - other[0]).prod(axis=2) - common
    return np.asarray((common > 0) & (common >= SAME * either) & (looks[:, None] != looks[None, :]))


def _inside(boxes: Float32Array) -> npt.NDArray[np.bool_]:
    """Tell of which box i how much lies in box j: [i, j], WITHIN or more."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    return np.asarray(shared >= WITHIN * (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None])


def _components(rows: list[int], alike: npt.NDArray[np.bool_]) -> list[list[int]]:
    """Rows that mean one person, directly or by way of others."""
    waiting, groups = set(rows), []
    for row in rows:
        if row not in waiting:
            continue
        waiting.discard(row)
        group, edge = [row], [row]
        while edge:
            one = edge.pop()
            near = [other for other in sorted(waiting) if alike[one, other]]
            waiting.difference_update(near)
            group += near
            edge += near
        groups.append(group)
    return groups


__all__ = ["ENOUGH_PX", "Part", "Tile", "merge", "plan", "touching"]
