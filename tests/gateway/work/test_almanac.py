"""Nights, rest days and holidays of a calendar, and what is wrong in one."""

from __future__ import annotations

import pytest

from gateway.work.almanac import CalendarError, Reason, parse_almanac
from tests.gateway.work.scene import CALENDAR, at


@pytest.mark.parametrize(
    ("since", "until", "reasons"),
    [
        ("2026-09-16 06:00:00", "2026-09-16 21:59:59", ()),
        ("2026-09-16 05:59:59", "2026-09-16 07:00:00", (Reason.NIGHT,)),
        ("2026-09-16 20:00:00", "2026-09-16 22:00:00", (Reason.NIGHT,)),
        ("2026-09-19 12:00:00", "2026-09-19 13:00:00", (Reason.REST_DAY,)),  # Saturday
        ("2026-10-10 12:00:00", "2026-10-10 13:00:00", ()),  # Saturday that is worked 调休
        ("2026-10-01 12:00:00", "2026-10-01 13:00:00", (Reason.HOLIDAY,)),
        ("2026-09-30 12:00:00", "2026-10-01 12:00:00", (Reason.HOLIDAY, Reason.NIGHT)),
    ],
)
def test_special_times(since: str, until: str, reasons: tuple[Reason, ...]) -> None:
    almanac = parse_almanac(CALENDAR, "calendar.toml")
    assert almanac.special(at(since), at(until)) == reasons


def test_a_missing_year_is_told_from_december_on() -> None:
    almanac = parse_almanac(CALENDAR, "calendar.toml")
    assert almanac.doubt(at("2026-12-31 12:00:00")) == ""
    assert almanac.doubt(at("2027-11-30 23:59:59")) == ""
    assert "[year.2028]" in almanac.doubt(at("2027-12-01 00:00:00"))
    assert "[year.2028]" in almanac.doubt(at("2028-03-01 00:00:00"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nigth = []", "unknown key"),
        ('[year.2026]\nholidays = ["2026-13-01"]', "is no date"),
        ('[year.2026]\nholidays = ["2027-01-01"]', "is in another year"),
        ('[year.2026]\nworkdays = ["2026-09-16"]', "no Saturday or Sunday"),
        ('[year.2026]\nholidays = ["2026-10-10"]\nworkdays = ["2026-10-10"]', "both a holiday"),
        ('[year.2026]\nholidays = ["2026-10-07..2026-10-01"]', "must run forward"),
        ('night = ["22"]', "two times"),
        ('day_start = "25:00"', "is no time"),
        ("[year.soon]", "must be a year"),
        ("night = [", "is no TOML"),
    ],
)
def test_a_wrong_calendar_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(CalendarError, match=says.replace("[", r"\[")):
        parse_almanac(text, "calendar.toml")
