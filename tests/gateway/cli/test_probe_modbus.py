"""`plantgate probe modbus` against the fake device: what it prints, what it sends, how it fails."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drivers.modbus.codec import ALLOWED_FUNCTIONS
from gateway.cli.main import main
from tests.fakes.beside import beside
from tests.fakes.modbus_line import LineServer
from tests.fakes.modbus_server import Device, ModbusServer

XCD = ["--profile", "honeywell-sensepoint-xcd"]
PATIENT = ("--timeout-ms", "20000")
"""A machine that stalls for seconds is no silent device."""


def serving(
    prepare: Callable[[ModbusServer], None], registers: int = 200
) -> AbstractContextManager[ModbusServer]:
    """A fake device on a loop of its own thread, as the command has a loop of its own too."""

    def make() -> ModbusServer:
        server = ModbusServer(registers, record=True)
        server.device.holding[:] = 0
        server.device.input[:] = 0
        prepare(server)
        return server

    return beside(make)


def _xcd(server: ModbusServer, first: int) -> None:
    """An XCD in calibration at 20.9 %vol, whose register 40001 is at wire address `first`."""
    holding = server.device.holding
    holding[first + 2 : first + 4] = [0x41A7, 0x3333]
    holding[first + 6], holding[first + 10], holding[first + 16] = 12, 3, 22


def _probe(server: ModbusServer, *options: str) -> Result:
    target = f"127.0.0.1:{server.port}"
    return CliRunner().invoke(
        main, ["probe", "modbus", target, "--pause-ms", "0", *PATIENT, *options]
    )


def _json(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_values_states_and_raw_registers_side_by_side() -> None:
    with serving(lambda server: _xcd(server, 0)) as server:
        result = _probe(server, *XCD)
        frames = list(server.device.frames or ())
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert lines[0].endswith("from documents, not yet seen on a device")
    assert "gas 20.9 %vol uncertain:calibrating 41A7 3333 40003 holding 2" in lines
    assert "gas.state 12 calibration 标定 good 000C 40007 holding 6" in lines
    assert "gas.temperature 22 °C good 0016 40017 holding 16" in lines
    assert any(line.startswith("address base: addresses are right as they are") for line in lines)
    assert {frame[7] for frame in frames} <= ALLOWED_FUNCTIONS
    reads = [frame for frame in frames if frame[7] <= 4]
    assert len(reads) == 1  # nothing is asked twice


@pytest.mark.parametrize(("first", "offset"), [(1, 1), (0, 0), (3, None)])
def test_an_address_base_that_is_off_by_one_is_told_from_the_evidence(
    first: int, offset: int | None
) -> None:
    with serving(lambda server: _xcd(server, first)) as server:
        base = _json(_probe(server, *XCD, "--no-identify", "--json"))["base"]
    assert base["offset"] == offset
    if offset == 1:
        assert "set profile_offset = 1; then gas is 20.9; gas.state is 12" in base["text"]
        assert base["evidence"]["+1"]["points"] > base["evidence"]["+0"]["points"]


def test_one_below_is_found_as_well() -> None:
    with serving(lambda server: _xcd(server, 1)) as server:
        result = _probe(server, *XCD, "--offset", "2", "--json")
    assert _json(result)["base"]["offset"] == -1
    assert "set profile_offset = 1;" in _json(result)["base"]["text"]


def test_zeros_are_no_evidence() -> None:
    with serving(lambda server: None) as server:
        result = _probe(server, "--profile", "hnag1000-4-g", "--decimals", "1")
    assert "no evidence for either address base" in result.output


def test_illegal_neighbours_are_evidence_and_cost_no_value() -> None:
    def only_its_own(server: ModbusServer) -> None:
        _xcd(server, 0)
        server.device.forbid("holding", 1, 2)
        server.device.forbid("holding", 11, 16)
        server.device.forbid("holding", 17, 200)

    with serving(only_its_own) as server:
        found = _json(_probe(server, *XCD, "--json"))
    assert found["points"][0]["value"] == pytest.approx(20.9)
    assert found["base"]["offset"] == 0
    assert any("cannot be read" in reason for reason in found["base"]["evidence"]["-1"]["reasons"])


def test_registers_without_a_profile_and_what_they_could_be() -> None:
    with serving(lambda server: _xcd(server, 0)) as server:
        result = _probe(server, "--from", "0", "--count", "8")
        coils = _probe(server, "--area", "coil", "--count", "3")
        refused = _probe(server, "--from", "0x1000", "--count", "2")
    lines = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "2 41A7 16807 16807 20.9 · · ·" in lines
    assert "6 000C 12 12 · · · ·" in lines
    assert [line.split() for line in coils.output.splitlines()[:4]] == [
        ["wire", "bit"], ["0", "1"], ["1", "0"], ["2", "0"],
    ]  # fmt: skip
    assert refused.exit_code == 1
    assert "not read (exception 2: illegal data address" in refused.output


def test_a_profile_without_a_place_for_its_registers_takes_it_from_the_command() -> None:
    def regard(server: ModbusServer) -> None:
        server.device.input[10:12] = [0x4248, 0]
        server.device.input[50] = 0x3D

    with serving(regard) as server:
        result = _probe(
            server, "--profile", "draeger-regard-7000", "--at", "value=300011", "--at",
            "state=300051", "--json",
        )  # fmt: skip
    points = {point["tag"]: point for point in _json(result)["points"]}
    assert (points["gas"]["value"], points["gas"]["quality"]) == (50.0, "uncertain:inhibited")
    assert points["gas.under_range"]["quality"] == "bad:illegal_address"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere:x"], "is not HOST or HOST:PORT"),
        (["h", "--profile", "honeywel-midas"], "did you mean honeywell-midas?"),
        (["h", "--profile", "draeger-regard-7000", "--at", "x"], "is not like value=300001"),
        (["h", "--profile", "draeger-regard-7000", "--at", "x=1"], "has no such register"),
        (["h", "--profile", "honeywell-sensepoint-xcd", "--gas-unit", "bar"], "'bar' is no unit"),
        (["h", "--from", "x"], "is not a number"),
        (["h", "--from", "65530"], "leave 0..65535"),
    ],
)
def test_a_wrong_question_is_one_line_and_exit_2(options: list[str], words: str) -> None:
    result = CliRunner().invoke(main, ["probe", "modbus", *options])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_device_that_cannot_be_reached_is_one_line_and_exit_1() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        result = CliRunner().invoke(main, ["probe", "modbus", f"127.0.0.1:{port}"])
    assert result.exit_code == 1
    assert (
        result.stderr == f"error: 127.0.0.1:{port} unit 1: no TCP connection: Connection refused\n"
    )


def test_a_silent_device_is_one_line_and_asked_twice_at_most() -> None:
    def silent(server: ModbusServer) -> None:
        server.device.faults.silent = True

    with serving(silent) as server:
        result = _probe(server, *XCD, "--timeout-ms", "50", "--no-identify")
        frames = len(server.device.frames or ())
    assert result.exit_code == 1
    assert frames <= 2
    assert len(result.output.splitlines()) >= 1


def test_a_device_on_a_serial_line() -> None:
    async def probe() -> Result:
        device = Device(100)
        device.holding[:] = 0
        device.holding[506 - 500 : 508 - 500] = [0x4220, 0x0000]
        async with LineServer({126: device}) as line:
            arguments = ["probe", "modbus", line.path, "--unit", "126", "--pause-ms", "0", *PATIENT]
            arguments += ["--profile", "draeger-polytron-8000", "--offset", "-500"]
            return await asyncio.to_thread(CliRunner().invoke, main, arguments)

    result = asyncio.run(probe())
    assert result.exit_code == 0, result.output
    rows = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "gas 40 good 4220 0000 40507 holding 6" in rows
    assert rows[-1] == "identity: it does not say (43/14, 17)"


def test_a_serial_port_that_is_not_there_is_one_line() -> None:
    result = CliRunner().invoke(main, ["probe", "modbus", "/dev/plantgate-no-such-port"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1


def test_who_it_is() -> None:
    """43/14 needs a device that knows it: a server of a few lines on the real wire."""
    answer = bytes.fromhex("2b0e0101000003") + b"\x00\x03ACM\x01\x02X1\x02\x031.0"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                frame = await reader.readexactly(8)
                body = frame[7:] + await reader.readexactly(int.from_bytes(frame[4:6], "big") - 2)
                pdu = answer if body[0] == 43 else bytes((body[0], 2, 0, 7))
                head = frame[:4] + (len(pdu) + 1).to_bytes(2, "big") + frame[6:7]
                writer.write(head + pdu)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def probe() -> Result:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            arguments = ["probe", "modbus", target, "--count", "1", *PATIENT]
            return await asyncio.to_thread(CliRunner().invoke, main, arguments)

    result = asyncio.run(probe())
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "identity: vendor ACM, product X1, revision 1.0"
