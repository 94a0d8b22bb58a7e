"""Duty roster 值班表: who is told of alarms, by what, in which order, at which time. Pure.

Guarantees:

- A roster that is wrong is refused with every mistake at once, each with row, column and what would
  be right, in English and Chinese; nothing is guessed.
- `on_duty` gives the steps of an escalation at one moment, each with everybody who is told at once.
- A position that no row names is told as if every row named it: too many people rather than none.
- `uncovered` finds the first time of the coming fortnight at which nobody would be told.

A roster is a CSV file, UTF-8 or GB 18030, with these columns; Chinese headings are the same:

    position 岗位     operator position, * or empty: all
    step     级别     1 to 9; step 2 is told when nobody of step 1 acknowledges in time
    person   姓名     who
    notifier 通知方式 names of [[notifier]], several with ;
    contact  联系方式 telephone number or account, as the notifier wants it
    from, to 开始,结束 HH:MM, plant time; to before from: over midnight; both empty: all day
    days     日期     1-5 or 6,7 (1 is Monday 周一), or dates 2026-10-01..2026-10-07; empty: daily.
                      A shift over midnight belongs to the day on which it begins.
    priority 优先级   alarms of this priority and above, 1 to 4; empty: 4, all
"""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from drivers.wording import shown, suggestion
from gateway.rules.rulebook import PLANT_TIME

COLUMNS = ("position", "step", "person", "notifier", "contact", "from", "to", "days", "priority")
REQUIRED = ("step", "person", "notifier")
ALIASES: Mapping[str, str] = {
    "岗位": "position", "操作岗位": "position", "级别": "step", "步骤": "step", "姓名": "person",
    "人员": "person", "通知方式": "notifier", "联系方式": "contact", "电话": "contact",
    "开始": "from", "结束": "to", "日期": "days", "星期": "days", "优先级": "priority",
}  # fmt: skip
MOST_ROWS = 10_000
MOST_STEPS = 9
DAY_MINUTES = 24 * 60
ALL = "*"
_TIME = re.compile(r"([01]?[0-9]|2[0-4])[:：]([0-5][0-9])")
_DATES = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.\.(\d{4}-\d{2}-\d{2}))?")
_WEEKDAYS: Mapping[str, int] = {
    **{str(n): n for n in range(1, 8)},
    **{word: n for n, word in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"), 1)},
    **{f"周{word}": n for n, word in enumerate("一二三四五六日", 1)},
    **{f"星期{word}": n for n, word in enumerate("一二三四五六日", 1)},
    "周天": 7, "星期天": 7,
}  # fmt: skip
COVERED_DAYS = 14


@dataclass(frozen=True, slots=True)
class RosterProblem:
    """A mistake: row as a spreadsheet counts it (the heading is 1), 0 for the whole file."""

    row: int
    column: str
    message: str

    def __str__(self) -> str:
        """Row and column in both languages, then the mistake."""
        if not self.row:
            return self.message
        return f"row {self.row} 第{self.row}行, {self.column}: {self.message}"


class RosterError(ValueError):
    """The roster is wrong: `problems` has every mistake."""

    def __init__(self, problems: Iterable[RosterProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Recipient:
    """One person by one notifier."""

    person: str
    notifier: str
    contact: str = ""


@dataclass(frozen=True, slots=True)
class Days:
    """Days on which a shift begins: weekdays (1 is Monday) and spans of dates; neither: all."""

    weekdays: frozenset[int] = frozenset()
    spans: tuple[tuple[dt.date, dt.date], ...] = ()

    def has(self, day: dt.date) -> bool:
        """Tell whether a shift begins on a day."""
        if not self.weekdays and not self.spans:
            return True
        return day.isoweekday() in self.weekdays or any(a <= day <= b for a, b in self.spans)


@dataclass(frozen=True, slots=True)
class Shift:
    """One row. start and end are minutes of the day, equal: all day."""

    row: int
    position: str
    step: int
    recipients: tuple[Recipient, ...]
    start: int = 0
    end: int = 0
    days: Days = Days()
    priority: int = 4

    def covers(self, moment: dt.datetime) -> bool:
        """Tell whether the shift runs at a local time."""
        minute, today = moment.hour * 60 + moment.minute, moment.date()
        if self.start == self.end:
            return self.days.has(today)
        if self.start < self.end:
            return self.start <= minute < self.end and self.days.has(today)
        if minute >= self.start:
            return self.days.has(today)
        return minute < self.end and self.days.has(today - dt.timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Roster:
    """All shifts."""

    shifts: tuple[Shift, ...] = ()

    def on_duty(
        self, position: str, priority: int, wall_ns: int
    ) -> dict[int, tuple[Recipient, ...]]:
        """Who is told of an alarm raised at a position: by step, in the order of the steps."""
        moment = local(wall_ns)
        named = [one for one in self.shifts if one.position in {position, ALL}]
        found: dict[int, dict[Recipient, None]] = {}
        for one in named or self.shifts:
            if priority <= one.priority and one.covers(moment):
                found.setdefault(one.step, {}).update(dict.fromkeys(one.recipients))
        return {step: tuple(found[step]) for step in sorted(found)}

    def positions(self) -> list[str]:
        """Operator positions that rows name, * last if one is for all."""
        names = dict.fromkeys(one.position for one in self.shifts if one.position != ALL)
        return [*names, *([ALL] if any(one.position == ALL for one in self.shifts) else [])]

    def notifiers(self) -> frozenset[str]:
        """Names of all notifiers that rows name."""
        return frozenset(one.notifier for shift in self.shifts for one in shift.recipients)

    def uncovered(self, wall_ns: int) -> tuple[str, dt.datetime] | None:
        """First position and local time of the coming fortnight at which nobody is on duty."""
        start = local(wall_ns)
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        edges = {0} | {m for one in self.shifts for m in (one.start, one.end % DAY_MINUTES)}
        moments = [start] + [
            midnight + dt.timedelta(days=day, minutes=minute)
            for day in range(COVERED_DAYS)
            for minute in sorted(edges)
        ]
        for moment in moments:
            if moment < start:
                continue
            at_ns = round(moment.timestamp()) * 1_000_000_000
            for position in self.positions():
                if not self.on_duty(position, 1, at_ns):
                    return position, moment
        return None


def local(wall_ns: int) -> dt.datetime:
    """Plant time of a wall-clock time."""
    return dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, PLANT_TIME)


def parse_roster(raw: bytes, known: Collection[str]) -> Roster:
    """Read a roster; `known` are the names of the notifiers. Raises RosterError."""
    reader = _Reader(known)
    lines = list(csv.reader(_text(raw).splitlines()))
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise RosterError([RosterProblem(0, "", "the roster is empty 值班表为空")])
    if len(lines) > MOST_ROWS:
        said = f"has more than {MOST_ROWS} rows 行数过多"
        raise RosterError([RosterProblem(0, "", said)])
    columns = reader.columns(lines[0])
    shifts = [
        shift
        for row, cells in enumerate(lines[1:], 2)
        if any(cell.strip() for cell in cells)
        and (shift := reader.shift(row, columns, cells)) is not None
    ]
    if not shifts and not reader.problems:
        reader.wrong(0, "", "the roster names nobody 值班表无人员")
    if reader.problems:
        raise RosterError(reader.problems)
    return Roster(tuple(shifts))


def _text(raw: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):  # Excel in China saves CSV as GBK
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    said = "is neither UTF-8 nor GB 18030 text 编码不是 UTF-8 或 GB 18030"
    raise RosterError([RosterProblem(0, "", said)])


class _Reader:
    """Reads rows; collects what is wrong."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = known
        self.problems: list[RosterProblem] = []

    def wrong(self, row: int, column: str, message: str) -> None:
        self.problems.append(RosterProblem(row, column, message))

    def columns(self, heading: list[str]) -> list[str]:
        names = [ALIASES.get(cell.strip(), cell.strip().lower()) for cell in heading]
        for number, name in enumerate(names):
            if name and name not in COLUMNS:
                self.wrong(1, shown(heading[number].strip()),
                           f"unknown column 未知列; {suggestion(name, COLUMNS)}")  # fmt: skip
            if name and name in names[:number]:
                self.wrong(1, name, "this column is given twice 列重复")
        for name in REQUIRED:
            if name not in names:
                zh = next(word for word, own in ALIASES.items() if own == name)
                self.wrong(1, name, f"this column is missing 缺少列 {zh}")
        if self.problems:
            raise RosterError(self.problems)
        return names

    def shift(self, row: int, columns: list[str], cells: list[str]) -> Shift | None:
        before = len(self.problems)
        if any(cell.strip() for cell in cells[len(columns) :]):
            self.wrong(row, "", "has more cells than the heading 单元格多于表头")
        said = {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}
        start, end = self._times(row, said)
        shift = Shift(
            row=row,
            position=said.get("position", "") or ALL,
            step=self._number(row, "step", said.get("step", ""), MOST_STEPS),
            recipients=self._recipients(row, said),
            start=start,
            end=end,
            days=self._days(row, said.get("days", "")),
            priority=self._number(row, "priority", said.get("priority", "") or "4", 4),
        )
        return shift if len(self.problems) == before else None

    def _number(self, row: int, column: str, text: str, most: int) -> int:
        if re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= most:
            return int(text)
        self.wrong(row, column, f"must be 1 to {most}, not {shown(text)} 应为 1 至 {most}")
        return 1

    def _recipients(self, row: int, said: Mapping[str, str]) -> tuple[Recipient, ...]:
        person = said.get("person", "")
        if not person:
            self.wrong(row, "person", "is missing: who is told? 缺少姓名")
        names = [part.strip() for part in re.split("[;；]", said.get("notifier", ""))]
        names = [name for name in names if name]
        if not names:
            self.wrong(row, "notifier", "is missing: by what is the person told? 缺少通知方式")
        for name in names:
            if name not in self._known:
                advice = suggestion(name, self._known) if self._known else "none is configured"
                said_so = f"no [[notifier]] is called {shown(name)} 无此通知方式; {advice}"
                self.wrong(row, "notifier", said_so)
        return tuple(Recipient(person, name, said.get("contact", "")) for name in names)

    def _times(self, row: int, said: Mapping[str, str]) -> tuple[int, int]:
        texts = {name: said.get(name, "") for name in ("from", "to")}
        if not any(texts.values()):
            return 0, 0
        minutes = []
        for name, text in texts.items():
            found = _TIME.fullmatch(text)
            minute = int(found[1]) * 60 + int(found[2]) if found else DAY_MINUTES + 1
            if minute > DAY_MINUTES or (name == "from" and minute == DAY_MINUTES):
                self.wrong(row, name, f"must be HH:MM, for example 08:00, not {shown(text)}"
                           " 时间格式应为 08:00")  # fmt: skip
                minute = 0
            minutes.append(minute)
        return minutes[0], minutes[1] % DAY_MINUTES if minutes[0] else minutes[1]

    def _days(self, row: int, text: str) -> Days:
        weekdays: set[int] = set()
        spans: list[tuple[dt.date, dt.date]] = []
        parts = [part.strip() for part in re.split("[,，;；、]", text)]
        for part in parts:
            if not part or part.lower() in {ALL, "daily", "每天", "每日"}:
                continue
            dates = _DATES.fullmatch(part)
            days = _weekdays(part)
            if dates is not None:
                spans += self._span(row, dates)
            elif days:
                weekdays |= days
            else:
                self.wrong(
                    row, "days",
                    f"must be weekdays (1-5, 周一-周五) or dates (2026-10-01..2026-10-07), not"
                    f" {shown(part)} 日期应为星期或日期区间",
                )  # fmt: skip
        return Days(frozenset(weekdays), tuple(spans))

    def _span(self, row: int, dates: re.Match[str]) -> list[tuple[dt.date, dt.date]]:
        try:
            first = dt.date.fromisoformat(dates[1])
            last = dt.date.fromisoformat(dates[2] or dates[1])
        except ValueError:
            self.wrong(row, "days", f"there is no such day: {shown(dates[0])} 无此日期")
            return []
        if last < first:
            self.wrong(row, "days", f"ends before it begins: {shown(dates[0])} 结束早于开始")
            return []
        return [(first, last)]


def _weekdays(part: str) -> set[int]:
    ends = [_WEEKDAYS.get(word.strip().lower(), 0) for word in re.split("[-–至到]", part)]
    if 0 in ends or len(ends) > 2:
        return set()
    first, last = ends[0], ends[-1]
    if first <= last:
        return set(range(first, last + 1))
    return {*range(first, 8), *range(1, last + 1)}
