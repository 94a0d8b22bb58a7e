"""A permit as people see it in a list: on the command line and on the console. Pure."""

from __future__ import annotations

from typing import Any

from gateway.work.job import Job, Violation
from gateway.work.permit import Analysis
from gateway.work.report import plain
from gateway.work.situation import Situation
from gateway.work.words import local

MOST_ANALYSES = 12
"""The newest of them; the work record has all."""
_TEXTS = ("place", "content", "guardian", "worker", "company", "camera", "detectors")


def listed(job: Job, situation: Situation) -> dict[str, Any]:
    """Write down how a permit stands; times in ns since 1970 UTC, 0 where not (yet).

    watched: the site file has the permit's area, so that gas, people and pictures are watched.
    """
    permit, level = situation.permit, situation.level
    state, _, waits = (job.reported or permit.state.value).partition(": ")
    return {
        "ticket_no": job.ticket,
        "work": permit.kind.value,
        "state": job.reported or permit.state.value,
        "counted": state,
        "waiting_for": waits.split(", ") if waits else [],
        "level": level.word if level else "",
        "area": situation.area.name if situation.area else permit.text("area"),
        "watched": situation.area is not None,
        "started": local(permit.started_ns),
        "ended": local(permit.ended_ns),
        "violations": len(job.violations),
        "standing": len(job.standing()),
        "special_time": [reason.value for reason in situation.special],
        "plan_start_ns": permit.plan_ns[0],
        "plan_end_ns": permit.time_ns("plan_end"),
        "started_ns": permit.started_ns,
        "ended_ns": permit.ended_ns,
        **{name: permit.text(name) for name in _TEXTS},
        "now_violated": [_violation(one) for one in job.standing().values()],
        "analyses": [_analysis(one) for one in situation.analyses[-MOST_ANALYSES:]],
    }


def _violation(violation: Violation) -> dict[str, Any]:
    return {
        "alarm_id": violation.alarm_id.hex(),
        "code": violation.code,
        "subject": violation.subject,
        "en": violation.en,
        "zh": violation.zh,
        "citation": violation.citation,
        "value": plain(violation.value),
        "limit": plain(violation.limit),
        "unit": violation.unit,
        "raised_ns": violation.raised_ns,
        "stop": violation.stop,
        "ending": violation.absent_ns
        > 0,  # not found any more, and ends unless it comes again soon
    }


def _analysis(analysis: Analysis) -> dict[str, Any]:
    return {
        "time_ns": analysis.time_ns,
        "gas": analysis.gas,
        "value": plain(analysis.value),
        "unit": analysis.unit,
        "place": analysis.place,
        "stage": analysis.stage,
        "analyst": analysis.analyst,
    }
