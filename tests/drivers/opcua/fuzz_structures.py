"""Hostile structures, definitions, and notifications that hold structures; see fuzz.py."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np

from drivers.opcua.codec import DataChange, decode_data_change
from drivers.opcua.field_table import FieldTable, structure_readers
from drivers.opcua.quick_fields import QuickReader
from drivers.opcua.structures import (
    ABSENT,
    Element,
    FieldReader,
    Structure,
    StructureError,
    TypeBook,
)
from drivers.opcua.type_model import read_definitions, read_keys, read_type_ids
from drivers.opcua.wire import CodecError, Cursor
from tests.drivers.opcua.hostile import SIZES, data_value, mutate
from tests.drivers.opcua.structure_maker import (
    Made,
    Sample,
    definition_answer,
    every,
    make_types,
    make_value,
)
from tests.drivers.opcua.test_structures import model_of, steps_of

KINDS = np.array([0, 1, 2, 3, 0, 3], np.uint8)
NOW_NS = 1_800_000_000_000_000_000


def definitions(rng: random.Random) -> None:
    """An answer to Read of DataTypeDefinition, DataType or of values that are structures."""
    root, answer, _ = _structures(rng.randrange(_SHAPES))
    count = len(every(root))
    body = mutate(answer, rng)
    for read in (read_definitions, read_keys, read_type_ids):
        try:
            assert len(read(Cursor(body), count)) == count
        except CodecError:
            continue


def structures(rng: random.Random) -> None:
    """A value that is a structure: every field, read of right bytes and of changed ones.

    One flipped bit may be another right value: then nothing can be said but that nothing else is
    raised. What is unchanged must be what was put in. A plan gives what the fields give one by one,
    or nothing; of a plain type and right bytes it does give it.
    """
    shape = rng.randrange(_SHAPES)
    _, _, readers = _structures(shape)
    sample = rng.choice(_samples(shape))
    body = mutate(sample.variant, rng)
    chosen = rng.sample(sorted(sample.leaves.items(), key=repr), k=min(3, len(sample.leaves)))
    quick = _plan(shape, tuple(path for path, _ in chosen))
    at_once = _quickly(quick, body)
    if shape % 2 and body == sample.variant and all(right is not None for _, right in chosen):
        assert at_once is not None
    for place, (path, expected) in enumerate(chosen):
        cursor = Cursor(body)
        try:
            found = readers(path).read(cursor, cursor.u8())
        except StructureError:
            assert body != sample.variant or expected is None
            assert at_once is None
            continue
        except CodecError:  # of the Variant's first byte, which the codec has read before
            assert not body
            continue
        assert at_once is None or at_once[place] == found
        assert isinstance(found, str) or found == ABSENT or len(found[1]) == _FIXED[found[0]]
        assert body != sample.variant or found == expected


def _quickly(quick: QuickReader | None, body: bytes) -> list[Element] | None:
    """Read by a plan, where the codec would: it has passed over the whole Variant before."""
    cursor = Cursor(body)
    try:
        cursor.skip_variant()
    except CodecError:
        return None
    return quick.read(body, 0) if quick is not None else None


_SHAPES = 50  # odd ones are plain
_FIXED = {**SIZES, 13: 8}


@cache
def _structures(shape: int) -> tuple[Made, bytes, Callable[[Any], FieldReader]]:
    """One of the types: itself, the answer that defines it, and what reads a path of it."""
    root = make_types(random.Random(shape), plain=bool(shape % 2))
    book = model_of(root).book()
    return root, definition_answer(every(root)), lambda path: FieldReader(steps_of(path), book)


@cache
def _book(shape: int) -> tuple[TypeBook, Structure | None]:
    root, _, _ = _structures(shape)
    model = model_of(root)
    return model.book(), model.root((3, root.number), None)


@lru_cache(10_000)
def _plan(shape: int, paths: tuple[Any, ...]) -> QuickReader | None:
    return structure_readers(*_book(shape), [steps_of(path) for path in paths])[1]


@cache
def _samples(shape: int) -> list[Sample]:
    root, _, _ = _structures(shape)
    rng = random.Random(f"samples-{shape}")
    return [make_value(root, rng) for _ in range(20)]


def fields(rng: random.Random) -> None:
    """A notification in which some items are structures: nothing else comes out otherwise."""
    shape = rng.randrange(_SHAPES)
    _, _, readers = _structures(shape)
    sample = rng.choice(_samples(shape))
    if not sample.leaves:  # nothing but structures that may be of any type
        return
    paths = rng.choices(sorted(sample.leaves, key=repr), k=3)
    table, slow = FieldTable(len(KINDS)), FieldTable(len(KINDS))
    each = tuple((1 + i, readers(path)) for i, path in enumerate(paths))
    table.set(1, each, _plan(shape, tuple(paths)))
    slow.set(1, each)
    items = [struct.pack("<I", rng.choice((0, 1, 4, 5))) for _ in range(rng.randint(1, 4))]
    body = struct.pack("<i", len(items)) + b"".join(
        head + (b"\x01" + sample.variant if head[0] == 1 else data_value(rng)) for head in items
    )
    body = mutate(body, rng)
    try:
        change = decode_data_change(body, KINDS, NOW_NS, table)
    except CodecError:
        return
    slowly = decode_data_change(body, KINDS, NOW_NS, slow)
    assert repr(slowly.columns) == repr(change.columns)
    assert (slowly.reasons, slowly.doubted) == (change.reasons, change.doubted)
    plain = decode_data_change(body, KINDS, NOW_NS)
    for handle in (0, 4, 5):
        assert _rows(change, handle) == _rows(plain, handle)
    assert len(_rows(change, 2)) >= len(_rows(plain, 1))


def _rows(change: DataChange, handle: int) -> list[str]:
    found = []
    for column in change.columns:
        values = column.values if isinstance(column.values, tuple) else column.values.tolist()
        rows = zip(
            column.handles.tolist(), values, column.quality.tolist(),
            column.source_time_ns.tolist(), strict=True,
        )  # fmt: skip
        found += [repr(row) for row in rows if row[0] == handle]
    return found


__all__ = ["definitions", "fields", "structures"]
