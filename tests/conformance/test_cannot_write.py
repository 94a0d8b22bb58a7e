"""The gateway cannot write: every byte that any driver sends, while it is answered with rubbish.

Each driver runs as the gateway runs it, again after each DeviceError; what it sends is kept on the
wire and read by judges that know nothing of our code (judge.py). Whatever a peer answers, only what
is on the list leaves. A driver that is not here fails the test of the list.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers import registry
from drivers.contract import Batch, DeviceError, Driver, DriverPoint, Receipt, SourceEvent
from drivers.modbus import DRIVER as MODBUS
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.opcua import DRIVER as OPCUA
from drivers.opcua.config import OpcUaConfig
from drivers.serial_line import DRIVER as SERIAL_LINE
from drivers.serial_line.config import SerialAddress, SerialLineConfig
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from tests.conformance import judge
from tests.conformance.intake_rigs import BEGAN_S, FolderRig, HttpRig, MqttRig
from tests.fakes.certificates import Authority
from tests.fakes.modbus_line import Line, LineServer, dial_in, rtu
from tests.fakes.modbus_server import Device, ModbusServer
from tests.fakes.modbus_udp import UdpServer
from tests.fakes.opcua_collector import points
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.rtsp_camera import RtspCamera
from tests.fakes.serial_device import GasDetectors, SerialDevice, gas_request
from tests.fakes.wiretap import Spoiler, Wiretap
from tests.ports import own_port
from tests.vision.recorder import camera, points_of

SPOILT = 40
"""Answers that are spoilt for each driver here; the soak runs for hours."""
LONGEST_S = 120.0


async def _emit(item: Batch | SourceEvent) -> Receipt:
    del item
    receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    receipt.set_result(None)
    return receipt


async def provoke(driver: Driver, enough: Callable[[], bool]) -> None:
    """Run a driver over and over until enough was provoked."""
    is_over = asyncio.Event()

    async def supervise() -> None:
        # Not for ever: `asyncio.wait_for` of Python 3.11 drops a cancellation that comes as its
        # future completes, and the driver then goes on. Programs cancel again (sources/keep.py).
        while not is_over.is_set():
            try:
                await driver.run(_emit)
            except DeviceError:
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(supervise())
        try:
            async with asyncio.timeout(LONGEST_S):
                while not enough():  # noqa: ASYNC110  # the wire says when
                    await asyncio.sleep(0.01)
        finally:
            is_over.set()
            running.cancel()


# Modbus, on every transport.


def modbus(**keys: object) -> Driver:
    """Points in all four areas, one of them illegal, so that searches and probes are made too."""
    rows = [("holding", at, "u16") for at in range(4)] + [("holding", 90, "u16")]
    rows += [("coil", 1, "bool"), ("discrete", 2, "bool"), ("input", 3, "f32")]
    table = [
        DriverPoint(
            at, f"t{at}", ModbusAddress.model_validate({"area": a, "address": n, "type": kind})
        )
        for at, (a, n, kind) in enumerate(rows, start=1)
    ]
    config = ModbusConfig.model_validate(
        {"poll_ms": 10, "timeout_ms": 60, "lost_after": 2, "unit": 5, **keys}
    )
    return MODBUS.open("plc", config, table, SystemClock())


def device() -> Device:
    """A device that refuses one register."""
    made = Device(100)
    made.faults.exceptions.append((3, 90, 91, 2))
    return made


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
async def test_modbus_tcp(tls: bool, tmp_path: Path) -> None:
    spoil = Spoiler(1)
    context, keys = None, {}
    if tls:
        authority = Authority(tmp_path)
        pair = authority.issue("plc")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        keys = {"transport": "tls", "ca": str(authority.ca), "timeout_ms": 500}
    async with ModbusServer(100) as server, Wiretap(server.port, spoil, context) as tap:
        server.device.faults.exceptions.append((3, 90, 91, 2))
        driver = modbus(host="127.0.0.1", port=tap.port, **keys)
        await provoke(driver, lambda: spoil.spoilt >= SPOILT)
        sent = [bytes(stream) for stream in tap.sent]
    assert set().union(*(judge.mbap(stream) for stream in sent)) == {1, 2, 3, 4}


async def test_modbus_udp() -> None:
    spoil, sent = Spoiler(2), list[bytes]()

    class Hostile(UdpServer):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            sent.append(data)
            self._transport.sendto(spoil(self.device.answer(data)), addr)

    async with Hostile(device()) as server:
        driver = modbus(transport="udp", host="127.0.0.1", port=server.port)
        await provoke(driver, lambda: spoil.spoilt >= SPOILT)
    assert set().union(*(judge.mbap(frame) for frame in sent)) == {1, 2, 3, 4}


class HostileLine(Line):
    """A line whose answers are spoilt."""

    spoil = Spoiler(0)

    def feed(self, chunk: bytes) -> bytes:
        return self.spoil(super().feed(chunk))


@asynccontextmanager
async def hostile_line(framing: str, *, tcp: bool) -> AsyncIterator[tuple[LineServer, Spoiler]]:
    line = HostileLine({5: device()}, framing)
    line.spoil = Spoiler(3)
    server = LineServer({}, framing, tcp=tcp)
    server.line = line
    async with server:
        yield server, line.spoil


LINES = {"rtu": judge.rtu, "ascii": judge.ascii_lines}


@pytest.mark.parametrize("framing", LINES)
@pytest.mark.parametrize("tcp", [False, True], ids=["serial", "converter"])
async def test_modbus_lines(framing: str, tcp: bool) -> None:
    async with hostile_line(framing, tcp=tcp) as (server, spoil):
        place: dict[str, object] = {"serial": server.path, "transport": framing}
        if tcp:
            place = {"host": "127.0.0.1", "port": server.port, "transport": f"{framing}-tcp"}
        await provoke(modbus(**place), lambda: spoil.spoilt >= SPOILT // 2)
        sent = bytes(server.line.received)
    assert LINES[framing](sent) == {1, 2, 3, 4}


async def test_modbus_of_a_dtu_that_dials_in() -> None:
    line = HostileLine({5: device()})
    line.spoil = Spoiler(4)
    port = own_port()
    driver = modbus(transport="rtu-tcp", listen=f"127.0.0.1:{port}", dial_in_ignore=["REG"])

    async def dial() -> None:
        while True:
            transport = await dial_in(port, line, b"REG1")
            while not transport.is_closing():  # noqa: ASYNC110  # the other end closes it
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        dialling = group.create_task(dial())
        await provoke(driver, lambda: line.spoil.spoilt >= SPOILT // 2)
        dialling.cancel()
    assert judge.rtu(bytes(line.received)) == {1, 2, 3, 4}


async def test_modbus_that_reads_along_says_nothing() -> None:
    rng = random.Random(5)
    async with LineServer({}) as server:
        said = 0

        def enough() -> bool:
            nonlocal said
            said += 1
            server.send(rng.randbytes(20))
            return said > 100

        driver = modbus(serial=server.path, transport="rtu", listen_only=True, stale_ms=150)
        await provoke(driver, enough)
        assert bytes(server.line.received) == b""


# The others.


@pytest.mark.parametrize("spare", [0, 12, 25], ids=["at once", "while it subscribes", "later"])
async def test_opcua(spare: int) -> None:
    spoil = Spoiler(spare, spare=spare)
    async with OpcUaServer(3) as server:
        port = int(server.endpoint.split(":")[2].split("/")[0])
        async with Wiretap(port, spoil) as tap:
            config = OpcUaConfig.model_validate(
                {"endpoint": server.endpoint.replace(str(port), str(tap.port)), "security": "None",
                 "insecure": True, "publish_ms": 50, "sampling_ms": 0, "timeout_ms": 500}
            )  # fmt: skip
            table = points(*((OpcUaServer.node(f"D{i}"), "float") for i in range(3)))
            driver = OPCUA.open("dcs", config, table, SystemClock())

            def enough() -> bool:
                return spoil.spoilt >= 6 and spoil.seen > spare

            await provoke(driver, enough)
            sent = [bytes(stream) for stream in tap.sent]
    services = set().union(*(judge.opcua(stream) for stream in sent))
    assert services >= {"OpenSecureChannel"}
    if spare >= 12:
        assert services >= {"CreateSession", "ActivateSession", "Read", "CreateSubscription"}


@pytest.mark.parametrize("tcp", [False, True], ids=["serial", "converter"])
async def test_serial_line(tcp: bool) -> None:
    spoil, detectors = Spoiler(6), GasDetectors("01", "02")
    async with SerialDevice(lambda chunk: spoil(detectors(chunk)), tcp=tcp) as line:
        folder = Path(__file__).parents[2] / "drivers" / "serial_line" / "cases"
        place: dict[str, object] = {"serial": line.path}
        if tcp:
            place = {"host": "127.0.0.1", "port": line.port}
        config = SerialLineConfig.model_validate(
            {**place, "frame": folder / "gas_example.toml", "poll_ms": 10, "timeout_ms": 100}
        )
        table = [
            DriverPoint(at, f"G{at}", SerialAddress(field="gas", address=f"0{at}")) for at in (1, 2)
        ]
        driver = SERIAL_LINE.open("gas", config, table, SystemClock())
        await provoke(driver, lambda: spoil.spoilt >= SPOILT // 2)
        sent = bytes(line.received)
    for request in (gas_request("01"), gas_request("02")):
        assert request in sent
        sent = sent.replace(request, b"")
    assert sent == b"", "only the requests of the description are sent"


async def test_intake_mqtt() -> None:
    rng = random.Random(7)
    rig = MqttRig(0)
    sent = 0

    def enough() -> bool:
        nonlocal sent
        broker = rig.broker
        if broker.connected:
            sent += 1
            broker.publish("site/values", rng.randbytes(30), qos=rng.choice((0, 1)))
            if sent % 10 == 0:
                broker.send_raw(rng.randbytes(12))
        return sent > 200

    async with rig.broker:
        rig.make()
        await provoke(rig.driver, enough)
        packets = judge.mqtt(rig.broker.frames)
    assert packets >= {"CONNECT", "SUBSCRIBE", "PUBACK"}


async def test_intake_http_answers_and_asks_nobody(tmp_path: Path) -> None:
    rng, rig = random.Random(8), HttpRig(tmp_path, 0)
    answers: list[bytes] = []
    body = json.dumps([{"id": "TI-101", "time": BEGAN_S, "value": 1}]).encode()
    spoil = Spoiler(9, share=0.9)

    async def ask() -> None:
        while True:
            request = b"POST /v1/samples HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            request += b"Content-Length: %d\r\n\r\n" % len(body) + body
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", rig.port)
                writer.write(spoil(request) if rng.random() < 0.9 else request)
                try:
                    async with asyncio.timeout(0.5):  # a length that was spoilt makes it wait
                        answers.append(await reader.read())
                finally:
                    writer.transport.abort()
            except OSError:
                await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ask())
        await provoke(rig.driver, lambda: len(answers) > 60)
        asking.cancel()
    statuses = set().union(*(judge.http_server(answer) for answer in answers if answer))
    assert statuses & {"400", "401"}


async def test_intake_folder_changes_nothing_but_its_folder(tmp_path: Path) -> None:
    rng, rig = random.Random(10), FolderRig(tmp_path, 0)
    number = 0

    def enough() -> bool:
        nonlocal number
        number += 1
        (tmp_path / "in" / f"samples-{number}.json").write_bytes(rng.randbytes(40))
        return number > 60

    await provoke(rig.driver, enough)
    found = {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*")}  # noqa: ASYNC240  # nothing else runs
    theirs = {parts for parts in found if len(parts) > 1 and parts[1].startswith("samples-")}
    assert found - theirs <= {
        ("in",), ("in", "done"), ("in", "rejected"), ("in", ".plantgate-seen"),
        ("in", ".plantgate-seen.tmp"),  # the ledger while it is written anew
    }  # fmt: skip


async def test_a_camera_is_only_watched() -> None:
    spoil = Spoiler(11, spare=6)
    async with RtspCamera(spoil) as fake:
        config = camera(f"rtsp://127.0.0.1:{fake.port}/1")
        source = CameraSource(config, points_of(config), SystemClock())

        def enough() -> bool:
            methods = b"".join(fake.received)
            return b"PLAY " in methods and spoil.seen > 6 and len(fake.received) >= 2

        await provoke(source, enough)
        sent = [bytes(stream) for stream in fake.received]
    methods = set().union(*(judge.rtsp(stream) for stream in sent))
    assert methods >= {"OPTIONS", "DESCRIBE", "SETUP", "PLAY"}


def test_no_driver_is_left_out() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    for name in registry.names():
        assert f"test_{name}" in here, f"{name} has no test that records what it sends"


# The judges can say no.


def test_judges_object() -> None:
    read = bytes.fromhex("000100000006050300000001")
    write = bytes.fromhex("000200000006050600010001")
    assert judge.mbap(read) == {3}
    for stream in (read + write, read + b"\0", read[:-1] + b"\0\0"):
        with pytest.raises(judge.WroteError):
            judge.mbap(stream)
    with pytest.raises(judge.WroteError):
        judge.mbap(read, judge.MODBUS - {3})
    line = bytes.fromhex("050600010001")
    with pytest.raises(judge.WroteError):
        judge.rtu(rtu(line))
    with pytest.raises(judge.WroteError):
        judge.ascii_lines(b":050600010001F3\r\n")
    with pytest.raises(judge.WroteError):
        judge.modbus_pdu(b"\x2b\x0d\x01\x00")
    chunk = b"MSGF" + (28).to_bytes(4, "little") + bytes(16)
    with pytest.raises(judge.WroteError, match="i=673"):
        judge.opcua(chunk + b"\x01\x00" + (673).to_bytes(2, "little"))  # WriteRequest
    with pytest.raises(judge.WroteError, match="method"):
        judge.opcua(chunk + b"\x01\x00" + (712).to_bytes(2, "little"))
    assert judge.opcua(chunk + b"\x01\x00" + (631).to_bytes(2, "little")) == {"Read"}
    without = {number: name for number, name in judge.OPCUA.items() if name != "Read"}
    with pytest.raises(judge.WroteError):
        judge.opcua(chunk + b"\x01\x00" + (631).to_bytes(2, "little"), without)
    for frame in ((3, b""), (1, b"\0\4MQTT\4\4")):
        with pytest.raises(judge.WroteError):
            judge.mqtt([frame])
    for method in (b"SET_PARAMETER", b"RECORD", b"ANNOUNCE"):
        with pytest.raises(judge.WroteError):
            judge.rtsp(b"OPTIONS x RTSP/1.0\r\n\r\n" + method + b" x RTSP/1.0\r\n\r\n")
    with pytest.raises(judge.WroteError):
        judge.http_server(b"POST / HTTP/1.1\r\n\r\n")
