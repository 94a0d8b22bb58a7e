"""Tiles: everybody stands whole in one, and nobody is doubled or lost where they meet."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.contract import Quality
from tests.bench.tiles import counted_frames, errors, main_streams
from tests.clips import clip_or_fail, drawn_clip
from tests.vision.recorder import WHOLE, camera, running
from vision.config import DEFAULT_MODEL, MOST_TILES, TilesConfig
from vision.detector import Detector
from vision.frames import Image
from vision.manifest import read_model
from vision.postprocess import Detections
from vision.tiles import Part, Tile, merge, plan, touching
from vision.tiling import TiledDetect

SIDE = 416
Box = tuple[int, int, int, int]
sizes = st.tuples(st.integers(300, 4000), st.integers(200, 2500))


@st.composite
def grids(draw: st.DrawFn) -> TilesConfig:
    overlap = draw(st.none() | st.integers(8, 150))
    if draw(st.booleans()):
        return TilesConfig(least_person_px=draw(st.integers(8, 200)), overlap_px=overlap)
    columns = draw(st.integers(1, 5))
    rows = draw(st.integers(2 if columns == 1 else 1, MOST_TILES // columns))
    return TilesConfig(columns=columns, rows=rows, overlap_px=overlap)


def holds(tile: Tile, box: Box) -> bool:
    x1, y1, x2, y2 = tile.box
    return x1 <= box[0] and y1 <= box[1] and box[2] <= x2 and box[3] <= y2


@given(sizes, grids(), st.data())
@example((3840, 2160), TilesConfig(least_person_px=8), None)
def test_whoever_is_not_larger_than_the_overlap_stands_whole_in_a_tile(
    size: tuple[int, int], wanted: TilesConfig, data: st.DataObject | None
) -> None:
    width, height = size
    tiles = plan(width, height, wanted, SIDE)
    assert len(tiles) <= MOST_TILES
    if not tiles:
        return
    for tile in tiles:
        assert holds(Tile(0, 0, width, height), tile.box)
    assert min(t.left for t in tiles) == min(t.top for t in tiles) == 0
    assert max(t.box[2] for t in tiles) == width
    assert max(t.box[3] for t in tiles) == height
    if data is None:
        return
    across, down = _overlaps(tiles)
    wide, tall = data.draw(st.integers(1, across)), data.draw(st.integers(1, down))
    x, y = data.draw(st.integers(0, width - wide)), data.draw(st.integers(0, height - tall))
    assert any(holds(tile, (x, y, x + wide, y + tall)) for tile in tiles)


def _overlaps(tiles: tuple[Tile, ...]) -> tuple[int, int]:
    """By how much neighbours overlap at least, across and down."""
    found = []
    for low, size in (("left", "width"), ("top", "height")):
        starts = sorted({getattr(tile, low) for tile in tiles})
        length = getattr(tiles[0], size)
        steps = [b - a for a, b in pairwise(starts)]
        found.append(length - max(steps, default=0))
    return max(1, found[0]), max(1, found[1])


@given(sizes, st.integers(1, 4), st.integers(2, 4), st.integers(8, 120))
def test_neighbours_overlap_by_what_was_asked_for(
    size: tuple[int, int], columns: int, rows: int, overlap: int
) -> None:
    wanted = TilesConfig(columns=columns, rows=rows, overlap_px=overlap)
    tiles = plan(*size, wanted, SIDE)
    if tiles:
        across, down = _overlaps(tiles)
        assert down >= min(overlap, size[1])
        assert across >= min(overlap // 2, size[0])


@given(st.integers(500, 4000), st.integers(10, 60))
def test_the_smallest_person_is_large_enough_for_the_network(width: int, least: int) -> None:
    height = width * 9 // 16
    tiles = plan(width, height, TilesConfig(least_person_px=least), SIDE)
    if 0 < len(tiles) < MOST_TILES // 2:
        assert SIDE / max(tiles[0].width, tiles[0].height) * least >= 23.5


def test_a_picture_that_shows_enough_is_not_cut() -> None:
    assert plan(640, 360, TilesConfig(least_person_px=60), SIDE) == ()
    assert plan(1, 1, TilesConfig(columns=2), SIDE) == ()


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[Tile, ...], list[Box]]:
    """A picture, its tiles, and people who stand apart from each other."""
    width, height = draw(st.integers(600, 2000)), draw(st.integers(400, 1200))
    wanted = TilesConfig(
        columns=draw(st.integers(2, 4)),
        rows=draw(st.integers(1, 3)),
        overlap_px=draw(st.integers(40, 120)),
    )
    people: list[Box] = []
    for _ in range(draw(st.integers(0, 8))):
        tall = draw(st.integers(12, 350))
        wide = max(6, round(tall * draw(st.floats(0.3, 0.6))))
        x, y = draw(st.integers(0, width - wide)), draw(st.integers(0, height - tall))
        box = (x, y, x + wide, y + tall)
        if all(_apart(box, other) for other in people):
            people.append(box)
    return (width, height), plan(width, height, wanted, SIDE), people


def _apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def shown(
    size: tuple[int, int], tiles: tuple[Tile, ...], people: list[Box], coarse_px: int, share: float
) -> list[Part]:
    """What a network that makes no mistake says of each part.

    It finds in the whole picture whoever is at least `coarse_px` tall, and in a tile everybody of
    whom it shows at least `share`, as far as it shows him.
    """
    whole = [box for box in people if box[3] - box[1] >= coarse_px]
    parts = [Part(Tile(0, 0, *size), _found(whole), whole=True)]
    for tile in tiles:
        x1, y1, x2, y2 = tile.box
        seen = []
        for box in people:
            cut = (max(box[0], x1), max(box[1], y1), min(box[2], x2), min(box[3], y2))
            if cut[2] <= cut[0] or cut[3] <= cut[1]:
                continue
            area = (cut[2] - cut[0]) * (cut[3] - cut[1])
            if area >= share * (box[2] - box[0]) * (box[3] - box[1]):
                seen.append(cut)
        parts.append(Part(tile, _found(seen)))
    return parts


def _found(boxes: list[Box]) -> Detections:
    scores = np.linspace(0.9, 0.5, len(boxes), dtype=np.float32)
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), scores)


@given(scenes(), st.floats(0.05, 0.6))
@example(  # cut by both seams, and larger than the overlap
    ((600, 400), plan(600, 400, TilesConfig(columns=2, rows=2, overlap_px=40), SIDE),
     [(220, 30, 400, 380)]), 0.05)  # fmt: skip
def test_each_person_is_one_box_where_the_whole_picture_shows_the_large(
    scene: tuple[tuple[int, int], tuple[Tile, ...], list[Box]], share: float
) -> None:
    size, tiles, people = scene
    merged = merge(shown(size, tiles, people, 24, share))
    assert sorted(map(tuple, merged.boxes.tolist())) == sorted(people)


@given(scenes())
def test_each_person_is_one_box_also_where_only_tiles_show_him(
    scene: tuple[tuple[int, int], tuple[Tile, ...], list[Box]],
) -> None:
    size, tiles, people = scene
    merged = merge(shown(size, tiles, people, 10_000, 0.0))
    assert sorted(map(tuple, merged.boxes.tolist())) == sorted(people)


@given(scenes(), st.integers(0, 1 << 30), st.floats(0.0, 0.9))
def test_the_order_of_the_parts_does_not_matter(
    scene: tuple[tuple[int, int], tuple[Tile, ...], list[Box]], seed: int, share: float
) -> None:
    size, tiles, people = scene
    parts = shown(size, tiles, people, 60, share)
    mixed = list(parts)
    random.Random(seed).shuffle(mixed)
    one, other = merge(parts), merge(mixed)
    assert one.boxes.tolist() == other.boxes.tolist()
    assert one.scores.tolist() == other.scores.tolist()
    assert (np.diff(one.scores) <= 0).all()


def test_two_whom_one_look_tells_apart_stay_two() -> None:
    whole, tile = Tile(0, 0, 800, 400), Tile(0, 0, 420, 400)
    couple: list[Box] = [(100, 100, 140, 200), (118, 104, 160, 204)]
    merged = merge([Part(whole, _found(couple), whole=True), Part(tile, _found(couple))])
    assert sorted(map(tuple, merged.boxes.tolist())) == sorted(couple)


def test_tiles_where_nobody_of_a_zone_can_stand_are_left_out() -> None:
    tiles = plan(1000, 500, TilesConfig(columns=4, rows=1, overlap_px=40), SIDE)
    left_third = [(0.0, 0.0), (0.3, 0.0), (0.3, 1.0)]
    assert touching(tiles, [left_third], 1000, 500) == tiles[:2]
    assert touching(tiles, [], 1000, 500) == tiles


@pytest.mark.parametrize(
    ("given_keys", "sentence"),
    [
        ({}, "give either least_person_px, or columns and rows"),
        ({"columns": 2, "least_person_px": 20}, "give either least_person_px"),
        ({"columns": 5, "rows": 4}, "5 columns and 4 rows are 20 tiles, each a whole inference"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(given_keys: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TilesConfig.model_validate(given_keys)


class Eyes:
    """Counts its looks; finds one person at each of the places that hold a bright square."""

    def __init__(self) -> None:
        self.looks = 0

    def part(self, image: Image, _: float) -> Detections:
        self.looks += 1
        ys, xs = np.nonzero(image[:, :, 0] > 200)
        if not len(xs):
            return _found([])
        return _found([(int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)])

    def whole(self, image: Image, _: float) -> tuple[Detections, np.ndarray]:
        return _found([]), image[:, :, 1]


def rig(**changes: object) -> tuple[TiledDetect, Eyes, list[int]]:
    eyes, clock = Eyes(), [10_000_000_000]
    config = camera("clip.avi", tiles={"columns": 2, "rows": 1, "overlap_px": 60}, **changes)
    return TiledDetect(config, eyes.whole, eyes.part, SIDE, lambda: clock[0]), eyes, clock


def test_a_tile_in_which_nothing_moves_is_spared_after_two_looks_that_agree() -> None:
    tiled, eyes, clock = rig(motion_floor_s=1.0)
    picture = np.full((400, 1000, 3), 90, np.uint8)
    picture[100:160, 100:130] = 255
    for _ in range(6):  # what moved last lingers for a second
        tiled.detect(picture, 0.3)
        clock[0] += 250_000_000
    eyes.looks, before = 0, tiled.statistics()["tiles_spared"]
    counts = []
    for number in range(8):
        picture[100:160, 800 + 8 * number : 830 + 8 * number] = 255
        found, _ = tiled.detect(picture, 0.3)
        counts.append(len(found))
        clock[0] += 250_000_000
        picture[100:160, 800 + 8 * number : 830 + 8 * number] = 90
    assert counts == [2] * 8, "whoever does not move is still there"
    assert eyes.looks < 16
    assert tiled.statistics()["tiles_spared"] - before == 16 - eyes.looks


def test_what_one_look_at_a_still_tile_shows_is_never_repeated() -> None:
    tiled, eyes, clock = rig(motion_floor_s=1.0)
    picture = np.full((400, 1000, 3), 90, np.uint8)
    for _ in range(20):
        tiled.detect(picture, 0.3)
        clock[0] += 250_000_000
    clock[0] += 2_000_000_000
    ghost = picture.copy()
    ghost[200, 100] = 255  # one pixel between the samples of the gate: no movement
    assert len(tiled.detect(ghost, 0.3)[0]) == 1, "the look at the floor"
    before = eyes.looks
    clock[0] += 250_000_000
    assert len(tiled.detect(picture, 0.3)[0]) == 0
    assert eyes.looks > before


def test_a_picture_of_another_size_is_cut_anew() -> None:
    tiled, _, _ = rig()
    tiled.detect(np.zeros((400, 1000, 3), np.uint8), 0.3)
    before = tiled.tiles
    tiled.detect(np.zeros((500, 800, 3), np.uint8), 0.3)
    assert before != tiled.tiles
    assert max(tile.box[2] for tile in tiled.tiles) == 800


def test_a_zone_that_covers_everything_keeps_every_tile() -> None:
    tiled, _, _ = rig(zone=[{"name": "z", "polygon": WHOLE}])
    tiled.detect(np.zeros((400, 1000, 3), np.uint8), 0.3)
    assert len(tiled.tiles) == 2


async def test_a_camera_with_tiles_says_how_many_it_looks_at(tmp_path: Path) -> None:
    clip = str(drawn_clip(tmp_path / "yard.avi"))
    async with running(camera(clip, tiles={"columns": 2, "rows": 2})) as seen:
        await seen.until(lambda: seen.source.statistics().get("tiles_looked", 0) > 0)
        await seen.until(lambda: Quality.GOOD in seen.qualities())
    assert seen.source.statistics()["tiles"] == 4
    said = seen.event("vision.tiles")
    assert (
        "the picture of 320 x 240 pixels is looked at in 4 tiles of 166 x 130 as well" in said.text
    )
    assert said.attributes == {"tiles": 4, "least_person_px": 10}


def test_people_far_off_in_a_main_stream_are_counted_with_tiles_only() -> None:
    """Six frames counted by eye make one picture; the whole set is in tests/bench/tiles.py."""
    (picture,) = main_streams(counted_frames(clip_or_fail(), most=6))
    detector = Detector(read_model(DEFAULT_MODEL))
    alone = errors(detector, [picture], {})
    tiled = errors(detector, [picture], {"columns": 3, "rows": 2})
    assert picture.people >= 20
    assert alone.mean >= 0.8 * picture.people
    assert tiled.mean <= 0.2 * picture.people
