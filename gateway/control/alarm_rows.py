"""An alarm as the control socket shows it, and which of very many are shown first. Pure.

Guarantees: a row is plain JSON (no NaN, no infinity); `urgency` puts what calls people first:
unacknowledged before acknowledged before put aside, then by priority, then the newest.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from drivers.contract import quality_word
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.alarm_states import ASIDE
from gateway.rules.desk import Entry

_WAITS = frozenset({AlarmState.UNACKNOWLEDGED_ACTIVE, AlarmState.RETURNED_UNACKNOWLEDGED})
_RANK = {
    AlarmState.UNACKNOWLEDGED_ACTIVE: 0,
    AlarmState.RETURNED_UNACKNOWLEDGED: 2,
    AlarmState.ACKNOWLEDGED_ACTIVE: 1,
    AlarmState.LATCHED: 2,
}


def alarm_row(entry: Entry) -> dict[str, Any]:
    """Write down an alarm that is not plainly normal."""
    last = entry.last
    return said(last) | {
        "key": key_of(last),
        "active": entry.active,
        "until_ns": entry.until_ns,
        "since_ns": last.gateway_time_ns,
        "raised_ns": last.source_time_ns,
        "priority": last.priority,
        "value": finite(last.value),
        "limit": finite(last.limit),
        "unit": last.unit,
        "quality": quality_word(last.quality),
        "operator": last.operator,
        "reason": last.reason,
        "declaration": last.declaration,
        "first_out": last.first_out,
        "rule": last.rule,
        "clause": last.clause,
        "place": last.place,
        "hazard": last.hazard,
        "equipment": last.equipment,
        "description": last.description,
        "text": last.text,
    }


def said(change: AlarmChange) -> dict[str, Any]:
    """Write down what became of an alarm."""
    return {
        "alarm_id": change.alarm_id.hex(),
        "source": change.source,
        "condition": change.condition,
        "state": change.state.name.lower(),
    }


def key_of(change: AlarmChange) -> str:
    """Name of an alarm among all: source and condition."""
    return f"{change.source}|{change.condition}"


def finite(value: float) -> float | None:
    """A number fit for JSON: what is none becomes null."""
    return value if math.isfinite(value) else None


def urgency(entry: Entry) -> tuple[int, int, int]:
    """Sort key; the smallest is shown first. Tests under a declaration come after real alarms."""
    last = entry.last
    rank = 4 if last.state in ASIDE else _RANK.get(last.state, 3) + 5 * bool(last.declaration)
    return rank, last.priority, -last.gateway_time_ns


def counted(entries: Iterable[Entry], floods: Sequence[str]) -> dict[str, Any]:
    """Count alarms for people; those put aside or under a declared test call nobody."""
    active: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    states: Counter[AlarmState] = Counter()
    total = tested = 0
    for entry in entries:
        last = entry.last
        state = last.state
        total += 1
        states[state] += 1
        if state in ASIDE:
            continue
        if last.declaration:
            tested += 1
            continue
        active[last.priority] += entry.active
        waiting[last.priority] += state in _WAITS
    return {
        "total": total,
        "active": active.total(),
        "unacknowledged": waiting.total(),
        "by_priority": {str(n): active[n] for n in (1, 2, 3, 4)},
        "unacknowledged_by_priority": {str(n): waiting[n] for n in (1, 2, 3, 4)},
        "under_test": tested,
        "shelved": states[AlarmState.SHELVED],
        "suppressed": states[AlarmState.SUPPRESSED_BY_DESIGN],
        "out_of_service": states[AlarmState.OUT_OF_SERVICE],
        "flood": list(floods),
    }
