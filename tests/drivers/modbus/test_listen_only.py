"""Reading along with another master: its answers become values, and nothing is ever written."""

from __future__ import annotations

import asyncio
import itertools
import os
import tty
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DriverPoint, Quality
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig, ModbusDriver, rtu
from drivers.modbus.codec import Area, read
from drivers.modbus.sniff import Seen, Sniffer
from gateway.runtime.clock import SystemClock
from tests.drivers.modbus.rig import running
from tests.fakes import modbus_line
from tests.fakes.modbus_server import Device


def _talk(unit: int, area: Area, start: int, count: int) -> tuple[bytes, bytes]:
    """A master's request and its answer; registers hold their address."""
    request = read(area, unit, start, count)
    adu = bytes((unit,)) + request.pdu
    answer = Device(1000).answer(len(adu).to_bytes(6, "big") + adu)[6:]
    return rtu.encode(request), modbus_line.rtu(answer)


@given(
    st.lists(
        st.tuples(st.integers(1, 247), st.sampled_from(list(Area)), st.integers(0, 800),
                  st.integers(1, 125)),
        min_size=1, max_size=6,
    ),
    st.lists(st.integers(0, 3000), max_size=6),
)  # fmt: skip
def test_everything_said_is_heard_in_any_pieces(
    talks: list[tuple[int, Area, int, int]], cuts: list[int]
) -> None:
    stream = b"".join(b"".join(_talk(*talk)) for talk in talks)
    sniffer, heard = Sniffer(), []
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for begin, end in itertools.pairwise(edges):
        heard += sniffer.feed(stream[begin:end], 0)
    assert heard == [
        Seen(*talk, _talk(*talk)[1][3:-2]) for talk in talks
    ]  # content is what the device answered
    assert sniffer.skipped_bytes == 0


@pytest.mark.parametrize(
    "between",
    [
        b"\xff\x00\x55",
        modbus_line.rtu(b"\x05\x83\x02"),  # an exception
        modbus_line.rtu(b"\x00\x06\x00\x01\x00\x02"),  # a broadcast write
        modbus_line.rtu(b"\x05\x10\x00\x01\x00\x01\x02\x00\x07"),  # a write
        _talk(9, Area.HOLDING, 5, 3)[0],  # a request that nobody answers
        _talk(9, Area.HOLDING, 5, 3)[1][:-1],  # half an answer
    ],
)
def test_it_finds_its_place_again(between: bytes) -> None:
    sniffer = Sniffer()
    request, answer = _talk(5, Area.INPUT, 10, 4)
    assert len(sniffer.feed(request + answer + between + request + answer, 0)) == 2


def test_an_answer_counts_only_behind_its_request() -> None:
    request, answer = _talk(5, Area.INPUT, 10, 4)
    _, other = _talk(6, Area.INPUT, 10, 4)
    assert Sniffer().feed(answer, 0) == []
    assert Sniffer().feed(request + other + answer, 0) != []  # other is stepped over
    assert Sniffer().feed(request + other, 0) == []
    late = Sniffer()
    late.feed(request, 0)
    assert late.feed(answer, 60 * 10**9) == []


class _Bus:
    """A pseudo terminal on which a master and its devices talk; whatever is written is kept."""

    def __init__(self) -> None:
        self.master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.path = os.ttyname(self._slave)

    def say(self, *frames: bytes) -> None:
        for frame in frames:
            os.write(self.master, frame)

    def written(self) -> bytes:
        """Everything that was ever written to the line by whoever opened it."""
        try:
            return os.read(self.master, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        for end in (self.master, self._slave):
            os.close(end)


@pytest.fixture
def bus() -> Iterator[_Bus]:
    bus = _Bus()
    yield bus
    bus.close()


def _driver(bus: _Bus, **keys: object) -> ModbusDriver:
    rows = [(5, "input", 10, "u16"), (5, "input", 11, "u32"), (5, "input", 13, "u16"),
            (6, "coil", 3, "bool"), (6, "holding", 700, "u16")]  # fmt: skip
    points = [
        DriverPoint(
            at + 1,
            f"t{at}",
            ModbusAddress.model_validate(
                {"unit_id": unit, "area": area, "address": address, "type": kind}
            ),
        )
        for at, (unit, area, address, kind) in enumerate(rows)
    ]
    config = ModbusConfig.model_validate({
        "transport": "rtu", "serial": bus.path, "listen_only": True, "poll_ms": 10, **keys,
    })  # fmt: skip
    driver = DRIVER.open("tap", config, points, SystemClock())
    assert isinstance(driver, ModbusDriver)
    return driver


async def test_values_come_and_no_byte_is_written(bus: _Bus) -> None:
    driver = _driver(bus)
    async with running(driver) as sink:
        await sink.until(lambda: len(sink.last()) == 5)
        assert {quality for _, quality in sink.last().values()} == {Quality.BAD_WAITING}
        bus.say(*_talk(5, Area.INPUT, 8, 4))  # 8 to 11: only half of the u32 at 11
        await sink.until(lambda: sink.last()[1] == (1010.0, Quality.GOOD))
        assert sink.last()[2][1] == Quality.BAD_WAITING
        bus.say(*_talk(5, Area.INPUT, 10, 4), *_talk(6, Area.COIL, 0, 9))
        await sink.until(lambda: sink.last()[4][1] == Quality.GOOD)
    last = sink.last()
    assert last[2] == (float(1011 << 16 | 1012), Quality.GOOD)
    assert last[3] == (1013.0, Quality.GOOD)
    assert last[4] == (1.0, Quality.GOOD)
    assert last[5][1] == Quality.BAD_WAITING  # its master never reads it
    assert bus.written() == b""
    assert sink.kinds() == ["link.up"]
    assert driver.statistics()["answers_seen"] == 3
    assert driver.statistics()["requests"] == 0


async def test_a_quiet_line_is_lost_and_found(bus: _Bus) -> None:
    async with running(_driver(bus, stale_ms=150)) as sink:

        async def talk_until(ups: int) -> None:
            for _ in range(1000):
                if sink.kinds().count("link.up") >= ups and sink.last()[1][1] == Quality.GOOD:
                    return
                bus.say(*_talk(5, Area.INPUT, 10, 4))
                await asyncio.sleep(0.02)
            raise AssertionError(f"{ups} times up, and a value of it, did not come about")

        await talk_until(1)
        await sink.until(lambda: bool(sink.errors))
        assert sink.last()[1][1] == Quality.BAD_COMM_FAILURE
        assert "no answer of any device passed" in str(sink.errors[0])
        await talk_until(2)
    assert bus.written() == b""


def test_only_on_rtu() -> None:
    with pytest.raises(ValueError, match="listen_only works on RTU"):
        ModbusConfig(host="plc", listen_only=True)
