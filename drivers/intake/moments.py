"""Times as site systems write them, read into ns since 1970 UTC. Pure.

Guarantees: integer arithmetic only, so no digit is lost; a text without an offset gets the zone
that the mapping file names, never the machine's; anything outside 2000 to 2100 is refused, since
it is a counter, a zero or a swapped field. 24:00 is the end of its day (GB/T 7408). Every refusal
is one clear sentence.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_NS = 946_684_800_000_000_000  # 2000-01-01 UTC
_LAST_NS = 4_102_444_800_000_000_000  # 2100-01-01 UTC
_NUMERIC = {"epoch_s": 1_000_000_000, "epoch_ms": 1_000_000}
_LETTERS = {"yyyy": r"(?P<year>\d{4})", "MM": r"(?P<month>\d{2})", "dd": r"(?P<day>\d{2})",
            "HH": r"(?P<hour>\d{2})", "mm": r"(?P<minute>\d{2})", "ss": r"(?P<second>\d{2})",
            "SSS": r"(?P<milli>\d{3})"}  # fmt: skip
_LETTER = re.compile("|".join(sorted(_LETTERS, key=len, reverse=True)))
_MIDNIGHT = re.compile(r"(\d{4}-\d{2}-\d{2}[T ])24:00(?::00(?:[.,]0+)?)?([+-].*|Z)?", re.ASCII)
_ZONE = re.compile(r"([+-])(\d{2}):(\d{2})")


@dataclass(frozen=True, slots=True)
class Instant:
    """A moment, ns since 1970 UTC."""

    ns: int

    def __str__(self) -> str:
        """ISO 8601 in UTC with milliseconds."""
        moment = _EPOCH + timedelta(microseconds=self.ns // 1000)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def zone(text: str) -> timezone:
    """Read an offset such as +08:00 or Z; raises ValueError."""
    if text == "Z":
        return UTC
    match = _ZONE.fullmatch(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        raise ValueError(f"zone {text!r} is no offset such as +08:00 or Z")
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return timezone(-offset if match[1] == "-" else offset)


class TimeFormat:
    """One way of writing times.

    text: "iso8601", "epoch_ms", "epoch_s", or letters such as yyyyMMddHHmmss, yyyy-MM-dd HH:mm:ss
    and yyyyMMddHHmmssSSS.  offset: of times that name none.
    """

    def __init__(self, text: str, offset: timezone) -> None:
        """Raises ValueError for a format that cannot be read."""
        self.text = text
        self._offset = offset
        self._scale_ns = _NUMERIC.get(text, 0)
        self._pattern: re.Pattern[str] | None = None
        if text != "iso8601" and not self._scale_ns:
            self._pattern = _compiled(text)

    def parse(self, value: object) -> Instant:
        """Read one time; raises ValueError with one clear sentence."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self._wrong(value)
        ns = self._number(value) if self._scale_ns else self._written(str(value).strip())
        if not _FIRST_NS <= ns < _LAST_NS:
            raise ValueError(f"time {value!r:.60} is not between the years 2000 and 2100")
        return Instant(ns)

    def _wrong(self, value: object) -> ValueError:
        return ValueError(f"must be a time as {self.text}, not {value!r:.60}")

    def _number(self, value: str | int) -> int:
        text = str(value).strip()
        if not re.fullmatch(r"[0-9]{1,16}", text):
            raise self._wrong(value)
        return int(text) * self._scale_ns

    def _written(self, text: str) -> int:
        try:
            moment = self._by_pattern(text) if self._pattern else _iso(text)
        except ValueError:
            raise self._wrong(text) from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._offset)
        return (moment - _EPOCH) // timedelta(microseconds=1) * 1000

    def _by_pattern(self, text: str) -> datetime:
        match = self._pattern.fullmatch(text) if self._pattern else None
        if match is None:
            raise ValueError
        part = {name: int(digits) for name, digits in match.groupdict(default="0").items()}
        hour, minute = part.get("hour", 0), part.get("minute", 0)
        second, milli = part.get("second", 0), part.get("milli", 0)
        midnight = (hour, minute, second, milli) == (24, 0, 0, 0)
        moment = datetime(
            part["year"], part["month"], part["day"], 0 if midnight else hour, minute, second,
            milli * 1000, self._offset,
        )  # fmt: skip
        return moment + timedelta(days=midnight)


def _iso(text: str) -> datetime:
    midnight = _MIDNIGHT.fullmatch(text)
    if midnight is None:
        return datetime.fromisoformat(text)
    return datetime.fromisoformat(f"{midnight[1]}00:00{midnight[2] or ''}") + timedelta(days=1)


def _compiled(text: str) -> re.Pattern[str]:
    parts: list[str] = []
    found: list[str] = []
    rest = text
    while rest:
        match = _LETTER.match(rest)
        if match:
            parts.append(_LETTERS[match[0]])
            found.append(match[0])
            rest = rest[match.end() :]
        elif rest[0] in "yMdHmsS" or not rest[0].isprintable():
            raise ValueError(_advice(text))
        else:
            parts.append(re.escape(rest[0]))
            rest = rest[1:]
    if len(found) != len(set(found)) or not {"yyyy", "MM", "dd"} <= set(found):
        raise ValueError(_advice(text))
    return re.compile("".join(parts), re.ASCII)


def _advice(text: str) -> str:
    return (
        f"time_format {text!r} is unknown; use iso8601, epoch_ms, epoch_s, or letters such as"
        " yyyyMMddHHmmss"
    )
