"""The duty roster: shifts, who is on duty, and every mistake with its row, in both languages."""

from __future__ import annotations

import datetime as dt

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gateway.duty.roster import Recipient, Roster, RosterError, parse_roster
from gateway.rules.rulebook import PLANT_TIME

KNOWN = ("horn", "sms")


def at(text: str) -> int:
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=PLANT_TIME)
    return round(moment.timestamp()) * 10**9


HEADING = "position,step,person,notifier,contact,from,to,days,priority"


def roster(*rows: str) -> Roster:
    return parse_roster("\n".join([HEADING, *rows]).encode(), KNOWN)


def names(found: dict[int, tuple[Recipient, ...]]) -> dict[int, list[str]]:
    return {step: [one.person for one in who] for step, who in found.items()}


def test_shifts_of_a_day_over_midnight_and_by_weekday() -> None:
    duty = roster(
        "p1,1,张三,horn;sms,13800000000,08:00,20:00,,",
        "p1,1,李四,sms,13900000000,20:00,08:00,1-5,",
        "p1,2,王五,sms,1,,,2026-10-01..2026-10-07,",
        ",3,厂长,sms,2,,,,1",
    )
    wednesday, saturday = "2026-11-25", "2026-11-28"
    assert names(duty.on_duty("p1", 2, at(f"{wednesday} 08:00"))) == {1: ["张三", "张三"]}
    assert names(duty.on_duty("p1", 2, at(f"{wednesday} 20:00"))) == {1: ["李四"]}
    assert names(duty.on_duty("p1", 2, at(f"{saturday} 07:59"))) == {1: ["李四"]}  # Friday's shift
    assert names(duty.on_duty("p1", 2, at(f"{saturday} 20:00"))) == {}
    assert names(duty.on_duty("p1", 1, at(f"{saturday} 20:00"))) == {3: ["厂长"]}
    assert names(duty.on_duty("p1", 2, at("2026-10-07 23:59"))) == {1: ["李四"], 2: ["王五"]}
    assert names(duty.on_duty("p1", 2, at("2026-10-08 00:00"))) == {1: ["李四"]}
    first = duty.on_duty("p1", 2, at(f"{wednesday} 08:00"))[1]
    assert first == (
        Recipient("张三", "horn", "13800000000"),
        Recipient("张三", "sms", "13800000000"),
    )


def test_a_position_that_no_row_names_is_told_as_if_all_did() -> None:
    duty = roster("p1,1,a,sms,,,,,", "p2,1,b,sms,,,,,")
    assert names(duty.on_duty("", 1, at("2026-11-25 08:00"))) == {1: ["a", "b"]}
    assert names(duty.on_duty("p2", 1, at("2026-11-25 08:00"))) == {1: ["b"]}


def test_chinese_headings_and_gbk_as_excel_saves_them() -> None:
    text = (
        "岗位,级别,姓名,通知方式,电话,开始,结束,星期\n中控室,1,张三,sms,1,08:00,24:00,周一-周五\n"
    )
    for encoding in ("utf-8-sig", "gb18030"):
        duty = parse_roster(text.encode(encoding), KNOWN)
        assert names(duty.on_duty("中控室", 1, at("2026-11-25 23:59"))) == {1: ["张三"]}
        assert duty.on_duty("中控室", 1, at("2026-11-28 12:00")) == {}


def test_every_mistake_is_told_with_row_and_column_in_both_languages() -> None:
    with pytest.raises(RosterError) as error:
        roster(
            ",0,a,horn,,,,,",
            ",1,,telegraph,,,,,",
            ",1,b,sms,,8 o'clock,20:00,someday,5",
            ",1,c,sms,,,,2026-02-30,",
        )
    said = [str(problem) for problem in error.value.problems]
    assert said == [
        "row 2 第2行, step: must be 1 to 9, not '0' 应为 1 至 9",
        "row 3 第3行, person: is missing: who is told? 缺少姓名",
        "row 3 第3行, notifier: no [[notifier]] is called 'telegraph' 无此通知方式;"
        + said[2].partition(";")[2],
        "row 4 第4行, from: must be HH:MM, for example 08:00, not '8 o'clock' 时间格式应为 08:00",
        "row 4 第4行, days: must be weekdays (1-5, 周一-周五) or dates (2026-10-01..2026-10-07),"
        " not 'someday' 日期应为星期或日期区间",
        "row 4 第4行, priority: must be 1 to 4, not '5' 应为 1 至 4",
        "row 5 第5行, days: there is no such day: '2026-02-30' 无此日期",
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "empty"),
        (b"step,person,notifier\n", "names nobody"),
        (b"step,person\n", "缺少列 通知方式"),
        (b"step,person,notifier,colour\n1,a,sms,red\n", "unknown column"),
        (b"step,person,notifier,step\n1,a,sms,1\n", "given twice"),
        (b"\xff\xff\xff", "neither UTF-8"),
        (b"step,person,notifier\n1,a,sms,more\n", "more cells"),
    ],
)
def test_a_file_that_is_none_is_refused(raw: bytes, said: str) -> None:
    with pytest.raises(RosterError, match=said):
        parse_roster(raw, KNOWN)


def test_an_hour_at_which_nobody_is_on_duty_is_found() -> None:
    now = at("2026-11-25 12:00")
    assert roster(",1,a,sms,,08:00,20:00,,", ",2,b,sms,,20:00,08:00,,").uncovered(now) is None
    found = roster("p1,1,a,sms,,08:00,20:00,,", "p1,1,b,sms,,20:00,07:30,,").uncovered(now)
    assert found is not None
    assert (found[0], found[1].strftime("%m-%d %H:%M")) == ("p1", "11-26 07:30")


@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_whatever_the_bytes_hold_nothing_else_leaves(raw: bytes) -> None:
    try:
        parse_roster(b"step,person,notifier,from,to,days\n" + raw, KNOWN)
    except RosterError as error:
        assert error.problems  # noqa: PT017 - which of the two happens is not the point


@given(
    start=st.integers(0, 1439), end=st.integers(0, 1440), day=st.integers(1, 7),
    minute=st.integers(0, 7 * 1440 - 1),
)  # fmt: skip
@settings(max_examples=300, deadline=None)
def test_a_shift_covers_exactly_its_minutes(start: int, end: int, day: int, minute: int) -> None:
    """Model: a shift is a run of minutes of the week, begun on its day."""
    duty = roster(f",1,a,sms,,{_clock(start)},{_clock(end)},{day},")
    begins = (day - 1) * 1440 + start
    length = (end - start) % 1440 or 1440
    if start == end or (start == 0 and end == 1440):
        begins, length = (day - 1) * 1440, 1440
    inside = (minute - begins) % (7 * 1440) < length
    monday = at("2026-11-23 00:00")
    assert bool(duty.on_duty("x", 4, monday + minute * 60 * 10**9)) == inside


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
