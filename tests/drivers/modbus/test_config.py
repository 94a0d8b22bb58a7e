"""Site keys and point-table columns: what is taken, and the sentence for what is not."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import cast

import pytest
from pydantic import ValidationError

from drivers import modbus
from drivers.contract import DriverPoint, ValueKind
from drivers.modbus import DRIVER, ModbusAddress, ModbusConfig
from drivers.modbus import config as modbus_config
from drivers.modbus.codec import Area
from drivers.modbus.config import AddressError, check, resolve
from drivers.modbus.plan import Span


def _row(**cells: str) -> ModbusAddress:
    return ModbusAddress.model_validate_strings(cells)


def _point(row: int, **cells: str) -> DriverPoint[ModbusAddress]:
    return DriverPoint(row, f"t{row}", _row(**cells), row)


def _check(*points: DriverPoint[ModbusAddress], **keys: object) -> list[tuple[int, str, str]]:
    found = check(ModbusConfig.model_validate({"host": "plc", **keys}), points)
    return [(problem.row, problem.column, problem.message) for problem in found]


@pytest.mark.parametrize(
    ("address", "area", "start"),
    [
        ("40001", Area.HOLDING, 0), ("49999", Area.HOLDING, 9998), ("400001", Area.HOLDING, 0),
        ("465536", Area.HOLDING, 65535), ("30014", Area.INPUT, 13), ("313101", Area.INPUT, 13100),
        ("10001", Area.DISCRETE, 0), ("00001", Area.COIL, 0), ("1", Area.COIL, 0),
        ("000100", Area.COIL, 99), ("100001", Area.DISCRETE, 0),
    ],
)  # fmt: skip
def test_modicon_addresses(address: str, area: Area, start: int) -> None:
    word = "" if area.bits else "u16"
    assert resolve(_row(address=address, type=word), "modicon").span == Span(area, start, 1)


@pytest.mark.parametrize(
    ("cells", "base", "column", "words"),
    [
        ({"address": "50001", "type": "u16"}, "modicon", "address", "begins with 5"),
        ({"address": "40000", "type": "u16"}, "modicon", "address", "counts from 1"),
        ({"address": "465537", "type": "u16"}, "modicon", "address", "counts from 1"),
        ({"address": "0x10", "type": "u16"}, "modicon", "address", "decimal"),
        ({"address": "40001", "area": "input", "type": "u16"}, "modicon", "area", "says input"),
        ({"address": "5", "type": "u16"}, "zero", "area", "area is missing"),
        ({"address": "5", "area": "holding"}, "zero", "type", "type is missing"),
        ({"address": "5", "area": "coil", "type": "u16"}, "zero", "type", "single bits"),
        ({"address": "5", "area": "input", "type": "bool"}, "zero", "type", "bit0"),
        ({"address": "65535", "area": "input", "type": "u32"}, "zero", "address", "65535"),
        ({"address": "70000", "area": "input", "type": "u16"}, "zero", "address", "65535"),
    ],
)
def test_addresses_that_cannot_be_read(
    cells: dict[str, str], base: str, column: str, words: str
) -> None:
    with pytest.raises(AddressError, match=words) as caught:
        resolve(_row(**cells), base)  # type: ignore[arg-type]  # zero or modicon
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"address": "twelve", "area": "holding"}, "is not a number"),
        ({"address": "-1", "area": "holding"}, "is not a number"),
        ({"address": "1.5", "area": "holding"}, "is not a number"),
        ({"address": "1", "area": "holding", "type": "u24"}, "type 'u24' is unknown"),
        ({"address": "1", "area": "holding", "type": "bit16"}, "type 'bit16' is unknown"),
        ({"address": "1", "area": "holding", "type": "u32", "order": "ACBD"}, "order 'ACBD'"),
        ({"address": "1", "area": "register"}, "'coil'"),
        ({"area": "holding"}, "Field required"),
        ({"address": "1", "speed": "9"}, "Extra inputs"),
    ],
)
def test_rows_that_make_no_sense(cells: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        _row(**cells)


def test_words_that_integrators_use() -> None:
    row = _row(area="保持寄存器", address=" 0x28 ", type="Float", order="ghefcdab")
    assert (row.area, row.type, row.order) == ("holding", "f32", "CDAB")
    assert resolve(row, "zero").span == Span(Area.HOLDING, 40, 2)
    headings: set[str] = set()
    for name in ("area", "address", "type", "order"):
        extra = ModbusAddress.model_fields[name].json_schema_extra
        assert isinstance(extra, dict)
        headings |= set(cast(list[str], extra["headings"]))
    assert {"区域", "地址", "类型", "字节序"} <= headings


def test_typed_values_are_taken_too() -> None:
    row = ModbusAddress.model_validate({"area": "coil", "address": 5})
    assert resolve(row, "zero").type == "bool"


@pytest.mark.parametrize(
    ("word", "kind"),
    [("s64", ValueKind.INT), ("u64", ValueKind.UINT), ("u32", ValueKind.FLOAT),
     ("f64", ValueKind.FLOAT), ("", ValueKind.FLOAT)],
)  # fmt: skip
def test_column_kinds(word: str, kind: ValueKind) -> None:
    assert DRIVER.kind(_row(address="1", area="holding", type=word)) is kind


def test_partial_overlap_is_a_typing_error_and_reuse_is_not() -> None:
    here = {"area": "holding", "type": "f32"}
    assert _check(_point(2, address="10", **here), _point(3, address="11", **here)) == [
        (3, "address", "t3 begins inside t2 (row 2)")
    ]
    assert _check(
        _point(2, address="10", **here),
        _point(3, address="10", area="holding", type="u32"),
        _point(4, address="11", area="holding", type="bit3"),
        _point(5, address="11", area="input", type="f32"),
        _point(6, address="12", **here),
    ) == []  # fmt: skip


def test_an_overlap_behind_a_shorter_neighbour_is_found() -> None:
    found = _check(
        _point(2, area="input", address="10", type="u64"),
        _point(3, area="input", address="10", type="u32"),
        _point(4, area="input", address="13", type="u32"),
    )
    assert found == [(4, "address", "t4 begins inside t2 (row 2)")]


def test_everything_wrong_is_told_at_once() -> None:
    found = _check(
        _point(2, area="holding", address="105", type="u16"),
        _point(3, address="5", type="u16"),
        _point(4, area="holding", address="5"),
        forbidden=["holding:100-119"],
    )
    assert [(row, column) for row, column, _ in found] == [(2, "address"), (3, "area"), (4, "type")]
    assert _check() == [(0, "points", "the device has no points")]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"host": ""}, "host is required"),
        ({"host": "plc", "unit": 256}, "less than or equal to 255"),
        ({"host": "plc", "poll_ms": 5}, "greater than or equal to 10"),
        ({"host": "plc", "max_registers": 126}, "less than or equal to 125"),
        ({"host": "plc", "forbidden": ["register 5"]}, "is not like holding:100-119"),
        ({"host": "plc", "forbidden": ["coil:9-5"]}, "must rise"),
        ({"host": "plc", "align": 3}, "Input should be 1, 2, 4, 8, 16 or 32"),
        ({"host": "plc", "max_per_area": {"input": 126}}, "must be between 1 and 125"),
        ({"host": "plc", "max_per_area": {"inputs": 12}}, "'coil', 'discrete', 'input'"),
        ({"host": "plc", "speed": 9}, "Extra inputs"),
        ({"host": "plc", "port": "502"}, "valid integer"),
    ],
)
def test_device_keys_that_make_no_sense(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModbusConfig.model_validate(keys)


def test_forbidden_ranges_reach_the_planner() -> None:
    config = ModbusConfig.model_validate({"host": "plc", "forbidden": ["coil:7", "input: 1-3"]})
    assert config.limits().forbidden == {Area.COIL: [(7, 8)], Area.INPUT: [(1, 4)]}


def test_caps_of_areas_reach_the_planner_and_the_checks() -> None:
    keys = {"host": "plc", "max_per_area": {"input": 2, "coil": 9}, "max_registers": 100}
    limits = ModbusConfig.model_validate(keys).limits()
    assert [limits.cap(area) for area in (Area.COIL, Area.DISCRETE, Area.INPUT, Area.HOLDING)] == [
        9, 2000, 2, 100,
    ]  # fmt: skip
    found = _check(_point(2, area="input", address="5", type="u64"), max_per_area={"input": 2})
    assert found == [(2, "type", "t2 takes 4 registers, one request 2")]


def test_alignment_that_would_read_a_forbidden_range_is_refused() -> None:
    point = _point(2, area="holding", address="5", type="u16")
    assert _check(point, forbidden=["holding:4"]) == []
    [(row, column, text)] = _check(point, forbidden=["holding:4"], align=2)
    assert (row, column) == (2, "address")
    assert text.startswith("with align = 2 reading t2 would read a range")


def test_the_sample_is_valid() -> None:
    text = (Path(modbus.__file__).parent / "sample.toml").read_text(encoding="utf-8")
    for device in tomllib.loads(text)["device"]:
        keys = {k: v for k, v in device.items() if k not in {"name", "driver", "points"}}
        ModbusConfig.model_validate(keys)


def test_a_unit_id_comes_as_text_from_a_table() -> None:
    columns = {"area": "holding", "address": "1", "type": "u16"}
    assert ModbusAddress.model_validate({**columns, "unit_id": " 17"}).unit_id == 17
    assert ModbusAddress.model_validate(columns).unit_id is None
    for wrong in ("256", "x", "1.5", "-1"):
        with pytest.raises(ValidationError):
            ModbusAddress.model_validate({**columns, "unit_id": wrong})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"transport": "rtu", "host": "h"}, "needs serial"),
        ({"transport": "tcp", "serial": "/dev/x"}, "serial needs transport"),
        ({"host": "h", "listen": "0.0.0.0:1"}, "host and listen are given"),
        ({"transport": "tls", "host": "h"}, "tls needs ca"),
        ({"transport": "tls", "host": "h", "ca": "c", "key": "k"}, "go together"),
        ({"host": "h", "ca": "c"}, 'need transport = "tls"'),
        ({"transport": "udp", "listen": "0.0.0.0:1"}, "listen works with"),
        ({"transport": "rtu", "serial": "/dev/x", "backup": "h:1"}, "backup goes with host"),
        ({"host": "h", "backup": "h"}, "is not like 192.0.2.11:502"),
        ({"listen": "0.0.0.0:99999"}, "is not like"),
        ({"listen": "0.0.0.0:1", "dial_in_ignore": ["hex:0g"]}, "not hexadecimal"),
        ({"listen": "0.0.0.0:1", "dial_in_ignore": [""]}, "must not be empty"),
        ({"transport": "rtu", "serial": "/dev/x", "in_flight": 2}, "in_flight must be 1"),
    ],
)
def test_transports_that_contradict_themselves(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ModbusConfig.model_validate(keys)


def test_ports_and_places() -> None:
    assert ModbusConfig.model_validate({"transport": "tls", "host": "h", "ca": "c"}).port == 802
    config = ModbusConfig(host="h", backup="[fe80::1]:503")
    assert config.endpoints() == (("h", 502), ("fe80::1", 503))
    assert ModbusConfig(transport="rtu", serial="/dev/x").place == "/dev/x"


def test_every_device_of_the_sample_is_valid() -> None:
    sample = Path(modbus_config.__file__).with_name("sample.toml").read_text(encoding="utf-8")
    devices = tomllib.loads(sample)["device"]
    for device in devices:
        keys = {key: value for key, value in device.items() if key not in {"name", "driver"}}
        keys.pop("points", None)
        ModbusConfig.model_validate(keys)
    assert {device.get("transport", "tcp") for device in devices} >= {"tcp", "rtu", "tls"}
