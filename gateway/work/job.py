"""What the monitor remembers of one permit, and how it survives a restart.

Encoding: JSON of plain values (`to_plain`, `from_plain`); times are wall clock, so that they mean
the same after a restart. Monotonic times are not stored: holds begin anew. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.work.permit import Analysis, Permit, Version, fold
from gateway.work.situation import Finding
from gateway.work.words import cited

MOST_ENTRIES = 2000
"""Lines of one timeline; a job of a week with a value record every 2 h has some 200."""

MOST_REASONS = 50
"""Reasons of one violation: a view that flickers between two is told often enough."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the timeline. kind: permit, state, gas, alarm, reason, returned, stop, notice."""

    time_ns: int
    kind: str
    en: str
    zh: str


@dataclass(slots=True)
class Evidence:
    """A stored file. what: sheet, snapshot, clip, picture."""

    sha256: str
    media_type: str
    time_ns: int


@dataclass(slots=True)
class Violation:
    """An alarm of a permit, standing until returned_ns is set.

    absent_ns: monotonic time since which it is not found any more, 0 while it is.
    later: other reasons that were told while it stood, oldest first.
    """

    alarm_id: bytes
    code: str
    subject: str
    priority: int
    rule: str
    citation: str
    en: str
    zh: str
    value: float
    limit: float
    unit: str
    raised_ns: int
    stop: bool = False
    returned_ns: int = 0
    absent_ns: int = 0
    evidence: list[Evidence] = field(default_factory=list)
    later: list[Entry] = field(default_factory=list)

    @classmethod
    def of(cls, alarm_id: bytes, finding: Finding, now_ns: int) -> Violation:
        """Make the violation of a finding."""
        rule = finding.rule
        citation = cited(rule.citation, rule.state)
        return cls(alarm_id, finding.code, finding.subject, finding.priority, rule.name, citation,
                   finding.en, finding.zh, finding.value, finding.limit, finding.unit,
                   now_ns, stop=finding.stop)  # fmt: skip


@dataclass(slots=True)
class Span:
    """Values of one point while the work was watched."""

    least: float = math.inf
    most: float = -math.inf
    total: float = 0.0
    count: int = 0
    last: float = math.nan
    last_ns: int = 0

    def add(self, value: float, time_ns: int) -> None:
        """Take one usable value."""
        self.least, self.most = min(self.least, value), max(self.most, value)
        self.total += value
        self.count += 1
        self.last, self.last_ns = value, time_ns


@dataclass(frozen=True, slots=True)
class RecordingGap:
    """A camera recorded nothing from one time to another."""

    camera: str
    from_ns: int
    to_ns: int
    why: str


@dataclass(slots=True)
class Job:
    """One ticket.

    counted_ns: since when it counts as active, 0 if not.  watched_ns: monotonic time since which
    it is watched in this process, 0 if not.  expected: files ordered and not stored yet.
    """

    ticket: str
    versions: dict[str, Version] = field(default_factory=dict)
    permit: Permit | None = None
    reported: str = ""
    counted_ns: int = 0
    watched_ns: int = 0
    last_record_ns: int = 0
    told: set[str] = field(default_factory=set)
    timeline: list[Entry] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    spans: dict[str, Span] = field(default_factory=dict)
    people_most: dict[str, int] = field(default_factory=dict)
    gaps: list[RecordingGap] = field(default_factory=list)
    expected: int = 0
    over_ns: int = 0
    revision: int = 0
    recorded: str = ""

    def add(self, version: Version) -> bool:
        """Take a version; tells whether it is new."""
        if version.digest in self.versions:
            return False
        self.versions[version.digest] = version
        self.permit = fold(self.versions.values())
        return True

    def say(self, time_ns: int, kind: str, en: str, zh: str) -> None:
        """Write a line into the timeline."""
        if len(self.timeline) < MOST_ENTRIES:
            self.timeline.append(Entry(time_ns, kind, en, zh))

    def tell_reason(self, violation: Violation, time_ns: int, finding: Finding) -> None:
        """Write down that what stands has another reason now: the later one may be the truer."""
        later = violation.later
        told = later[-1].en if later else violation.en
        if finding.en != told and len(later) < MOST_REASONS:
            later.append(Entry(time_ns, "reason", finding.en, finding.zh))
            self.say(time_ns, "reason", f"now {finding.en}", f"原因变更:{finding.zh}")

    def standing(self) -> dict[tuple[str, str], Violation]:
        """Violations that stand."""
        return {(v.code, v.subject): v for v in self.violations if not v.returned_ns}

    def ids(self) -> set[str]:
        """Names by which an analysis may mean this permit."""
        given = (version.said.get("id") for version in self.versions.values())
        return {self.ticket, *(str(name) for name in given if name)}


def to_plain(job: Job) -> dict[str, Any]:
    """Encode a job for the state."""
    return {
        "ticket": job.ticket,
        "versions": [[v.time_ns, dict(v.said)] for v in job.versions.values()],
        "reported": job.reported,
        "counted_ns": job.counted_ns,
        "last_record_ns": job.last_record_ns,
        "told": sorted(job.told),
        "timeline": [[e.time_ns, e.kind, e.en, e.zh] for e in job.timeline],
        "violations": [_violation_to_plain(v) for v in job.violations],
        "spans": {name: asdict(span) for name, span in job.spans.items()},
        "people_most": job.people_most,
        "gaps": [asdict(gap) for gap in job.gaps],
        "over_ns": job.over_ns,
        "revision": job.revision,
        "recorded": job.recorded,
    }


def from_plain(raw: Mapping[str, Any]) -> Job:
    """Read a job back; raises KeyError, TypeError or ValueError if it is none."""
    job = Job(ticket=raw["ticket"])
    for time_ns, said in raw["versions"]:
        job.add(Version.of(said, int(time_ns)))
    for name in ("reported", "counted_ns", "last_record_ns", "over_ns", "revision", "recorded"):
        setattr(job, name, raw[name])
    job.told = set(raw["told"])
    job.timeline = [Entry(int(t), kind, en, zh) for t, kind, en, zh in raw["timeline"]]
    job.violations = [_violation_from_plain(row) for row in raw["violations"]]
    job.spans = {name: Span(**row) for name, row in raw["spans"].items()}
    job.people_most = dict(raw["people_most"])
    job.gaps = [RecordingGap(**row) for row in raw.get("gaps", ())]  # older states have none
    return job


def analysis_to_plain(analysis: Analysis) -> dict[str, Any]:
    """Encode an analysis for the state."""
    return asdict(analysis)


def analysis_from_plain(raw: Mapping[str, Any]) -> Analysis:
    """Read an analysis back; raises TypeError if it is none."""
    return Analysis(**raw)


def _violation_to_plain(violation: Violation) -> dict[str, Any]:
    return asdict(violation) | {"alarm_id": violation.alarm_id.hex(), "absent_ns": 0}


def _violation_from_plain(raw: Mapping[str, Any]) -> Violation:
    fields = {**raw, "alarm_id": bytes.fromhex(raw["alarm_id"])}
    fields["evidence"] = [Evidence(**row) for row in raw["evidence"]]
    fields["later"] = [Entry(**row) for row in raw.get("later", ())]  # older states have none
    return Violation(**fields)
