"""Site keys, the point table, and what `check` says of them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from drivers.contract import DriverPoint, Problem, ValueKind
from drivers.point_table import parse
from drivers.serial_line import DRIVER
from drivers.serial_line.config import SerialAddress, SerialLineConfig

FOLDER = Path(__file__).parents[3] / "drivers" / "serial_line"
GAS = FOLDER / "cases" / "gas_example.toml"


def config(frame: Path = GAS, **keys: Any) -> SerialLineConfig:
    return SerialLineConfig.model_validate({"serial": "/dev/null", "frame": frame, **keys})


def points(*rows: tuple[str, str, str]) -> list[DriverPoint[SerialAddress]]:
    return [
        DriverPoint(at, f"P{at}", SerialAddress.model_validate(
            {"field": field, "type": kind, "address": address}), at + 2)
        for at, (field, kind, address) in enumerate(rows)
    ]  # fmt: skip


def errors(problems: list[Problem]) -> list[str]:
    return [one.message for one in problems if not one.message.startswith("warning: ")]


def test_the_sample_is_right_and_shows_the_true_defaults() -> None:
    text = (FOLDER / "sample.toml").read_text(encoding="utf-8")
    (entry,) = tomllib.loads(text)["device"]
    own = {key: entry[key] for key in entry if key not in {"name", "driver", "points"}}
    made = SerialLineConfig.model_validate_json(json.dumps(own))
    for line in text.splitlines():
        key, equals, rest = line.removeprefix("# ").partition(" = ")
        if line.startswith("# ") and equals and key not in {"host", "port"}:
            value = tomllib.loads(f"x = {rest}")["x"]
            assert getattr(made, key) == value, line


def test_the_point_table_of_the_example_is_right() -> None:
    table = parse((FOLDER / "cases" / "gas_example.points.csv").read_bytes(), SerialAddress)
    assert table.problems == ()
    made = [DriverPoint(at, "", row.address, row.row) for at, row in enumerate(table.rows)]
    assert errors(DRIVER.check(config(), made)) == []
    kinds = [DRIVER.kind(row.address) for row in table.rows]
    assert kinds == [ValueKind.FLOAT, ValueKind.FLOAT, ValueKind.INT, ValueKind.FLOAT]


def test_what_was_not_seen_on_a_device_is_warned_of() -> None:
    found = DRIVER.check(config(), points(("gas", "float", "01")))
    assert any("not verified on a device" in one.message for one in found)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("gsa", "float", "01")], "did you mean gas?"),
        ([("gas", "int", "01")], "so type is float"),
        ([("gas", "float", "")], "give it here or for each point"),
        ([], "no point"),
    ],
)
def test_a_wrong_point_is_named(rows: list[tuple[str, str, str]], said: str) -> None:
    assert any(said in one for one in errors(DRIVER.check(config(), points(*rows))))


def test_devices_that_do_not_say_their_address_cannot_share_a_line(tmp_path: Path) -> None:
    frame = tmp_path / "frame.toml"
    text = GAS.read_text(encoding="utf-8")
    frame.write_text(text.replace("literal = '\\x02{address}'", "literal = '\\x02'"))
    two = points(("gas", "float", "01"), ("gas", "float", "02"))
    assert any("late answer" in one for one in errors(DRIVER.check(config(frame), two)))
    assert errors(DRIVER.check(config(frame), two[:1])) == []


def test_a_description_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    assert "cannot be read" in errors(DRIVER.check(config(missing), []))[0]
    missing.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in errors(DRIVER.check(config(missing), []))[0]
    missing.write_bytes(b"#" * 70_000)
    assert "larger" in errors(DRIVER.check(config(missing), []))[0]


@pytest.mark.parametrize(
    "keys",
    [
        {"host": "10.0.0.1", "port": 4001},
        {"serial": ""},
        {"serial": "", "host": "10.0.0.1"},
        {"port": 4001},
        {"rs485_rts_low": True},
        {"address": "0 1"},
        {"parity": "mark"},
        {"colour": "red"},
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**keys)
