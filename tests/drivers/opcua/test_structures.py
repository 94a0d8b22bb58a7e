"""Fields of structures against an encoder that knows nothing of the driver's, and hostile bytes."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import Quality, ValueKind
from drivers.opcua.codec import decode_data_change
from drivers.opcua.field_path import FieldStep, parse_field_path
from drivers.opcua.field_table import FieldTable, structure_readers
from drivers.opcua.structures import (
    ABSENT,
    STRUCTURE,
    Field,
    FieldReader,
    Refusal,
    Structure,
    StructureError,
    TypeBook,
    reader_of,
)
from drivers.opcua.type_model import Definition, FieldDefinition, TypeModel, read_definitions
from drivers.opcua.wire import Cursor, NodeKey
from tests.drivers.opcua.structure_maker import (
    NOTHING,
    Made,
    Path,
    definition_answer,
    every,
    make_types,
    make_value,
)

NOW_NS = 1_800_000_000_000_000_000
SEEDS = st.integers(0, 2**32)


def model_of(root: Made) -> TypeModel:
    """Ask for the types as the driver does, generation by generation."""
    model = TypeModel()
    known = {(3, made.number): made for made in every(root)}
    model.want((3, root.number))
    while keys := model.take():
        asked = [known[key] for key in keys if key in known]
        told = iter(read_definitions(Cursor(definition_answer(asked)), len(asked)))
        for key in keys:
            definition = next(told) if key in known else None
            model.tell(key, f"T{key[1]!r}", definition, abstract=False)
            if definition is None:
                model.tell_parent(key, (0, 11) if key == (0, 290) else None)
    return model


def steps_of(path: Path) -> tuple[FieldStep, ...]:
    return tuple(FieldStep(name, index) for name, index in path)


@given(SEEDS)
def test_every_field_is_what_was_put_in(seed: int) -> None:
    rng = random.Random(seed)
    root = make_types(rng)
    book = model_of(root).book()
    for _ in range(3):
        sample = make_value(root, rng)
        for path, expected in sample.leaves.items():
            cursor = Cursor(sample.variant)
            reader = FieldReader(steps_of(path), book)
            if expected is NOTHING:
                with pytest.raises(StructureError, match="which gives no value"):
                    reader.read(cursor, cursor.u8())
            else:
                assert reader.read(cursor, cursor.u8()) == expected
                assert cursor.position == cursor.end


@given(SEEDS)
def test_a_plan_gives_at_once_what_the_fields_give_one_by_one(seed: int) -> None:
    rng = random.Random(seed)
    root = make_types(rng, plain=True)
    model = model_of(root)
    sample = make_value(root, rng)
    paths = [path for path, right in sample.leaves.items() if right is not NOTHING]
    told = model.root((3, root.number), None)
    _, quick = structure_readers(model.book(), told, [steps_of(path) for path in paths])
    assert quick is not None
    assert quick.read(sample.variant, 0) == [sample.leaves[path] for path in paths]
    longer = sample.variant[:6] + struct.pack("<i", len(sample.variant) - 9)
    assert quick.read(longer + sample.variant[10:] + b"\x00", 0) is None
    assert quick.read(b"\x16\x01\x03\x09\x00\x01" + sample.variant[6:], 0) is None


@given(SEEDS)
def test_what_is_made_of_the_definition_says_what_values_say(seed: int) -> None:
    rng = random.Random(seed)
    root = make_types(rng)
    model = model_of(root)
    sample = make_value(root, rng)
    for path, expected in sample.leaves.items():
        reader = reader_of(model.book(), model.root((3, root.number), None), steps_of(path))
        cursor = Cursor(sample.variant)
        if isinstance(reader, Refusal):
            assert expected in (NOTHING, ABSENT)
            continue
        if expected is not NOTHING:
            found = reader.read(cursor, cursor.u8())
            if reader.built_in is not None and isinstance(found, tuple) and found != ABSENT:
                assert found[0] == reader.built_in


@given(SEEDS, st.integers(0, 40))
def test_cut_bytes_are_refused_and_nothing_else(seed: int, cut: int) -> None:
    rng = random.Random(seed)
    root = make_types(rng)
    book = model_of(root).book()
    sample = make_value(root, rng)
    broken = sample.variant[: max(1, len(sample.variant) - 1 - cut)]
    for path in sample.leaves:
        cursor = Cursor(broken)
        with pytest.raises(StructureError):
            FieldReader(steps_of(path), book).read(cursor, cursor.u8())


def notification(*items: tuple[int, bytes, int]) -> bytes:
    """(handle, Variant, StatusCode) each, as a DataChangeNotification."""
    body = b"".join(
        struct.pack("<IB", handle, 3 if variant else 2) + variant + struct.pack("<I", status)
        for handle, variant, status in items
    )
    return struct.pack("<i", len(items)) + body + struct.pack("<i", -1)


def table(elements: tuple[int, ...] = (), **paths: str) -> FieldTable:
    """Handles 0 to n-1 are fields of the structure under handle 0: Int32 a, Double b, String c."""
    fields = (Field("a", 6), Field("b", 11), Field("c", 12))
    book = TypeBook({(3, 1): Structure("Tank", (3, 2), 0, fields)}, {(3, 2): (3, 1)})
    made = FieldTable(len(paths) + 1, elements)
    root = book.structures[3, 1]
    readers, quick = structure_readers(book, root, [parse_field_path(p) for p in paths.values()])
    assert quick is not None
    made.set(0, tuple(enumerate(readers)), quick)
    return made


TANK = b"\x16\x01\x03\x02\x00\x01" + struct.pack("<iidi", 18, 7, 2.5, 2) + b"\xc3\xa4"
KINDS = np.array([1, 0, 3, 0], np.uint8)


def rows(change: Any) -> dict[int, list[tuple[Any, int]]]:
    found: dict[int, list[tuple[Any, int]]] = {}
    for column in change.columns:
        values = column.values if isinstance(column.values, tuple) else column.values.tolist()
        for handle, value, quality in zip(
            column.handles.tolist(), values, column.quality.tolist(), strict=True
        ):
            found.setdefault(handle, []).append((value, quality))
    return found


def test_one_item_brings_all_its_points_between_others() -> None:
    fields = table(x="a", y="b", z="c")
    number = b"\x0b" + struct.pack("<d", 9.0)
    body = notification((3, number, 0), (0, TANK, 0), (3, number, 0), (0, TANK, 0x4090_0000))
    change = decode_data_change(body, KINDS, NOW_NS, fields)
    stale = 0x4090
    assert rows(change) == {
        0: [(7, 0), (7, stale)],
        1: [(2.5, 0), (2.5, stale)],
        2: [("ä", 0), ("ä", stale)],
        3: [(9.0, 0), (9.0, 0)],
    }
    assert not change.reasons
    assert not change.doubted


@pytest.mark.parametrize(
    ("variant", "status", "quality", "why"),
    [
        (b"", 0x8034_0000, 0x8034, None),
        (b"\x00", 0, Quality.BAD_WAITING, None),
        (b"\x06\x01\x00\x00\x00", 0, Quality.BAD_CONFIG_ERROR, "its value is no structure"),
        (b"\x0c\x01\x00\x00\x00x", 0, Quality.BAD_CONFIG_ERROR, "is no structure but String"),
        (TANK, 0x8000, Quality.BAD_CONFIG_ERROR, "says that its structure has changed"),
        (
            b"\x16\x01\x03\x09\x00" + TANK[5:], 0, Quality.BAD_CONFIG_ERROR,
            "a value of encoding ns=3;i=9 came",
        ),
        (
            b"\x16\x01\x03\x02\x00\x01" + struct.pack("<iidi", 20, 7, 2.5, 2) + b"\xc3\xa4..", 0,
            Quality.BAD_CONFIG_ERROR, "type Tank ends 2 bytes before its value does",
        ),
        (
            b"\x16\x01\x03\x02\x00\x01" + struct.pack("<ii", 4, 7), 0, Quality.BAD_CONFIG_ERROR,
            "its bytes make no sense",
        ),
        (b"\x16\x01\x03\x02\x00\x00", 0, Quality.BAD_WAITING, None),
        (
            b"\x96" + struct.pack("<i", 2) + TANK[1:] * 2, 0, Quality.BAD_CONFIG_ERROR,
            "is an array: name one element in column `index`",
        ),
    ],
)  # fmt: skip
def test_what_is_no_value_of_the_type_is_bad_and_stops_nothing(
    variant: bytes, status: int, quality: int, why: str | None
) -> None:
    fields = table(x="a", y="b", z="c")
    body = notification((0, variant, status), (3, b"\x0b" + struct.pack("<d", 9.0), 0))
    change = decode_data_change(body, KINDS, NOW_NS, fields)
    found = rows(change)
    assert found[3] == [(9.0, 0)]
    for handle in range(3):
        assert [one[1] for one in found[handle]] == [quality]
        assert why is None or why in change.reasons[handle]
    assert set(change.misfits.tolist()) == (set() if why is None else {0, 1, 2})
    definitions = ("changed", "encoding", "bytes")
    assert bool(change.doubted) == (why is not None and any(w in why for w in definitions))


def test_the_only_element_of_an_array_is_the_structure_where_one_is_asked_for() -> None:
    body = notification((0, b"\x96" + struct.pack("<i", 1) + TANK[1:], 0), (0, TANK, 0))
    found = rows(decode_data_change(body, KINDS, NOW_NS, table((0,), x="a", y="b")))
    assert found[1] == [(2.5, 0), (pytest.approx(np.nan, nan_ok=True), Quality.BAD_CONFIG_ERROR)]
    found = rows(decode_data_change(body, KINDS, NOW_NS, table(x="a", y="b")))
    assert [quality for _, quality in found[1]] == [Quality.BAD_CONFIG_ERROR, 0]


def test_types_that_hold_themselves_end_in_a_sentence() -> None:
    """Through an array that is legal; without one, no value can be of it."""
    fields = (Field("f", STRUCTURE, 0, (3, 1)), Field("x", 6))
    book = TypeBook({(3, 1): Structure("Endless", (3, 2), 0, fields)}, {(3, 2): (3, 1)})
    cursor = Cursor(b"\x16\x01\x03\x02\x00\x01" + struct.pack("<i", 4) + b"abcd")
    with pytest.raises(StructureError, match="nested deeper"):
        FieldReader(parse_field_path("x"), book).read(cursor, cursor.u8())


def test_a_type_without_fields_cannot_make_an_endless_array() -> None:
    many = Field("many", STRUCTURE, 1, (3, 3))
    types: dict[NodeKey, Structure] = {
        (3, 1): Structure("Outer", (3, 2), 0, (many, Field("x", 6))),
        (3, 3): Structure("Empty", (3, 4), 0, ()),
    }
    book = TypeBook(types, {(3, 2): (3, 1)})
    cursor = Cursor(b"\x16\x01\x03\x02\x00\x01" + struct.pack("<iii", 8, 4, 1))
    with pytest.raises(StructureError, match="type Empty has no fields"):
        FieldReader(parse_field_path("x"), book).read(cursor, cursor.u8())


def test_what_the_server_does_not_explain_spoils_its_own_field_only() -> None:
    model = TypeModel()
    model.want((3, 1))
    assert model.take() == [(3, 1)]
    fields = (
        FieldDefinition("good", (0, 11)),
        FieldDefinition("odd", (3, 9)),
        FieldDefinition("open", (0, 11), rank=0),
    )
    model.tell((3, 1), "Tank", Definition((3, 2), 0, fields), abstract=False)
    assert model.take() == [(3, 9)]
    model.tell((3, 9), "Odd", None, abstract=False)
    model.tell_parent((3, 9), (0, 22))
    root = model.root((3, 1), (3, 2))
    assert root is not None

    def reader(path: str) -> object:
        return reader_of(model.book(), root, parse_field_path(path))

    assert reader("odd.x") == Refusal("the server does not explain type Odd")
    assert reader("open") == Refusal("field open leaves its dimensions open (ValueRank 0)")
    assert isinstance(reader("good"), FieldReader)
    assert model.root((3, 1), (3, 77)) is None, "a value of another encoding shows its own type"


@given(SEEDS, st.binary(max_size=60))
@example(0, b"\x01\x03\x00\x00")
def test_hostile_bytes_raise_only_the_named_error(seed: int, tail: bytes) -> None:
    rng = random.Random(seed)
    root = make_types(rng, 2)
    book = model_of(root).book()
    body = struct.pack("<BBHBi", 1, 3, root.number + 500, 1, len(tail)) + tail
    for name, _, rank, _ in root.fields:
        cursor = Cursor(b"\x16" + body)
        try:
            FieldReader((FieldStep(name, (0,) * rank),), book).read(cursor, cursor.u8())
        except StructureError:
            continue


def test_a_field_is_converted_as_a_value_of_its_type_is() -> None:
    change = decode_data_change(
        notification((0, TANK, 0)), KINDS, NOW_NS, table(x="c", y="a", z="b")
    )
    found = rows(change)
    assert found[0] == [(0, Quality.BAD_CONFIG_ERROR)]  # a text is no int
    assert found[1] == [(7.0, 0)]
    assert found[2] == [("2.5", 0)]
    assert {column.kind for column in change.columns} == {
        ValueKind.INT,
        ValueKind.FLOAT,
        ValueKind.TEXT,
    }
