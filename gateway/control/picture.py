"""The whole plant at one moment, for people: alarms, and sections of named items.

Guarantees: nothing is computed until somebody looks; a look reads what the parts know and changes
nothing. Alarms are gone through only when one of them changed since the last look, and of very
many (MANY) at most once in CALM_NS; sections are made at most once in SECTIONS_NS. Numbers that
never stand still are rounded, so that a quiet plant makes no change sets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from buffer.contract import Log, Stream
from drivers.contract import Clock
from gateway.control.alarm_rows import alarm_row, counted, finite, key_of, urgency
from gateway.control.coalesce import Alarm, Picture, Row
from gateway.control.site_facts import SiteFacts
from gateway.control.tap import Tap
from gateway.observe.health import Health
from gateway.observe.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.rules.desk import Entry

if TYPE_CHECKING:
    from gateway.workflow import WorkFlow

MOST_ROWS = 500
MANY = 2_000
CALM_NS = 1_000_000_000
SECTIONS_NS = 1_000_000_000
OVER_FOR_NS = 12 * 3_600_000_000_000
"""How long a permit that is over is still shown."""
_SOURCE = "source_"
_Numbers = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture is made of."""

    pipeline: Pipeline
    work: WorkFlow | None
    log: Log
    metrics: Metrics
    health: Health
    clock: Clock


class PlantView:
    """Makes pictures. `facts` is set anew when a changed site is applied."""

    def __init__(self, seen: Seen, facts: SiteFacts, tap: Tap) -> None:
        self._seen = seen
        self.facts = facts
        self._tap = tap
        self._changes = -1
        self._picture = Picture()
        self._alarms_ns = self._sections_ns = -SECTIONS_NS
        self._flow = (0, 0.0)

    def look(self) -> Picture:
        """Give the picture of now; the same object where nothing was looked at anew."""
        now_ns = self._seen.clock.monotonic_ns()
        picture = self._picture
        if self._due(now_ns):
            self._alarms_ns, self._changes = now_ns, self._tap.changes
            alarms, counts = self._alarms()
            picture = replace(picture, alarms=alarms, counts=counts)
        if now_ns - self._sections_ns >= SECTIONS_NS:
            self._sections_ns = now_ns
            picture = replace(picture, sections=self._sections(now_ns))
        self._picture = picture
        return picture

    def now_ns(self) -> int:
        """Wall clock."""
        return self._seen.clock.wall_ns()

    def row(self, key: str) -> Row | None:
        """One alarm by its key; None where it is normal or unknown."""
        for entry in self._seen.pipeline.alarms():
            if key_of(entry.last) == key:
                return self._row(entry)
        return None

    # ---- alarms ----------------------------------------------------------------------------

    def _due(self, now_ns: int) -> bool:
        if self._changes == self._tap.changes:
            return False
        many = int(self._picture.counts.get("total", 0)) > MANY
        return not many or now_ns - self._alarms_ns >= CALM_NS

    def _alarms(self) -> tuple[dict[str, Alarm], dict[str, Any]]:
        entries = self._seen.pipeline.alarms()
        before = self._picture.alarms
        alarms: dict[str, Alarm] = {}
        for entry in nsmallest(MOST_ROWS, entries, key=urgency):
            key = key_of(entry.last)
            mark = (entry.last, entry.active, entry.until_ns, self._handling(entry))
            known = before.get(key)
            alarms[key] = known if known and known.mark == mark else Alarm(mark, self._row(entry))
        return alarms, counted(entries, self._seen.pipeline.judge.floods())

    def _row(self, entry: Entry) -> dict[str, Any]:
        return alarm_row(entry) | {"handling": self._handling(entry)}

    def _handling(self, entry: Entry) -> str:
        work = self._seen.work
        case = work.closing.case(entry.last.alarm_id.hex()) if work is not None else None
        return case.state.value if case is not None else ""

    # ---- sections --------------------------------------------------------------------------

    def _sections(self, now_ns: int) -> dict[str, Mapping[str, Any]]:
        numbers = self._seen.metrics.read()
        report = self._seen.health.report()
        parts = {  # of one that is well the first clause: what follows counts on and on
            name: {"ok": well, "text": text.partition(";")[0] if well else text}
            for name, (well, text) in report.parts.items()
        }
        return {
            "sources": self._sources(numbers),
            "cameras": self._cameras(numbers),
            "uplinks": self._uplinks(numbers, parts),
            "buffer": self._buffer(),
            "areas": self._areas(now_ns),
            "work": self._work(now_ns),
            "declarations": self._declarations(),
            "risk": self._risk(),
            "duty": self._duty(),
            "flow": self._flowing(now_ns),
            "health": {"state": report.state.value, **parts},
        }

    def _sources(self, numbers: Mapping[str, _Numbers]) -> dict[str, Any]:
        found = {}
        for name, driver in self.facts.sources.items():
            link, counts = self._tap.links.of(name), numbers.get(_SOURCE + name, {})
            found[name] = {
                "driver": driver,
                "connected": link.connected,
                "since_ns": link.since_ns,
                "text": link.text or " ".join(link.units.values()),
                "silent_units": sorted(link.units),
                "period_ms": rounded(counts.get("achieved_period_ms", math.nan)),
                "timeouts": counts.get("timeouts", 0.0),
                "exceptions": counts.get("exceptions", 0.0),
            }
        return found

    def _cameras(self, numbers: Mapping[str, _Numbers]) -> dict[str, Any]:
        found = {}
        for name, zones in self.facts.cameras.items():
            link, counts = self._tap.links.of(name), numbers.get(_SOURCE + name, {})
            people = {z["name"]: counts.get(f"headcount_{z['name']}", math.nan) for z in zones}
            found[name] = {
                "connected": link.connected,
                "since_ns": link.since_ns,
                "text": link.text,
                "view": link.view,
                "recording": link.recording,
                "zones": [{**zone, "people": finite(people[zone["name"]])} for zone in zones],
            }
        return found

    def _uplinks(
        self, numbers: Mapping[str, _Numbers], health: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        found = {}
        for name, target in self.facts.uplinks.items():
            counts = numbers.get(f"uplink_{name}", {})
            found[name] = {
                "target": target,
                "connected": bool(counts.get("connected")),
                "text": "" if counts.get("connected") else _text(health, f"uplink_{name}"),
                "backlog_records": rounded(counts.get("backlog_records", math.nan)),
                "rejected_records": counts.get("rejected_records", 0.0),
                "live_lag_ms": rounded(counts.get("live_lag_ms", math.nan)),
                "reconnects": counts.get("reconnects", 0.0),
            }
        return found

    def _buffer(self) -> dict[str, Any]:
        found = {}
        for stream in Stream:
            capacity = self._seen.log.capacity(stream)
            found[stream.name.lower()] = {
                "used_bytes": rounded(capacity.used_bytes),
                "quota_bytes": capacity.quota_bytes,
                "held_hours": rounded(capacity.held_hours),
                "capacity_hours": rounded(capacity.capacity_hours),
            }
        return found

    def _areas(self, now_ns: int) -> dict[str, Any]:
        return {
            one.area.name: {
                "kind": one.area.kind,
                "place": one.area.place,
                "cameras": finite(one.cameras),
                "positioning": finite(one.positioning),
                "most": finite(one.most),
                "judged": one.judged,
                "over": one.over,
            }
            for one in self._seen.pipeline.judge.areas(now_ns)
        }

    def _work(self, now_ns: int) -> dict[str, Any]:
        work = self._seen.work
        if work is None or work.monitor is None:
            return {}
        rows = work.monitor.permits(work.now, over_for_ns=OVER_FOR_NS)
        records = self._tap.work_records
        return {row["ticket_no"]: row | {"record": records.get(row["ticket_no"], "")}
                for row in rows}  # fmt: skip

    def _declarations(self) -> dict[str, Any]:
        return {
            one.id: {
                "kind": one.kind.value, "scope": one.scope, "name": one.name,
                "person": one.person, "reason": one.reason, "start_ns": one.start_ns,
                "end_ns": one.end_ns, "running": running, "alarms": alarms,
            }
            for one, running, _, alarms in self._seen.pipeline.declarations()
        }  # fmt: skip

    def _risk(self) -> dict[str, Any]:
        view = self._seen.pipeline.risk.view
        return {
            "grade": view.grade.value if view.grade is not None else "",
            "units": {unit: level.value for unit, level in view.units.items()},
            "raised": self._seen.pipeline.risk.raised(),
        }

    def _duty(self) -> dict[str, Any]:
        listener = self._seen.pipeline.listener
        return {"calls": len(listener.listed())} if listener is not None else {}

    def _flowing(self, now_ns: int) -> dict[str, Any]:
        values = self._seen.pipeline.counters.values
        before_ns, before = self._flow
        self._flow = (now_ns, float(values))
        rate = (values - before) / (now_ns - before_ns) * 1e9 if before_ns else math.nan
        return {"values_per_s": rounded(rate), "points": self._seen.pipeline.catalogue.count}


def _text(health: Mapping[str, Mapping[str, Any]], part: str) -> str:
    return str(health.get(part, {}).get("text", ""))


def rounded(number: float) -> float | None:
    """Two digits that count; null for what is no number."""
    if not math.isfinite(number):
        return None
    return float(f"{number:.2g}")
