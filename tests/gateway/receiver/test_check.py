"""Only whole records pass, whatever arrives; nothing that arrives raises but ProtocolError."""

from __future__ import annotations

import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.contract import Stream, chain_hash
from gateway.model.event import event
from gateway.receiver.check import ProtocolError, check_push, check_ranges
from gateway.receiver.identity import identities, refusal
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import BOOT_ID, Chain, push

ALARM = wire.Alarm(alarm_id=b"a" * 16, source="p").SerializeToString()


def checked_faults(record: wire.Record, stream: Stream = Stream.ALARM) -> list[str]:
    checked = check_push(push(stream, [record]).push, BOOT_ID)
    assert bool(checked.entries or checked.evidence) != bool(checked.faults)
    return [fault.reason for fault in checked.faults]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"payload": b"x"}, "CRC-32"),
        ({"hash": b"h" * 32}, "hash does not fit"),
        ({"hash": b""}, "hash does not fit"),
        ({"previous_hash": b""}, "record before it is not known"),
        ({"previous_hash": b"p" * 31}, "record before it is not known"),
        ({"sequence": 0}, "sequence 0"),
        ({"sequence": 1 << 40}, "sequence 1099511627776"),
        ({"sequence": 2}, "hash does not fit"),
        ({"boot_id": b"short"}, "boot id"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(
    change: dict[str, int | bytes], says: str
) -> None:
    record = Chain(Stream.ALARM).record(ALARM)
    assert checked_faults(record) == []
    for name, value in change.items():
        setattr(record, name, value)
    [reason] = checked_faults(record)
    assert says in reason


@pytest.mark.parametrize("stream", [Stream.ALARM, Stream.EVENT, Stream.EVIDENCE])
def test_a_payload_of_another_kind_is_refused(stream: Stream) -> None:
    [reason] = checked_faults(Chain(stream).record(b"\xff\xff"), stream)
    assert stream.name.lower() in reason


@pytest.mark.parametrize(
    ("key", "catalogue", "says"), [(0, b"", "group 0"), (2, b"", "group 2"), (1, b"c", "catalogue")]
)
def test_a_telemetry_record_says_where_it_belongs(key: int, catalogue: bytes, says: str) -> None:
    record = Chain(Stream.TELEMETRY).record(b"block", key=key, catalogue=catalogue)
    [reason] = checked_faults(record, Stream.TELEMETRY)
    assert says in reason


def test_evidence_beyond_bounds_is_refused() -> None:
    for file in (
        wire.EvidenceFile(sha256=b"short", total_bytes=1),
        wire.EvidenceFile(sha256=b"s" * 32, total_bytes=1 << 40),
    ):
        record = Chain(Stream.EVIDENCE).record(file.SerializeToString())
        [reason] = checked_faults(record, Stream.EVIDENCE)
        assert "evidence file" in reason


def test_a_catalogue_is_named_by_what_it_holds() -> None:
    message = wire.Event(kind="catalogue")
    message.catalogue.points.add(id=1, name="a/b")
    encoded = message.catalogue.SerializeToString(deterministic=True)
    records = [Chain(Stream.EVENT).record(message.SerializeToString(deterministic=True))]
    checked = check_push(push(Stream.EVENT, records).push, BOOT_ID)
    assert checked.catalogues == [(hashlib.sha256(encoded).digest(), encoded)]


def test_a_hole_in_a_push_needs_its_previous_hash() -> None:
    chain = Chain(Stream.ALARM)
    records = [chain.record(ALARM) for _ in range(4)]
    message = push(Stream.ALARM, [records[0], records[2], records[3]]).push
    assert [entry.sequence for entry in check_push(message, BOOT_ID).entries] == [1, 3, 4]
    message.records[1].previous_hash = b""
    checked = check_push(message, BOOT_ID)
    assert [entry.sequence for entry in checked.entries] == [1, 4]
    assert [fault.sequence for fault in checked.faults] == [3]


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=40), st.booleans())),
)
def test_any_records_are_stored_or_refused_each_once(
    stream: int, records: list[tuple[int, bytes, bool]]
) -> None:
    message = wire.Push(stream=wire.Stream.ValueType(stream))
    for sequence, payload, whole in records:
        record = message.records.add(sequence=sequence, payload=payload, previous_hash=b"p" * 32)
        if whole and 1 <= stream <= 4:
            record.crc32 = zlib.crc32(payload)
            record.hash = chain_hash(b"p" * 32, Stream(stream), sequence, payload)
    try:
        checked = check_push(message, BOOT_ID)
    except ProtocolError:
        assert stream in {0, 5}
        return
    count = len(checked.entries) + len(checked.evidence) + len(checked.faults)
    assert count == len(records)
    assert all(0 < entry.sequence < 1 << 40 for entry in checked.entries)


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)), max_size=5))
def test_ranges_are_within_bounds_or_refused(pairs: list[tuple[int, int]]) -> None:
    ranges = [wire.Range(start=start, stop=stop) for start, stop in pairs]
    try:
        taken = check_ranges(ranges)
    except ProtocolError:
        assert any(not 0 < start < stop <= 1 << 40 for start, stop in pairs)
    else:
        assert taken == pairs


def test_too_many_ranges_are_refused() -> None:
    with pytest.raises(ProtocolError, match="10001 ranges"):
        check_ranges([wire.Range(start=1, stop=2)] * 10_001)


def test_who_a_certificate_speaks_for() -> None:
    context = {"peer_uri": [b"urn:plantgate:gateway:G-1", b"urn:other:G-2", b"\xff"]}
    certified = identities(context)
    assert certified == {"G-1"}
    assert refusal("G-1", certified) == ""
    assert "G-1, not for G-2" in refusal("G-2", certified)
    assert "names no gateway" in refusal("G-1", identities({"peer_dns": [b"G-1"]}))
    assert refusal("anyone", None) == ""
    assert "printable" in refusal("x" * 129, None)


def test_an_event_of_a_newer_schema_is_taken() -> None:
    payload = event("new.kind", "x", 1, "text") + b"\xf8\x07\x01"  # field 127, unknown here
    assert checked_faults(Chain(Stream.EVENT).record(payload), Stream.EVENT) == []
