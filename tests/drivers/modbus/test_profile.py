"""Profiles: what a file may say, how loops expand, what the site's table adds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivers.contract import Problem
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.modbus.codec import Area
from drivers.modbus.config import resolve
from drivers.modbus.plan import plan
from drivers.modbus.profile import (
    Placement,
    Profile,
    ProfileAddress,
    ProfileError,
    bits,
    expand,
    parse,
)
from drivers.modbus.profile_files import load, names
from drivers.modbus.profile_rows import TableAddress
from drivers.point_table import PointRow, PointSettings

PANEL = """
[profile]
name = "panel"
maker = "test"
model = "64 loops"
source = ["made up for tests"]
repeat = "stride"
stride = 4
loops = 64

[[register]]
tag = "value"
area = "holding"
address = "100"
type = "f32"

[[register]]
tag = "state"
area = "holding"
address = "102"
type = "u16"

[[status]]
by = "state"
codes = { 0 = "good", 1 = "warm_up" }
"""


def _with(old: str, new: str) -> str:
    assert old in PANEL
    return PANEL.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[profile", "no TOML"),
        (_with('name = "panel"', 'name = "panel"\nfoo = 1'), "unknown key"),
        (
            _with('by = "state"', 'by = "stat"'),
            "stat is used but not declared; did you mean state?",
        ),
        (_with('"warm_up"', '"warmup"'), "quality 'warmup' is unknown; did you mean warm_up?"),
        (_with('address = "102"', 'address = "x"'), "is not a number"),
        (_with('type = "f32"', 'type = "f33"'), "type 'f33' is unknown"),
        (_with('type = "f32"', 'type = "u64"'), "none whose value a rule could judge"),
        (_with('tag = "state"', 'tag = "value"'), "value is there twice"),
        (_with("stride = 4\n", ""), "needs a stride"),
        (_with("codes = { 0 =", "codes = { x ="), "code 'x' of state is no number"),
        (_with("codes =", 'bits = "3-1"\ncodes ='), "must rise"),
        (_with("[[status]]", "[[status]]\nof = ['no']"), "no is used but not declared"),
        (PANEL.partition("[[register]]")[0], "no registers and no flags"),
    ],
)
def test_a_wrong_profile_is_refused_with_the_reason(text: str, words: str) -> None:
    with pytest.raises(ProfileError) as raised:
        parse(text, "panel")
    assert words in str(raised.value)


def test_an_unknown_profile_names_the_nearest() -> None:
    with pytest.raises(ProfileError, match="did you mean honeywell-midas"):
        load("honeywel-midas")
    with pytest.raises(ValidationError, match="unknown profile"):
        ModbusConfig.model_validate({"host": "h", "profile": "nothing like it"})


def test_keys_of_a_profile_need_one() -> None:
    with pytest.raises(ValidationError, match="count is for a profile"):
        ModbusConfig.model_validate({"host": "h", "count": 3})


@settings(deadline=None)  # the machine may be busy
@given(
    first=st.integers(1, 64),
    count=st.integers(1, 64),
    offset=st.integers(-100, 100),
)
def test_loops_repeat_by_stride(first: int, count: int, offset: int) -> None:
    panel = parse(PANEL)
    place = Placement(first, count, "AT-{n:03}", offset)
    if first + count - 1 > 64:
        with pytest.raises(ProfileError, match="64 loops"):
            expand(panel, place)
        return
    items = expand(panel, place)
    assert [item.tag for item in items] == [
        tag for n in range(first, first + count) for tag in (f"AT-{n:03}", f"AT-{n:03}.state")
    ]
    for index, item in enumerate(items):
        span = resolve(item.address, "modicon").span  # whatever the device entry says
        loop, second = divmod(index, 2)
        assert span.area is Area.HOLDING
        assert span.start == 100 + 2 * second + 4 * (first - 1 + loop) + offset
        assert item.address.loop == loop + 1


@pytest.mark.parametrize("offset", [-101, 65535])
def test_an_offset_that_leaves_the_address_space_is_refused(offset: int) -> None:
    with pytest.raises(ProfileError, match=r"outside 0\.\.65535"):
        expand(parse(PANEL), Placement(offset=offset))


@pytest.mark.parametrize(
    ("tags", "count", "words"),
    [("AT-{n.__class__}", 1, "no other braces"), ("AT", 2, "needs {n}"), ("{m}", 1, "no other")],
)
def test_a_pattern_takes_the_number_and_nothing_else(tags: str, count: int, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        expand(parse(PANEL), Placement(count=count, tags=tags))


def test_a_register_that_the_document_does_not_place_is_placed_by_the_site_or_left_out() -> None:
    regard = load("draeger-regard-7000")
    tags = [item.tag for item in expand(regard, Placement())]
    assert tags == ["gas.threshold_a1", "gas.threshold_a2", "gas.under_range", "gas.over_range"]
    placed = expand(regard, Placement(addresses={"value": "300001"}))
    assert placed[0].tag == "gas"
    assert resolve(placed[0].address, "zero").span.area is Area.INPUT
    with pytest.raises(ProfileError, match="under_range itself"):
        expand(regard, Placement(addresses={"under_range": "300001"}))
    with pytest.raises(ProfileError, match="is not a number"):
        expand(regard, Placement(addresses={"value": "here"}))


def test_one_detector_cannot_be_several() -> None:
    with pytest.raises(ProfileError, match="count must be 1"):
        expand(load("honeywell-midas"), Placement(count=2))


def test_bits() -> None:
    assert bits("") == (0, -1)
    assert bits("3") == (3, 1)
    assert bits("8-15") == (8, 0xFF)
    for wrong in ("a", "3-", "8-32", "5-4"):
        with pytest.raises(ValueError, match="bits"):
            bits(wrong)


@pytest.mark.parametrize("name", names())
def test_reads_stay_out_of_what_a_profile_forbids(name: str) -> None:
    config = ModbusConfig.model_validate({"host": "h", "profile": name, "decimals": 1})
    limits = config.limits()
    spans = [resolve(row.address, config.base).span for row in config.own_rows(())[0]]
    for block in plan(spans, limits):
        for first, end in limits.forbidden.get(block.area, ()):
            assert block.end <= first or end <= block.start
    assert sum(len(ranges) for ranges in limits.forbidden.values()) == len(
        load(name).profile.never_read
    )


# What the site's table adds.


def _rows(
    *rows: PointRow[ModbusAddress], **keys: object
) -> tuple[dict[str, PointRow[ModbusAddress]], list[Problem]]:
    given_keys = {"profile": "honeywell-sensepoint-xcd", "gas_unit": "%LEL", **keys}
    config = ModbusConfig.model_validate({"host": "h", "unit": 17, **given_keys})
    points, problems = config.own_rows(rows)
    return {point.tag: point for point in points}, problems


def _row(row: int, tag: str, address: str = "", **settings: object) -> PointRow[ModbusAddress]:
    cells = {"address": address, "area": "holding", "type": "u16"} if address else {}
    return PointRow(
        row,
        tag,
        PointSettings.model_validate({"name": tag, **settings}),
        TableAddress.model_validate(cells),
    )


def test_values_of_a_device_with_alarm_bits_leave_the_alarm_to_the_panel() -> None:
    points, problems = _rows(count=2, tags="AT-{n:03}")
    assert problems == []
    value, alarm = points["AT-001"].settings, points["AT-001.alarm_2"].settings
    assert (value.unit, value.alarm_source) == ("%LEL", "panel")
    assert (alarm.high_high, alarm.priority, alarm.alarm_source) == (0.5, 1, "gateway")
    assert points["AT-001"].address.unit_id == 17
    assert points["AT-002.state"].address.unit_id == 18
    assert points["AT-002"].address.address == points["AT-001"].address.address


def test_a_row_of_the_table_changes_settings_of_a_profile_point_and_adds_others() -> None:
    points, problems = _rows(
        _row(2, "gas", high=25.0, alarm_source="gateway", unit="ppm"),
        _row(3, "pump", address="900", scale=0.1),
    )
    assert problems == []
    gas, pump = points["gas"], points["pump"]
    assert (gas.row, gas.settings.high, gas.settings.unit) == (2, 25.0, "ppm")
    assert gas.settings.alarm_source == "gateway"
    assert gas.settings.description == "gas reading 气体浓度"
    assert isinstance(gas.address, ProfileAddress)
    assert gas.address.expected_unit == "ppm"
    assert (pump.settings.scale, pump.address.address) == (0.1, "900")
    assert type(pump.address) is ModbusAddress


def test_limits_beside_the_panels_alarm_are_warned_of() -> None:
    _, problems = _rows(_row(2, "gas", high=25.0))
    (problem,) = problems
    assert (problem.row, problem.column) == (2, "high")
    assert problem.message.startswith("warning: gas leaves the alarm to the device's own")
    assert _rows(_row(2, "gas", high=25.0, alarm_source="panel"))[1] == []


def test_mistakes_between_table_and_profile() -> None:
    _, problems = _rows(
        _row(2, "gas", address="5"),
        _row(3, "gaz"),
        _row(4, "gas.state", unit="furlong"),
        gas_unit="bar",
    )
    said = [(p.row, p.column) for p in problems]
    assert said == [(2, "address"), (3, "name"), (0, "gas_unit")]
    assert "did you mean gas?" in problems[1].message
    assert (
        "'bar' is no unit that the device can name: %LEL, %vol, mg/m³, ppm" in problems[2].message
    )


def test_an_unsaid_unit_is_a_warning() -> None:
    _, problems = _rows(gas_unit="", count=3)
    (problem,) = problems
    assert problem.column == "gas_unit"
    assert problem.message.startswith("warning: ")


def test_decimal_digits_are_asked_for_once_and_become_the_scale() -> None:
    keys = {"profile": "hnag1000-4-g", "count": 4}
    _, problems = _rows(**keys)
    assert [p.column for p in problems] == ["decimals"] * 3  # value, range and low alarm
    points, problems = _rows(**keys, decimals=2)
    assert problems == []
    assert points["gas-04"].settings.scale == 0.01
    points, problems = _rows(
        _row(2, "gas", scale=0.1),
        _row(3, "gas.range", scale=1.0),
        _row(4, "gas.low_alarm", scale=0.1),
        profile="hnag1000-4-g",
    )
    assert problems == []
    assert points["gas"].settings.scale == 0.1


def test_what_check_prints() -> None:
    keys = {"profile": "draeger-regard-7000", "count": 64, "profile_addresses": {"value": "300001"}}
    lines = ModbusConfig.model_validate({"host": "h", **keys}).own_lines()
    assert lines[0].endswith("from documents, not yet seen on a device")
    assert "gas-01: input 0 f32, gas reading 气体浓度" in lines
    assert "… and 315 points of 63 more loops" in lines
    assert lines[-1] == "not read, as no document at hand places it: state"
    assert ModbusConfig.model_validate({"host": "h"}).own_lines() == []


def test_a_profile_is_immutable_data() -> None:
    panel = parse(PANEL)
    assert isinstance(panel, Profile)
    with pytest.raises(ValidationError):
        panel.profile.verified = True


def test_a_site_may_bring_a_profile_of_its_own(tmp_path: Path) -> None:
    own = tmp_path / "panel.toml"
    own.write_text(PANEL, encoding="utf-8-sig")
    keys = ModbusConfig(host="h", profile_file=own, count=2)
    assert load(str(own)).profile.name == "panel"
    points, problems = keys.own_rows([])
    assert len(points) == 2 * len(load(str(own)).items)
    assert [problem for problem in problems if not problem.message.startswith("warning: ")] == []
    addresses = [point.address for point in points]
    assert {one.profile for one in addresses if isinstance(one, ProfileAddress)} == {str(own)}
    assert "panel" in keys.own_lines()[0]
    own.write_text(PANEL.replace('"64 loops"', '"another"'), encoding="utf-8")
    assert load(str(own)).profile.model == "another", "what was changed is seen"


def test_a_profile_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"none\.toml: No such file"):
        load(str(tmp_path / "none.toml"))
    (tmp_path / "gbk.toml").write_bytes("# 报警".encode("gb18030"))
    with pytest.raises(ProfileError, match="save it as UTF-8"):
        load(str(tmp_path / "gbk.toml"))
    with pytest.raises(ValidationError, match=r"must be a \.toml file"):
        ModbusConfig(host="h", profile_file=tmp_path / "panel.txt")
