"""A port named by the order of plugging is warned of, with the name to use instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.contract import Problem
from drivers.modbus import ModbusConfig
from drivers.modbus.config import check
from drivers.serial_names import name_problem, ports_that_exist, stable_name

FTDI = "usb-FTDI_FT232R_A10K5XYZ-if00-port0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Udev's links: two converters that have a number, one that only has its socket."""
    for kind, name, device in (
        ("by-id", FTDI, "/dev/ttyUSB3"),
        ("by-path", "pci-0000:00:14.0-usb-0:1:1.0-port0", "/dev/ttyUSB3"),
        ("by-path", "pci-0000:00:14.0-usb-0:2:1.0-port0", "/dev/ttyACM0"),
    ):
        (tmp_path / kind).mkdir(exist_ok=True)
        (tmp_path / kind / name).symlink_to(device)
    return tmp_path


def said(path: str, folder: Path) -> str:
    problem = name_problem(path, folder)
    assert problem is not None
    assert (problem.row, problem.column) == (0, "serial")
    return problem.message


def test_the_stable_name_of_a_port_is_told(folder: Path) -> None:
    text = said("/dev/ttyUSB3", folder)
    assert text.startswith("warning: /dev/ttyUSB3 can be another converter after a restart")
    assert text.endswith(f"write {folder}/by-id/{FTDI}, which is this port now")
    assert "by-path/pci-0000:00:14.0-usb-0:2:1.0-port0, which" in said("/dev/ttyACM0", folder)
    assert f"its link under {folder}/by-id, or under" in said("/dev/ttyUSB0", folder)
    assert stable_name("/dev/ttyUSB3", folder) == f"{folder}/by-id/{FTDI}"
    assert stable_name("/dev/ttyUSB0", folder) == "/dev/ttyUSB0"


@pytest.mark.parametrize("path", ["", "/dev/ttyS0", "/dev/serial/by-id/x", "/dev/pts/3", "COM3"])
def test_names_that_stay_are_not_warned_of(path: str, folder: Path) -> None:
    assert name_problem(path, folder) is None
    assert stable_name(path, folder) == path


def test_what_exists_is_told_where_a_port_does_not(folder: Path, tmp_path: Path) -> None:
    assert ports_that_exist(folder).startswith(f"; there is {folder}/by-id/{FTDI}, ")
    assert ports_that_exist(tmp_path / "nothing") == ""


def test_check_warns_and_does_not_stop() -> None:
    config = ModbusConfig.model_validate({"transport": "rtu", "serial": "/dev/ttyUSB7"})
    problems = [p for p in check(config, []) if p.column == "serial"]
    assert [p.message.partition(":")[0] for p in problems] == ["warning"]
    assert isinstance(problems[0], Problem)
