"""`plantgate probe bus` on pseudo terminals and a TCP converter: what it says, and its silence."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from click.testing import CliRunner, Result

from drivers.modbus.codec import Area
from drivers.modbus.line_verdict import Setting
from gateway.cli.main import main
from tests.drivers.modbus.test_overhear import talk
from tests.fakes.beside import beside
from tests.fakes.modbus_line import Line, LineServer, _Stream
from tests.fakes.modbus_server import Device
from tests.fakes.rs485 import Bus

A, A_SAYS = talk(5, Area.HOLDING, 10, 4)
B, B_SAYS = talk(6, Area.INPUT, 20, 2)


@asynccontextmanager
async def talking(bus: Bus, *frames: bytes) -> AsyncIterator[Bus]:
    """A bus on which somebody says these frames over and over."""

    async def talk_on() -> None:
        while True:
            for frame in frames:
                bus.say(frame)
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

    async with bus, asyncio.TaskGroup() as group:
        task = group.create_task(talk_on())
        try:
            yield bus
        finally:
            task.cancel()


def probe(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", "bus", *arguments])


def facts(*arguments: str) -> dict[str, Any]:
    result = probe(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_it_finds_the_baud_rate_and_the_master_and_says_nothing() -> None:
    def line() -> AbstractAsyncContextManager[Bus]:
        return talking(Bus(1, Setting(19200)), A, A_SAYS, B, B_SAYS)

    with beside(line) as bus:
        result = probe(bus.paths[0], "--seconds", "1", "--try-seconds", "2")
        found = facts(bus.paths[0], "--seconds", "1", "--try-seconds", "2")
        assert bus.said[0] == b""
    assert result.exit_code == 0, result.output
    assert "19200 8N1" in result.output
    assert "nothing transmitted" in result.output
    assert "! a master is on this line already" in result.output
    assert "线路上已有主站" in result.output
    assert "listen_only = true" in result.output
    assert "baud = 19200" in result.output
    assert (found["baud"], found["parity"], found["transmitted_bytes"]) == (19200, "none", 0)
    assert found["clean_ratio"] > 0.9
    assert {one["unit"] for one in found["asked"]} == {5, 6}
    assert {"baud": 9600, "parity": "none"}.items() <= found["tried"][0].items()
    assert found["tried"][0]["frames"] == 0


def test_a_silent_line_is_said_to_be_silent_and_may_be_asked_once() -> None:
    with beside(lambda: LineServer({5: Device(10)})) as server:
        server.line.faults.echo = True
        found = facts(server.path, "--seconds", "0.3", "--try-seconds", "0.3", "--ask", "5")
        assert bytes(server.line.received) == talk(5, Area.HOLDING, 0, 1)[0]
    assert [finding["code"] for finding in found["findings"]] == ["silent"]
    assert found["ask"] == {"echo": True, "answered": True, "exception": 0}
    assert found["transmitted_bytes"] == 8


def test_where_somebody_talks_nothing_is_asked() -> None:
    with beside(lambda: talking(Bus(1), A, A_SAYS)) as bus:
        result = probe(bus.paths[0], "--baud", "9600", "--seconds", "0.5", "--ask", "5")
        assert bus.said[0] == b""
    assert "unit 5 was not asked: the line is not silent" in result.output


@asynccontextmanager
async def _converter() -> AsyncIterator[int]:
    """A TCP converter that repeats the talk of two masters."""
    received: list[bytes] = []

    class Repeats(_Stream):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            asyncio.get_running_loop().call_soon(self.talk)

        def talk(self) -> None:
            if not self._transport.is_closing():
                self._transport.write(A + B + A_SAYS + B_SAYS)
                asyncio.get_running_loop().call_later(0.05, self.talk)

        def data_received(self, data: bytes) -> None:
            received.append(data)

    server = await asyncio.get_running_loop().create_server(
        lambda: Repeats(Line({})), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]
    assert received == []


def test_two_masters_behind_a_converter() -> None:
    with beside(_converter) as port:
        found = facts(f"127.0.0.1:{port}", "--seconds", "0.5")
    assert {"master", "second_master"} <= {finding["code"] for finding in found["findings"]}


def test_wrong_questions_are_one_sentence() -> None:
    result = probe("nowhere")
    assert result.exit_code == 2
    assert "neither a serial port like /dev/ttyUSB0 nor HOST:PORT" in result.output
    result = probe("127.0.0.1:4001", "--baud", "9600")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    result = probe("/dev/no-such-port", "--seconds", "0.2")
    assert result.exit_code == 1
    assert "cannot be opened" in result.output
