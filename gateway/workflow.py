"""Carries out what the work monitor finds: alarms, events, evidence and work records into the log.

Guarantees:

- An alarm is handed to the log before its evidence is made; its judgement sheet (JSON) is always
  stored, pictures and clips are ordered from the cameras of its place.
- What the monitor remembers is stored with the last record of what changed it, in one transaction:
  after a crash a violation may be raised under the same desk again, and is never lost.
- The work record is two files (JSON, HTML) by SHA-256 in the evidence stream, named by an event.
- A permit event is answered by the commit that holds the monitor's state with it.

- On a site that watches no special work (monitor None) alarms of cameras are followed all the same.

The pipeline calls it; it owns no task.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from drivers.contract import Batch, Clock, Receipt, SourceEvent
from gateway.model.alarm import AlarmChange
from gateway.work.closing import Closing, Step
from gateway.work.facts import Scalar
from gateway.work.life import Action
from gateway.work.monitor import WorkMonitor
from gateway.work.outputs import Now, Output, WorkAlarm, WorkEvent, WorkRecord
from gateway.work.page import page
from gateway.work.recordings import GAP

STATE = "work.monitor"
CLOSING_STATE = "work.closing"
JSON_TYPE = "application/json"
HTML_TYPE = "text/html"
State = Mapping[str, bytes]


class Keeper(Protocol):
    """Where records and files go: the pipeline."""

    def keep_alarms(self, found: Sequence[AlarmChange], state: State) -> bool:
        """Pass alarms through the desk into the log; False if nothing came of them."""
        ...

    def keep_event(self, item: SourceEvent, state: State) -> Receipt:
        """Store an event."""
        ...

    def order(self, camera: str, alarm_id: bytes) -> int:
        """Order evidence of a camera for an alarm; tells how many files will come."""
        ...

    async def keep_file(
        self, content: bytes, media_type: str, item: SourceEvent, alarm_id: bytes
    ) -> str:
        """Store a file of evidence; its SHA-256 in hex, empty where it found no room."""
        ...


class WorkFlow:
    """Between the pipeline and the monitor."""

    def __init__(
        self, monitor: WorkMonitor | None, clock: Clock, closing: Closing | None = None
    ) -> None:
        self.monitor = monitor
        self.closing = closing or Closing()
        self._clock = clock

    @property
    def now(self) -> Now:
        """The time, of both clocks."""
        return Now(self._clock.wall_ns(), self._clock.monotonic_ns())

    async def take(self, batch: Batch, keeper: Keeper) -> None:
        """Watch the values of a batch."""
        if self.monitor is not None and (outputs := self.monitor.feed(batch, self.now)):
            await self.carry_out(outputs, keeper)

    async def begin(self, keeper: Keeper) -> None:
        """Look once at start."""
        if self.monitor is not None:
            await self.carry_out(self.monitor.begin(self.now), keeper)

    async def tick(self, keeper: Keeper) -> None:
        """Do what time brings."""
        if self.monitor is not None:
            await self.carry_out(self.monitor.tick(self.now), keeper)

    def next_deadline_ns(self) -> int | None:
        """When tick must be called at the latest, monotonic."""
        return None if self.monitor is None else self.monitor.next_deadline_ns()

    def judge(self, item: SourceEvent) -> list[Output]:
        """Let the monitor see an event; raises ValueError if it cannot be used."""
        return [] if self.monitor is None else self.monitor.feed_event(item, self.now)

    def state_with(self, item: SourceEvent) -> State:
        """State to store with the record of an event: of permits and of gaps of recordings."""
        watched = item.kind in {"intake.permit", "intake.gas_analysis", GAP}
        return self._watch_state() if watched else {}

    def _watch_state(self) -> State:
        return {} if self.monitor is None else {STATE: self.monitor.state()}

    def opened(self, changes: Sequence[AlarmChange]) -> State:
        """Follow alarms of cameras until they are closed; the state to store with them."""
        for change in changes:
            self.closing.feed(change)
        return self.closing_state() if changes else {}

    def pushed(self, alarms: Iterable[str], person: str) -> list[SourceEvent]:
        """Move the handling of alarms (ids in hex) to pushed, where it is new; the events of it."""
        now_ns, items = self._clock.wall_ns(), []
        for name in alarms:
            case = self.closing.pushed(name, Step(now_ns, "", "", person))
            if case is not None:
                text = f"{person} was told of alarm {case.condition} of {case.source}. 已推送。"
                attributes = {"alarm_id": name, "action": Action.PUSH.value, "operator": person,
                              "state": case.state.value}  # fmt: skip
                items.append(SourceEvent("work.handling", case.source, now_ns, text, attributes))
        return items

    def closing_state(self) -> State:
        """State of the closing loop."""
        return {CLOSING_STATE: self.closing.state()}

    async def carry_out(self, outputs: Sequence[Output], keeper: Keeper) -> None:
        """Store everything; what that leads to is stored likewise."""
        self.opened([output.change for output in outputs if isinstance(output, WorkAlarm)])
        state = {**self._watch_state(), **self.closing_state()} if outputs else {}
        raised: list[WorkAlarm] = []
        for number, output in enumerate(outputs, 1):
            with_state = state if number == len(outputs) else {}
            match output:
                case WorkAlarm():
                    kept = keeper.keep_alarms([output.change], with_state)
                    if kept and output.sheet:
                        raised.append(output)
                case WorkEvent():
                    keeper.keep_event(self._event(output), with_state)
                case WorkRecord():
                    await self._record(output, keeper, with_state)
        for alarm in raised:
            await self._evidence(alarm, keeper)

    async def attached(self, alarm_id: bytes, sha256: str, media_type: str, keeper: Keeper) -> None:
        """A file of an alarm is durable."""
        if self.monitor is not None:
            outputs = self.monitor.attach(alarm_id, sha256, media_type, self.now)
            await self.carry_out(outputs, keeper)

    async def _evidence(self, alarm: WorkAlarm, keeper: Keeper) -> None:
        alarm_id = alarm.change.alarm_id
        for camera in alarm.cameras:
            files = keeper.order(camera, alarm_id)
            if files and self.monitor is not None:
                self.monitor.expect(alarm_id, files)
        sheet = json.dumps(alarm.sheet, ensure_ascii=False, indent=1, allow_nan=False)
        item = SourceEvent("work.judgement", alarm.change.source, self._clock.wall_ns(), "")
        sha256 = await keeper.keep_file(sheet.encode(), JSON_TYPE, item, alarm_id)
        if sha256:
            await self.attached(alarm_id, sha256, JSON_TYPE, keeper)

    async def _record(self, record: WorkRecord, keeper: Keeper, state: State) -> None:
        source, now_ns = f"permit/{record.ticket}", self._clock.wall_ns()
        text = (
            f"Work record of permit {record.ticket}, revision {record.revision}:"
            f" {len(record.content['violations'])} violations. 作业记录。"
        )
        item = SourceEvent("work.record", source, now_ns, text)
        content = json.dumps(record.content, ensure_ascii=False, indent=1, allow_nan=False)
        as_json = await keeper.keep_file(content.encode(), JSON_TYPE, item, b"")
        as_html = await keeper.keep_file(page(record.content).encode(), HTML_TYPE, item, b"")
        attributes: dict[str, Scalar] = {
            "ticket_no": record.ticket,
            "revision": record.revision,
            "complete": bool(record.content["complete"]),
            "violations": len(record.content["violations"]),
            "json_sha256": as_json,
            "html_sha256": as_html,
        }
        keeper.keep_event(SourceEvent("work.record", source, now_ns, text, attributes), state)

    def _event(self, output: WorkEvent) -> SourceEvent:
        wall_ns = self._clock.wall_ns()
        return SourceEvent(output.kind, output.source, wall_ns, output.text, output.attributes)
