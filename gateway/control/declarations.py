"""Commands on declared tests and outages; see rules/declarations.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.contract import Clock
from gateway.control.server import Handler
from gateway.pipeline import Pipeline
from gateway.rules.declarations import Declaration, DeclarationKind


def declaration_handlers(pipeline: Pipeline, clock: Clock) -> dict[str, Handler]:
    """Make the handlers, by what is asked."""

    def declared(request: Mapping[str, Any]) -> Mapping[str, Any]:
        start_ns = clock.wall_ns() + round(float(request.get("after_minutes", 0)) * 60e9)
        made = pipeline.declare(
            Declaration(
                id="",
                kind=DeclarationKind(request["kind"]),
                scope=str(request["scope"]),
                name=str(request["name"]),
                person=str(request["person"]),
                reason=str(request["reason"]),
                start_ns=start_ns,
                end_ns=start_ns + round(float(request["minutes"]) * 60e9),
            )
        )
        return {"id": made.id}

    def ended(request: Mapping[str, Any]) -> Mapping[str, Any]:
        pipeline.end_declaration(str(request["id"]), str(request["person"]))
        return {}

    def listed(_request: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = [
            {
                "id": one.id, "kind": one.kind.value, "scope": one.scope, "name": one.name,
                "person": one.person, "reason": one.reason, "start_ns": one.start_ns,
                "end_ns": one.end_ns, "running": running, "values": values, "alarms": alarms,
            }
            for one, running, values, alarms in pipeline.declarations()
        ]  # fmt: skip
        return {"declarations": rows}

    return {"declare.begin": declared, "declare.end": ended, "declare.list": listed}
