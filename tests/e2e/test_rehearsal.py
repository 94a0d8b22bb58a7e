"""A site rehearsed at a desk: `plantgate sim` plays the plant, faults arrive at the receiver."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.world import PLANTGATE, Row, World, by_point, stop, until

LATER_S = 16
"""From when on the faults are: by then every point must have been good at the receiver once."""
GDS = """\
位号,区域,地址,类型,字节序,比例,单位,高报,高高报,量程下限,量程上限
AT-1,holding,0,f32,ABCD,,%LEL,25,50,0,100
AT-2,holding,2,f32,CDAB,,%LEL,25,50,0,100
AT-3,holding,4,u16,ABCD,0.1,%LEL,25,50,0,100
AT-4,holding,5,s32,DCBA,0.01,%LEL,25,50,0,100
XS-5,holding,20,bit3,ABCD,,,,,,
XS-6,discrete,40,bool,ABCD,,,,,,
WT-7,input,100,bcd16,BADC,0.1,kg,,,0,500
"""
DCS = """\
name,node,type,unit,low,high,range_low,range_high
TI-1,nsu=urn:plant:dcs;s=TI-1.PV,float,°C,20,80,0,100
TI-2,ns=3;i=77,float,°C,20,80,0,100
FQ-3,nsu=urn:plant:other;g=5f0ab1a4-1e44-4d0c-9d06-6e4f5b5e0001,int,m³,,,0,1000
XV-4,nsu=urn:plant:dcs;b=AQID,bool,,,,,
"""
SITE = """
[[device]]
name = "gds-1"
driver = "modbus"
host = "10.20.30.40"
unit = 17
poll_ms = 500
timeout_ms = 20000
points = "gds.csv"

[[device]]
name = "gds-2"
driver = "modbus"
host = "10.20.30.40"
unit = 18
poll_ms = 500
timeout_ms = 500
points = "gds.csv"

[[device]]
name = "dcs"
driver = "opcua"
endpoint = "opc.tcp://10.20.30.41:4840/UA/Plant"
security = "None"
insecure = true
publish_ms = 200
timeout_ms = 20000
points = "dcs.csv"
"""
FAULTS = f"""
[[fault]]
device = "gds-2"
kind = "dead"
at_s = {LATER_S}
for_s = 8

[[fault]]
device = "gds-1"
kind = "illegal"
area = "holding"
from = 2
to = 3
at_s = {LATER_S}

[[fault]]
device = "gds-1"
kind = "drift"
tag = "AT-1"
per_s = 5
at_s = {LATER_S}

[[fault]]
device = "dcs"
kind = "stuck"
tag = "TI-1"
at_s = {LATER_S}

[[fault]]
device = "dcs"
kind = "calibration"
tag = "TI-2"
status_tag = "XV-4"
status_value = 1
at_s = {LATER_S}
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        (made.folder / "gds.csv").write_bytes(GDS.encode("gb18030"))
        (made.folder / "dcs.csv").write_text(DCS, encoding="utf-8")
        (made.folder / "faults.toml").write_text(FAULTS, encoding="utf-8")
        made.write_site(SITE)
        yield made


def latest(world: World) -> dict[str, list[Row]]:
    return dict(by_point(world.query()))


def test_values_and_quality_at_the_receiver_follow_the_faults(world: World) -> None:
    desk = world.folder / "desk.toml"
    world.start_receiver()
    plant = world.start("plant", [*PLANTGATE, "sim", str(world.site), "--write-site", str(desk),
                                  "--faults", str(world.folder / "faults.toml")])  # fmt: skip
    world.until_ready(plant, desk.exists, "the simulator serves")
    world.site = desk
    gateway = world.start_gateway()

    def seen(point: str, quality: str) -> bool:
        return any(row.quality == quality for row in latest(world).get(point, []))

    tags = [line["位号"] for line in csv.DictReader(GDS.splitlines())]
    gds = [f"{device}/{tag}" for device in ("gds-1", "gds-2") for tag in tags]
    dcs = [f"dcs/{line['name']}" for line in csv.DictReader(DCS.splitlines())]
    until(lambda: seen("gds-1/AT-2", "bad:illegal_address"), what="illegal")
    until(lambda: seen("dcs/TI-2", "uncertain:0x420A"), what="calibration")

    def back() -> bool:
        words = [row.quality for row in latest(world)["gds-2/AT-1"]]
        lost = [at for at, word in enumerate(words) if word.startswith("bad:")]
        return bool(lost) and words[-1] == "good"

    until(back, what="gds-2 is lost and comes back")
    until(
        lambda: any(a["source"] == "gds-1/AT-1" for a in world.alarms()),
        what="the drift raises an alarm",
    )
    assert stop(gateway) == 0
    assert stop(plant) == 0

    rows = latest(world)
    assert set(rows) == {*gds, *dcs}
    assert all(any(row.quality == "good" for row in rows[point]) for point in rows)
    for point in ("gds-1/AT-1", "gds-1/AT-3", "gds-1/AT-4", "gds-1/WT-7"):
        assert {row.quality for row in rows[point]} <= {"good"}, point
    quiet = [row.value for row in rows["gds-2/AT-4"] if row.quality == "good"]
    assert all(0 < value < 25 for value in quiet)
    assert len(set(quiet)) > 3, "the signal moves"
    assert max(row.value for row in rows["gds-1/AT-1"]) > 25
    assert {row.quality for row in rows["gds-2/AT-1"]} & {"bad:comm_failure", "bad:not_connected"}
    assert {row.value for row in rows["gds-1/XS-5"]} <= {0.0, 1.0}
    assert all(125 <= row.value <= 375 for row in rows["gds-1/WT-7"])
    calibrated = [row.value for row in rows["dcs/TI-2"] if row.quality == "uncertain:0x420A"]
    assert set(calibrated) == {0.0}
    assert rows["dcs/XV-4"][-1].value == 1.0
    assert all(20 < row.value < 80 for row in rows["dcs/TI-1"])
