"""Risk view: the newest word holds, and the two kinds of four colours are never mixed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.cli.main import main
from gateway.model.event import event, gap_event
from gateway.rules.risk import GRADE_EVENT, UNIT_EVENT, EnterpriseGrade, RiskLevel, RiskView
from gateway.runtime.clock import SystemClock


def test_what_nobody_said_is_not_known() -> None:
    view = RiskView()
    assert view.grade is None
    assert view.units == {}


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_newest_word_holds_in_whatever_order_it_comes(order: tuple[int, ...]) -> None:
    view = RiskView()
    for at in order:
        assert view.feed(GRADE_EVENT, {"grade": ("blue", "red", "orange")[at]}, at)
        level = ("low", "major", "larger")[at]
        assert view.feed(UNIT_EVENT, {"unit": "tank farm", "level": level}, at)
    assert view.grade is EnterpriseGrade.ORANGE
    assert view.units == {"tank farm": RiskLevel.LARGER}


def test_grades_and_levels_are_not_each_others() -> None:
    view = RiskView()
    assert not view.feed(GRADE_EVENT, {"grade": "major"}, 1)
    assert not view.feed(UNIT_EVENT, {"unit": "u", "level": "red"}, 1)
    assert not view.feed("intake.lightning", {"level": "red"}, 1)
    assert view.grade is None
    assert view.units == {}


def test_what_is_deleted_is_gone_and_the_highest_risk_stands_first() -> None:
    view = RiskView()
    for unit, level in (("a", "low"), ("b", "major"), ("c", "general")):
        view.feed(UNIT_EVENT, {"unit": unit, "level": level}, 1)
    view.feed(UNIT_EVENT, {"unit": "c", "level": "general", "deleted": True}, 2)
    view.feed(GRADE_EVENT, {"grade": "red"}, 1)
    view.feed(GRADE_EVENT, {"grade": "red", "deleted": True}, 2)
    assert list(view.units.items()) == [("b", RiskLevel.MAJOR), ("a", RiskLevel.LOW)]
    assert view.grade is None


SITE = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C0000XC"
data_dir = "data"
"""


async def test_the_report_shows_both_as_they_came_in(tmp_path: Path) -> None:
    clock = SystemClock()
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    said: list[tuple[str, dict[str, str | int | float | bool]]] = [
        (GRADE_EVENT, {"grade": "yellow", "deleted": False}),
        (GRADE_EVENT, {"grade": "orange", "deleted": False}),
        (UNIT_EVENT, {"unit": "tank farm", "level": "major", "deleted": False}),
        (UNIT_EVENT, {"unit": "gate", "level": "low", "deleted": True}),
    ]
    async with Buffer.open(
        tmp_path / "data", BufferConfig(), clock=clock, boot_id=b"b" * 16, encode_gap=gap_event
    ) as buffer:
        for kind, attributes in said:
            payload = event(kind, "risk", clock.wall_ns(), "", attributes)
            await buffer.add_record(Stream.EVENT, payload)
    shown = CliRunner().invoke(main, ["report", str(tmp_path / "site.toml")])
    assert shown.exit_code == 0, shown.output
    assert "Grade of the enterprise 企业分级: orange 橙" in shown.output
    assert "risk of tank farm 风险等级: major 重大风险（红）" in shown.output
    assert "gate" not in shown.output
    facts = json.loads(
        CliRunner().invoke(main, ["report", str(tmp_path / "site.toml"), "--json"]).output
    )
    assert facts["enterprise_grade"] == "orange"
    assert facts["unit_risks"] == {"tank farm": "major"}
