"""Every number of the rule books against a second list, and one step on either side of it."""

from __future__ import annotations

import datetime as dt
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules.rulebook import (
    Bound,
    RuleBooks,
    RuleError,
    SiteRule,
    SourceState,
    local_date,
    parse_book,
    shipped,
)

TODAY = dt.date(2026, 11, 28)
BOOKS = shipped()

# id, the last value that keeps the rule, the first that breaks it, part of the clause
NUMBERS = [
    # headcount
    ("headcount.high_risk", 9, 10, "第7项"),
    ("headcount.running_maintenance", 6, 7, "第7项"),
    ("gathering.radius", 15, 15.1, "人员聚集"),
    ("gathering.duration", 1, 1.001, "人员聚集"),
    ("positioning.static_error", 3, 3.1, "AQ 3064.3"),
    ("positioning.dynamic_error", 5, 5.1, "AQ 3064.3"),
    ("dust.people", 9, 10, "治本攻坚"),
    # special work
    ("hot_work.validity.special", 8, 8.01, "5.1.5"),
    ("hot_work.validity.first", 8, 8.01, "5.1.5"),
    ("hot_work.validity.second", 72, 72.01, "5.1.5"),
    ("hot_work.analysis.age", 30, 31, "5.3.1"),
    ("hot_work.interruption.special", 30, 31, "5.3.1"),
    ("hot_work.interruption.first", 30, 31, "5.3.1"),
    ("hot_work.interruption.second", 60, 61, "5.3.1"),
    ("hot_work.gas.lel_boundary", 4, 3.99, "5.3.2"),
    ("hot_work.gas.high_lel", 0.5, 0.51, "5.3.2"),
    ("hot_work.gas.low_lel", 0.2, 0.21, "5.3.2"),
    ("hot_work.sampling.radius", 10, 10.1, "5.3.1"),
    ("hot_work.distance.flammable_gas", 30, 29.9, "5.2.9"),
    ("hot_work.distance.flammable_liquid", 15, 14.9, "5.2.9"),
    ("hot_work.distance.cleaning", 10, 9.9, "5.2.9"),
    ("hot_work.oxygen_equipment", 23.5, 23.6, "5.2.7"),
    ("hot_work.cylinders.apart", 5, 4.9, "5.2.13"),
    ("hot_work.cylinders.from_point", 10, 9.9, "5.2.13"),
    ("hot_work.welding_set", 10, 10.1, "5.2.12"),
    ("hot_work.wind", 4, 5, "5.2.15"),
    ("confined_space.validity", 24, 24.1, "GB 30871"),
    ("confined_space.analysis.age", 30, 31, "GB 30871"),
    ("confined_space.interruption", 60, 61, "GB 30871"),
    ("confined_space.record_interval", 2, 2.01, "GB 30871"),
    ("confined_space.oxygen.least", 19.5, 19.4, "GB 30871"),
    ("confined_space.oxygen.most", 21, 21.1, "GB 30871"),
    ("confined_space.oxygen.most_enriched", 23.5, 23.6, "GB 30871"),
    ("confined_space.toxic", 100, 101, "GB 30871"),
    ("blind_plate.hot_work_distance", 30, 29.9, "GB 30871"),
    ("height.applies", 1.9, 2, "GB 30871"),
    ("height.grade.first", 5, 5.1, "GB 30871"),
    ("height.grade.second", 15, 15.1, "GB 30871"),
    ("height.grade.third", 30, 30.1, "GB 30871"),
    ("height.validity", 7, 7.1, "GB 30871"),
    ("height.communication", 30, 30.1, "GB 30871"),
    ("height.wind", 4, 5, "GB 30871"),
    ("lifting.grade.first", 100, 100.1, "GB 30871"),
    ("lifting.grade.second", 39.9, 40, "GB 30871"),
    ("lifting.wind", 5, 6, "GB 30871"),
    ("temporary_power.validity", 15, 15.1, "GB 30871"),
    ("temporary_power.validity_special", 30, 30.1, "GB 30871"),
    ("earth.depth", 0.49, 0.5, "GB 30871"),
    ("work.permit_retention", 12, 11, "附录B"),
    ("work.video_retention", 1, 0.9, "附录B"),
    # fixed gas detection
    ("gas.combustible.level1", 25, 25.1, "5.5.2"),
    ("gas.combustible.level2", 50, 50.1, "5.5.2"),
    ("gas.toxic.level1", 100, 100.1, "5.5.2"),
    ("gas.toxic.level2", 200, 200.1, "5.5.2"),
    ("gas.toxic.level1_idlh", 5, 5.1, "5.5.2"),
    ("gas.toxic.level2_idlh", 10, 10.1, "5.5.2"),
    ("gas.oxygen.rich", 23.5, 23.6, "5.5.2"),
    ("gas.oxygen.deficient", 19.5, 19.4, "5.5.2"),
    ("gas.open_path.level1", 1, 1.1, "5.5.2"),
    ("gas.open_path.level2", 2, 2.1, "5.5.2"),
    # major hazards
    ("major_hazard.level1", 99.9, 100, "GB 18218"),
    ("major_hazard.level2", 49.9, 50, "GB 18218"),
    ("major_hazard.level3", 9.9, 10, "GB 18218"),
    ("retention.major_hazard_data", 30, 29, "第40号"),
    ("retention.log", 6, 5, "网络安全法"),
    ("lightning.lead", 10, 9, "雷电"),
    ("lightning.effective_rate", 80, 79, "雷电"),
    ("lightning.radius", 10, 9, "雷电"),
    ("lightning.history", 36, 35, "雷电"),
    # alarm management
    ("alarm.rate.average", 1, 2, "EEMUA 191"),
    ("alarm.flood.start", 10, 11, "ISA-18.2"),
    ("alarm.flood.end", 5, 4, "ISA-18.2"),
    ("alarm.stale", 23.9, 24, "ISA-18.2"),
    ("alarm.chattering", 2, 3, "ISA-18.2"),
    ("alarm.rate.daily", 150, 151, "EEMUA 191"),
    ("alarm.flood.window", 10, 10.1, "ISA-18.2"),
    ("alarm.priority.low_share", 80, 79, "ISA-18.2"),
    ("alarm.priority.medium_share", 15, 16, "ISA-18.2"),
    ("alarm.priority.high_share", 5, 6, "ISA-18.2"),
    ("alarm.deadband.flow", 5, 4.9, "ISA-18.2"),
    ("alarm.deadband.level", 5, 4.9, "ISA-18.2"),
    ("alarm.deadband.pressure", 2, 1.9, "ISA-18.2"),
    ("alarm.deadband.temperature", 1, 0.9, "ISA-18.2"),
    ("alarm.delay.flow", 15, 14, "ISA-18.2"),
    ("alarm.delay.pressure", 15, 14, "ISA-18.2"),
    ("alarm.delay.level", 60, 59, "ISA-18.2"),
    ("alarm.delay.temperature", 60, 59, "ISA-18.2"),
    # ours, and practice
    ("positioning.fix_interval", 5, 5.1, "AQ 3064.3"),
    ("retention.alarms", 12, 11, "建议值"),
    ("retention.hazard_video", 90, 89, "建议值"),
    ("acquisition.period", 5, 5.1, "建议值"),
    ("wind.force5", 8, 7.9, "GB/T 28591"),
    ("wind.force6", 10.8, 10.7, "GB/T 28591"),
    ("vision.helmet.hold", 3, 3.1, "建议值"),
    ("vision.smoking.hold", 5, 5.1, "建议值"),
    ("vision.fire.hold", 3, 3.1, "建议值"),
    ("vision.leave_post.hold", 300, 301, "建议值"),
    ("vision.guardian.hold", 30, 31, "建议值"),
    ("vision.over_count.hold", 60, 61, "建议值"),
    ("vision.clip.before", 10, 9, "建议值"),
    ("vision.clip.after", 20, 19, "建议值"),
]

# Rules of the texts (GB 30871, GB/T 50493, 鲁安发 item 7, gathering guide) that a judgement uses,
# and the test that makes it one step on either side of the number.
_WORK = "gateway/work/test_rules.py"
_SET_POINTS = "gateway/work/test_set_points.py"
_SIZE = "gateway/work/test_size.py"
JUDGED = {
    "headcount.high_risk": "gateway/rules/test_area_count.py::test_the_legal_number_one_step",
    "headcount.running_maintenance": f"{_WORK}::test_maintenance_on_a_running_unit_has",
    "gathering.radius": "gateway/rules/test_gathering.py::test_radius",
    "gathering.duration": "gateway/rules/test_gathering.py::test_duration",
    "hot_work.validity.special": f"{_WORK}::test_validity",
    "hot_work.validity.first": f"{_WORK}::test_validity",
    "hot_work.validity.second": f"{_WORK}::test_validity",
    "hot_work.analysis.age": f"{_WORK}::test_the_analysis_is_at_most_30_minutes",
    "hot_work.interruption.special": f"{_WORK}::test_a_longer_break_needs",
    "hot_work.interruption.first": f"{_WORK}::test_a_longer_break_needs",
    "hot_work.interruption.second": f"{_WORK}::test_a_longer_break_needs",
    "hot_work.gas.lel_boundary": f"{_WORK}::test_the_lel_decides",
    "hot_work.gas.high_lel": f"{_WORK}::test_pass_limit",
    "hot_work.gas.low_lel": f"{_WORK}::test_pass_limit",
    "hot_work.distance.flammable_gas": f"{_WORK}::test_crossing_work_by_distance",
    "hot_work.distance.flammable_liquid": f"{_WORK}::test_crossing_work_by_distance",
    "hot_work.distance.cleaning": f"{_WORK}::test_crossing_work_by_distance",
    "hot_work.oxygen_equipment": f"{_WORK}::test_oxygen_rich_surroundings",
    "hot_work.wind": f"{_WORK}::test_wind",
    "confined_space.validity": f"{_WORK}::test_validity",
    "confined_space.analysis.age": f"{_WORK}::test_the_analysis_is_at_most_30_minutes",
    "confined_space.interruption": f"{_WORK}::test_a_longer_break_needs",
    "confined_space.record_interval": f"{_WORK}::test_gas_of_a_confined_space_is_recorded",
    "confined_space.oxygen.least": f"{_WORK}::test_oxygen_of_a_confined_space",
    "confined_space.oxygen.most": f"{_WORK}::test_oxygen_of_a_confined_space",
    "confined_space.oxygen.most_enriched": f"{_WORK}::test_oxygen_rich_surroundings",
    "confined_space.toxic": f"{_WORK}::test_toxic_gas_of_a_confined_space",
    "blind_plate.hot_work_distance": f"{_WORK}::test_crossing_work_by_distance",
    "height.validity": f"{_WORK}::test_validity",
    "height.wind": f"{_WORK}::test_wind",
    "lifting.wind": f"{_WORK}::test_wind",
    "wind.force5": f"{_WORK}::test_wind",
    "wind.force6": f"{_WORK}::test_wind",
    "hot_work.sampling.radius": f"{_SIZE}::test_a_sample_too_far",
    "height.applies": f"{_SIZE}::test_a_size_that_needs_another_permit",
    "height.grade.first": f"{_SIZE}::test_height_grade",
    "height.grade.second": f"{_SIZE}::test_height_grade",
    "height.grade.third": f"{_SIZE}::test_height_grade",
    "height.communication": f"{_SIZE}::test_above_30_m",
    "lifting.grade.first": f"{_SIZE}::test_lifting_grade",
    "lifting.grade.second": f"{_SIZE}::test_lifting_grade",
    "earth.depth": f"{_SIZE}::test_a_size_that_needs_another_permit",
    "temporary_power.validity": f"{_WORK}::test_validity",
    "temporary_power.validity_special": f"{_WORK}::test_validity",
    **{
        f"gas.{name}": f"{_SET_POINTS}::test_a_ceiling_breaks"
        for name in (
            "combustible.level1", "combustible.level2", "toxic.level1", "toxic.level2",
            "oxygen.rich", "oxygen.deficient", "open_path.level1",
            "open_path.level2",
        )
    },
}  # fmt: skip

# Numbers that nothing here can measure; `plantgate rules` shows them.
NOT_JUDGED = {
    "gas.toxic.level1_idlh": "said beside level 1: the gas table has no IDLH values",
    "gas.toxic.level2_idlh": "said beside level 2: the gas table has no IDLH values",
    "hot_work.cylinders.apart": "no camera here measures distances",
    "hot_work.cylinders.from_point": "no camera here measures distances",
    "hot_work.welding_set": "no camera here measures distances",
    "work.permit_retention": "a promise about storage",
    "work.video_retention": "video of the work is stored by the site's recorder",
    "dust.people": "no source counts people in dust work apart; an area of kind own can",
    "positioning.static_error": "needs a survey of the positioning system",
    "positioning.dynamic_error": "needs a survey of the positioning system",
    "positioning.fix_interval": "not measured: a position that is too old is unknown instead",
}
_OTHERS = ("alarm", "vision", "major_hazard", "retention", "lightning", "acquisition")


def test_every_number_of_the_books_has_its_two_steps() -> None:
    listed = [rule_id for rule_id, *_ in NUMBERS]
    assert len(listed) == len(set(listed))
    assert set(listed) == {rule.id for rule in BOOKS.all() if rule.bound is not Bound.DUTY}


def test_every_number_of_the_texts_is_judged_by_a_test_or_said_not_to_be() -> None:
    numbers = {rule_id for rule_id, *_ in NUMBERS if rule_id.split(".")[0] not in _OTHERS}
    assert numbers == JUDGED.keys() | NOT_JUDGED.keys()
    assert not JUDGED.keys() & NOT_JUDGED.keys()


@pytest.mark.parametrize(("rule_id", "test"), JUDGED.items())
def test_the_test_that_is_named_is_there(rule_id: str, test: str) -> None:
    file, _, name = test.partition("::")
    text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}", text, re.MULTILINE), rule_id


@pytest.mark.parametrize(("rule_id", "right", "wrong", "cited"), NUMBERS, ids=str)
def test_rule_breaks_one_step_beyond_its_number(
    rule_id: str, right: float, wrong: float, cited: str
) -> None:
    rule = BOOKS.get(rule_id, on=TODAY)
    assert rule.holds(right)
    assert not rule.holds(wrong)
    assert not rule.holds(math.nan)
    assert cited in rule.citation


def test_every_rule_can_be_read_by_a_person() -> None:
    for rule in BOOKS.all():
        assert rule.clause
        assert any("\u4e00" <= char <= "\u9fff" for char in rule.zh), rule.id
        assert rule.en.isprintable()
        assert (rule.bound is Bound.DUTY) == math.isnan(rule.value)
        assert rule.name == f"{rule.id}/{rule.version}"


def test_a_copy_is_never_called_the_text() -> None:
    state = {rule.id: rule.state for rule in BOOKS.all()}
    assert state["headcount.high_risk"] is SourceState.VERIFIED
    for rule_id, found in state.items():
        if rule_id.startswith(("hot_work.", "confined_space.", "gas.")):
            assert found is SourceState.SECONDARY, rule_id
        if rule_id.startswith("vision."):
            assert found is SourceState.UNREAD, rule_id


VERSIONS = """
[book]
id = "b"
document = "D"
state = "secondary"
[[rule]]
id = "a.b"
value = 30
unit = "min"
bound = "at_most"
clause = "1"
until = 2026-07-01
zh = "旧"
en = "old"
[[rule]]
id = "a.b"
version = 2
value = 20
unit = "min"
bound = "at_most"
clause = "1"
from = 2026-07-01
zh = "新"
en = "new"
"""


def test_the_version_of_the_day_is_chosen() -> None:
    books = RuleBooks(parse_book(VERSIONS, "b.toml"))
    assert books.get("a.b", on=dt.date(2026, 6, 30)).name == "a.b/1"
    assert books.get("a.b", on=dt.date(2026, 7, 1)).name == "a.b/2"
    assert books.value("a.b", on=dt.date(2026, 7, 1)) == 20


def test_rules_change_at_midnight_of_the_plant() -> None:
    last = dt.datetime(2026, 6, 30, 15, 59, 59, tzinfo=dt.UTC)
    assert local_date(int(last.timestamp()) * 10**9) == dt.date(2026, 6, 30)
    assert local_date(int(last.timestamp() + 1) * 10**9) == dt.date(2026, 7, 1)


def test_a_rule_before_its_time_is_refused_with_its_dates() -> None:
    with pytest.raises(RuleError, match=r"not in force on 2026-06-30.*from 2026-07-01"):
        BOOKS.get("positioning.static_error", on=dt.date(2026, 6, 30))


BROKEN = [
    ("until = 2026-07-01", "until = 2026-07-02", "apply on the same day"),
    ("version = 2", "version = 1", "have one number"),
    ("value = 20", 'value = "20"', "value must be a finite number"),
    ("value = 20", "value = nan", "value must be a finite number"),
    ('bound = "at_most"\nclause = "1"\nfrom', 'bound = "duty"\nclause = "1"\nfrom', "no value"),
    ('bound = "at_most"\nclause = "1"\nfrom', 'bound = "max"\nclause = "1"\nfrom', "at_least"),
    ('zh = "新"', "", "zh must be a text"),
    ('zh = "新"', 'zhh = "新"', "unknown key"),
    ("from = 2026-07-01", 'from = "2026-07-01"', "must be a date"),
    ("from = 2026-07-01", "from = 2026-07-01\nuntil = 2026-07-01", "until must be after from"),
    ('state = "secondary"', "", "must be one of verified, secondary, unread"),
    ('id = "a.b"\nvalue', 'id = "A b"\nvalue', "dotted words"),
    ("[book]", "[bok]", "one [book]"),
]


@pytest.mark.parametrize(("old", "new", "said"), BROKEN)
def test_a_broken_book_is_refused(old: str, new: str, said: str) -> None:
    assert old in VERSIONS
    with pytest.raises(RuleError) as caught:
        RuleBooks(parse_book(VERSIONS.replace(old, new, 1), "b.toml"))
    assert said in str(caught.value)


@given(st.floats(-1e6, 1e6), st.sampled_from([r.id for r in BOOKS.all()]), st.floats(-1e6, 1e6))
def test_a_value_without_a_reason_never_allows_more(value: float, rule_id: str, x: float) -> None:
    book = BOOKS.get(rule_id, on=TODAY)
    if book.bound is Bound.DUTY:
        with pytest.raises(RuleError):
            BOOKS.with_site([SiteRule(rule_id, value, "whatever")])
        return
    try:
        own = BOOKS.with_site([SiteRule(rule_id, value)]).get(rule_id, on=TODAY)
    except RuleError:
        loose = BOOKS.with_site([SiteRule(rule_id, value, "why")]).get(rule_id, on=TODAY)
        assert loose.loosened
        assert loose.reason == "why"
        assert loose.book_value == book.value
        return
    assert not own.loosened
    assert own.name.endswith("+site")
    for measured in (x, value, book.value):
        assert book.holds(measured) or not own.holds(measured)
