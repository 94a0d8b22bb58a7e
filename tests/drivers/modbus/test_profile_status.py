"""Rules of a profile: every kind against a plain re-implementation, and its corner cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from drivers.contract import DriverPoint, Quality, ValueKind
from drivers.modbus.profile import QUALITIES, Placement, Profile, expand, parse
from drivers.modbus.status import Judge, same_unit

HEAD = """
[profile]
name = "test"
maker = "test"
model = "test"
source = ["made up for tests"]
repeat = "stride"
stride = 10
loops = 64

[[register]]
tag = "value"
area = "holding"
address = "0"
type = "u16"
"""
STATUS = (
    HEAD
    + """
[[register]]
tag = "state"
area = "holding"
address = "2"
type = "u16"

[[flag]]
tag = "alarm"
area = "holding"
address = "3"
bit = 0
alarm = "high"

[[flag]]
tag = "fault"
area = "holding"
address = "3"
bit = 1
quality = "sensor_fault"
of = ["value", "alarm"]

[[status]]
by = "state"
bits = "0-3"
codes = { 0 = "good", 1 = "warm_up", 2 = "inhibited", 3 = "sensor_fault", 5 = "simulated" }
of = ["value", "alarm"]
"""
)


class Rig:
    """A judge for some loops, fed by names instead of positions."""

    def __init__(self, text: str, loops: int = 1, unit: str = "") -> None:
        self.profile: Profile = parse(text)
        items = expand(self.profile, Placement(count=loops))
        points: list[DriverPoint[Any]] = [
            DriverPoint(at, item.tag, item.address.model_copy(update={"expected_unit": unit}))
            for at, item in enumerate(items, start=7)
        ]
        # The decoder groups by type: any order of the column must do.
        points.sort(key=lambda point: hash((point.id * 7919) % 31))
        self.tags = [point.tag for point in points]
        self.ids = np.array([point.id for point in points], np.int32)
        self.judge = Judge(points, self.ids, lambda _: self.profile)

    def feed(
        self,
        values: dict[str, float],
        bad: tuple[str, ...] = (),
        now_s: float = 0.0,
    ) -> dict[str, tuple[float, int]]:
        raw = np.array([values.get(tag, 0.0) for tag in self.tags], np.float64)
        quality = np.zeros(len(raw), np.uint16)
        for tag in bad:
            at = self.tags.index(tag)
            raw[at], quality[at] = math.nan, Quality.BAD_COMM_FAILURE
        before = raw.copy(), quality.copy()
        judged, found = self.judge.apply(raw, quality, int(now_s * 1e9))
        np.testing.assert_array_equal(raw, before[0])
        np.testing.assert_array_equal(quality, before[1])
        return {
            tag: (value, word)
            for tag, value, word in zip(self.tags, judged.tolist(), found.tolist(), strict=True)
        }


_CODES = {0: 0, 1: QUALITIES["warm_up"], 2: QUALITIES["inhibited"],
          3: QUALITIES["sensor_fault"], 5: QUALITIES["simulated"]}  # fmt: skip
_MUTING = {QUALITIES["warm_up"], QUALITIES["inhibited"], QUALITIES["simulated"]}


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(
        st.tuples(st.integers(0, 0xFFFF), st.booleans(), st.booleans(), st.sets(
            st.sampled_from(["value", "state", "alarm", "fault"]))),
        min_size=2, max_size=12,
    )
)  # fmt: skip
@example([(3, True, False, set()), (1, True, True, {"state"})])
def test_states_and_flags_of_many_loops_are_as_judged_one_by_one(
    loops: list[tuple[int, bool, bool, set[str]]],
) -> None:
    rig = Rig(STATUS, len(loops))
    values: dict[str, float] = {}
    bad: list[str] = []
    for number, (state, alarm, fault, unread) in enumerate(loops, start=1):
        name = f"gas-{number:02}"
        values |= {name: number, f"{name}.state": state, f"{name}.alarm": alarm,
                   f"{name}.fault": fault}  # fmt: skip
        bad += [name if tag == "value" else f"{name}.{tag}" for tag in unread]
    found = rig.feed(values, tuple(bad))
    for number, (state, alarm, fault, unread) in enumerate(loops, start=1):
        name = f"gas-{number:02}"
        of_state = _CODES.get(state & 15, Quality.UNCERTAIN)
        value = Quality.UNCERTAIN if "state" in unread else of_state
        value = max(value, Quality.UNCERTAIN if "fault" in unread else fault * 0x808C)
        mute = of_state if "state" not in unread and of_state in _MUTING else 0
        expected = {"": (float(number), value, "value"), ".alarm": (float(alarm), mute, "alarm")}
        for part, (number_, quality, tag) in expected.items():
            if tag in unread:
                quality = Quality.BAD_COMM_FAILURE  # noqa: PLW2901  # its own reason stays
            assert found[name + part][1] == quality
            if quality >= 0x8000:
                assert math.isnan(found[name + part][0])
            else:
                assert found[name + part][0] == number_


UNIT = (
    HEAD
    + """
[[register]]
tag = "unit"
area = "holding"
address = "2"
type = "u16"

[[unit]]
by = "unit"
codes = { 1 = "mg/m³", 3 = "%vol", 0x10 = "ppm" }
"""
)


def test_a_foreign_unit_is_told_once_and_again_when_it_agrees() -> None:
    rig = Rig(UNIT, 2, unit="mg/m3")
    good = {"gas-01": 5.0, "gas-02": 6.0, "gas-01.unit": 1, "gas-02.unit": 1}
    assert rig.feed(good)["gas-01"] == (5.0, Quality.GOOD)
    assert rig.judge.notices() == []
    for code in (16, 16, 99):
        found = rig.feed({**good, "gas-02.unit": code})
        assert found["gas-01"] == (5.0, Quality.GOOD)
        assert found["gas-02"][1] == Quality.BAD_CONFIG_ERROR
        assert math.isnan(found["gas-02"][0])
        news = rig.judge.notices()
        if code == 16 and news:
            assert [n.kind for n in news] == ["device.unit_mismatch"]
            assert "gas-02: the device says ppm (code 16), the catalogue mg/m3" in news[0].text
            first = news
    assert news == []
    assert len(first[0].ids) == 1
    # What was said last holds while the register cannot be read.
    assert rig.feed(good, ("gas-02.unit",))["gas-02"][1] == Quality.BAD_CONFIG_ERROR
    assert rig.feed(good)["gas-02"] == (6.0, Quality.GOOD)
    assert [n.kind for n in rig.judge.notices()] == ["device.unit_agrees"]


def test_no_expected_unit_is_no_comparison() -> None:
    rig = Rig(UNIT)
    assert rig.feed({"gas": 5.0, "gas.unit": 77})["gas"] == (5.0, Quality.GOOD)


@pytest.mark.parametrize(
    ("one", "other"),
    [("mg/m3", "mg/m³"), ("%VOL", "% vol."), ("％LEL", "%lel"), ("ppm·m", "ppm m")],
)
def test_spellings_of_one_unit(one: str, other: str) -> None:
    assert same_unit(one, other)
    assert not same_unit(one, "bar")


def test_heartbeat() -> None:
    rig = Rig(
        HEAD
        + """
[[register]]
tag = "beat"
area = "holding"
address = "2"
type = "u16"

[[heartbeat]]
by = "beat"
within_s = 10.0
"""
    )

    def at(now_s: float, beat: float, bad: tuple[str, ...] = ()) -> int:
        return rig.feed({"gas": 1.0, "gas.beat": beat}, bad, now_s)["gas"][1]

    assert at(1000, 0) == Quality.GOOD  # the first sight is a change
    assert at(1010, 0) == Quality.GOOD
    assert at(1011, 0) == Quality.UNCERTAIN_STALE
    assert at(1012, 1) == Quality.GOOD
    assert at(1020, 1, ("gas.beat",)) == Quality.UNCERTAIN
    assert at(1023, 1) == Quality.UNCERTAIN_STALE
    assert at(1024, 0) == Quality.GOOD  # any change will do: counters wrap


NUMBERS = (
    HEAD.replace('type = "u16"', 'type = "s16"\ndecimals = "digits"\ndecimals_bits = "0-2"')
    + """
[[register.sentinels]]
first = -32768
last = -16385
quality = "sensor_fault"

[[register]]
tag = "digits"
area = "holding"
address = "2"
type = "u16"

[[register]]
tag = "oxygen"
area = "holding"
address = "3"
type = "u16"
encoding = "int_frac"

[[register]]
tag = "range"
area = "holding"
address = "4"
type = "u16"

[[register]]
tag = "ranged"
area = "holding"
address = "5"
type = "u16"
scale_by.by = "range"
scale_by.table = [[1, 9, 0.001], [10, 99, 0.01], [100, 999, 0.1], [1000, 65535, 1]]
"""
)


@settings(deadline=None)  # the machine may be busy
@given(raw=st.integers(-32768, 32767), digits=st.integers(0, 0xFFFF))
def test_decimal_digits_and_error_values(raw: int, digits: int) -> None:
    rig = Rig(NUMBERS)
    value, quality = rig.feed({"gas": raw, "gas.digits": digits, "gas.range": 10})["gas"]
    if raw <= -16385:
        assert quality == Quality.BAD_SENSOR_FAULT
        assert math.isnan(value)
    else:
        assert quality == Quality.GOOD
        assert value == raw / 10 ** (digits & 7)


def test_without_its_digits_a_number_is_no_value() -> None:
    rig = Rig(NUMBERS)
    value, quality = rig.feed({"gas": 209, "gas.range": 10}, ("gas.digits",))["gas"]
    assert math.isnan(value)
    assert quality == Quality.BAD_COMM_FAILURE


@pytest.mark.parametrize(
    ("raw", "value", "quality"),
    [(0x1409, 20.9, 0), (0x0000, 0.0, 0), (0x140A, math.nan, Quality.BAD_SENSOR_FAULT)],
)
def test_integer_and_fraction_bytes(raw: int, value: float, quality: int) -> None:
    """0x1409 is the example of a seller of SF6/O2 monitors: 20.9 %."""
    found = Rig(NUMBERS).feed({"gas.oxygen": raw, "gas.range": 10})["gas.oxygen"]
    assert found[1] == quality
    assert math.isnan(found[0]) if math.isnan(value) else found[0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("by", "factor"), [(1, 0.001), (9, 0.001), (10, 0.01), (999, 0.1), (1000, 1.0), (0, None)]
)
def test_scale_by_range(by: int, factor: float | None) -> None:
    value, quality = Rig(NUMBERS).feed({"gas.ranged": 500, "gas.range": by})["gas.ranged"]
    if factor is None:
        assert quality == Quality.BAD_CONFIG_ERROR
        assert math.isnan(value)
    else:
        assert quality == Quality.GOOD
        assert value == pytest.approx(500 * factor)


def test_points_without_a_profile_have_no_judge() -> None:
    ids = {ValueKind.FLOAT: np.array([1], np.int32)}
    assert Judge.of([DriverPoint(1, "a", None)], ids) is None
    assert Judge.of([], {}) is None
