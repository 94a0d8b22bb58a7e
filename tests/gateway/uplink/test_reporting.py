"""Reporting more closely while grade or risk is high: one step either side, each turn told once."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.rules.risk import GRADE_EVENT, UNIT_EVENT, EnterpriseGrade, RiskLevel, RiskView
from gateway.uplink.reporting import Closer, Reporting
from gateway.uplink.thin import Choice

NORMAL, CLOSE = Choice(on_change=True, every_ns=60 * 10**9), Choice(every_ns=10**9)
GRADES, LEVELS = list(EnterpriseGrade), list(RiskLevel)


def view(grade: str = "", **units: str) -> RiskView:
    made = RiskView()
    if grade:
        made.feed(GRADE_EVENT, {"grade": grade}, 1)
    for unit, level in units.items():
        made.feed(UNIT_EVENT, {"unit": unit, "level": level}, 1)
    return made


@pytest.mark.parametrize(("grade", "raised"), [("red", True), ("orange", True), ("yellow", False)])
def test_from_a_grade_on(grade: str, raised: bool) -> None:
    reporting = Reporting(NORMAL, Closer(CLOSE, grade=EnterpriseGrade.ORANGE))
    turn = reporting.feed(view(grade, farm="major"))
    assert reporting.raised is raised
    assert (turn is not None) is raised
    if turn is not None:
        assert (turn.choice, turn.raised) == (CLOSE, True)
        assert grade in turn.why


@pytest.mark.parametrize(
    ("level", "raised"), [("major", True), ("larger", True), ("general", False), ("low", False)]
)
def test_from_a_risk_of_any_unit_on(level: str, raised: bool) -> None:
    reporting = Reporting(NORMAL, Closer(CLOSE, unit_risk=RiskLevel.LARGER))
    turn = reporting.feed(view("red", gate="low", farm=level))
    assert (turn is not None) is raised
    if turn is not None:
        assert "farm" in turn.why


def test_it_falls_back_at_the_end_and_says_so() -> None:
    reporting, known = Reporting(NORMAL, Closer(CLOSE, EnterpriseGrade.RED)), RiskView()
    assert reporting.feed(known) is None, "what nobody has said raises nothing"
    known.feed(GRADE_EVENT, {"grade": "red"}, 1)
    assert reporting.feed(known) is not None
    assert reporting.feed(known) is None, "told once"
    known.feed(GRADE_EVENT, {"grade": "red", "deleted": True}, 2)
    turn = reporting.feed(known)
    assert turn is not None
    assert (turn.choice, turn.raised, reporting.raised) == (NORMAL, False, False)


SAID = st.one_of(
    st.tuples(st.just(""), st.sampled_from([grade.value for grade in GRADES]), st.booleans()),
    st.tuples(st.sampled_from("ab"), st.sampled_from([one.value for one in LEVELS]), st.booleans()),
)


@given(st.lists(SAID, max_size=30), st.sampled_from([*GRADES, None]),
       st.sampled_from([*LEVELS, None]))  # fmt: skip
def test_after_any_history_the_choice_is_that_of_what_is_known(
    said: list[tuple[str, str, bool]], grade: EnterpriseGrade | None, level: RiskLevel | None
) -> None:
    known, reporting = RiskView(), Reporting(NORMAL, Closer(CLOSE, grade, level))
    model: dict[str, str] = {}
    choice = NORMAL
    for at, (unit, word, deleted) in enumerate(said):
        kind = UNIT_EVENT if unit else GRADE_EVENT
        attributes = {"unit": unit, "level": word} if unit else {"grade": word}
        known.feed(kind, {**attributes, "deleted": deleted}, at)
        model[unit] = "" if deleted else word
        turn = reporting.feed(known)
        choice = turn.choice if turn is not None else choice
        names = [one.value for one in GRADES]
        high = bool(model.get("")) and grade in GRADES[names.index(model[""]) :]
        levels = [one.value for one in LEVELS]
        high = high or any(
            bool(word) and level in LEVELS[levels.index(word) :]
            for unit, word in model.items() if unit
        )  # fmt: skip
        assert choice is (CLOSE if high else NORMAL)
        assert reporting.raised is high
        known = RiskView(known.state())
