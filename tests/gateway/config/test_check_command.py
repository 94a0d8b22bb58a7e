"""`plantgate check` as a person or a script meets it: lines, exit codes, JSON, no traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli.check import command

GOOD = """
[gateway]
id = "SD-1"
enterprise = "91350100M000100Y43"
data_dir = "data"
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
points = "gds.csv"
[[camera]]
name = "east"
source = "rtsp://127.0.0.1/1"
[[uplink]]
name = "local"
target = "127.0.0.1:50051"
insecure = true
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "gds.csv").write_text("name,area,address,type,high\nA,input,0,u16,5\n", "utf-8")
    path = tmp_path / "site.toml"
    path.write_text(GOOD, encoding="utf-8")
    return path


def test_a_right_site_says_ok_and_what_it_is(site: Path) -> None:
    result = CliRunner().invoke(command, [str(site)])
    assert result.exit_code == 0, result.output
    assert "OK: 1 device, 2 points, 1 camera, 1 uplink" in result.output
    assert "gds-1: modbus, 1 point from gds.csv, 1 with limits, 1 request a poll" in result.output
    assert "Not checked:" in result.output


def test_problems_come_one_a_line_with_exit_code_2(site: Path) -> None:
    site.write_text(GOOD.replace("host", "hots"), encoding="utf-8")
    result = CliRunner().invoke(command, [str(site)])
    assert result.exit_code == 2
    assert f"{site}:9: device.gds-1.hots: unknown key; did you mean host?" in result.output
    assert "FAILED: 1 problem in" in result.output


def test_a_quota_too_small_for_the_retention_fails(site: Path) -> None:
    site.write_text(f"{GOOD}[buffer]\ntelemetry_quota_gb = 0.0001\n", encoding="utf-8")
    result = CliRunner().invoke(command, [str(site)])
    assert result.exit_code == 2
    assert "retention_days = 30" in result.output


@pytest.mark.parametrize("right", [True, False])
def test_json_is_one_object(site: Path, right: bool) -> None:
    if not right:
        site.write_text("[gateway\n", encoding="utf-8")
    result = CliRunner().invoke(command, [str(site), "--json"])
    said = json.loads(result.output)
    assert result.exit_code == (0 if right else 2)
    assert said["ok"] is right
    assert bool(said["problems"]) is not right


def test_the_installed_command_ends_in_2_without_a_traceback(tmp_path: Path) -> None:
    broken = tmp_path / "site.toml"
    broken.write_bytes(b"\xff\xfe\x00")
    for path in (broken, tmp_path, tmp_path / "nowhere.toml"):
        done = subprocess.run(
            [sys.executable, "-m", "gateway.cli.main", "check", str(path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert done.stdout.startswith(f"{path}:")
        assert done.stderr == ""


def test_the_plan_says_what_one_poll_asks_for(site: Path, tmp_path: Path) -> None:
    table = "name,unit_id,area,address,type\nA,1,input,0,u16\nB,1,input,9,f32\nC,2,coil,0,\n"
    (tmp_path / "gds.csv").write_text(table, "utf-8")
    result = CliRunner().invoke(command, [str(site), "--plan"])
    assert result.exit_code == 0, result.output
    said = "plan: gds-1: 2 requests touching 12 registers of 2 units for 3 points"
    assert said in result.output


def test_a_provider_that_this_machine_lacks_is_warned_of(site: Path) -> None:
    site.write_text(GOOD.replace('/1"\n', '/1"\nprovider = "cuda"\n'), encoding="utf-8")
    result = CliRunner().invoke(command, [str(site)])
    assert result.exit_code == 0, result.output
    said = f"warning: {site}: camera.east.provider: onnxruntime has no CUDAExecutionProvider"
    assert said in result.output
    assert "install onnxruntime-gpu in place of onnxruntime" in result.output
