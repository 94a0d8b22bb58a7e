"""Words of messages: both languages, marks nobody can leave out, a site's own templates."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gateway.duty.roster import Recipient
from gateway.duty.tell import Flood, Kind, Tell
from gateway.duty.words import TemplateError, parse_templates, shipped_words
from tests.gateway.duty.duty_rig import WALL_NS, alarm

WHO = Recipient("王芳", "sms", "138")
CHANGE = replace(alarm(), place="北罐区", clause="GB/T 50493-2019 5.5.2")
TELL = Tell("i", "c", Kind.ALARM, WHO, CHANGE, 1, 1)


def test_an_alarm_in_both_languages_names_everything() -> None:
    said = shipped_words().message(TELL, "某化工", "9137")
    assert said.zh == (
        "【1级报警】某化工 北罐区 gds/1 高报:当前值 26 %LEL,限值 25 %LEL;"
        "依据:GB/T 50493-2019 5.5.2。"
        "2025-06-15 23:06:40"
    )
    assert said.en == (
        "[ALARM, priority 1] 某化工 北罐区 gds/1 high: 26 %LEL, limit 25 %LEL;"
        " GB/T 50493-2019 5.5.2. 2025-06-15 23:06:40"
    )
    assert said.text("both").count("\n") == 1
    assert said.fields["clause"] == "GB/T 50493-2019 5.5.2"


def test_a_tag_is_followed_by_what_people_call_it() -> None:
    said = shipped_words().message(
        replace(TELL, subject=replace(CHANGE, description="泵房入口可燃气")), "某化工", "9137"
    )
    assert "gds/1（泵房入口可燃气） 高报" in said.zh
    assert "gds/1 (泵房入口可燃气) high" in said.en
    assert said.fields["description"] == "泵房入口可燃气"


def test_units_that_are_words_are_said_in_chinese_and_symbols_stay() -> None:
    crowd = replace(CHANGE, condition="over_count", value=8.0, limit=6.0, unit="people")
    said = shipped_words().message(replace(TELL, subject=crowd), "某化工", "9137")
    assert "人员超员:当前值 8 人,限值 6 人" in said.zh
    assert "over count: 8 people, limit 6 people" in said.en
    wind = replace(CHANGE, condition="wind", value=6.0, limit=5.0, unit="Beaufort")
    said = shipped_words().message(replace(TELL, subject=wind), "某化工", "9137")
    assert "风力超限:当前值 6 级,限值 5 级" in said.zh


def test_repetitions_rounds_and_returns_are_marked() -> None:
    one = replace(TELL, repeated=True, attempt=2, round=2, step=3, returned=True)
    said = shipped_words().message(one, "", "9137")
    assert said.zh.endswith("(可能重复;第2次发送;第2轮第3级;已恢复,未确认)")
    assert said.en.endswith(
        "(perhaps told before; attempt 2; round 2, step 3; returned, not acknowledged)"
    )
    assert "9137" in said.zh


def test_a_flood_says_how_many() -> None:
    flood = Flood("中控室", WALL_NS, 41, 2, ("gds/1 high", "gds/2 high"))
    said = shipped_words().message(replace(TELL, kind=Kind.FLOOD, subject=flood), "某化工", "9137")
    assert "岗位 中控室" in said.zh
    assert "41 条" in said.zh
    assert "最先:gds/1 高报, gds/2 高报。" in said.zh
    assert "gds/1 high, gds/2 high" in said.en
    assert said.priority == 1


def test_a_site_may_change_words_but_not_the_marks_of_a_test() -> None:
    words = parse_templates(
        '[zh]\nalarm = "{tag}!"\ntest = "{tag}"\n[zh.condition]\nhigh = "浓度高"\n'
        '[zh.unit]\n"%LEL" = "%爆炸下限"\n', "t.toml", shipped_words(),
    )  # fmt: skip
    assert words.message(replace(TELL, repeated=True), "a", "b").zh == "gds/1!(可能重复)"
    assert words.message(replace(TELL, kind=Kind.TEST), "a", "b").zh == "【测试】gds/1"
    assert words.message(replace(TELL, kind=Kind.RETURNED), "a", "b").zh.count("浓度高") == 1
    assert "26 %爆炸下限" in words.message(replace(TELL, kind=Kind.RETURNED), "a", "b").zh
    assert "TEST" in words.message(replace(TELL, kind=Kind.TEST), "a", "b").en


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[zh]\nalarm = '{tagg}'", r"t.toml: zh.alarm: there is no field '{tagg}'; .*tag"),
        ("[zh]\nalarms = 'x'", "no message is of this kind"),
        ("[zh]\nflood = '{tag}'", "there is no field"),
        ("[zh]\nalarm = ''", "at most 1,000"),
        ("[de]\nalarm = 'x'", "no language"),
        ("[zh\n", "no TOML"),
    ],
)
def test_a_template_that_is_wrong_is_refused(text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said):
        parse_templates(text, "t.toml", shipped_words())


@given(text=st.text(max_size=50))
def test_text_of_the_plant_is_never_read_as_a_template(text: str) -> None:
    change = replace(CHANGE, source=text, place="{enterprise}", text="{tag}")
    said = shipped_words().message(replace(TELL, subject=change), "某化工", "9137")
    assert "{enterprise}" in said.zh
    assert text in said.zh
