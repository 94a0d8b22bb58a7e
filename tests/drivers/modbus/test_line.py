"""Frames of serial lines: found in any stream, refused unless they are exactly the answer."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drivers.modbus import ascii as ascii_framing
from drivers.modbus import rtu
from drivers.modbus.codec import (
    Area,
    Request,
    read,
    read_device_identification,
    report_server_id,
)
from drivers.modbus.exchange import Outcome
from drivers.modbus.line import LineExchange
from tests.fakes import modbus_line
from tests.fakes.modbus_server import Device

Frame = Callable[[bytes], bytes]
SECOND = 10**9
FRAMINGS = [(rtu, modbus_line.rtu), (ascii_framing, modbus_line.ascii_frame)]
both = pytest.mark.parametrize(("framing", "frame"), FRAMINGS, ids=["rtu", "ascii"])


def _answer(request: Request) -> bytes:
    """Unit, function and content of the right answer."""
    adu = bytes((request.unit,)) + request.pdu
    return Device(1000).answer(len(adu).to_bytes(6, "big") + adu)[6:]


def test_vectors_of_the_specification_and_of_libmodbus() -> None:
    # Serial Line V1.02 appendix B computes 0x1241 for 02 07, sent low byte first.
    assert rtu.crc16(b"\x02\x07") == b"\x41\x12"
    assert rtu.encode(read(Area.HOLDING, 17, 0x6B, 3)).hex() == "1103006b00037687"
    assert ascii_framing.encode(read(Area.HOLDING, 17, 0x6B, 3)) == b":1103006B00037E\r\n"
    assert rtu.silence_ns(9600) == 4_010_416
    assert rtu.silence_ns(115_200) == 1_750_000


@given(st.binary(max_size=300))
def test_the_check_sums_agree_with_the_bitwise_ones(adu: bytes) -> None:
    assert rtu.crc16(adu) == modbus_line.crc16(adu)
    assert (ascii_framing.lrc(adu) + sum(adu)) % 256 == 0


@both
@given(
    st.integers(1, 247), st.sampled_from(list(Area)), st.integers(0, 870), st.integers(1, 125),
    st.binary(max_size=40), st.booleans(),
)  # fmt: skip
@example(17, Area.HOLDING, 0x300, 2, b"", True)  # the echo looks like an answer of three bytes
def test_the_answer_is_found_after_noise_and_echo(
    framing: ModuleType,
    frame: Frame,
    unit: int,
    area: Area,
    address: int,
    count: int,
    noise: bytes,
    echo: bool,
) -> None:
    request = read(area, unit, address, count)
    adu = _answer(request)
    stream = (framing.encode(request) if echo else b"") + noise + frame(adu)
    found = framing.find(request, stream)
    # Noise may by chance begin what looks like an answer; then it is not yet or never taken, but
    # never with another value.
    assert found is None or found == (Outcome.READ, adu[3:])
    if not noise:
        assert found is not None
        assert all(framing.find(request, stream[:at]) is None for at in range(len(stream)))


@both
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"\x11\x83\x02", 2),
        (b"\x11\x03\x02\x00\x07", Outcome.MALFORMED),  # one register for two
        (b"\x11\x03\x06\x00\x07\x00\x08\x00\x09", Outcome.MALFORMED),
        (b"\x12\x03\x04\x00\x07\x00\x08", None),
        (b"\x11\x04\x04\x00\x07\x00\x08", None),
        (b"\x00\x03\x04\x00\x07\x00\x08", None),
        (b"\x11\x84\x02", None),
    ],
)
def test_what_is_not_the_answer_is_refused_or_stepped_over(
    framing: ModuleType, frame: Frame, answer: bytes, code: int | None
) -> None:
    request = read(Area.HOLDING, 17, 0x160, 2)
    stream = frame(answer)
    found = framing.find(request, stream)
    assert (None if found is None else found.code) == code
    if found is None:
        right = frame(b"\x11\x03\x04\x00\x07\x00\x08")
        assert framing.find(request, stream + right) == (0, b"\x00\x07\x00\x08")


@both
@given(st.data())
def test_a_changed_answer_is_never_a_value(
    framing: ModuleType, frame: Frame, data: st.DataObject
) -> None:
    request = read(Area.HOLDING, 17, 5, 4)
    stream = bytearray(frame(_answer(request)))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= data.draw(st.integers(1, 255))
    found = framing.find(request, bytes(stream))
    if found is not None and found.code == Outcome.READ:
        # Only a change that means the same byte: a hexadecimal digit in small letters.
        assert framing is ascii_framing
        assert found.content == _answer(request)[3:]


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (report_server_id(17), b"\x11\x11\x03\xb4\xffX"),
        (Request(17, b"\x07"), b"\x11\x07\x6d"),
        (
            read_device_identification(17),
            b"\x11\x2b\x0e\x01\x01\x00\x00\x02\x00\x03ABB\x01\x02X1",
        ),
    ],
)
def test_functions_whose_length_the_device_decides(request_: Request, answer: bytes) -> None:
    stream = modbus_line.rtu(answer)
    assert all(rtu.find(request_, stream[:at]) is None for at in range(len(stream)))
    found = rtu.find(request_, b"\x11\x03" + stream)
    assert found is not None
    assert found.code == Outcome.READ


@both
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_noise_alone_never_becomes_a_value(
    framing: ModuleType, frame: Frame, chunks: list[bytes]
) -> None:
    exchange = LineExchange(framing, SECOND, SECOND // 20)
    buffer = bytearray(20)
    exchange.begin([read(Area.HOLDING, 17, 0, 10)], buffer, [0], 0)
    for chunk in chunks:
        exchange.feed(chunk, 1)
        if exchange.outcomes == [Outcome.READ]:
            raise AssertionError("noise of random bytes was taken")
    assert buffer == bytearray(20)


class TestExchange:
    """LineExchange: one request at a time, and nothing late."""

    def setup_method(self) -> None:
        self.exchange = LineExchange(rtu, SECOND, SECOND // 20)
        self.request = read(Area.HOLDING, 17, 5, 2)
        self.frame = modbus_line.rtu(_answer(self.request))
        self.buffer = bytearray(8)

    def begin(self, now_ns: int = 0) -> None:
        self.exchange.begin([self.request], self.buffer, [4], now_ns)

    def test_an_answer_in_pieces(self) -> None:
        self.begin()
        for at in range(len(self.frame)):
            assert not self.exchange.done
            self.exchange.feed(self.frame[at : at + 1], 7)
        assert self.exchange.outcomes == [Outcome.READ]
        assert self.buffer == b"\0\0\0\0\0\x05\0\x06"
        assert self.exchange.round_trip_total_ns == 7

    def test_what_came_before_the_request_does_not_answer_it(self) -> None:
        self.begin()
        self.exchange.feed(self.frame[:5], 1)
        self.begin(2)
        self.exchange.feed(self.frame[5:], 3)
        assert not self.exchange.done
        assert self.exchange.deadline_ns() is not None

    def test_an_answer_to_nobody_is_counted(self) -> None:
        self.exchange.feed(self.frame, 1)
        assert self.exchange.unmatched == 1
        self.begin()
        assert not self.exchange.done

    def test_a_garbled_answer_ends_when_the_line_is_idle(self) -> None:
        self.begin()
        self.exchange.feed(self.frame[:-1] + b"\0", 100)
        assert self.exchange.deadline_ns() == 100 + SECOND // 20
        self.exchange.tick(100 + SECOND // 20)
        assert self.exchange.outcomes == [Outcome.MALFORMED]
        assert not self.exchange.lost

    def test_noise_alone_is_waited_out(self) -> None:
        self.begin()
        self.exchange.feed(b"\xff\x00\x11\x03", 100)
        self.exchange.tick(100 + SECOND // 20)
        assert not self.exchange.done
        assert self.exchange.deadline_ns() == SECOND
        self.exchange.feed(self.frame, SECOND // 2)
        assert self.exchange.outcomes == [Outcome.READ]

    def test_silence_ends_as_lost(self) -> None:
        self.begin()
        self.exchange.tick(SECOND)
        assert self.exchange.outcomes == [Outcome.TIMED_OUT]
        assert self.exchange.lost
        assert self.exchange.timeouts_in_row == 1
