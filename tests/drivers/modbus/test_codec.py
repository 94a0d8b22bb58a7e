"""Frames: the specification's examples, every refusal, and that nothing can be written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus import codec
from drivers.modbus.codec import Area, Request

CASES = Path(codec.__file__).parent / "cases" / "frames.toml"
FRAMES = tomllib.loads(CASES.read_text(encoding="utf-8"))
TRANSACTION = 0x1501
REGISTERS = codec.read(Area.HOLDING, 255, 107, 3)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("case", FRAMES["read"], ids=lambda case: case["section"])
def test_examples_of_the_specification(case: dict[str, Any]) -> None:
    request = codec.read(Area[case["area"].upper()], case["unit"], case["address"], case["count"])
    answer = _bytes(case["answer"])
    assert request.frame(TRANSACTION) == _bytes(case["request"])
    assert codec.payload(request, TRANSACTION, answer) == _bytes(case["content"])
    assert answer[2:9] == request.answer_head


@pytest.mark.parametrize("case", FRAMES["refused"], ids=lambda case: case["why"])
def test_an_answer_that_does_not_fit_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(codec.MalformedReplyError):
        codec.payload(REGISTERS, TRANSACTION, _bytes(case["answer"]))


@pytest.mark.parametrize("case", FRAMES["exception"], ids=lambda case: str(case["code"]))
def test_exceptions_carry_their_code(case: dict[str, Any]) -> None:
    with pytest.raises(codec.ExceptionReplyError) as caught:
        codec.payload(REGISTERS, TRANSACTION, _bytes(case["answer"]))
    assert caught.value.code == case["code"]


@pytest.mark.parametrize("case", FRAMES["garbage"], ids=lambda case: case["why"])
def test_garbage_is_no_frame(case: dict[str, Any]) -> None:
    with pytest.raises(codec.FramingError):
        codec.frame_bytes(_bytes(case["bytes"]), 0)


@given(st.binary(min_size=1, max_size=253))
def test_nothing_but_reading_can_be_encoded(pdu: bytes) -> None:
    reading = pdu[0] in {1, 2, 3, 4, 7, 17, 20} or pdu[:2] == b"\x2b\x0e"
    if reading:
        assert Request(1, pdu).frame(0)[7:] == pdu
    else:
        with pytest.raises(codec.RefusedFunctionError):
            Request(1, pdu)


@pytest.mark.parametrize("function", sorted(set(range(256)) - codec.ALLOWED_FUNCTIONS))
def test_each_other_function_is_refused(function: int) -> None:
    with pytest.raises(codec.RefusedFunctionError):
        Request(1, bytes((function, 0, 0, 0, 1)))


def test_a_made_request_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        REGISTERS.pdu = b"\x06"  # type: ignore[misc]  # that is what is tested


@given(st.binary(max_size=300))
def test_no_answer_but_the_right_one_is_taken(frame: bytes) -> None:
    try:
        content = codec.payload(REGISTERS, TRANSACTION, frame)
    except (codec.MalformedReplyError, codec.ExceptionReplyError):
        return
    assert frame[:9] == _bytes("1501 0000 0009 ff 03 06")
    assert len(content) == 6


@given(st.binary(max_size=300), st.integers(0, 20))
def test_a_frame_is_whole_or_awaited(stream: bytes, position: int) -> None:
    try:
        size = codec.frame_bytes(stream, position)
    except codec.FramingError:
        return
    assert size == 0 or (9 <= size <= 260 and position + size <= len(stream))


@pytest.mark.parametrize(
    ("area", "address", "count"),
    [
        (Area.HOLDING, 0, 0), (Area.HOLDING, 0, 126), (Area.INPUT, 65535, 2), (Area.COIL, 0, 2001),
        (Area.DISCRETE, -1, 1), (Area.COIL, 65536, 1),
    ],
)  # fmt: skip
def test_reads_stay_within_one_request_and_the_address_space(
    area: Area, address: int, count: int
) -> None:
    with pytest.raises(ValueError, match=r"one request|leaves 0"):
        codec.read(area, 1, address, count)


def test_unit_and_length_are_checked() -> None:
    with pytest.raises(ValueError, match="unit 256"):
        codec.read(Area.COIL, 256, 0, 1)
    with pytest.raises(ValueError, match="254"):
        Request(1, b"\x03" * 254)


def test_the_largest_reads_of_the_specification_fit() -> None:
    assert codec.read(Area.HOLDING, 0, 0, 125).payload_bytes == 250
    assert codec.read(Area.COIL, 0, 0, 2000).payload_bytes == 250
    assert codec.read(Area.COIL, 0, 65535, 1).payload_bytes == 1


def test_diagnostic_reads() -> None:
    """Specification §6.7 and §6.13."""
    status = Request(1, b"\x07")
    assert status.frame(1) == _bytes("0001 0000 0002 01 07")
    assert codec.payload(status, 1, _bytes("0001 0000 0003 01 07 6d")) == b"\x6d"
    with pytest.raises(codec.MalformedReplyError):
        codec.payload(status, 1, _bytes("0001 0000 0004 01 07 6d 00"))
    server = codec.report_server_id(1)
    assert codec.payload(server, 1, _bytes("0001 0000 0005 01 11 02 41ff")) == b"A\xff"


def test_device_identification() -> None:
    """Specification §6.21, basic identification."""
    request = codec.read_device_identification(1)
    assert request.pdu == _bytes("2b 0e 01 00")
    content = b"\x0e\x01\x01\x00\x00\x02" + b"\x00\x02AB" + b"\x02\x02V1"
    frame = b"\x00\x01\x00\x00" + (len(content) + 2).to_bytes(2, "big") + b"\x01\x2b" + content
    objects = codec.device_identification(codec.payload(request, 1, frame))
    assert objects == {0: b"AB", 2: b"V1"}
    with pytest.raises(codec.MalformedReplyError):
        codec.device_identification(content[1:-1])
    with pytest.raises(codec.MalformedReplyError):
        codec.device_identification(b"")
    with pytest.raises(codec.MalformedReplyError):
        codec.payload(request, 1, frame[:8] + b"\x0d" + frame[9:])


def test_exception_texts_name_what_they_know() -> None:
    assert codec.exception_text(2).startswith("illegal data address")
    assert codec.exception_text(99) == "unknown code"
