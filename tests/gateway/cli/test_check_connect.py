"""`plantgate check --connect` as a command: what it prints and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.main import main
from tests.fakes.beside import beside
from tests.fakes.modbus_server import ModbusServer
from tests.gateway.doctor.rig import GATEWAY

DEVICE = """
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {port}
timeout_ms = 20000
points = "gds.csv"
"""
ROWS = "name,area,address,type\na,holding,1,u16\nb,holding,{second},u16\n"


def _check(folder: Path, text: str, second: int, *options: str) -> Result:
    (folder / "gds.csv").write_text(ROWS.format(second=second), encoding="utf-8")
    site = folder / "site.toml"
    site.write_text(GATEWAY + text, encoding="utf-8")
    return CliRunner().invoke(main, ["check", str(site), "--connect", *options])


def test_exit_codes_and_a_table_with_what_to_do(tmp_path: Path) -> None:
    with beside(lambda: ModbusServer(registers=10)) as server:
        server.device.forbid("holding", 7, 8)
        text = DEVICE.format(port=server.port)
        good = _check(tmp_path, text, 2)
        refused = _check(tmp_path, text, 7)
        listed = _check(tmp_path, text, 7, "--json")
    wrong = _check(tmp_path, text.replace("port", "prot"), 2)
    assert (good.exit_code, refused.exit_code, listed.exit_code, wrong.exit_code) == (0, 1, 1, 2)
    assert "SD-370800-000123-01: trying 1 device 设备 once" in good.output
    assert "2 of 2 points good" in good.output
    lines = refused.output.splitlines()
    assert any(line.startswith("FAULT 故障 gds-1") and "b (holding 7)" in line for line in lines)
    assert any(line.startswith(" 1. gds-1, points 点位: 1 point not there") for line in lines)
    assert "    1 个点位设备没有这些地址:b (holding 7)" in lines
    assert any(line.startswith("    → compare area, address and base") for line in lines)
    assert lines[-1].startswith("FAILED: ")
    told = json.loads(listed.stdout)
    assert told["ok"] is False
    (fault,) = [one for one in told["findings"] if one["state"] == "fault"]
    assert (fault["part"], fault["about"]) == ("gds-1", "points")


def test_beside_needs_connect(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(tmp_path / "site.toml"), "--beside"])
    assert result.exit_code == 2
    assert "--beside goes with --connect" in result.output
