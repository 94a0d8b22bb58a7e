"""`plantgate sim` as an integrator meets it: what is served, what is refused, what is written."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.sim import command
from gateway.cli.sim_site import Where, rewritten, toml, translate
from gateway.config.load import load

ROOT = Path(__file__).resolve().parents[3]
SITE = """
[gateway]
id = "SD-1"
enterprise = "91350100M000100Y43"
data_dir = "data"
[[device]]
name = "gds-1"
driver = "modbus"
host = "10.20.30.40"
unit = 17
points = "gds.csv"
[[device]]
name = "gds-2"
driver = "modbus"
host = "10.20.30.40"
unit = 18
points = "gds.csv"
[[device]]
name = "dcs"
driver = "opcua"
endpoint = "opc.tcp://10.20.30.41:4840/UA"
security = "None"
insecure = true
points = "dcs.csv"
[[uplink]]
name = "desk"
target = "127.0.0.1:50051"
insecure = true
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "gds.csv").write_text(
        "name,area,address,type,scale,high,range_low,range_high\n"
        "A,holding,0,u16,0.1,25,0,100\nB,discrete,3,bool,,,,\n"
    )
    (tmp_path / "dcs.csv").write_text("name,node\nT,nsu=urn:x;s=T\n")
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def read(port: int, unit: int, count: int) -> bytes:
    """Read holding registers from 0."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, 3, 0, count))
        return link.recv(300)


def sim(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_site_is_translated(site: Path) -> None:
    found = translate(load(site), Where(offset=1000))
    assert found.problems == []
    gds, other, dcs = found.devices
    assert (gds.port, gds.server, dcs.port, dcs.path) == (1502, "10.20.30.40:502", 5840, "/UA")
    assert [(unit, spot.area, spot.start) for unit, spot in gds.spots] == [(17, 3, 0), (17, 2, 3)]
    assert {unit for unit, _ in other.spots} == {18}
    assert (gds.points[0].scale, gds.points[0].high, gds.points[0].raw_high) == (0.1, 25, 65_535)
    assert (dcs.nodes[0].namespace, dcs.nodes[0].identifier) == ("urn:x", "T")


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (("", ""), [], "device gds-1 is at 10.20.30.40, not on this machine"),
        (('security = "None"', 'security = "none"'), [], "security"),
        (("10.20.30.41:4840", "127.0.0.1:65000"), ["--port-offset", "5000"], "is above 65535"),
        (("10.20.30.41:4840", "10.0.0.1:502"), ["--port-offset", "5"], "use --write-site"),
        (("", ""), ["--port-offset", "5", "--write-site", "x.toml"], "exclude each other"),
        (("", ""), ["--write-site", "site.toml"], "is the site file itself"),
        (("", ""), ["--write-site", "/x.toml"], "must lie beside site.toml"),
        (("", ""), ["--write-site", "x.toml", "--faults", "none"], "cannot be read: No such"),
        (("", ""), ["--write-site", "x.toml", "--faults", "f0"], "f0: is no TOML"),
        (("", ""), ["--write-site", "x.toml", "--faults", "f1"], "f1:2: fault[1].kind: must be"),
        (("", ""), ["--write-site", "x.toml", "--faults", "f2"], "device dcs has no point 'X'"),
        (("", ""), ["--write-site", "x.toml", "--faults", "f3"], "unknown section"),
        (
            ("10.20.30.41:4840", "10.20.30.40:502"),
            ["--write-site", "x.toml"],
            "has both Modbus and OPC UA devices",
        ),
    ],
)
def test_mistakes_end_with_2_and_say_what(
    site: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: tuple[str, str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(site.parent)
    site.write_text(SITE.replace(*change) if change[0] else SITE)
    Path("f0").write_text("x")
    Path("f1").write_text('[[fault]]\nkind = "deaf"\ndevice = "dcs"\n')
    Path("f2").write_text('[[fault]]\nkind = "stuck"\ndevice = "dcs"\ntag = "X"\n')
    Path("f3").write_text("[faults]\n")
    result = sim("site.toml", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert not Path("x.toml").exists()


def test_a_serial_line_is_played_as_modbus_tcp(site: Path) -> None:
    serial = 'serial = "/dev/ttyS9"\ntransport = "rtu"\nbaud = 19200'
    site.write_text(SITE.replace('host = "10.20.30.40"', serial, 1))
    (said,) = translate(load(site), Where(offset=5)).problems[:1]
    assert "device gds-1 is at /dev/ttyS9 by rtu: use --write-site" in said
    found = translate(load(site), Where(anywhere=True))
    assert found.problems == []
    assert found.notes[0] == "device gds-1: /dev/ttyS9 by rtu is played as Modbus TCP"
    assert found.devices[0].server == "/dev/ttyS9"
    new, _ = rewritten(tomllib.loads(site.read_text()), {"gds-1": 40001})
    assert new["device"][0] == {
        "name": "gds-1", "driver": "modbus", "unit": 17, "points": "gds.csv",
        "host": "127.0.0.1", "port": 40001,
    }  # fmt: skip


def test_a_written_site_reaches_no_platform_and_no_real_data() -> None:
    raw = tomllib.loads(SITE + '[[uplink]]\nname = "p"\ntarget = "p.example:1"\ninsecure = true\n')
    raw["device"][2] |= {"security": "Basic256Sha256", "certificate": "c", "key": "k"}
    new, notes = rewritten(raw, {"gds-1": 40001, "dcs": 40002})
    assert new["gateway"]["data_dir"] == "data-rehearsal"
    assert [uplink["name"] for uplink in new["uplink"]] == ["desk"]
    assert "uplink p to p.example:1 is left out" in notes[0]
    gds, other, dcs = new["device"]
    assert (gds["host"], gds["port"], gds["unit"]) == ("127.0.0.1", 40001, 17)
    assert other["host"] == "10.20.30.40"
    assert dcs["endpoint"] == "opc.tcp://127.0.0.1:40002/UA"
    assert (dcs["security"], dcs["insecure"]) == ("None", True)
    assert "key" not in dcs


_SCALAR = (
    st.text(st.characters(codec="utf-8"), max_size=8)
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.dates()
)
_INNER = st.recursive(
    _SCALAR,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=5),
        _INNER | st.lists(st.dictionaries(st.text(max_size=4), _INNER, max_size=3), max_size=3),
        max_size=5,
    )
)
def test_what_is_written_reads_as_what_it_was(content: dict[str, Any]) -> None:
    assert tomllib.loads(toml(content)) == content


def test_it_serves_until_it_is_told_to_stop(site: Path) -> None:
    desk = site.parent / "desk.toml"
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli.main", "sim", str(site), "--write-site", str(desk)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as plant:  # fmt: skip
        try:
            assert plant.stdout is not None
            lines = [plant.stdout.readline() for _ in range(4)]
            assert lines[0].startswith("gds-1: Modbus at 127.0.0.1:")
            assert lines[3].startswith("ready gds-1=127.0.0.1:")
            loaded = load(desk)
            ports = [getattr(device.config, "port", 0) for device in loaded.devices]
            assert ports[0] == ports[1], "one bus, one port"
            for unit in (17, 18):
                content = read(ports[0], unit, 1)
                assert (content[7], content[8]) == (3, 2)
                assert 0 < int.from_bytes(content[9:11], "big") * 0.1 < 25
            assert read(ports[0], 17, 2)[7:9] == b"\x83\x02"
            plant.send_signal(signal.SIGTERM)
            assert plant.wait(60) == 0
        finally:
            plant.kill()
