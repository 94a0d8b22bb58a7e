"""Commands on alarms: list, and what a person may do with one. See rules/desk.py."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from typing import Any

from drivers.contract import Clock
from gateway.control.alarm_rows import alarm_row, said
from gateway.control.declarations import declaration_handlers
from gateway.control.server import Handler
from gateway.pipeline import Pipeline
from gateway.rules.alarm_states import AlarmEvent
from gateway.rules.desk import Command, Entry

MOST_LISTED = 500
"""Alarms in a list unless more are asked for: making a list holds up everything else."""
VERBS: Mapping[str, AlarmEvent] = {
    "ack": AlarmEvent.ACKNOWLEDGE,
    "reset": AlarmEvent.RESET,
    "shelve": AlarmEvent.SHELVE,
    "unshelve": AlarmEvent.UNSHELVE,
    "remove": AlarmEvent.REMOVE,
    "restore": AlarmEvent.RESTORE,
}


def handlers(pipeline: Pipeline, clock: Clock) -> dict[str, Handler]:
    """Make the handlers, by what is asked."""

    def listed(request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The first `most` (MOST_LISTED) alarms, and how many there are: a flood has thousands."""
        entries = pipeline.alarms()
        most = int(request.get("most", MOST_LISTED))
        first = nsmallest(most, entries, key=_urgency)
        return {"alarms": [alarm_row(entry) for entry in first], "total": len(entries)}

    def commanded(request: Mapping[str, Any]) -> Mapping[str, Any]:
        minutes = float(request.get("minutes", 0))
        ends_ns = clock.wall_ns() + round(minutes * 60e9) if minutes else 0
        made = [
            pipeline.command(
                Command(VERBS[request["verb"]], source, condition, request["operator"],
                        request.get("reason", ""), ends_ns,
                        bytes.fromhex(str(request.get("alarm_id", ""))))
            )
            for source, condition in _meant(pipeline, request)
        ]  # fmt: skip
        return {"changes": [said(change) for change in made]}

    def calls(_request: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"calls": pipeline.listener.listed() if pipeline.listener is not None else []}

    own = {"alarm.list": listed, "alarm.command": commanded, "notify.calls": calls}
    return own | declaration_handlers(pipeline, clock)


def _urgency(entry: Entry) -> tuple[int, int]:
    """Highest priority first, then the oldest."""
    return entry.last.priority, entry.last.gateway_time_ns


def _meant(pipeline: Pipeline, request: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source and condition of what a person named; raises ValueError if it is not one alarm."""
    source, condition = str(request["source"]), str(request.get("condition", ""))
    if condition:
        return [(source, condition)]
    found = [
        entry.key
        for entry in pipeline.alarms()
        if source in {entry.last.source, entry.last.alarm_id.hex()}
    ]
    if len(found) == 1:
        return found
    if not found:
        raise ValueError(
            f"{source} has no alarm now; name the condition to mean one that is normal"
        )
    conditions = ", ".join(condition for _, condition in found)
    raise ValueError(f"{source} has several alarms: name one of {conditions}")
