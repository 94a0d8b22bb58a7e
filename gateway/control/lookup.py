"""What people look up: values, history, one alarm with its evidence, a file's place on the disk.

Guarantees: every answer is bounded (MOST_POINTS, MOST_STEPS, MOST_RECORDS, MOST_SPAN_NS); the index
of points is made in parts when somebody first asks, and dropped with its catalogue; a path that is
given out lies in the evidence folder. Nothing is changed.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from google.protobuf.message import DecodeError

from buffer.contract import Log, Record, Stream
from buffer.rollup import MINUTE_NS, Minute
from drivers.contract import quality_word
from gateway.control.alarm_rows import finite, said
from gateway.control.latest import Latest, LatestValues
from gateway.control.picture import PlantView
from gateway.control.point_index import PointIndex
from gateway.control.server import Answer, Handler
from gateway.model.alarm import AlarmChange
from gateway.pipeline import Pipeline
from gateway.rules.rulebook import RuleError, local_date
from gateway.wire.v1 import uplink_pb2 as wire

if TYPE_CHECKING:
    from gateway.work.closing import Case
    from gateway.workflow import WorkFlow

MOST_POINTS = 500
MOST_STEPS = 1500
MOST_SPAN_NS = 7 * 86_400_000_000_000
MOST_RECORDS = 2_000
_PAGE, _PAGE_BYTES = 500, 4 << 20
_BEFORE_NS, _AFTER_NS = 60_000_000_000, 3_600_000_000_000
_SHA256 = re.compile("[0-9a-f]{64}")
_OPTIONAL = ("low_low", "low", "high", "high_high", "range_low", "range_high")
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG", "image/png"), (b"RIFF", "video/x-msvideo"),
    (b"<!doctype html", "text/html"), (b"{", "application/json"),
)  # fmt: skip


class Rollups(Log, Protocol):
    """A log that holds one-minute rollups."""

    async def rollup(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        """Minutes of a point that begin in [from_ns, to_ns)."""
        ...


class Lookup:
    """Answers `values`, `history`, `alarm.detail` and `evidence`."""

    def __init__(
        self, view: PlantView, pipeline: Pipeline, work: WorkFlow | None, log: Rollups, folder: Path
    ) -> None:
        """folder: of evidence files."""
        self._view = view
        self._pipeline = pipeline
        self._work = work
        self._log = log
        self._folder = folder
        self._latest: LatestValues | None = None
        self._index: tuple[bytes, PointIndex] | None = None

    def handlers(self) -> dict[str, Handler]:
        """Make the handlers, by what is asked."""
        return {
            "values": self._values,
            "history": self._history,
            "alarm.detail": self._detail,
            "evidence": self._evidence,
        }

    def watch_values(self) -> LatestValues:
        """Keep the newest values from now on."""
        if self._latest is None:
            self._latest = LatestValues()
            self._pipeline.look = self._latest.feed
        return self._latest

    # ---- values ----------------------------------------------------------------------------

    async def _points(self) -> PointIndex:
        catalogue = self._pipeline.catalogue
        if self._index is None or self._index[0] != catalogue.hash:
            self._index = catalogue.hash, PointIndex(catalogue.encoded)
        index = self._index[1]
        for _ in iter(index.grow, True):
            await asyncio.sleep(0)
        return index

    async def _values(self, request: Mapping[str, Any]) -> Answer:
        latest, index = self.watch_values(), await self._points()
        names = request.get("names")
        if names is not None:
            if len(names) > MOST_POINTS:
                raise ValueError(f"at most {MOST_POINTS} points at once, not {len(names)}")
            points = [point for point in index.named([str(n) for n in names]) if point is not None]
            return {"rows": _value_rows(points, latest), "more": False, "points": len(index)}
        page = _whole(request, "page", 0, 0, 1_000_000)
        size = _whole(request, "size", 100, 1, MOST_POINTS)
        points, more = index.find(str(request.get("search", "")), page * size, size)
        rows = _value_rows(points, latest)
        return {"rows": rows, "page": page, "more": more, "points": len(index)}

    async def _history(self, request: Mapping[str, Any]) -> Answer:
        name = str(request["point"])
        [point] = (await self._points()).named([name])
        if point is None:
            raise ValueError(f"there is no point {name}")
        from_ns, to_ns = int(request["from_ns"]), int(request["to_ns"])
        if not 0 < to_ns - from_ns <= MOST_SPAN_NS:
            raise ValueError("the end must be after the start, and at most 7 days after it")
        minutes = await self._log.rollup(point.id, from_ns, to_ns)
        step = max(1, math.ceil((to_ns - from_ns) / MINUTE_NS / MOST_STEPS))
        rows = merged(minutes, step * MINUTE_NS)
        return {"point": name, "unit": point.unit, "step_ns": step * MINUTE_NS, "rows": rows}

    # ---- one alarm -------------------------------------------------------------------------

    async def _detail(self, request: Mapping[str, Any]) -> Answer:
        row = self._view.row(str(request["key"])) if "key" in request else None
        name = str(row["alarm_id"] if row is not None else request.get("alarm_id", ""))
        if not re.fullmatch("[0-9a-f]{32}", name):
            raise ValueError("there is no such alarm now")
        case = self._work.closing.case(name) if self._work is not None else None
        alarm_id = bytes.fromhex(name)
        start_ns = _start(row, case, self._view.now_ns()) - _BEFORE_NS
        now_ns = self._view.now_ns()
        changes = await self._naming(Stream.ALARM, alarm_id, start_ns, now_ns)
        files = await self._naming(Stream.EVIDENCE, alarm_id, start_ns, start_ns + _AFTER_NS)
        return {
            "alarm": row,
            "rule": self._rule(str(row["rule"])) if row is not None else None,
            "handling": asdict(case) | {"state": case.state.value} if case else None,
            "evidence": [_file(record) for record in files],
            "history": _changes(changes),
        }

    async def _naming(
        self, stream: Stream, alarm_id: bytes, from_ns: int, to_ns: int
    ) -> list[Record]:
        """Records of a span that hold the id of an alarm; of very many the first and the last."""
        first, last = await self._log.sequences_between(stream, from_ns, to_ns)
        half = MOST_RECORDS // 2
        if last - first < MOST_RECORDS:
            return await self._held(stream, alarm_id, first, last)
        found = await self._held(stream, alarm_id, first, first + half - 1)
        return found + await self._held(stream, alarm_id, last - half + 1, last)

    async def _held(self, stream: Stream, alarm_id: bytes, first: int, last: int) -> list[Record]:
        found: list[Record] = []
        while first <= last:
            stop = min(last, first + _PAGE - 1)
            records = await self._log.read(stream, first, last=stop, max_bytes=_PAGE_BYTES)
            found += [record for record in records if alarm_id in record.payload]
            first = records[-1].sequence + 1 if records else stop + 1
        return found

    def _rule(self, name: str) -> dict[str, Any] | None:
        rule_id = name.partition("/")[0]
        try:
            rule = self._view.facts.rules.get(rule_id, on=local_date(self._view.now_ns()))
        except RuleError:
            return None
        return {
            "id": rule.name, "zh": rule.zh, "en": rule.en, "citation": rule.citation,
            "source": rule.state.words, "value": finite(rule.value), "unit": rule.unit,
        }  # fmt: skip

    # ---- files -----------------------------------------------------------------------------

    def _evidence(self, request: Mapping[str, Any]) -> Answer:
        name = str(request["sha256"])
        if not _SHA256.fullmatch(name):
            raise ValueError("a file is named by its SHA-256, 64 digits and letters a to f")
        path = (self._folder / name[:2] / name[2:]).resolve()
        if not path.is_relative_to(self._folder.resolve()) or not path.is_file():
            raise ValueError("there is no such file (any more)")
        with path.open("rb") as file:
            media_type = media_type_of(file.read(16))
        return {"path": str(path), "bytes": path.stat().st_size, "media_type": media_type}


def merged(minutes: Iterable[Minute], step_ns: int) -> list[list[Any]]:
    """Rows [start_ns, low, mean, high, used, bad], of `step_ns` each; null where nothing counts."""
    steps: dict[int, list[Minute]] = {}
    for minute in minutes:
        steps.setdefault(minute.minute_ns // step_ns * step_ns, []).append(minute)
    rows: list[list[Any]] = []
    for start_ns, parts in sorted(steps.items()):
        used = [part for part in parts if part.used and math.isfinite(part.mean)]
        shares = sum(part.used for part in used)
        mean = sum(part.mean * part.used for part in used) / shares if shares else math.nan
        low = min((part.low for part in used), default=math.nan)
        high = max((part.high for part in used), default=math.nan)
        bad = sum(part.bad for part in parts)
        rows.append([start_ns, finite(low), finite(mean), finite(high), shares, bad])
    return rows


def media_type_of(head: bytes) -> str:
    """Say what a file of evidence is, by its first 16 bytes."""
    if head[4:8] == b"ftyp":
        return "video/mp4"
    found = (name for magic, name in _MAGIC if head.lower().startswith(magic.lower()))
    return next(found, "application/octet-stream")


def _value_rows(points: Sequence[wire.Point], latest: LatestValues) -> list[dict[str, Any]]:
    values = latest.of([point.id for point in points])
    return [_value_row(point, value) for point, value in zip(points, values, strict=True)]


def _value_row(point: wire.Point, latest: Latest | None) -> dict[str, Any]:
    value = latest.value if latest is not None else None
    limits = {field.name: value for field, value in point.ListFields() if field.name in _OPTIONAL}
    return {
        "name": point.name,
        "value": finite(value) if isinstance(value, float) else value,
        "quality": quality_word(latest.quality) if latest is not None else "",
        "time_ns": latest.source_time_ns if latest is not None else 0,
        "unit": point.unit,
        "description": point.description,
        "place": point.place,
        "gas": point.gas,
        "priority": point.priority,
        **dict.fromkeys(_OPTIONAL),
        **limits,
    }


def _whole(request: Mapping[str, Any], name: str, usual: int, least: int, most: int) -> int:
    number = int(request.get(name, usual))
    if not least <= number <= most:
        raise ValueError(f"{name} is {least} to {most}, not {number}")
    return number


def _start(row: Mapping[str, Any] | None, case: Case | None, now_ns: int) -> int:
    """About when an alarm was raised, wall clock."""
    if case is not None:
        return case.raised_ns
    if row is None:
        raise ValueError("there is no such alarm now")
    return min(int(row["raised_ns"]) or now_ns, int(row["since_ns"]))


def _file(record: Record) -> dict[str, Any]:
    try:
        file = wire.EvidenceFile.FromString(record.payload)
    except DecodeError:
        return {"sha256": "", "media_type": "", "time_ns": record.time_ns, "total_bytes": 0}
    return {
        "sha256": file.sha256.hex(), "media_type": file.media_type, "time_ns": file.time_ns,
        "total_bytes": file.total_bytes, "source": file.source,
    }  # fmt: skip


def _changes(records: Sequence[Record]) -> list[dict[str, Any]]:
    changes = [AlarmChange.decode(record.payload) for record in records]
    return [
        said(one) | {"time_ns": one.gateway_time_ns, "operator": one.operator,
                     "reason": one.reason, "value": finite(one.value), "text": one.text}
        for one in changes
    ]  # fmt: skip
