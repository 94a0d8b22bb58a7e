"""The block codec: round trips of anything, order, limits, hostile bytes, size."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buffer.block import (
    BlockDecoder,
    BlockEncoder,
    BlockError,
    ColumnBatch,
    block_header,
    check_batch,
)
from buffer.contract import Columns
from buffer.scaling import Scaling, quiet, wider_modes

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
TIMES = st.one_of(st.integers(10**18, 10**18 + 10**12), INT64)
NASTY = [0.0, -0.0, 5e-324, float("inf"), float("-inf"), 1e300, -1e300, 0.1, 1 / 3, 2.0**53 + 2]
NASTY += [
    float("nan"),
    struct.unpack("<f", struct.pack("<f", 23.7))[0],
    1e-12,
    -9.223372036854776e18,
]
NASTY += [struct.unpack("<d", b"\x01\0\0\0\0\0\xf0\x7f")[0], 16777217.0, 1e15 + 0.3, -0.05]
FLOATS = st.one_of(
    st.sampled_from(NASTY),
    st.floats(),
    st.floats(width=32),
    st.integers(-(10**6), 10**6).map(lambda number: number / 10),
)
CATALOGUE = bytes(range(32))


@st.composite
def columns(draw: st.DrawFn, count: int) -> Columns:
    kind = draw(st.sampled_from(["float", "int", "uint", "text"]))
    if kind == "float":
        return np.array(draw(st.lists(FLOATS, min_size=count, max_size=count)), np.float64)
    if kind == "int":
        return np.array(draw(st.lists(INT64, min_size=count, max_size=count)), np.int64)
    if kind == "uint":
        item = st.integers(0, (1 << 64) - 1)
        return np.array(draw(st.lists(item, min_size=count, max_size=count)), np.uint64)
    return tuple(draw(st.lists(st.text(max_size=5), min_size=count, max_size=count)))


@st.composite
def batches(draw: st.DrawFn) -> list[list[ColumnBatch]]:
    """Blocks of batches over a few arrays of points, some of them the same object."""
    point = st.one_of(st.integers(0, 12), st.integers(-(1 << 31), (1 << 31) - 1))
    layouts = [
        np.array(points, np.int32)
        for points in draw(st.lists(st.lists(point, max_size=8), min_size=1, max_size=3))
    ]
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        block = []
        for _ in range(draw(st.integers(1, 4))):
            points = draw(st.sampled_from(layouts))
            if draw(st.booleans()):
                points = points.copy()
            count = len(points)
            source: npt.NDArray[np.int64] | int = draw(TIMES)
            if draw(st.booleans()):
                source = np.array(draw(st.lists(TIMES, min_size=count, max_size=count)), np.int64)
            quality = draw(st.lists(st.integers(0, 0xFFFF), min_size=count, max_size=count))
            values = draw(columns(count))
            block.append(
                ColumnBatch(points, values, np.array(quality, np.uint16), source, draw(TIMES))
            )
        blocks.append(block)
    return blocks


def assert_same(got: list[ColumnBatch], given_: list[ColumnBatch]) -> None:
    assert len(got) == len(given_)
    for one, other in zip(got, given_, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.quality, other.quality)
        np.testing.assert_array_equal(one.source_time_ns, other.source_time_ns)
        assert isinstance(one.source_time_ns, int) == isinstance(other.source_time_ns, int)
        assert one.gateway_time_ns == other.gateway_time_ns
        if isinstance(other.values, tuple) or isinstance(one.values, tuple):
            assert one.values == other.values
            continue
        assert one.values.dtype == other.values.dtype
        same = one.values.view(np.int64) == other.values.view(np.int64)
        if other.values.dtype == np.float64:
            same |= np.isnan(one.values) & np.isnan(other.values)
        assert same.all()


def one_batch(values: list[float], points: npt.NDArray[np.int32] | None = None) -> ColumnBatch:
    count = len(values)
    points = np.arange(count, dtype=np.int32) if points is None else points
    return ColumnBatch(points, np.array(values), np.zeros(count, np.uint16), 7, 7)


@settings(max_examples=200, deadline=None)
@given(batches(), st.lists(st.booleans(), min_size=3, max_size=3))
@example([[one_batch(NASTY)], [one_batch(NASTY[::-1])], [one_batch(NASTY)]], [False] * 3)
@example([[one_batch([0.1, 1e300, 0.2], np.array([5, 5, 5], np.int32))] * 3], [False] * 3)
def test_what_goes_in_comes_out(blocks: list[list[ColumnBatch]], keys: list[bool]) -> None:
    encoder, decoder = BlockEncoder(), BlockDecoder()
    for number, (block, key) in enumerate(zip(blocks, keys, strict=False)):
        for batch in block:
            check_batch(batch)
        encoded = encoder.encode(block, key=key, catalogue=CATALOGUE)
        header = block_header(encoded)
        assert header.is_key == (key or number == 0)
        assert header.catalogue == (CATALOGUE if header.is_key else b"")
        assert header.samples == sum(map(len, block))
        assert header.first_ns == min(batch.gateway_time_ns for batch in block)
        assert header.last_ns == max(batch.gateway_time_ns for batch in block)
        assert_same(decoder.feed(encoded), block)


@settings(deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_every_float_fits_the_mode_chosen_for_it(floats: list[float]) -> None:
    values = np.array(floats)
    values = values[~np.isnan(values)]
    with quiet():
        scaling = Scaling(wider_modes(values, np.zeros(len(values), np.uint8)))
        integers = scaling.to_integers(values)
        assert scaling.fits(values, integers).all()
        back = scaling.from_integers(integers)
    assert (back.view(np.int64) == values.view(np.int64)).all()


@pytest.mark.parametrize("count", [1, 100, 5000])
@pytest.mark.parametrize("unit", [1, 100, 10**6])
def test_source_times_of_every_shape_come_back(count: int, unit: int) -> None:
    rng = np.random.default_rng(count + unit)
    points = np.arange(count, dtype=np.int32)
    encoder, decoder = BlockEncoder(), BlockDecoder()
    base = 1_790_000_000 * 10**9
    for second in range(3):
        now = base + second * 10**9
        listed = now + rng.integers(0, 10**9, 20) // unit * unit
        shapes = [
            np.full(count, now),
            rng.choice(listed, count),
            np.sort(rng.choice(listed, count)),
            now + rng.integers(0, 10**9, count) // unit * unit,
        ]
        zeros = np.zeros(count, np.uint16)
        block = [ColumnBatch(points, np.zeros(count), zeros, shape, now) for shape in shapes]
        encoded = encoder.encode(block, key=False, catalogue=b"")
        assert_same(decoder.feed(encoded), block)


def test_more_arrays_of_points_than_a_group_remembers() -> None:
    encoder, decoder = BlockEncoder(), BlockDecoder()
    for start in range(3):
        block = [
            one_batch([float(at), 2.0], np.array([at, at + start], np.int32)) for at in range(700)
        ]
        assert_same(decoder.feed(encoder.encode(block, key=False, catalogue=b"")), block)


def test_unknown_or_misplaced_blocks_are_refused() -> None:
    encoder = BlockEncoder()
    blocks = [encoder.encode([one_batch([1.5, 2.0])], key=False, catalogue=b"") for _ in range(3)]
    other_key = BlockEncoder().encode([one_batch([9.0, 2.0])], key=True, catalogue=b"")
    decoder = BlockDecoder()
    with pytest.raises(BlockError, match="does not follow"):
        decoder.feed(blocks[1])
    decoder.feed(blocks[0])
    with pytest.raises(BlockError, match="does not follow"):
        decoder.feed(blocks[2])
    with pytest.raises(BlockError, match="does not follow"):
        decoder.feed(blocks[1])
    decoder.feed(other_key)
    with pytest.raises(BlockError, match="does not follow"):
        decoder.feed(blocks[1])
    decoder.feed(blocks[0])
    decoder.feed(blocks[1])
    decoder.feed(blocks[2])
    with pytest.raises(BlockError):
        block_header(b"\x12" + blocks[0][1:])


ORDERS = {
    "a run": np.arange(40, dtype=np.int32) + 5,
    "a run behind it": np.arange(45, 60, dtype=np.int32),
    "a run backwards": np.arange(44, 4, -1, dtype=np.int32),
    "every third": np.arange(0, 90, 3, dtype=np.int32),
    "one twice": np.array([5, 6, 7, 6, 8], np.int32),
    "one alone": np.array([77], np.int32),
    "ids beyond the table": np.arange(10, dtype=np.int32) + (1 << 21),
}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(sorted(ORDERS)), min_size=1, max_size=4), max_size=6),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 15), min_size=1),
)
def test_points_in_any_order_come_back_and_share_what_is_known_of_them(
    blocks: list[list[str]], seed: int, digits: list[int]
) -> None:
    """Slots that follow each other are taken as a slice: nothing may show it, and no view leak."""
    chance = np.random.default_rng(seed)
    encoder, decoder = BlockEncoder(), BlockDecoder()
    kept: list[tuple[list[ColumnBatch], list[ColumnBatch]]] = []
    for number, names in enumerate(blocks):
        batches = []
        for name in names:
            count = len(ORDERS[name])
            values = np.round(chance.normal(0, 100, count), digits[number % len(digits)])
            quality = (chance.random(count) < 0.1).astype(np.uint16)
            source = chance.integers(0, 10**6, count)
            batches.append(ColumnBatch(ORDERS[name], values, quality, source, number))
        block = encoder.encode(batches, key=number % 3 == 0, catalogue=b"")
        kept.append((decoder.feed(block), batches))
    for got, given_ in kept:  # after all of them: what came out first must not have changed
        assert_same(got, given_)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_noise_raises_block_error_only(noise: bytes, as_body: bool) -> None:
    if as_body:
        head = (
            struct.pack("<BHq", 0x31, 0, 0) + b"\0\0" + bytes((len(noise) % 128, len(noise) % 128))
        )
        noise = head + bytes(32) + noise[: len(noise) % 128]
    try:
        BlockDecoder().feed(noise)
    except BlockError:
        return


@settings(max_examples=200, deadline=None)
@given(batches(), st.data())
def test_damaged_blocks_raise_block_error_only(
    blocks: list[list[ColumnBatch]], data: st.DataObject
) -> None:
    encoder, decoder = BlockEncoder(), BlockDecoder()
    encoded = [encoder.encode(block, key=False, catalogue=b"") for block in blocks]
    which = data.draw(st.integers(0, len(encoded) - 1))
    damaged = bytearray(encoded[which])
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    encoded[which] = bytes(damaged)
    try:
        for block in encoded:
            decoder.feed(block)
    except BlockError:
        return


def test_batches_that_cannot_be_encoded_are_named() -> None:
    points, good = np.arange(2, dtype=np.int32), np.zeros(2, np.uint16)
    with pytest.raises(ValueError, match="int32"):
        check_batch(ColumnBatch(points.astype(np.int64), np.zeros(2), good, 0, 0))
    with pytest.raises(ValueError, match="float64"):
        check_batch(ColumnBatch(points, np.zeros(2, np.float32), good, 0, 0))  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match="length"):
        check_batch(ColumnBatch(points, np.zeros(3), good, 0, 0))
    with pytest.raises(ValueError, match="source times"):
        check_batch(ColumnBatch(points, np.zeros(2), good, np.zeros(3, np.int64), 0))
    with pytest.raises(ValueError, match="64 bits"):
        check_batch(ColumnBatch(points, np.zeros(2), good, 1 << 63, 0))
    with pytest.raises(BlockError):
        BlockEncoder().encode([], key=True, catalogue=b"")


def test_a_second_of_a_plant_is_small() -> None:
    """5,000 points at 1 s: 70 % slow analogs in steps of 0.1, 15 % constants, 15 % bools."""
    rng = np.random.default_rng(3)
    analog, still, switch = 3_500, 750, 750
    points = np.arange(5_000, dtype=np.int32)
    level = rng.integers(100, 9_000, analog)
    constant = rng.integers(0, 1_000, still) / 10
    states = rng.integers(0, 2, switch)
    good = np.zeros(5_000, np.uint16)
    encoder, decoder = BlockEncoder(), BlockDecoder()
    sizes = []
    for second in range(60):
        level = level + rng.integers(-1, 2, analog) * (rng.random(analog) < 0.5)
        states = states ^ (rng.random(switch) < 0.002)
        values = np.concatenate([level / 10, constant, states.astype(float)])
        now = 1_790_000_000 * 10**9 + second * 10**9 + int(rng.integers(0, 10**6))
        batch = ColumnBatch(points, values, good, now - 10**6, now)
        encoded = encoder.encode([batch], key=second == 0, catalogue=CATALOGUE)
        assert_same(decoder.feed(encoded), [batch])
        sizes.append(len(encoded) / 5_000)
    assert sizes[0] <= 2.5
    assert float(np.mean(sizes[1:])) <= 0.35
