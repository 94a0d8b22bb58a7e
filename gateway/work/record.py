"""The work record 作业记录 of a permit: everything that was known, as plain values for JSON. Pure.

Guarantees: it names every violation with rule, clause, times and the SHA-256 of its evidence; every
break, every span in which a camera of the area did not see the work is in the timeline as an alarm;
so is every gap of a recording;
evidence that was ordered and never came is counted (`evidence_missing`). Nothing is left out to
make it shorter but lines of the timeline beyond `MOST_ENTRIES` (job.py), which is said.
"""

from __future__ import annotations

from typing import Any

from gateway.work.job import MOST_ENTRIES, Job, Span, Violation
from gateway.work.life import State
from gateway.work.report import plain
from gateway.work.situation import Situation
from gateway.work.words import local

_FIELDS = (
    "ticket_no", "work", "level", "status", "place", "area", "hazard", "company", "content",
    "guardian", "worker", "contractor_name", "related_tickets", "risks", "camera", "detectors",
    "height_m", "load_t", "depth_m", "pipe",
    "plan_start", "plan_end", "actual_start", "actual_end", "source_system",
)  # fmt: skip


def record_of(job: Job, situation: Situation) -> dict[str, Any]:
    """Make the record of a permit whose work is over."""
    permit = situation.permit
    gaps = [v for v in job.violations if v.code in {"camera_blind", "recording_stopped"}]
    return {
        "kind": "plantgate.work_record/1",
        "revision": job.revision,
        "made": local(situation.now_ns),
        "ticket": job.ticket,
        "work": permit.kind.value,
        "work_zh": permit.kind.zh,
        "state": permit.state.value,
        "state_zh": permit.state.zh,
        "complete": permit.state in {State.ENDED, State.CLOSED} and not job.expected,
        "level": permit.level.word if permit.level else "",
        "level_judged": situation.level.word if situation.level else "",
        "special_time": [reason.value for reason in situation.special],
        "permit": {name: permit.said[name] for name in _FIELDS if name in permit.said},
        "versions": len(permit.versions),
        "started": local(permit.started_ns),
        "ended": local(permit.ended_ns),
        "breaks": [
            {"from": local(since), "to": local(until), "minutes": round((until - since) / 60e9, 1)
             if until else None}
            for since, until in permit.breaks
        ],
        "analyses": [
            {"time": local(a.time_ns), "gas": a.gas, "value": a.value, "unit": a.unit,
             "stage": a.stage, "place": a.place, "analyst": a.analyst}
            for a in situation.analyses
        ],
        "values": {name: _span(span) for name, span in sorted(job.spans.items())},
        "violations": [_violation(v) for v in job.violations],
        "recording_gaps": [
            {"camera": v.subject, "from": local(v.raised_ns), "to": local(v.returned_ns),
             "why": "; then ".join([v.en, *(later.en for later in v.later)])}
            for v in gaps
        ] + [
            {"camera": g.camera, "from": local(g.from_ns), "to": local(g.to_ns), "why": g.why}
            for g in job.gaps
        ],
        "evidence_missing": job.expected,
        "timeline": [
            {"time": local(e.time_ns), "kind": e.kind, "en": e.en, "zh": e.zh}
            for e in sorted(job.timeline, key=lambda entry: entry.time_ns)
        ],
        "timeline_full": len(job.timeline) < MOST_ENTRIES,
    }  # fmt: skip


def _span(span: Span) -> dict[str, Any]:
    return {
        "least": plain(span.least),
        "most": plain(span.most),
        "mean": round(span.total / span.count, 4) if span.count else None,
        "last": plain(span.last),
        "count": span.count,
        "last_time": local(span.last_ns),
    }


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "alarm_id": violation.alarm_id.hex(),
        "condition": violation.code,
        "subject": violation.subject,
        "priority": violation.priority,
        "rule": violation.rule,
        "citation": violation.citation,
        "en": violation.en,
        "zh": violation.zh,
        "later": [{"time": local(e.time_ns), "en": e.en, "zh": e.zh} for e in violation.later],
        "value": plain(violation.value),
        "limit": plain(violation.limit),
        "unit": violation.unit,
        "raised": local(violation.raised_ns),
        "returned": local(violation.returned_ns),
        "stop_recommended": violation.stop,
        "evidence": [
            {"sha256": e.sha256, "media_type": e.media_type, "time": local(e.time_ns)}
            for e in violation.evidence
        ],
    }
