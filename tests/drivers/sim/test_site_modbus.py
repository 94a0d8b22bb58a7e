"""Simulated units: every type and byte order as the driver reads it, and nothing but their own."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from drivers.sim.faults import Disturbance
from drivers.sim.modbus_wire import ModbusListener
from drivers.sim.site_modbus import LIMITS, Spot, UnitMap, UnitsOnOnePort, registers

ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
REGISTER_TYPES = sorted(set(LIMITS) - {"bool"})


def request(area: int, start: int, count: int) -> bytes:
    return struct.pack(">BHH", area, start, count)


@given(
    st.lists(st.integers(0, 60), unique=True, max_size=20), st.integers(0, 70), st.integers(1, 9)
)
def test_a_unit_has_exactly_the_registers_of_its_table(
    starts: list[int], start: int, count: int
) -> None:
    spots = [Spot(at, 3, where, "u16") for at, where in enumerate(starts)]
    memory = UnitMap(spots).fill(np.arange(20, dtype=np.float64))
    got = memory.read(3, start, start + count)
    wanted = range(start, start + count)
    if set(wanted) <= set(starts):
        assert got == b"".join(struct.pack(">H", starts.index(where)) for where in wanted)
    else:
        assert got is None
    assert memory.read(4, start, start + count) is None


@given(
    st.lists(
        st.tuples(st.sampled_from(REGISTER_TYPES), st.sampled_from(ORDERS), st.integers(0, 2**32)),
        min_size=1,
        max_size=30,
    )
)
def test_every_type_and_order_is_stored_as_manuals_describe_it(
    rows: list[tuple[str, str, int]],
) -> None:
    spots: list[Spot] = []
    raws: list[float] = []
    start = 0
    for word, order, drawn in rows:
        low, high = LIMITS[word]
        spots.append(Spot(len(spots), 3, start, word, order))
        raws.append(float(min(max(drawn % 50_000 if high < 1e6 else drawn, low), high)))
        start += registers(word)
    memory = UnitMap(spots).fill(np.array(raws))
    for spot, raw in zip(spots, raws, strict=True):
        content = memory.read(3, spot.start, spot.start + registers(spot.type))
        assert content is not None
        assert decoded(content, spot.type, spot.order) == pytest.approx(raw, rel=1e-6)


def decoded(content: bytes, word: str, order: str) -> float:
    """A value as a manual describes it: letters say which byte comes when, A is the highest."""
    letters = {2: {"ABCD": "AB", "CDAB": "AB", "BADC": "BA", "DCBA": "BA"}}.get(len(content), {})
    words = [content[at : at + 2] for at in range(0, len(content), 2)]
    if letters:
        plain = content if letters[order] == "AB" else content[::-1]
    else:
        if order in {"CDAB", "DCBA"}:
            words.reverse()
        if order in {"BADC", "DCBA"}:
            words = [pair[::-1] for pair in words]
        plain = b"".join(words)
    number = int.from_bytes(plain, "big")
    if word.startswith("bit"):
        return float(number >> int(word[3:]) & 1)
    if word == "bcd16":
        return float(f"{number:x}")
    if word[1:] in {"8hi", "8lo"}:
        octet = number >> 8 if word.endswith("hi") else number & 0xFF
        return float(octet - 256 if word[0] == "s" and octet > 127 else octet)
    if word[0] == "f":
        return float(struct.unpack(">f" if word == "f32" else ">d", plain)[0])
    return float(int.from_bytes(plain, "big", signed=word[0] == "s"))


def test_texts_fill_whole_registers() -> None:
    spots = [Spot(0, 3, 0, "text:5"), Spot(1, 3, 3, "text:10", "BADC")]
    memory = UnitMap(spots).fill(np.array([0.0, 1.0]))
    assert memory.read(3, 0, 3) == b"AUTO\0\0"
    assert memory.read(3, 3, 8) == b"AMUNLA\0\0\0\0"


def test_bits_inside_a_word_that_is_a_point_are_right() -> None:
    spots = [Spot(1, 3, 5, "bit0"), Spot(0, 3, 5, "u16"), Spot(2, 3, 5, "bit15")]
    memory = UnitMap(spots).fill(np.array([0x0F00, 1.0, 1.0]))
    assert memory.read(3, 5, 6) == b"\x8f\x01"


def units(**ails: Disturbance) -> UnitsOnOnePort:
    made = UnitsOnOnePort({1: UnitMap([Spot(0, 3, 7, "u16")]), 2: UnitMap([Spot(1, 1, 9, "bool")])})
    made.show(np.array([513.0, 1.0]), {int(unit[1:]): ail for unit, ail in ails.items()})
    return made


def test_units_on_one_port_and_what_ails_them() -> None:
    assert units().respond(1, request(3, 7, 1)) == (b"\x03\x02\x02\x01", 0.0)
    assert units().respond(2, request(1, 9, 1)) == (b"\x01\x01\x01", 0.0)
    assert units().respond(3, request(3, 7, 1)) == (b"\x83\x0b", 0.0)
    assert units(u1=Disturbance(dead=True)).respond(1, request(3, 7, 1)) == (None, 0.0)
    assert units(u1=Disturbance(dead=True)).respond(2, request(1, 9, 1))[0] == b"\x01\x01\x01"
    slow = Disturbance(delay_s=0.25, illegal=((3, 7, 8),))
    assert units(u1=slow).respond(1, request(3, 7, 1)) == (b"\x83\x02", 0.25)
    assert units(u1=slow).respond(1, request(6, 7, 1)) == (b"\x86\x01", 0.25)


async def test_pymodbus_reads_units_and_waits_for_a_slow_one() -> None:
    served = units(u1=Disturbance(delay_s=0.05), u2=Disturbance(dead=True))
    async with ModbusListener(served.respond, 0) as listener:
        client = AsyncModbusTcpClient("127.0.0.1", port=listener.port, timeout=60, retries=0)
        assert await client.connect()
        try:
            read = await client.read_holding_registers(7, count=1, device_id=1)
            strange = await client.read_holding_registers(7, count=1, device_id=9)
        finally:
            client.close()
    assert read.registers == [513]
    assert strange.exception_code == 11
