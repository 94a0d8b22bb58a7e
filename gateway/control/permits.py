"""Commands on permits 作业票: list, enter, move on, and gas analyses taken by hand.

What is entered goes the way of what site systems send: the same record types, the same checks, an
event in the log; besides, an audit event names the person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.contract import Clock, SourceEvent
from drivers.intake.mapping import load
from drivers.intake.moments import Instant
from drivers.intake.rows import Accepted, RowReader
from gateway.control.server import Answer, Handler
from gateway.pipeline import Pipeline
from gateway.work.monitor import WorkMonitor
from gateway.work.outputs import Now

SOURCE = "local"
STATUS: Mapping[str, str] = {
    "approve": "approved", "start": "active", "suspend": "suspended", "resume": "active",
    "end": "ended", "close": "closed", "cancel": "cancelled",
}  # fmt: skip
"""Commands and the status word that each stands for."""


class PermitDesk:
    """Takes what people enter on this machine."""

    def __init__(self, pipeline: Pipeline, monitor: WorkMonitor, clock: Clock) -> None:
        self._pipeline = pipeline
        self._monitor = monitor
        self._clock = clock
        self._reader = RowReader(SOURCE, load(None, SOURCE))
        self._entered = 0

    def handlers(self) -> dict[str, Handler]:
        """Make the handlers, by what is asked."""
        return {
            "permit.list": self._list,
            "permit.enter": self._enter,
            "permit.change": self._change,
            "permit.gas": self._gas,
        }

    def _list(self, _request: Mapping[str, Any]) -> Mapping[str, Any]:
        now = Now(self._clock.wall_ns(), self._clock.monotonic_ns())
        return {"permits": self._monitor.permits(now)}

    async def _enter(self, request: Mapping[str, Any]) -> Answer:
        fields = dict(request["permit"])
        return await self._take("permit", fields, str(request["operator"]), "enter")

    async def _change(self, request: Mapping[str, Any]) -> Answer:
        ticket, verb = str(request["ticket"]), str(request["verb"])
        known = self._monitor.latest(ticket)
        if known is None:
            raise ValueError(f"there is no permit {ticket}")
        fields = {"ticket_no": ticket, "work": known["work"], "status": STATUS[verb]}
        operator, reason = str(request["operator"]), str(request.get("reason", ""))
        return await self._take("permit", fields, operator, verb, reason)

    async def _gas(self, request: Mapping[str, Any]) -> Answer:
        fields = dict(request["analysis"])
        if self._monitor.latest(str(fields.get("permit"))) is None:
            raise ValueError(f"there is no permit {fields.get('permit')}")
        return await self._take("gas_analysis", fields, str(request["operator"]), "gas")

    async def _take(
        self, record: str, fields: dict[str, Any], operator: str, verb: str, reason: str = ""
    ) -> Answer:
        now_ns = self._clock.wall_ns()
        self._entered += 1
        row = {"time": str(Instant(now_ns)), "id": f"{SOURCE}-{now_ns}-{self._entered}"} | {
            name: value for name, value in fields.items() if value not in {None, ""}
        }
        table = self._reader.mapping.table(record)
        if table is None:
            raise ValueError(f"there is no record {record}")
        read = self._reader.read(table, row, operator, now_ns)[0]
        if not isinstance(read, Accepted):
            raise ValueError(read.reason)  # noqa: TRY004 - what a person typed was refused
        ticket = str(fields.get("ticket_no", fields.get("permit", "")))
        self._note(ticket, verb, operator, reason)
        await (await self._pipeline.accept(_as_entered(read.event, operator)))
        state = {p["ticket_no"]: p["state"] for p in self._permits()}
        return {"ticket": ticket, "state": state.get(ticket, "")}

    def _permits(self) -> list[dict[str, Any]]:
        now = Now(self._clock.wall_ns(), self._clock.monotonic_ns())
        return [dict(row) for row in self._monitor.permits(now)]

    def _note(self, ticket: str, verb: str, operator: str, reason: str) -> None:
        because = f" because {reason}" if reason else ""
        text = f"{operator} entered '{verb}' for permit {ticket} on this machine{because}."
        attributes = {"ticket_no": ticket, "verb": verb, "operator": operator, "reason": reason}
        self._pipeline.note("audit.permit", f"permit/{ticket}", text, attributes)


def _as_entered(event: SourceEvent, operator: str) -> SourceEvent:
    attributes = {**event.attributes, "entered_by": operator}
    return SourceEvent(event.kind, event.source, event.time_ns, event.text, attributes)
