"""Commands on the handling of alarms 消警: list, and one step with person and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from drivers.contract import Clock, SourceEvent
from gateway.control.server import Answer, Handler
from gateway.pipeline import Pipeline
from gateway.work.closing import Case, Step
from gateway.work.life import Action
from gateway.workflow import WorkFlow


def handling_handlers(pipeline: Pipeline, work: WorkFlow, clock: Clock) -> dict[str, Handler]:
    """Make the handlers, by what is asked."""

    def listed(_request: Mapping[str, Any]) -> Answer:
        return {"cases": [_row(case) for case in work.closing.cases()]}

    async def act(request: Mapping[str, Any]) -> Answer:
        action, person = Action(request["action"]), str(request["operator"])
        note, now_ns = str(request.get("note", "")), clock.wall_ns()
        case = work.closing.act(str(request["alarm"]), action, Step(now_ns, "", "", person, note))
        text = (
            f"{person}: {action.value} alarm {case.condition} of {case.source}, now"
            f" {case.state.value}. {case.state.zh}。"
        )
        attributes = {
            "alarm_id": case.alarm_id, "action": action.value, "state": case.state.value,
            "operator": person, "note": note,
        }  # fmt: skip
        item = SourceEvent("work.handling", case.source, now_ns, text, attributes)
        await pipeline.keep_event(item, work.closing_state())
        return _row(case)

    return {"handling.list": listed, "handling.act": act}


def _row(case: Case) -> dict[str, Any]:
    return asdict(case) | {"state": case.state.value, "state_zh": case.state.zh}
