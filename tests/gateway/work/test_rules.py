"""Each numeric rule of GB 30871-2022 that is judged: one step on either side, and its clause."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from drivers.contract import Quality
from gateway.work.gases import GasError, parse_gases, shipped_gases
from tests.gateway.work.scene import AREA, HOUR, MIN, NOON, SITE, S, Scene, at, iso

DAY = 24 * HOUR


def cites(scene: Scene, condition: str, rule: str, clause: str) -> None:
    """The alarm names its rule with version, its clause, and that the source is secondary."""
    change = scene.alarm(condition).change
    assert change.rule == rule
    assert "GB 30871-2022" in change.text
    assert clause in change.text
    assert "二手来源" in change.text


def test_a_start_with_everything_right_raises_nothing_and_counts_as_active() -> None:
    scene = Scene()
    scene.start()
    scene.keep_well(60)
    assert scene.raised() == []
    assert scene.state() == "active"


@pytest.mark.parametrize(
    ("said", "most", "rule", "clause"),
    [
        ({"level": "special"}, 8 * HOUR, "hot_work.validity.special/1", "5.1.5"),
        ({"level": "first"}, 8 * HOUR, "hot_work.validity.first/1", "5.1.5"),
        ({"level": "second"}, 72 * HOUR, "hot_work.validity.second/1", "5.1.5"),
        ({"work": "confined_space", "area": "vessel"}, 24 * HOUR, "confined_space.validity/1", "6"),
        ({"work": "height"}, 7 * DAY, "height.validity/1", "8"),
        ({"work": "temporary_power"}, 15 * DAY, "temporary_power.validity/1", "10"),
        ({"work": "temporary_power", "level": "special"}, 30 * DAY,
         "temporary_power.validity_special/1", "10"),
    ],
)  # fmt: skip
def test_validity(said: dict[str, Any], most: int, rule: str, clause: str) -> None:
    start = at("2026-09-14 09:00:00")  # a Monday
    for longer, condition in ((0, None), (S, "permit_expired")):
        scene = Scene(now_ns=start + most + longer)
        scene.permit(status="approved", time_ns=start - MIN, plan_start=iso(start),
                     upgraded=True, **said)  # fmt: skip
        scene.permit(status="active", time_ns=start, plan_start=iso(start), upgraded=True, **said)
        found = "permit_expired" in scene.raised()
        assert found is (condition is not None), (longer, scene.raised())
    cites(scene, "permit_expired", rule, clause)


@pytest.mark.parametrize(("minutes", "wrong"), [(8 * 60, False), (8 * 60 + 1, True)])
def test_a_plan_longer_than_allowed_is_told_before_the_start(minutes: int, wrong: bool) -> None:
    scene = Scene(now_ns=at("2026-09-16 08:00:00"))
    end = scene.now_ns + minutes * MIN
    scene.permit(status="approved", plan_start=iso(scene.now_ns), plan_end=iso(end))
    assert ("validity_too_long" in scene.raised()) is wrong


@pytest.mark.parametrize(
    ("said", "rule", "clause"),
    [
        ({}, "hot_work.analysis.age/1", "5.3.1"),
        ({"work": "confined_space", "area": "vessel"}, "confined_space.analysis.age/1", "6"),
    ],
)
def test_the_analysis_is_at_most_30_minutes_before_the_start(
    said: dict[str, Any], rule: str, clause: str
) -> None:
    for age, wrong in ((30.0, False), (30 + 1 / 60, True), (31, True)):
        scene = Scene()
        scene.permit(status="approved", **said)
        scene.gas(age)
        scene.gas(age, 20.9, "oxygen")
        scene.all_well()
        scene.permit(status="active", **said)
        assert ("analysis_old" in scene.raised()) is wrong
        assert scene.state().startswith("approved: analysis_old" if wrong else "active")
    cites(scene, "analysis_old", rule, clause)


def test_no_analysis_at_all() -> None:
    scene = Scene()
    scene.permit(status="approved")
    scene.all_well()
    scene.permit(status="active")
    assert scene.raised() == ["analysis_missing"]
    scene.gas(0)
    scene.wait(6)
    assert scene.standing() == set()
    assert scene.state() == "active"


@pytest.mark.parametrize(
    ("said", "limit_min", "rule", "clause"),
    [
        ({"level": "special"}, 30, "hot_work.interruption.special/1", "5.3.1"),
        ({"level": "first"}, 30, "hot_work.interruption.first/1", "5.3.1"),
        ({"level": "second"}, 60, "hot_work.interruption.second/1", "5.3.1"),
        ({"work": "confined_space", "area": "vessel"}, 60, "confined_space.interruption/1", "6"),
    ],
)
def test_a_longer_break_needs_another_analysis(
    said: dict[str, Any], limit_min: int, rule: str, clause: str
) -> None:
    for longer, wrong in ((0, False), (S, True)):
        scene = Scene()
        scene.start(**said)
        stop = scene.now_ns
        scene.permit(status="suspended", time_ns=stop + MIN, **said)
        scene.now_ns += limit_min * MIN + MIN + longer
        scene.all_well()
        scene.permit(status="active", **said)
        assert ("analysis_after_break" in scene.raised()) is wrong
    cites(scene, "analysis_after_break", rule, clause)
    scene.gas(0)
    scene.gas(0, 20.9, "oxygen")
    scene.all_well()
    scene.wait(6)
    assert scene.standing() == set()


def test_every_day_needs_an_analysis_from_the_start_of_the_day() -> None:
    scene = Scene(now_ns=at("2026-09-15 12:00:00"))
    scene.start(level="second", upgraded=True)
    scene.now_ns = at("2026-09-16 07:59:59")
    scene.all_well()
    assert "analysis_daily" not in scene.raised()
    scene.now_ns = at("2026-09-16 08:00:00")
    scene.all_well()
    assert "analysis_daily" in scene.raised()
    cites(scene, "analysis_daily", "hot_work.analysis.daily/1", "5.3.1")


@pytest.mark.parametrize(
    ("gas", "unit", "right", "wrong", "rule"),
    [
        ("methane", "%vol", 0.5, 0.501, "hot_work.gas.high_lel/1"),
        ("甲烷", "%LEL", 10.0, 10.01, "hot_work.gas.high_lel/1"),  # of an LEL of 5 %vol
        ("methane", "ppm", 5000, 5001, "hot_work.gas.high_lel/1"),
        ("hydrogen", "%LEL", 12.5, 12.51, "hot_work.gas.high_lel/1"),  # LEL of exactly 4 %vol
        ("propane", "%vol", 0.2, 0.201, "hot_work.gas.low_lel/1"),
        ("propylene", "%LEL", 10.0, 10.01, "hot_work.gas.low_lel/1"),  # of an LEL of 2 %vol
        ("benzene", "ppm", 2000, 2001, "hot_work.gas.low_lel/1"),
    ],
)
def test_pass_limit(gas: str, unit: str, right: float, wrong: float, rule: str) -> None:
    for value, over in ((right, False), (wrong, True)):
        scene = Scene()
        scene.permit(status="approved")
        scene.gas(1, value, gas, unit)
        assert ("analysis_over" in scene.raised()) is over
    cites(scene, "analysis_over", rule, "5.3.2")


@pytest.mark.parametrize(("lel", "most", "rule"), [
    (4.0, 0.5, "hot_work.gas.high_lel/1"), (3.99, 0.2, "hot_work.gas.low_lel/1"),
])  # fmt: skip
def test_the_lel_decides_which_pass_limit_holds(lel: float, most: float, rule: str) -> None:
    """5.3.2: one limit from an LEL of 4 %vol on, a stricter one below."""
    gases = parse_gases(f'[[gas]]\nname = "x"\nlel = {{ a = {lel} }}', "gases.toml")
    for value, over in ((most, False), (most + 0.01, True)):
        scene = Scene(gases=gases)
        scene.permit(status="approved")
        scene.gas(1, value, "x", "%vol")
        assert ("analysis_over" in scene.raised()) is over
    cites(scene, "analysis_over", rule, "5.3.2")


def test_an_unknown_gas_is_not_judged_and_that_is_said() -> None:
    scene = Scene()
    scene.permit(status="approved")
    scene.gas(1, 3.0, "mystery gas", "%LEL")
    assert scene.raised() == ["analysis_not_judged"]
    assert "not in the gas table" in scene.alarm("analysis_not_judged").change.text


def test_a_bare_conversion_without_an_lel_is_refused() -> None:
    with pytest.raises(GasError):
        shipped_gases().find("chlorine").vol_percent(10, "%LEL")
    with pytest.raises(GasError):
        shipped_gases().find("gasoline").vol_percent(10, "mg/m3")
    assert math.isclose(shipped_gases().find("CH4").vol_percent(10, "%LEL"), 0.5)


@pytest.mark.parametrize(
    ("value", "condition", "rule"),
    [
        (19.5, None, ""),
        (19.49, "analysis_low", "confined_space.oxygen.least/1"),
        (21.0, None, ""),
        (21.01, "analysis_over", "confined_space.oxygen.most/1"),
    ],
)
def test_oxygen_of_a_confined_space(value: float, condition: str | None, rule: str) -> None:
    scene = Scene()
    scene.permit(status="approved", work="confined_space", area="vessel")
    scene.gas(1, value, "oxygen")
    assert scene.raised() == ([condition] if condition else [])
    if condition:
        cites(scene, condition, rule, "6")


@pytest.mark.parametrize(("value", "over"), [(23.5, False), (23.51, True)])
@pytest.mark.parametrize(
    ("work", "rule", "clause"),
    [
        ("confined_space", "confined_space.oxygen.most_enriched/1", "6"),
        ("hot_work", "hot_work.oxygen_equipment/1", "5.2.7"),
    ],
)
def test_oxygen_rich_surroundings(
    value: float, over: bool, work: str, rule: str, clause: str
) -> None:
    scene = Scene()
    scene.permit(status="approved", work=work, area="rich")
    scene.gas(1, value, "O2")
    assert scene.raised() == (["analysis_over"] if over else [])
    if over:
        cites(scene, "analysis_over", rule, clause)


@pytest.mark.parametrize(("value", "over"), [(10.0, False), (10.01, True)])
def test_toxic_gas_of_a_confined_space_in_mg_m3(value: float, over: bool) -> None:
    scene = Scene()
    scene.permit(status="approved", work="confined_space", area="vessel")
    scene.gas(1, value, "H2S", "mg/m3", gas_type="toxic")
    assert scene.raised() == (["analysis_over"] if over else [])
    if over:
        cites(scene, "analysis_over", "confined_space.toxic/1", "6")


def test_a_detector_is_judged_by_the_pass_limit_not_by_its_own_set_point() -> None:
    for value, over in ((10.0, False), (10.1, True)):
        scene = Scene()
        scene.start()
        scene.value("gds/AT-1", value)  # far below a set point of 25 %LEL
        assert ("gas_over" in scene.raised()) is over
    cites(scene, "gas_over", "hot_work.gas.high_lel/1", "5.3.2")
    assert [e.attributes["condition"] for e in scene.events("work.stop_recommended")] == [
        "gas_over"
    ]


def test_a_value_in_calibration_is_not_for_alarm() -> None:
    scene = Scene()
    scene.start()
    scene.value("gds/AT-1", 60.0, quality=0x42F2)
    scene.value("gds/AT-1", 60.0, quality=0x02F0)
    assert scene.raised() == []


@pytest.mark.parametrize(
    ("said", "rule", "clause"),
    [
        ({"level": "special"}, "hot_work.analysis.continuous/1", "5.3.1"),
        ({"work": "confined_space", "area": "vessel"}, "confined_space.record_interval/1", "6"),
    ],
)
def test_continuous_gas(said: dict[str, Any], rule: str, clause: str) -> None:
    scene = Scene()
    scene.start(**said)
    others = {"gds/OT-1": 20.9, "gds/H2S-1": 0.0, "cam/zone.headcount": 1.0, "nvr/rec": 1.0}
    for _ in range(3):
        scene.wait(10)
        scene.values(others)
    assert "continuous_gas" not in scene.raised()  # silent for exactly the 30 s allowed
    scene.wait(0.001)
    assert scene.raised() == ["continuous_gas"]
    cites(scene, "continuous_gas", rule, clause)


def test_first_grade_does_not_need_continuous_gas() -> None:
    scene = Scene()
    scene.start()
    scene.wait(300)
    assert "continuous_gas" not in scene.raised()


def test_gas_of_a_confined_space_is_recorded_every_two_hours() -> None:
    said: dict[str, Any] = {"work": "confined_space", "area": "vessel"}
    scene = Scene()
    scene.start(**said)
    scene.keep_well(4 * 3600, 25)
    assert len(scene.events("work.gas_record")) == 3  # at the start, and 5 min before each 2 h
    assert scene.raised() == []
    assert scene.events("work.gas_record")[-1].attributes["value.gds/AT-1"] == 1.0
    quiet = Scene(now_ns=scene.now_ns, restored=scene.monitor.state())
    quiet.wait(110 * 60)
    assert "record_overdue" not in quiet.raised()
    quiet.wait(0.001)
    assert "record_overdue" in quiet.raised()
    cites(quiet, "record_overdue", "confined_space.record_interval/1", "6")


def test_a_clock_that_is_set_back_stops_no_record_of_a_confined_space() -> None:
    said: dict[str, Any] = {"work": "confined_space", "area": "vessel"}
    scene = Scene()
    scene.start(**said)
    scene.keep_well(60)
    scene.now_ns -= 5 * HOUR
    scene.keep_well(2 * 3600 + 60, 25)
    assert len(scene.events("work.gas_record")) == 3
    assert "record_overdue" not in scene.raised()


def test_each_kind_of_sample_is_as_fresh_as_the_rule_asks() -> None:
    """@example: oxygen of 10 min ago made a LEL of two hours ago pass, for hot work and vessels."""
    kinds: list[dict[str, Any]] = [{}, {"work": "confined_space", "area": "vessel"}]
    for said in kinds:
        scene = Scene()
        scene.permit(status="approved", **said)
        scene.gas(120)
        scene.gas(10, 20.9, "oxygen")
        scene.all_well()
        scene.permit(status="active", **said)
        assert scene.raised() == ["analysis_old"], said
        scene.gas(0)
        scene.wait(6)
        assert scene.standing() == set()


def test_nobody_enters_a_vessel_without_a_sample_of_oxygen() -> None:
    said: dict[str, Any] = {"work": "confined_space", "area": "vessel"}
    scene = Scene()
    scene.permit(status="approved", **said)
    scene.gas(10)
    scene.all_well()
    scene.permit(status="active", **said)
    assert scene.raised() == ["analysis_missing"]
    assert "氧气" in scene.alarm("analysis_missing").change.text
    assert scene.state() == "approved: analysis_missing"


def test_oxygen_alone_says_nothing_of_what_may_burn() -> None:
    scene = Scene()
    scene.permit(status="approved")
    scene.gas(10, 20.9, "oxygen")
    scene.all_well()
    scene.permit(status="active")
    assert scene.raised() == ["analysis_missing"]


@pytest.mark.parametrize(
    "quality",
    [Quality.UNCERTAIN_OUT_OF_RANGE, Quality.UNCERTAIN, Quality.UNCERTAIN_STALE],
)
def test_gas_beyond_the_range_of_the_detector_is_gas(quality: int) -> None:
    """@example: 101 %LEL of a detector of 0 to 100 was uncertain, so it was no gas at all."""
    scene = Scene()
    scene.start()
    scene.value("gds/AT-1", 101.0, quality)
    assert scene.raised() == ["gas_over"]


@pytest.mark.parametrize(
    ("value", "quality"),
    [
        (math.nan, Quality.BAD_SENSOR_FAULT),
        (math.nan, Quality.BAD_OUT_OF_RANGE),
        (-1.0, Quality.UNCERTAIN_OUT_OF_RANGE),
        (0.0, Quality.UNCERTAIN_CALIBRATING),
        (0.0, Quality.GOOD_SIMULATED),
    ],
)
def test_gas_goes_on_standing_while_its_detector_cannot_tell(value: float, quality: int) -> None:
    """@example: a sensor that failed in the gas ended the alarm after `merge_s`."""
    scene = Scene()
    scene.start()
    scene.value("gds/AT-1", 60.0)
    assert scene.standing() == {"gas_over"}
    for _ in range(20):
        scene.value("gds/AT-1", value, quality)
        scene.wait(10)
    scene.wait(600)  # nothing comes any more at all
    assert scene.standing() == {"gas_over"}
    scene.restart()
    scene.wait(600)
    assert scene.standing() == {"gas_over"}
    scene.all_well()
    scene.wait(6)
    assert scene.standing() == set()
    assert scene.raised() == ["gas_over"]


def test_wind_people_and_guardian_go_on_standing_while_nobody_can_tell() -> None:
    area = replace(AREA, guardian="cam/guard.headcount")
    scene = Scene(site=replace(SITE, areas=(area,)))
    scene.start()
    for _ in range(5):
        scene.values({"met/wind": 9.0, "cam/zone.headcount": 8.0, "cam/guard.headcount": 0.0})
        scene.wait(10)
    assert scene.standing() == {"wind", "too_many_people", "guardian_absent"}
    scene.values({"met/wind": math.nan, "cam/zone.headcount": math.nan,
                  "cam/guard.headcount": math.nan}, Quality.BAD_NOT_CONNECTED)  # fmt: skip
    scene.event("intake.position_count", "uwb", area="泵区", people=2)
    scene.wait(300)
    assert scene.standing() >= {"wind", "too_many_people", "guardian_absent"}
    scene.all_well()
    scene.wait(6)
    assert scene.standing() == set()


@pytest.mark.parametrize(
    ("work", "right", "wrong", "rule", "clause"),
    [
        ("hot_work", 7.99, 8.0, "hot_work.wind/1", "5.2.15"),
        ("height", 7.99, 8.0, "height.wind/1", "8"),
        ("lifting", 10.79, 10.8, "lifting.wind/1", "9"),
    ],
)
def test_wind(work: str, right: float, wrong: float, rule: str, clause: str) -> None:
    for speed, over in ((right, False), (wrong, True)):
        scene = Scene()
        scene.start(work=work)
        scene.value("met/wind", speed)
        assert ("wind" in scene.raised()) is over
    cites(scene, "wind", rule, clause)


@pytest.mark.parametrize(
    ("work", "metres", "rule", "clause"),
    [
        ("blind_plate", 30, "blind_plate.hot_work_distance/1", "7"),
        ("plugging", 30, "hot_work.distance.flammable_gas/1", "5.2.9"),
        ("water_draining", 15, "hot_work.distance.flammable_liquid/1", "5.2.9"),
        ("tank_cleaning", 10, "hot_work.distance.cleaning/1", "5.2.9"),
    ],
)
def test_crossing_work_by_distance(work: str, metres: float, rule: str, clause: str) -> None:
    degree_m = 6_371_000 * math.pi / 180
    for apart, near in ((metres + 0.1, False), (metres - 0.1, True)):
        scene = Scene()
        scene.start(longitude=118.0, latitude=36.0)
        scene.start("X-1", work=work, longitude=118.0, latitude=36.0 + apart / degree_m,
                    related_tickets="DH-1")  # fmt: skip
        assert ("work_too_near" in scene.raised()) is near
    cites(scene, "work_too_near", rule, clause)


@pytest.mark.parametrize(
    ("running", "people", "over"), [(True, 6, False), (True, 7, True), (False, 7, False)]
)
def test_maintenance_on_a_running_unit_has_at_most_six(
    running: bool, people: int, over: bool
) -> None:
    area = replace(AREA, max_people=None, running_unit=running)
    scene = Scene(site=replace(SITE, areas=(area,)))
    scene.start()
    scene.value("cam/zone.headcount", people)
    scene.wait(3)
    assert ("too_many_people" in scene.raised()) is over
    if over:
        assert scene.alarm("too_many_people").change.rule == "headcount.running_maintenance/1"
        assert "第7项" in scene.alarm("too_many_people").change.text


def test_the_book_in_force_on_the_permits_day_judges() -> None:
    scene = Scene(now_ns=NOON)
    scene.start()
    scene.value("gds/AT-1", 50.0)
    assert scene.alarm("gas_over").change.limit == 0.5
