"""codec.py against asyncua's own encoder, hostile bytes, and the recorded cases."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncua.ua
import numpy as np
import pytest
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.contract import Quality, ValueKind
from drivers.opcua.codec import CodecError, DataChange, decode_data_change

NOW_NS = 1_800_000_000_000_000_000
ua: Any = asyncua.ua
CASES = Path(__file__).parents[3] / "drivers" / "opcua" / "cases"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLOAT, INT, UINT, TEXT = (int(kind) for kind in ValueKind)

Item = tuple[int, Any]


def encode(items: list[Item]) -> bytes:
    """Bytes of a DataChangeNotification by asyncua, the oracle."""
    notification = ua.DataChangeNotification()
    notification.MonitoredItems = [
        ua.MonitoredItemNotification(ClientHandle=handle, Value=value) for handle, value in items
    ]
    return bytes(struct_to_binary(notification))


def decode(items: list[Item], kinds: list[int]) -> DataChange:
    return decode_data_change(encode(items), np.array(kinds, np.uint8), NOW_NS)


def value_of(
    value: Any,
    variant: object,
    *,
    status: int | None = None,
    source: datetime | None = None,
    server: datetime | None = None,
) -> object:
    return ua.DataValue(
        ua.Variant(value, variant),
        None if status is None else ua.StatusCode(status),
        source,
        server,
    )


def rows(change: DataChange, kind: ValueKind) -> list[tuple[int, Any, int, int]]:
    for column in change.columns:
        if column.kind is kind:
            values = column.values
            plain = list(values) if isinstance(values, tuple) else values.tolist()
            return list(
                zip(
                    column.handles.tolist(),
                    plain,
                    column.quality.tolist(),
                    column.source_time_ns.tolist(),
                    strict=True,
                )
            )
    return []


V = ua.VariantType
INTEGERS = {
    V.SByte: (-(2**7), 2**7 - 1), V.Byte: (0, 2**8 - 1), V.Int16: (-(2**15), 2**15 - 1),
    V.UInt16: (0, 2**16 - 1), V.Int32: (-(2**31), 2**31 - 1), V.UInt32: (0, 2**32 - 1),
    V.Int64: (-(2**63), 2**63 - 1), V.UInt64: (0, 2**64 - 1),
}  # fmt: skip

STATUSES = st.sampled_from([None, 0, 0x4090_0000, 0x8034_0000, 0x0000_0480, 0x8005_0480])
SOME_MOMENT = st.integers(86_400 * 10**6, 7_000_000_000 * 10**6).map(
    lambda micros: EPOCH + timedelta(microseconds=micros)
)
MOMENTS = st.none() | SOME_MOMENT


@st.composite
def variants(draw: st.DrawFn) -> tuple[Any, Any]:
    chosen = draw(st.sampled_from([*INTEGERS, V.Double, V.Float, V.Boolean, V.String, V.DateTime]))
    if chosen in INTEGERS:
        return chosen, draw(st.integers(*INTEGERS[chosen]))
    if chosen is V.Double:
        return chosen, draw(st.floats(allow_nan=False))
    if chosen is V.Float:
        return chosen, draw(st.floats(width=32, allow_nan=False))
    if chosen is V.Boolean:
        return chosen, draw(st.booleans())
    if chosen is V.String:
        return chosen, draw(st.text("aZ9 é液位𝄞\0", max_size=20))
    return chosen, draw(SOME_MOMENT)


def to_ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def expected_value(kind: int, variant: object, value: Any) -> Any:
    """What a value must become in a column, or None for a misfit. Plain Python, one by one."""
    if kind == TEXT:
        if variant is V.Boolean:
            return "true" if value else "false"
        if variant is V.DateTime:
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        return value if variant is V.String else str(value)
    if variant is V.String:
        return None
    if variant is V.DateTime:
        return to_ns(value) / 1e9 if kind == FLOAT else to_ns(value)
    if kind == FLOAT:
        return float(value)
    if not math.isfinite(value) or int(value) != value:
        return None
    low, high = INTEGERS[V.Int64 if kind == INT else V.UInt64]
    return int(value) if low <= value <= high else None


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, Any, Any, int | None, Any, Any]]]:
    kinds = draw(st.lists(st.sampled_from([FLOAT, INT, UINT, TEXT]), min_size=1, max_size=6))
    items = draw(
        st.lists(
            st.tuples(
                st.integers(0, len(kinds) - 1), variants(), STATUSES, MOMENTS, MOMENTS
            ),
            max_size=12,
        )
    )  # fmt: skip
    repeats = draw(st.sampled_from([1, 1, 1, 9, 70]))
    flat = [(h, v, x, status, a, b) for h, (v, x), status, a, b in items for _ in range(repeats)]
    return kinds, flat


@given(messages())
def test_every_value_arrives_as_asyncua_wrote_it(
    message: tuple[list[int], list[tuple[int, Any, Any, int | None, Any, Any]]],
) -> None:
    kinds, items = message
    change = decode(
        [(h, value_of(x, v, status=s, source=a, server=b)) for h, v, x, s, a, b in items], kinds
    )
    assert len(change) == len(items)
    assert change.unknown == 0
    for kind in ValueKind:
        wanted = [item for item in items if kinds[item[0]] == kind]
        found = rows(change, kind)
        assert len(found) == len(wanted)
        for (handle, value, quality, time_ns), (h, v, x, s, a, b) in zip(
            found, wanted, strict=True
        ):
            assert handle == h
            assert time_ns == (to_ns(a) if a else to_ns(b) if b else NOW_NS)
            expected = expected_value(kind, v, x)
            bad = bool((s or 0) & 0x8000_0000)
            if bad:
                assert quality == (s or 0) >> 16
            elif expected is None:
                assert quality == Quality.BAD_CONFIG_ERROR
            else:
                assert quality == (s or 0) >> 16
                assert (
                    value == pytest.approx(expected, rel=1e-15)
                    if v is V.DateTime and (kind is ValueKind.FLOAT)
                    else value == expected
                )
            if bad or expected is None:
                blank = {FLOAT: "nan", INT: "0", UINT: "0", TEXT: ""}[int(kind)]
                assert str(value) == blank
    assert change.overflowed.tolist() == [h for h, _, _, s, _, _ in items if (s or 0) & 0x0480]


@given(st.binary(max_size=200))
@example(b"\xff\xff\xff\x7f")
@example(struct.pack("<i", 1) + b"\x00\x00\x00\x00\xc0\x00")
def test_hostile_bytes_raise_only_codec_error(body: bytes) -> None:
    with contextlib.suppress(CodecError):
        decode_data_change(body, np.zeros(4, np.uint8), NOW_NS)


@given(messages(), st.data())
def test_a_cut_or_bent_message_raises_only_codec_error(
    message: tuple[list[int], list[tuple[int, Any, Any, int | None, Any, Any]]], data: st.DataObject
) -> None:
    kinds, items = message
    body = bytearray(
        encode([(h, value_of(x, v, status=s, source=a, server=b)) for h, v, x, s, a, b in items])
    )
    if data.draw(st.booleans()):
        body = body[: data.draw(st.integers(0, len(body)))]
    elif body:
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        decode_data_change(bytes(body), np.array(kinds, np.uint8), NOW_NS)


def test_a_uniform_message_of_20000_values() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    items = [
        (i, value_of(i / 7, V.Double, status=0, source=moment, server=moment)) for i in range(20000)
    ]
    change = decode(items, [FLOAT] * 20000)
    (column,) = change.columns
    assert column.handles.tolist() == list(range(20000))
    assert not isinstance(column.values, tuple)
    assert column.values.tolist() == [i / 7 for i in range(20000)]
    assert set(column.source_time_ns.tolist()) == {to_ns(moment)}
    assert not column.quality.any()


def test_types_in_turn_and_queued_values_of_one_point_stay_in_order() -> None:
    items = []
    for i in range(500):
        items.append((0, value_of(float(i), V.Double, status=None if i % 3 else 0x4000_0000)))
        items.append((1, value_of(i, V.UInt64)))
        items.append((2, value_of(str(i), V.String)))
    change = decode(items, [FLOAT, UINT, TEXT])
    assert [row[1] for row in rows(change, ValueKind.FLOAT)] == [float(i) for i in range(500)]
    assert [row[1] for row in rows(change, ValueKind.UINT)] == list(range(500))
    assert [row[1] for row in rows(change, ValueKind.TEXT)] == [str(i) for i in range(500)]


@pytest.mark.parametrize(
    "value",
    [
        ua.Variant([1.0, 2.0], V.Double),
        ua.Variant(["a", "b"], V.String),
        ua.Variant([[1, 2], [3, 4]], V.Int32, Dimensions=[2, 2]),
        ua.Variant(b"\x01\x02", V.ByteString),
        ua.Variant(ua.NodeId("x", 3), V.NodeId),
        ua.Variant(ua.EUInformation(), V.ExtensionObject),
        ua.Variant(ua.DataValue(ua.Variant(1, V.Int16)), V.DataValue),
        ua.Variant([ua.Variant(1, V.Int16), ua.Variant("a", V.String)], V.Variant),
    ],
)
@pytest.mark.parametrize("kind", [FLOAT, TEXT])
def test_what_is_no_single_value_is_a_config_error_and_stops_nothing(
    value: object, kind: int
) -> None:
    change = decode(
        [
            (0, value_of(1.5, V.Double)),
            (1, ua.DataValue(value, ua.StatusCode(0))),
            (0, value_of(2.5, V.Double)),
        ],
        [FLOAT, kind],
    )
    assert change.misfits.tolist() == [1]
    found = {row[0]: row[2] for kind_ in ValueKind for row in rows(change, kind_)}
    assert found == {0: Quality.GOOD, 1: Quality.BAD_CONFIG_ERROR}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (ua.Variant(ua.LocalizedText("液位", "zh"), V.LocalizedText), "液位"),
        (ua.Variant(ua.QualifiedName("Level", 2), V.QualifiedName), "Level"),
        (
            ua.Variant(UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"), V.Guid),
            "72962b91-fa75-4ae6-8d28-b404dc7daf63",
        ),
        (ua.Variant(7, V.Byte), "7"),
    ],
)
def test_texts_of_other_types(value: object, text: str) -> None:
    change = decode([(0, ua.DataValue(value))], [TEXT])
    assert rows(change, ValueKind.TEXT) == [(0, text, Quality.GOOD, NOW_NS)]


def test_a_missing_value_is_waited_for_and_an_unknown_handle_is_counted() -> None:
    change = decode(
        [
            (0, ua.DataValue(ua.Variant(None, V.Null))),
            (9, value_of(1.0, V.Double)),
            (1, ua.DataValue(ua.Variant(None, V.Null), ua.StatusCode(0x8005_0000))),
        ],
        [FLOAT, FLOAT],
    )
    assert change.unknown == 1
    assert [(row[0], row[2]) for row in rows(change, ValueKind.FLOAT)] == [
        (0, Quality.BAD_WAITING),
        (1, Quality.BAD_COMM_FAILURE),
    ]


@pytest.mark.parametrize("ticks", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_a_time_that_cannot_be_said_falls_back(ticks: int) -> None:
    item = struct.pack("<IBBdqq", 0, 0x0D, 11, 1.0, ticks, 116_444_736_000_000_000 + 10)
    for count in (1, 100):
        body = struct.pack("<i", count) + item * count + struct.pack("<i", -1)
        change = decode_data_change(body, np.zeros(1, np.uint8), NOW_NS)
        assert set(change.columns[0].source_time_ns.tolist()) == {1000}


def test_picoseconds_count_as_nanoseconds() -> None:
    ticks = 116_444_736_000_000_000 + 10
    item = struct.pack("<IBBdqH", 0, 0x15, 11, 1.0, ticks, 1234)  # 12.34 ns
    body = struct.pack("<i", 1) + item + struct.pack("<i", -1)
    change = decode_data_change(body, np.zeros(1, np.uint8), NOW_NS)
    assert change.columns[0].source_time_ns.tolist() == [1012]


def recorded() -> list[Path]:
    return sorted(CASES.glob("*.json"))


@pytest.mark.parametrize("case", recorded(), ids=lambda path: path.stem)
def test_recorded_case(case: Path) -> None:
    expected = json.loads(case.read_text(encoding="utf-8"))
    body = case.with_suffix(".bin").read_bytes()
    change = decode_data_change(body, np.array(expected["kinds"], np.uint8), NOW_NS)
    found = {
        kind.name: [
            [
                handle,
                "NaN" if isinstance(value, float) and math.isnan(value) else value,
                quality,
                time_ns,
            ]
            for handle, value, quality, time_ns in rows(change, kind)
        ]
        for kind in ValueKind
        if rows(change, kind)
    }
    assert found == expected["columns"]


@pytest.mark.parametrize("length", [-256, -2, -(2**31)])
@pytest.mark.parametrize("head", [b"\x0c", b"\x15\x02", b"\x8b", b"\x8c"])
def test_a_length_below_null_makes_no_sense(head: bytes, length: int) -> None:
    """Of -1 a null is made; anything below would leave guesses behind it (found by `make fuzz`)."""
    for null in (length, -1):
        item = struct.pack("<IB", 0, 1) + head + struct.pack("<i", null)
        body = struct.pack("<i", 1) + item + struct.pack("<i", -1)
        with contextlib.nullcontext() if null == -1 else pytest.raises(CodecError):
            assert len(decode_data_change(body, np.array([TEXT], np.uint8), NOW_NS)) == 1


def test_a_signalling_nan_is_no_integer_and_no_warning() -> None:
    item = struct.pack("<IBBQ", 0, 1, 11, 0x7FF0_0000_0000_0001)
    body = struct.pack("<i", 1) + item + struct.pack("<i", -1)
    change = decode_data_change(body, np.array([INT], np.uint8), NOW_NS)
    assert change.misfits.tolist() == [0]


def test_variants_in_variants_are_the_innermost_however_many() -> None:
    item = struct.pack("<IB", 0, 1) + b"\x18\x18\x06" + struct.pack("<i", -7)
    body = struct.pack("<i", 1) + item + struct.pack("<i", -1)
    change = decode_data_change(body, np.array([INT], np.uint8), NOW_NS)
    assert rows(change, ValueKind.INT)[0][1] == -7
