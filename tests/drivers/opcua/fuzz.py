"""A million hostile messages for each parser: no exception but the named ones, no wrong value.

    python -m tests.drivers.opcua.fuzz [--frames 1000000] [--seed 0]        (make fuzz)

Each message is a right one, changed at random: bits, bytes, cuts, additions, repetitions. asyncua's
own decoder is the oracle: what both take must be the same values, qualities and times, one by one.
`tests/drivers/opcua/test_fuzz.py` runs 20,000 for each parser in CI.
"""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

import asyncua.ua
import numpy as np
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from drivers.contract import Quality, ValueKind
from drivers.opcua.alarms import FIELDS, read_events
from drivers.opcua.attributes import read_ranks, read_type_numbers
from drivers.opcua.codec import DataChange, decode_data_change, decode_data_values
from drivers.opcua.field_table import FieldTable
from drivers.opcua.publish import (
    Notification,
    ServiceFaultError,
    read_history_response,
    read_publish_response,
    read_read_response,
    read_republish_response,
)
from drivers.opcua.wire import CodecError, Cursor
from tests.drivers.fuzzing import Parse, campaign
from tests.drivers.opcua import fuzz_structures
from tests.drivers.opcua.hostile import SIZES, data_value, mutate

ua: Any = asyncua.ua
V = ua.VariantType
NOW_NS = 1_800_000_000_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = EPOCH + timedelta(seconds=1), datetime(2262, 4, 11, tzinfo=UTC)
KINDS = np.array([0, 1, 2, 3, 0, 3], np.uint8)
ELEMENTS = (4, 5)
TABLE = FieldTable(len(KINDS), ELEMENTS)
_UNSURE = object()


# messages


def _change(rng: random.Random) -> bytes:
    items: list[bytes] = []
    for _ in range(rng.randint(0, 5)):
        item = struct.pack("<I", rng.randrange(7)) + data_value(rng)
        items += [item] * rng.choice((1, 1, 1, 2, 12))
    return struct.pack("<i", len(items)) + b"".join(items) + struct.pack("<i", -1)


# the oracle


def whole(kind: ValueKind, value: float) -> Any:
    """What a number must become in a column, or None where that cannot be said exactly."""
    if kind is ValueKind.TEXT:
        return str(value)
    if kind is ValueKind.FLOAT:
        return float(value)
    if not math.isfinite(value) or int(value) != value:
        return None
    low, high = (-(2**63), 2**63) if kind is ValueKind.INT else (0, 2**64)
    return int(value) if low <= value < high else None


def expected(kind: ValueKind, variant: Any, *, element: bool) -> Any:
    """What a Variant of asyncua's must become; None for a misfit, _UNSURE where nobody can say.

    element: whether the point is one element of an array.
    """
    built_in, value = variant.VariantType, variant.Value
    array = variant.is_array or isinstance(value, list)  # of one in another asyncua forgets it
    if array != element or variant.Dimensions is not None:
        return None if array != element else _UNSURE
    if array:
        plain = value is not None and len(value) == 1 and built_in.value in {*SIZES, 12, 13}
        if not plain:
            return None
        value = value[0]
    if built_in in (V.String, V.XmlElement, V.LocalizedText, V.QualifiedName):
        return _text(value) if kind is ValueKind.TEXT else None
    if built_in is V.Guid:
        return str(value) if kind is ValueKind.TEXT and isinstance(value, UUID) else None
    if built_in is V.DateTime:
        return _moment(kind, value)
    if built_in is V.StatusCode:
        return whole(kind, value.value)
    if built_in is V.Boolean:
        return ("true" if value else "false") if kind is ValueKind.TEXT else whole(kind, int(value))
    return whole(kind, value) if built_in.value in SIZES else None


def _text(value: Any) -> Any:
    if hasattr(value, "Text"):
        value = value.Text
    elif hasattr(value, "Name"):
        value = value.Name
    elif hasattr(value, "Value"):
        value = value.Value
    text = value or ""
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError):
        return _UNSURE
    return _UNSURE if "\ufffd" in text else text


def _moment(kind: ValueKind, value: datetime) -> Any:
    if not FIRST < value < LAST:
        return None if value < EPOCH or value > LAST + timedelta(days=2) else _UNSURE
    if kind is ValueKind.TEXT:
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    micros = (value - EPOCH) // timedelta(microseconds=1)
    return micros / 1e6 if kind is ValueKind.FLOAT else micros * 1000


def _time_ns(value: Any) -> int | None:
    """Time of a DataValue in whole microseconds; None where nobody can say."""
    for moment in (value.SourceTimestamp, value.ServerTimestamp):
        if moment is None or moment < EPOCH or moment > LAST + timedelta(days=2):
            continue
        if not FIRST < moment < LAST:
            return None
        return int((moment - EPOCH) // timedelta(microseconds=1)) * 1000
    return NOW_NS


def compare(change: DataChange, items: list[tuple[int, Any]]) -> None:
    """Raise AssertionError where our columns are not what asyncua has read.

    asyncua reads source picoseconds behind the server's time, the standard has them before it (OPC
    10000-6, 5.2.2.17), leaves an ExtensionObject's body of XML unread (5.2.2.15), and reads an
    ExtensionObject where a DiagnosticInfo has an inner DiagnosticInfo (5.2.2.12): a message with
    both, with an ExtensionObject that has no body, or with an inner DiagnosticInfo is no evidence.
    """
    if any(v.SourcePicoseconds is not None and v.ServerTimestamp is not None for _, v in items):
        return
    held = [v.Value.Value for _, v in items if v.Value is not None]
    if any(isinstance(one, ua.ExtensionObject) and one.Body is None for one in held):
        return
    if any(_misread(one) for one in held):
        return
    known = [(handle, value) for handle, value in items if handle < len(KINDS)]
    assert change.unknown == len(items) - len(known)
    assert len(change) == len(known)
    for column in change.columns:
        own = [(h, v) for h, v in known if KINDS[h] == column.kind]
        assert column.handles.tolist() == [handle for handle, _ in own]
        values = column.values
        rows = zip(
            own, values if isinstance(values, tuple) else values.tolist(),
            column.quality.tolist(), column.source_time_ns.tolist(), strict=True,
        )  # fmt: skip
        for (handle, told), value, quality, time_ns in rows:
            _compare_one(column.kind, told, (value, quality, time_ns), element=handle in ELEMENTS)


def _misread(value: Any) -> bool:
    if isinstance(value, list):
        return any(_misread(one) for one in value)
    return isinstance(value, ua.DiagnosticInfo) and value.InnerDiagnosticInfo is not None


def _compare_one(kind: ValueKind, told: Any, ours: tuple[Any, int, int], *, element: bool) -> None:
    value, quality, time_ns = ours
    right_ns = _time_ns(told)
    if right_ns is not None:
        assert time_ns // 1000 * 1000 == right_ns
    status = told.StatusCode.value if told.StatusCode is not None else 0
    if status & 0x8000_0000:
        assert quality == status >> 16
        return
    variant = told.Value
    if variant is not None and variant.VariantType is V.Null:  # by itself, or in a Variant
        assert quality in (Quality.BAD_WAITING, Quality.BAD_CONFIG_ERROR)
        return
    right = expected(kind, variant, element=element) if variant is not None else None
    if right is _UNSURE:
        return
    if right is None:
        assert quality == Quality.BAD_CONFIG_ERROR, (kind, variant, value)
        return
    assert quality == status >> 16, (kind, variant, value)
    if variant.VariantType is V.DateTime and kind is not ValueKind.TEXT:
        # asyncua cuts to microseconds, and a float64 of today keeps a quarter of one
        near = 1.5e-6 if kind is ValueKind.FLOAT else 999
        assert abs(value - right) <= near, (kind, variant, value)
    else:
        assert repr(value) == repr(right), (kind, variant, value)


# parsers


def changes(rng: random.Random) -> None:
    """One DataChangeNotification."""
    body = mutate(_change(rng), rng)
    try:
        change = decode_data_change(body, KINDS, NOW_NS, TABLE)
    except CodecError:
        return
    try:
        read = struct_from_binary(ua.DataChangeNotification, Buffer(body))
    except Exception:  # whatever asyncua raises at what it does not take
        return
    compare(change, [(one.ClientHandle, one.Value) for one in read.MonitoredItems or []])


def values(rng: random.Random) -> None:
    """One array of DataValues, as a read or a page of history brings it."""
    count = rng.randint(0, 6)
    body = struct.pack("<i", count) + b"".join(data_value(rng) for _ in range(count))
    body = mutate(body, rng)
    cursor = Cursor(body)
    handles = np.arange(count, dtype=np.uint32) if rng.random() < 0.5 else np.zeros(1, np.uint32)
    try:
        change = decode_data_values(cursor, handles, KINDS, NOW_NS, TABLE)
    except CodecError:
        return
    buffer = Buffer(body)
    try:
        length = struct.unpack("<i", buffer.read(4))[0]
        read = [struct_from_binary(ua.DataValue, buffer) for _ in range(max(length, 0))]
    except Exception:  # as above
        return
    owners = handles.tolist() if len(handles) == len(read) else [0] * len(read)
    compare(change, list(zip(owners, read, strict=True)))


@cache
def _answers() -> dict[str, bytes]:
    """Right answers, by asyncua's encoder."""
    publish = ua.PublishResponse()
    publish.Parameters.SubscriptionId = 7
    publish.Parameters.AvailableSequenceNumbers = [1, 2]
    message = publish.Parameters.NotificationMessage
    message.SequenceNumber = 3
    change = ua.DataChangeNotification()
    value = ua.DataValue(ua.Variant(1.5, V.Double))
    change.MonitoredItems = [ua.MonitoredItemNotification(ClientHandle=1, Value=value)]
    message.NotificationData = [change, ua.StatusChangeNotification()]
    republish = ua.RepublishResponse()
    republish.NotificationMessage = message
    read = ua.ReadResponse()
    read.Results = [value, value]
    data = ua.HistoryData()
    data.DataValues = [value] * 3
    result = ua.HistoryReadResult()
    result.HistoryData, result.ContinuationPoint = data, b"more"
    history = ua.HistoryReadResponse()
    history.Results = [result]
    events = ua.EventNotificationList()
    fields = [ua.Variant(b"id", V.ByteString), ua.Variant(ua.NodeId(2041), V.NodeId)]
    fields += [ua.Variant("text", V.String)] * (len(FIELDS) - len(fields))
    events.Events = [ua.EventFieldList(ClientHandle=1, EventFields=fields)]
    answers = {"publish": publish, "republish": republish, "read": read, "history": history}
    return {
        name: bytes(struct_to_binary(one)) for name, one in (answers | {"events": events}).items()
    }


def _answer(name: str, rng: random.Random) -> None:
    """One response; a publish response that both take says the same."""
    body = mutate(_answers()[name], rng)
    try:
        ours = _READERS[name](body)
    except (CodecError, ServiceFaultError):
        return
    if not isinstance(ours, Notification) or name != "publish":
        return
    try:
        told = struct_from_binary(ua.PublishResponse, Buffer(body)).Parameters
    except Exception:  # as above
        return
    assert ours.subscription == told.SubscriptionId
    assert list(ours.available) == list(told.AvailableSequenceNumbers or [])
    assert ours.sequence == told.NotificationMessage.SequenceNumber


def attributes(rng: random.Random) -> None:
    """An answer to Read of DataType and of ValueRank; what both take is the same."""
    count = rng.randint(0, 4)
    rank = rng.random() < 0.5
    parts = []
    for _ in range(count):
        namespace, number = rng.choice((0, 3, 300)), rng.choice((11, 300, 70_000))
        node: Any = ua.NodeId(rng.choice((number, "x")), namespace)
        variant = ua.Variant(rng.randint(-3, 9), V.Int32) if rank else ua.Variant(node, V.NodeId)
        parts.append(bytes(struct_to_binary(ua.DataValue(variant))))
    body = mutate(struct.pack("<i", count) + b"".join(parts), rng)
    try:
        found: list[Any] = list((read_ranks if rank else read_type_numbers)(Cursor(body), count))
    except CodecError:
        return
    buffer = Buffer(body)
    try:
        buffer.read(4)
        read = [struct_from_binary(ua.DataValue, buffer).Value for _ in range(count)]
    except Exception:  # as above
        return
    if any(one is not None and one.VariantType.value >= 25 for one in read):
        # asyncua steps back by the negative length of what it knows not, and takes what is inside
        # a DiagnosticInfo for an ExtensionObject (OPC 10000-6, 5.2.2.12)
        return
    kind = V.Int32 if rank else V.NodeId
    for ours, variant in zip(found, read, strict=True):
        plain = variant is not None and variant.VariantType is kind and not variant.is_array
        if not plain or variant.Value is None:
            assert ours is None
        elif rank:
            assert ours == variant.Value
        elif ours is not None:  # a NodeId with flags of an ExpandedNodeId says nothing
            told = variant.Value.Identifier
            assert ours == (variant.Value.NamespaceIndex, told if isinstance(told, int) else None)


def _history(body: bytes) -> None:
    for page in read_history_response(body):
        if page.values is not None:
            decode_data_values(page.values, np.zeros(1, np.uint32), KINDS, NOW_NS)


_READERS: dict[str, Callable[[bytes], object]] = {
    "publish": read_publish_response,
    "republish": read_republish_response,
    "read": lambda body: decode_data_values(
        read_read_response(body), np.arange(2, dtype=np.uint32), KINDS, NOW_NS
    ),
    "history": _history,
    "events": read_events,
}

PARSERS: dict[str, Parse] = {
    "changes": changes,
    "values": values,
    "attributes": attributes,
    "definitions": fuzz_structures.definitions,
    "structures": fuzz_structures.structures,
    "fields": fuzz_structures.fields,
    **{name: partial(_answer, name) for name in _READERS},
}


if __name__ == "__main__":
    campaign("messages", PARSERS)
