"""The simulated Modbus device, read by pymodbus, and its answers against the specification."""

from __future__ import annotations

import asyncio
import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient

from drivers.sim.modbus_server import MOST_POINTS, ModbusSimulator, RegisterMap
from drivers.sim.modbus_wire import answer
from drivers.sim.signals import Plant

PLANT = Plant(100, 1)
VALUES = PLANT.values(33)
MEMORY = RegisterMap(PLANT).fill(VALUES)
SIZES = {1: 10, 2: 10, 3: 80, 4: 20}


async def test_pymodbus_reads_what_the_plant_shows() -> None:
    async with ModbusSimulator(PLANT, 0) as device:
        device.show(VALUES)
        client = AsyncModbusTcpClient("127.0.0.1", port=device.port, timeout=60)
        assert await client.connect()
        try:
            words = (await client.read_holding_registers(0, count=80, device_id=17)).registers
            gas = (await client.read_input_registers(0, count=20)).registers
            contacts = (await client.read_discrete_inputs(0, count=10)).bits[:10]
            coils = (await client.read_coils(3, count=7)).bits[:7]
            beyond = await client.read_holding_registers(80, count=1)
            written = await client.write_register(0, 1)
        finally:
            client.close()
    which = np.sort(np.concatenate([PLANT.analog, PLANT.step]))
    signed = np.array(words, np.uint16).view(np.int16)
    assert np.array_equal(signed / 10.0, VALUES[which])
    read = struct.unpack(">10f", struct.pack(">20H", *gas))
    assert np.array_equal(np.array(read, np.float32), VALUES[PLANT.gas].astype(np.float32))
    assert contacts == [bool(value) for value in VALUES[PLANT.contact]]
    assert coils == contacts[3:10]
    assert (beyond.isError(), beyond.exception_code) == (True, 2)
    assert (written.isError(), written.exception_code) == (True, 1)


@given(st.integers(1, 4), st.integers(0, 0xFFFF), st.integers(0, 0xFFFF))
def test_every_read_is_answered_in_full_or_refused(function: int, start: int, count: int) -> None:
    got = answer(MEMORY, struct.pack(">BHH", function, start, count))
    bits = function <= 2
    if not 1 <= count <= (2000 if bits else 125):
        assert got == bytes((function | 0x80, 3))
    elif start + count > SIZES[function]:
        assert got == bytes((function | 0x80, 2))
    else:
        content = -(-count // 8) if bits else 2 * count
        assert got[:2] == bytes((function, content))
        assert len(got) == 2 + content


@given(st.binary(min_size=1, max_size=253))
def test_any_other_request_is_an_exception(request: bytes) -> None:
    got = answer(MEMORY, request)
    assert got[0] & 0x7F == request[0] & 0x7F
    if not 1 <= request[0] <= 4:
        assert got == bytes((request[0] | 0x80, 1))
    elif len(request) != 5:
        assert got == bytes((request[0] | 0x80, 3))


async def test_frames_may_come_in_any_pieces() -> None:
    frames = b"".join(struct.pack(">HHHBBHH", number, 0, 6, 1, 3, number, 1) for number in range(5))
    async with ModbusSimulator(PLANT, 0) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        for piece in (frames[:3], frames[3:20], frames[20:]):
            writer.write(piece)
            await writer.drain()
        got = await asyncio.wait_for(reader.readexactly(5 * 11), 60)
        writer.close()
        await writer.wait_closed()
        assert device.requests == 5
    assert [struct.unpack_from(">H", got, 11 * n)[0] for n in range(5)] == list(range(5))


@pytest.mark.parametrize(
    "frame",
    [struct.pack(">HHHB", 1, 9, 6, 1), struct.pack(">HHHB", 1, 0, 1, 1),
     struct.pack(">HHHB", 1, 0, 300, 1)],
)  # fmt: skip
async def test_what_is_no_modbus_is_dropped(frame: bytes) -> None:
    async with ModbusSimulator(PLANT, 0) as device:
        reader, writer = await asyncio.open_connection("127.0.0.1", device.port)
        writer.write(frame)
        with contextlib.suppress(ConnectionResetError):  # dropped is dropped
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


def test_more_points_than_registers_are_refused() -> None:
    RegisterMap(Plant(MOST_POINTS, 1))
    with pytest.raises(ValueError, match="at most"):
        RegisterMap(Plant(MOST_POINTS + 1, 1))
