"""`check --connect` against devices that speak the real wire."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from drivers.contract import Batch, SourceEvent
from drivers.modbus.codec import ALLOWED_FUNCTIONS
from drivers.opcua.events import EventMaker
from drivers.opcua.expiry import DAY_NS, OURS, SERVERS
from drivers.serial_port import open_port
from gateway.doctor.device_judge import findings_of
from gateway.doctor.device_watch import CALM_TURNS, DeviceWatch
from gateway.doctor.finding import State, all_good
from tests.fakes.modbus_server import ModbusServer
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.serial_device import GasDetectors, SerialDevice
from tests.gateway.doctor.rig import of, site_of, visited, words, wrong
from tests.ports import own_port

HEAD = "name,area,address,type,order,unit,low,high,range_low,range_high\n"
DEVICE = """
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {port}
timeout_ms = 20000
poll_ms = 50
points = "gds.csv"
"""
OPCUA = """
[[device]]
name = "dcs"
driver = "opcua"
endpoint = "{endpoint}"
security = "None"
insecure = true
timeout_ms = 60000
points = "dcs.csv"
"""


async def test_a_device_that_is_well_is_read_once_or_twice_and_nothing_is_said(
    tmp_path: Path,
) -> None:
    async with ModbusServer(registers=100, record=True) as server:
        rows = HEAD + "a,holding,5,u16,,%LEL,,90,0,100\nb,input,7,u16,,%LEL,,,,\n"
        site = site_of(tmp_path, DEVICE.format(port=server.port), {"gds.csv": rows})
        found = of(await visited(site, tmp_path), "gds-1")
        frames = list(server.device.frames or ())
    assert words(found) == [("link", "good")]
    assert "2 of 2 points good, 2 requests a poll" in found[0].text
    assert {frame[7] for frame in frames} <= ALLOWED_FUNCTIONS
    assert not (tmp_path / "data" / "devices").exists()


async def test_refused_registers_swapped_words_and_alarms_are_each_told(tmp_path: Path) -> None:
    async with ModbusServer(registers=100) as server:
        server.device.forbid("holding", 20, 22)
        server.device.holding[10:12] = struct.unpack(">2H", struct.pack(">f", 23.5))[::-1]
        rows = HEAD + (
            "there,holding,5,u16,,,,,,\nlacks,holding,20,u16,,,,,,\nalso,holding,21,u16,,,,,,\n"
            "swapped,holding,10,f32,ABCD,,,,,\ntrips,holding,60,u16,,%LEL,,50,,\n"
            "over,holding,90,u16,,%LEL,,,0,50\n"
        )
        site = site_of(tmp_path, DEVICE.format(port=server.port), {"gds.csv": rows})
        found = of(await visited(site, tmp_path), "gds-1")
    assert words(found) == [
        ("link", "good"), ("points", "fault"), ("order", "doubtful"), ("range", "doubtful"),
        ("alarms", "doubtful"),
    ]  # fmt: skip
    points, order, over, trips = found[1:]
    assert "2 points not there" in points.text
    assert "lacks (holding 20), also (holding 21)" in points.text
    assert "23.5 as CDAB" in order.text
    assert "over is 90 %LEL, range 0…50" in over.text
    assert "trips is 60, high 50" in trips.text
    assert all(one.chinese and one.advice and one.chinese_advice for one in wrong(found))
    assert not all_good(found)


async def test_a_silent_device_and_an_address_without_one_are_told_apart(tmp_path: Path) -> None:
    async with ModbusServer(registers=10) as server, ModbusServer(registers=10) as gone:
        server.device.faults.silent = True
        text = DEVICE.format(port=server.port).replace("20000", "200")
        text += DEVICE.format(port=gone.port).replace("gds-1", "gds-2")
        site = site_of(tmp_path, text, {"gds.csv": HEAD + "a,holding,5,u16,,,,,,\n"})
        await gone.stop()
        found = await visited(site, tmp_path)
    (silent,), (refused,) = of(found, "gds-1"), of(found, "gds-2")
    assert words([silent, refused]) == [("link", "fault")] * 2
    assert "no answer to several requests" in silent.text
    assert "unit id" in silent.advice
    assert "Connection refused" in refused.text
    assert "nothing listens at that port" in refused.advice
    assert "没有服务" in refused.chinese


async def test_a_dtu_that_never_dials_in_is_no_device_that_answers(tmp_path: Path) -> None:
    text = """
[[device]]
name = "dtu"
driver = "modbus"
transport = "rtu-tcp"
listen = "127.0.0.1:0"
points = "gds.csv"
"""
    text = text.replace(":0", f":{own_port()}")
    site = site_of(tmp_path, text, {"gds.csv": HEAD + "a,holding,5,u16,,,,,,\n"})
    (found,) = of(await visited(site, tmp_path, patience_s=1.0), "dtu")
    assert (found.about.value[0], found.state) == ("link", State.FAULT)
    assert "nothing was heard of it" in found.text
    assert "DTU" in found.chinese_advice


async def test_devices_of_one_address_come_one_after_another(tmp_path: Path) -> None:
    async with ModbusServer(registers=10, record=True) as server:
        text = DEVICE.format(port=server.port) + DEVICE.format(port=server.port).replace(
            "gds-1", "gds-2"
        ).replace("poll_ms = 50", "poll_ms = 50\nunit = 2")
        site = site_of(tmp_path, text, {"gds.csv": HEAD + "a,holding,5,u16,,,,,,\n"})
        found = await visited(site, tmp_path)
        units = [frame[6] for frame in server.device.frames or ()]
    assert [words(of(found, name)) for name in ("gds-1", "gds-2")] == [[("link", "good")]] * 2
    assert units == sorted(units)
    assert set(units) == {1, 2}


async def test_a_serial_port_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    text = """
[[device]]
name = "bus"
driver = "modbus"
transport = "rtu"
serial = "/dev/serial/by-id/usb-none"
points = "gds.csv"
"""
    site = site_of(tmp_path, text, {"gds.csv": HEAD + "a,holding,5,u16,,,,,,\n"})
    (found,) = of(await visited(site, tmp_path), "bus")
    assert "No such file" in found.text
    assert found.chinese.endswith("没有这个串口")
    assert "ls /dev/serial/by-id" in found.advice


async def test_a_line_with_a_silent_device_and_one_that_another_program_has(
    tmp_path: Path,
) -> None:
    detectors = GasDetectors("01")
    cases = Path(__file__).parents[3] / "drivers" / "serial_line" / "cases"
    async with SerialDevice(detectors) as device:
        text = f"""
[[device]]
name = "gas-line"
driver = "serial_line"
serial = "{device.path}"
frame = "{cases / "gas_example.toml"}"
timeout_ms = 2000
lost_after = 1
poll_ms = 50
points = "gas.csv"
"""
        rows = "name,field,address\nat-1,gas,01\ndead,gas,02\n"
        site = site_of(tmp_path, text, {"gas.csv": rows})
        found = of(await visited(site, tmp_path), "gas-line")
        config = site.devices[0].config
        holder = open_port(config, lambda _: None, lambda _: None)  # type: ignore[arg-type]  # of serial_line
        try:
            (taken,) = of(await visited(site, tmp_path), "gas-line")
        finally:
            holder.abort()
    assert words(found)[:2] == [("link", "good"), ("points", "fault")]
    assert "1 of 2 points good" in found[0].text
    assert "1 point without an answer: dead (02 gas)" in found[1].text
    assert "another program uses it" in taken.text
    assert "systemctl stop plantgate" in taken.advice


async def test_an_opcua_server_is_compared_with_the_table(tmp_path: Path) -> None:
    async with OpcUaServer(3) as server:
        await server.describe("D1", "bar", 0.0, 16.0)
        await server.describe("D2", "℃", 0.0, 100.0)
        rows = (
            "name,node,type,unit,range_low,range_high\n"
            f"here,{server.node('D1')},float,MPa,0,1.6\n"
            f"warm,{server.node('D2')},float,°C,0,100\n"
            f"lacks,{server.node('D9')},float,,,\n"
            f"wide,{server.node('Int')},float,,,\n"
            "space,nsu=urn:none;s=D1,float,,,\n"
        )
        text = OPCUA.format(endpoint=server.endpoint)
        site = site_of(tmp_path, text, {"dcs.csv": rows})
        found = of(await visited(site, tmp_path), "dcs")
    told = {one.about.value[0] + " " + one.state.value: one for one in found}
    assert "None/None is among what it offers" in told["security good"].text
    assert "running" in told["device good"].text
    assert "2 points not there" in told["points fault"].text or any(
        "2 points not there" in one.text for one in found
    )
    assert any("namespace urn:none" in one.text for one in found)
    assert any("64-bit integers" in one.text for one in found)
    assert "here MPa / bar" in told["units doubtful"].text
    assert "warm" not in told["units doubtful"].text
    assert "here 0.0…1.6 / 0…16" in told["range doubtful"].text
    assert not (tmp_path / "data" / "devices").exists()


async def test_a_refused_login_of_an_opcua_server_is_tried_once(tmp_path: Path) -> None:
    async with OpcUaServer(1, users={"reader": "right"}) as server:
        (tmp_path / "p.txt").write_text("wrong", encoding="utf-8")
        (tmp_path / "p.txt").chmod(0o600)
        text = OPCUA.format(endpoint=server.endpoint)
        text = text.replace("insecure", 'user = "reader"\npassword_file = "p.txt"\ninsecure')
        rows = f"name,node,type\na,{server.node('D0')},float\n"
        site = site_of(tmp_path, text, {"dcs.csv": rows})
        found = of(await visited(site, tmp_path), "dcs")
    assert words(found)[-1] == ("security", "fault")
    assert "check `user` and the password file" in found[-1].text
    assert found[-1].chinese == "登录被拒绝"


def _batch(points: list[int], quality: list[int]) -> Batch:
    import numpy as np

    return Batch(
        np.array(points, np.int32), np.zeros(len(points)), np.array(quality, np.uint16), 0, 0, 0
    )


def test_a_watch_ends_once_all_is_good_or_nothing_changes_any_more() -> None:
    watch = DeviceWatch(2)
    watch.feed(_batch([1], [0]))
    assert not any(watch.turn() for _ in range(10 * CALM_TURNS))
    watch.feed(_batch([2], [0x808B]))
    assert not any(watch.turn() for _ in range(CALM_TURNS - 1))
    watch.feed(SourceEvent("device.illegal_address", "d", 0, "one more"))
    watch.feed(_batch([2], [0x8034]))
    assert not any(watch.turn() for _ in range(CALM_TURNS - 1))
    assert watch.turn()
    watch.feed(_batch([2], [0]))
    assert watch.turn()


def test_our_own_certificate_that_ends_is_told_and_the_servers_once(tmp_path: Path) -> None:
    """Of the server's, days are told beside what it offers (opcua.py)."""
    site = site_of(
        tmp_path, OPCUA.format(endpoint="opc.tcp://h:1"), {"dcs.csv": "name,node\na,i=2258\n"}
    )
    watch = DeviceWatch(1)
    watch.feed(_batch([1], [0]))
    events, end_ns = EventMaker("dcs", ""), 20 * DAY_NS
    for whose in (OURS, SERVERS):
        watch.feed(events.certificate(0, whose, end_ns))
    found = findings_of("dcs", "opc.tcp://h:1", list(site.devices[0].rows), watch, {})
    assert words(found) == [("link", "good"), ("certificate", "doubtful")]
    assert found[1].text.startswith("our certificate ends on 1970-01-21, in 20 days: renew it")
    assert "plantgate cert opcua" in found[1].advice


@pytest.mark.parametrize("said", ["no TCP connection: Connection refused"])
def test_a_lost_device_ends_the_watch_at_once(said: str) -> None:
    watch = DeviceWatch(3)
    watch.lost = said
    assert watch.turn()
