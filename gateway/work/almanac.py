"""Calendar of a site: nights, rest days, holidays and make-up workdays 调休, in plant time (UTC+8).

Guarantees: `special(from, to)` names every reason why a span of time makes work count one level
higher (GB 30871-2022 5.1.1: holidays, rest days, nights; S1-8: major events). A year that the file
does not have is told by `doubt`, and its Saturdays and Sundays count as rest days.

    night = ["22:00", "06:00"]          # 夜间; the site's own shifts decide
    day_start = "08:00"                 # from here on a day's gas analysis is due

    [year.2026]
    holidays = ["2026-10-01..2026-10-07"]     # 节假日, a day or first..last
    workdays = ["2026-09-27", "2026-10-10"]   # 调休: a Saturday or Sunday that is worked
    events = ["2026-10-12..2026-10-14"]       # 重大活动

Pure.
"""

from __future__ import annotations

import datetime as dt
import enum
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from drivers.wording import shown
from gateway.rules.rulebook import PLANT_TIME

DAY_NS = 86_400_000_000_000
NOTICE_MONTH = 12
"""From this month on the next year's days must be in the file: the State Council announces them in
November as a rule (general knowledge)."""


class CalendarError(ValueError):
    """The calendar file is wrong; the message names file, key and what would be right."""


class Reason(enum.Enum):
    """Why a time is special."""

    HOLIDAY = "holiday"
    REST_DAY = "rest day"
    NIGHT = "night"
    EVENT = "major event"

    @property
    def zh(self) -> str:
        """Chinese word."""
        return {"holiday": "节假日", "rest day": "公休日", "night": "夜间"}.get(
            self.value, "重大活动"
        )


@dataclass(frozen=True, slots=True)
class Almanac:
    """night: minutes of the day from and to (equal: none).  years: those the file has."""

    night: tuple[int, int] = (22 * 60, 6 * 60)
    day_start: int = 8 * 60
    years: frozenset[int] = frozenset()
    holidays: frozenset[dt.date] = frozenset()
    workdays: frozenset[dt.date] = frozenset()
    events: frozenset[dt.date] = frozenset()
    source: str = field(default="", compare=False)

    def special(self, from_ns: int, to_ns: int) -> tuple[Reason, ...]:
        """Reasons found anywhere between two wall-clock times, both included."""
        found = {reason for day, first, last in _days(from_ns, to_ns)
                 for reason in self._of(day, first, last)}  # fmt: skip
        return tuple(reason for reason in Reason if reason in found)

    def doubt(self, wall_ns: int) -> str:
        """Say which year is missing at this time, or nothing."""
        today = _local(wall_ns).date()
        if today.year not in self.years:
            return self._missing(today.year)
        if today.month >= NOTICE_MONTH and today.year + 1 not in self.years:
            return self._missing(today.year + 1)
        return ""

    def day_begins_ns(self, wall_ns: int) -> int:
        """Wall-clock time of `day_start` on the local day of a time."""
        local = _local(wall_ns)
        start = dt.datetime.combine(local.date(), dt.time(), PLANT_TIME)
        return (int(start.timestamp()) + self.day_start * 60) * 1_000_000_000

    def _of(self, day: dt.date, first: int, last: int) -> Iterator[Reason]:
        if day in self.holidays:
            yield Reason.HOLIDAY
        elif day.weekday() >= 5 and day not in self.workdays:
            yield Reason.REST_DAY
        if day in self.events:
            yield Reason.EVENT
        begin, end = self.night
        spans = [(begin, end)] if begin < end else [(begin, 1440), (0, end)]
        if begin != end and any(first < until and last >= since for since, until in spans):
            yield Reason.NIGHT

    def _missing(self, year: int) -> str:
        where = self.source or "no calendar is configured"
        return (
            f"the calendar has no [year.{year}] ({where}): holidays and make-up workdays are not"
            f" known, only Saturdays and Sundays count  日历缺少{year}年节假日及调休安排"
        )


def parse_almanac(text: str, name: str) -> Almanac:
    """Read a calendar file; `name` is the file, for messages. Raises CalendarError."""
    try:
        raw = tomllib.loads(text)
    except ValueError as error:
        raise CalendarError(f"{name}: is no TOML: {error}") from error
    _known(raw, {"night", "day_start", "year"}, name)
    years = raw.get("year", {})
    if not isinstance(years, dict):
        raise CalendarError(f"{name}: write [year.2026], with days below it")
    days: dict[str, set[dt.date]] = {"holidays": set(), "workdays": set(), "events": set()}
    for year, table in years.items():
        _year(str(year), table, name, days)
    wrong = days["holidays"] & days["workdays"]
    if wrong:
        raise CalendarError(f"{name}: {min(wrong)} is both a holiday and a make-up workday")
    night = raw.get("night", ["22:00", "06:00"])
    if not isinstance(night, list) or len(night) != 2:
        raise CalendarError(f'{name}: night must be two times such as ["22:00", "06:00"]')
    return Almanac(
        night=(_minute(night[0], f"{name}: night"), _minute(night[1], f"{name}: night")),
        day_start=_minute(raw.get("day_start", "08:00"), f"{name}: day_start"),
        years=frozenset(int(year) for year in years),
        holidays=frozenset(days["holidays"]),
        workdays=frozenset(days["workdays"]),
        events=frozenset(days["events"]),
        source=name,
    )


def _year(year: str, table: object, name: str, days: Mapping[str, set[dt.date]]) -> None:
    where = f"{name}: [year.{year}]"
    if not year.isdigit() or not 2000 <= int(year) < 2100 or not isinstance(table, dict):
        raise CalendarError(f"{where} must be a year such as [year.2026]")
    _known(table, set(days), where)
    for kind, listed in table.items():
        if not isinstance(listed, list):
            raise CalendarError(f"{where} {kind} must be a list of dates")
        for entry in listed:
            for day in _span(entry, f"{where} {kind}"):
                if day.year != int(year):
                    raise CalendarError(f"{where} {kind}: {day} is in another year")
                if kind == "workdays" and day.weekday() < 5:
                    raise CalendarError(
                        f"{where} workdays: {day} is no Saturday or Sunday, so it is worked anyway"
                    )
                days[kind].add(day)


def _span(entry: Any, where: str) -> Iterator[dt.date]:  # noqa: ANN401 - a TOML value
    first, dots, last = str(entry).partition("..")
    try:
        day, end = dt.date.fromisoformat(first), dt.date.fromisoformat(last if dots else first)
    except ValueError:
        raise CalendarError(
            f'{where}: {shown(entry)} is no date such as "2026-10-01" or "2026-10-01..2026-10-07"'
        ) from None
    if not 0 <= (end - day).days < 60:
        raise CalendarError(f"{where}: {entry} must run forward, and for less than 60 days")
    while day <= end:
        yield day
        day += dt.timedelta(days=1)


def _minute(text: object, where: str) -> int:
    try:
        time = dt.time.fromisoformat(str(text))
    except ValueError:
        raise CalendarError(f'{where}: {shown(text)} is no time such as "22:00"') from None
    return time.hour * 60 + time.minute


def _known(raw: Mapping[str, Any], keys: set[str], where: str) -> None:
    for key in raw:
        if key not in keys:
            raise CalendarError(f"{where}: unknown key {shown(key)}; known are {sorted(keys)}")


def _local(wall_ns: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, PLANT_TIME)


def _days(from_ns: int, to_ns: int) -> Iterator[tuple[dt.date, int, int]]:
    """Local days of a span, each with its first and last minute that is in it; at most 40."""
    first, last = _local(from_ns), _local(max(from_ns, to_ns))
    day = first.date()
    for _ in range(40):
        since = first.hour * 60 + first.minute if day == first.date() else 0
        until = last.hour * 60 + last.minute if day == last.date() else 1439
        yield day, since, until
        if day >= last.date():
            return
        day += dt.timedelta(days=1)
