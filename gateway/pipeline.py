"""Batch to normalise to rules to buffer: the flow on one screen.

Guarantees:

- An alarm is queued for its own commit before the batch that caused it waits for room.
- Every batch is stored as it was read and scaled; no rule filters what is stored.
- A receipt completes when the buffer has committed (gateway/keeping.py counts what could not be).
- An event that no rule can read is stored as it came, with one sentence beside it; its source is
  not disturbed. Likewise evidence that finds no room: the alarm stands without it.

Only this module feeds the rules, so their state has one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

from buffer.contract import Log, Stream
from drivers.contract import Batch, Clock, Receipt, SourceEvent
from gateway.duty.roster import Roster
from gateway.keeping import NO_STATE, FlowCounters, Keeping, meant
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event
from gateway.normalise.scale import Normaliser
from gateway.rules.declarations import STATE as DECLARATIONS_STATE
from gateway.rules.declarations import Declaration
from gateway.rules.desk import Command, Entry
from gateway.rules.judge import FLOOD, FLOOD_OVER, Judge
from gateway.rules.mirror import KINDS as MIRROR_KINDS
from gateway.rules.risk import STATE as RISK_STATE
from gateway.rules.risk_flow import RiskFlow
from gateway.runtime.wake import sleep_until_or

if TYPE_CHECKING:
    from gateway.work.outputs import Output
    from gateway.workflow import WorkFlow

PERMIT = "intake.permit"
LOG_RENEWED = "uplink.log_forked"
_NEVER = 1 << 63


class Listener(Protocol):
    """Who hears of alarms: gateway/notify. Gives the state to store with the record."""

    def heard(self, change: AlarmChange, position: str) -> Mapping[str, bytes]:
        """Take a change of an alarm."""
        ...

    def flooded(self, position: str, *, begins: bool) -> Mapping[str, bytes]:
        """Take that a flood begins or is over."""
        ...

    def renew(self, roster: Roster) -> None:
        """Use another duty roster from now on."""
        ...

    def listed(self) -> list[dict[str, str | int | bool]]:
        """Calls that are not settled, for people."""
        ...


class Pipeline:
    """Takes what sources emit; judges, stores and counts it."""

    def __init__(
        self,
        log: Log,
        catalogue: Catalogue,
        normaliser: Normaliser,
        judge: Judge,
        clock: Clock,
        work: WorkFlow | None = None,
    ) -> None:
        self._log = log
        self._catalogue = catalogue
        self._normaliser = normaliser
        self._judge = judge
        self._clock = clock
        self._work = work
        self.risk = RiskFlow(log.state(RISK_STATE))
        self.capture: Callable[[str, bytes], int] = _no_camera
        self.listener: Listener | None = None
        self.look: Callable[[Batch], None] | None = None  # of people who watch values
        self._earlier = asyncio.Event()
        self._wakes_ns = _NEVER
        self._keeping = Keeping(log, clock)
        if work is not None and work.monitor is not None:
            judge.permit_active = work.monitor.maintenance_at

    async def accept(self, item: Batch | SourceEvent) -> Receipt:
        """Take one item (the Emit of drivers/contract.py); waits while the buffer is behind."""
        if isinstance(item, SourceEvent):
            return await self._accept_event(item)
        normaliser = self._normaliser
        batch = normaliser.apply(item)
        changes = self._judge.feed(batch, now_ns=self._clock.monotonic_ns())
        if changes:
            await self._store_flood(changes)
        batch = self._judge.declarations.mark(batch)
        if self.look is not None:
            self.look(batch)
        if self._work is not None and not batch.is_history:
            await self._work.take(batch, self)
        deadline_ns = self._next_deadline_ns()
        if deadline_ns is not None and deadline_ns < self._wakes_ns:
            self._earlier.set()
        self.counters.count(batch)
        await self._log.room()
        if normaliser is not self._normaliser:  # renewed meanwhile: stored under the new catalogue
            batch = self._judge.declarations.mark(self._normaliser.apply(item))
        return self._keeping.batch(batch)

    async def run(self) -> None:
        """Fire delayed alarms on time; runs until cancelled."""
        while True:
            deadline_ns = self._next_deadline_ns()
            self._wakes_ns = _NEVER if deadline_ns is None else deadline_ns
            self._earlier.clear()
            if deadline_ns is None:
                await self._earlier.wait()
                continue
            await sleep_until_or(self._clock, deadline_ns, self._earlier)
            changes = self._judge.tick(self._clock.monotonic_ns(), wall_ns=self._clock.wall_ns())
            await self._store_flood(changes)
            if self._work is not None:
                await self._work.tick(self)

    def _next_deadline_ns(self) -> int | None:
        of_work = self._work.next_deadline_ns() if self._work is not None else None
        deadlines = (self._judge.next_deadline_ns(), of_work)
        return min((at for at in deadlines if at is not None), default=None)

    async def settled(self) -> None:
        """Wait until everything accepted so far is durable, or has failed."""
        await self._keeping.settled()

    async def begin(self) -> None:
        """Store what the rules have to say at start, before any source runs."""
        changes = self._judge.begin(
            self._clock.wall_ns(),
            now_ns=self._clock.monotonic_ns(),
            declared=self._log.state(DECLARATIONS_STATE),
        )
        for complaint in (*self._judge.complaints, *self.risk.complaints):
            self.note("alarms.state_lost", "gateway", complaint, {})
        if changes:
            self._store_alarms(changes)
        if self._work is not None:
            await self._work.begin(self)

    @property
    def counters(self) -> FlowCounters:
        """What has flowed since start."""
        return self._keeping.counters

    def statistics(self) -> dict[str, float]:
        """Counters since start, for metrics."""
        counted = {name: float(count) for name, count in asdict(self.counters).items()}
        risk = {f"risk_{name}": count for name, count in self.risk.view.statistics().items()}
        return {**counted, "alarms_standing": float(self._judge.standing), **risk}

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue that batches are stored under, without its points."""
        return self._catalogue

    async def announce_next(self, catalogue: Catalogue, state: Mapping[str, bytes]) -> None:
        """Make a catalogue durable that is to be used by `renew`; raises NotStoredError.

        Batches meanwhile are stored under the present one.
        """
        payload = catalogue_event(catalogue, self._clock.wall_ns())
        await self._keeping.record(Stream.EVENT, payload, state, keep=catalogue.hash)

    def renew(self, catalogue: Catalogue, normaliser: Normaliser, judge: Judge) -> None:
        """Change over between two batches; the catalogue has been announced.

        `judge` is new and takes over what stands. Sources of points that are in the catalogue no
        more must have ended; all others go on and notice nothing.
        """
        wall_ns = self._clock.wall_ns()
        changes = judge.take_over(self._judge, wall_ns)
        changes += judge.tick(self._clock.monotonic_ns(), wall_ns=wall_ns)
        self._catalogue, self._normaliser, self._judge = catalogue, normaliser, judge
        self._log.set_catalogue(catalogue.hash)
        self._earlier.set()  # the deadlines may be others
        if changes:
            self._store_alarms(changes)

    def command(self, command: Command) -> AlarmChange:
        """Carry out a person's command on an alarm, and put it on record with an audit event.

        Raises CommandError, changing nothing.
        """
        change = self._judge.command(
            command, now_ns=self._clock.monotonic_ns(), wall_ns=self._clock.wall_ns()
        )
        self._store_alarms([change])
        attributes = {
            "operator": command.operator,
            "verb": command.verb.value,
            "condition": command.condition,
            "reason": command.reason,
            "alarm_id": change.alarm_id.hex(),
            "state": change.state.name.lower(),
        }
        self.note("audit.alarm", command.source, change.text, attributes)
        self._earlier.set()  # its end may be the next deadline
        return change

    def declare(self, wanted: Declaration) -> Declaration:
        """Take a declared test or outage, on record before it is answered; see declarations.py.

        Raises DeclarationError.
        """
        now_ns, wall_ns = self._clock.monotonic_ns(), self._clock.wall_ns()
        made = self._judge.declarations.declare(wanted, now_ns=now_ns, wall_ns=wall_ns)
        self._store_notes()
        self._earlier.set()
        return made

    def end_declaration(self, declaration: str, person: str) -> None:
        """End a declared test or outage early. Raises DeclarationError."""
        now_ns = self._clock.monotonic_ns()
        self._judge.declarations.end(declaration, person, now_ns=now_ns)
        self._store_alarms(self._judge.tick(now_ns, wall_ns=self._clock.wall_ns()))
        self._store_notes()
        self._earlier.set()

    def declarations(self) -> list[tuple[Declaration, bool, int, int]]:
        """Declared tests and outages: whether each runs, and values and alarms under it."""
        return self._judge.declarations.listed()

    @property
    def judge(self) -> Judge:
        """The rules as they are now, to look at; a reload makes others."""
        return self._judge

    def alarms(self) -> list[Entry]:
        """Alarms that are not plainly normal."""
        return self._judge.entries()

    def note_uplink(self, kind: str, text: str, attributes: Mapping[str, str]) -> None:
        """Store an event of an uplink; after a new log id the catalogue is announced again."""
        self.note(kind, "uplink", text, attributes)
        if kind == LOG_RENEWED:
            self.announce({})

    def announce(self, state: Mapping[str, bytes]) -> asyncio.Future[int]:
        """Put the catalogue into the event stream and name it for all batches that follow."""
        payload = catalogue_event(self._catalogue, self._clock.wall_ns())
        stored = self._keeping.record(Stream.EVENT, payload, state, keep=self._catalogue.hash)
        self._log.set_catalogue(self._catalogue.hash)
        return stored

    def repaired(self, text: str) -> None:
        """Take that the log repaired a file while it ran: it has a new id, and says so."""
        self.note("buffer.repaired", "buffer", text, {})
        self.announce({})

    def note(
        self,
        kind: str,
        source: str,
        text: str,
        attributes: Mapping[str, str],
        state: Mapping[str, bytes] = NO_STATE,
    ) -> None:
        """Store an event of the gateway itself (link to a destination, configuration)."""
        self._keeping.event(kind, source, text, attributes, state)

    def keep_alarms(self, found: Sequence[AlarmChange], state: Mapping[str, bytes]) -> bool:
        """Store what the work monitor found, after the desk (workflow.Keeper)."""
        changes = self._judge.found(found)
        self._store_alarms(changes, state)
        self._store_notes()
        if not changes and state:  # the desk knew already; what the monitor knows must stay
            self.note("work.known", found[0].source, found[0].text, {}, state)
        return bool(changes)

    @property
    def recorded(self) -> Callable[[], Collection[str]] | None:
        """What names the cameras that work wants recorded now; None where no work is watched."""
        monitor = self._work.monitor if self._work is not None else None
        return monitor.recorded if monitor is not None else None

    def position_of(self, source: str) -> str:
        """Operator position 操作岗位 of a source, or empty."""
        return self._judge.position_of(source)

    def pushed(self, alarms: Iterable[str], person: str) -> None:
        """Note in the handling 消警 of alarms (ids in hex) that a person was told."""
        if self._work is not None:
            for item in self._work.pushed(alarms, person):
                self.keep_event(item, self._work.closing_state())

    def order(self, camera: str, alarm_id: bytes) -> int:
        """Order evidence of a camera that runs (workflow.Keeper)."""
        return self.capture(camera, alarm_id)

    def keep_event(self, item: SourceEvent, state: Mapping[str, bytes]) -> Receipt:
        """Store an event of the work monitor (workflow.Keeper)."""
        return self._keeping.source_event(item, state)

    async def _accept_event(self, item: SourceEvent) -> Receipt:
        changes = self._judged(item)
        if changes:
            own = changes if item.kind not in MIRROR_KINDS else []
            followed = self._work.opened(own) if self._work is not None else NO_STATE
            self._store_alarms(changes, followed)
            self._store_notes()
            for change in changes:
                if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
                    self.capture(item.source, change.alarm_id)
        outputs, state = self._watched(item)
        if self._work is not None and outputs:
            await self._work.carry_out(outputs, self)
        stored = self._keeping.source_event(item, {**state, **self.risk.feed(item)})
        self.risk.tell()
        if self._work is not None:
            if item.kind == PERMIT:  # limits of people hold only while there is a permit
                wall_ns = self._clock.wall_ns()
                now_ns = self._clock.monotonic_ns()
                await self._store_flood(self._judge.tick(now_ns, wall_ns=wall_ns))
            self._earlier.set()
        if item.picture:
            media_type, alarm_id = meant(item)
            raised = [*changes, *_alarms_of(outputs)]
            alarm_id = alarm_id or (raised[0].alarm_id if raised else b"")
            sha256 = await self.keep_file(item.picture, media_type, item, alarm_id)
            if sha256 and alarm_id and self._work is not None:
                await self._work.attached(alarm_id, sha256, media_type, self)
        return stored

    def _watched(self, item: SourceEvent) -> tuple[Sequence[Output], Mapping[str, bytes]]:
        """Let the work monitor see an event: what it finds, and the state to store with it."""
        if self._work is None:
            return (), {}
        try:
            outputs = self._work.judge(item)
        except ValueError as error:
            text = f"An event of {item.source} was stored but cannot be watched: {error}."
            self.note("work.not_judged", item.source, text, {"kind": item.kind})
            return (), {}
        return outputs, self._work.state_with(item)

    def _judged(self, item: SourceEvent) -> list[AlarmChange]:
        try:
            return self._judge.feed_event(item, now_ns=self._clock.monotonic_ns())
        except ValueError as error:
            text = f"An event of {item.source} was stored but could not be judged: {error}."
            self.note("event.not_judged", item.source, text, {"kind": item.kind})
            return []

    async def keep_file(
        self, content: bytes, media_type: str, item: SourceEvent, alarm_id: bytes
    ) -> str:
        """Store evidence and tie it to an alarm; its SHA-256 in hex, empty if there is no room."""
        return await self._keeping.file(content, media_type, item, alarm_id)

    def _store_notes(self) -> None:
        """Put what the rules have to say on record, with the state of declarations."""
        for note in self._judge.notes():
            state = {DECLARATIONS_STATE: self._judge.declarations.encode()}
            if self.listener is not None and note.kind in {FLOOD, FLOOD_OVER}:
                position = note.attributes["position"]
                state |= self.listener.flooded(position, begins=note.kind == FLOOD)
            self._keeping.event(note.kind, note.source, note.text, note.attributes, state)

    async def _store_flood(self, changes: Sequence[AlarmChange]) -> None:
        """Store alarms; of a flood, part after part, so that everybody else gets a turn.

        That a flood begins is told before the alarms that make it one: people get one message.
        """
        self._store_notes()
        self._store_alarms(changes)
        while self._judge.waiting:
            await asyncio.sleep(0)
            more = self._judge.more(self._clock.monotonic_ns())
            self._store_notes()
            self._store_alarms(more)

    def _store_alarms(
        self, changes: Sequence[AlarmChange], state: Mapping[str, bytes] = NO_STATE
    ) -> None:
        for change in changes:
            self.counters.alarms_raised += change.state is AlarmState.UNACKNOWLEDGED_ACTIVE
            self.counters.alarms_returned += change.state is AlarmState.RETURNED_UNACKNOWLEDGED
            payload = change.encode(self._catalogue.hash)
            with_it = {**state, **self._heard(change), **self._judge.state_of(change, payload)}
            self._keeping.record(Stream.ALARM, payload, with_it)

    def _heard(self, change: AlarmChange) -> Mapping[str, bytes]:
        if self.listener is None:
            return NO_STATE
        return self.listener.heard(change, self.position_of(change.source))


def _no_camera(_camera: str, _alarm_id: bytes) -> int:
    """Until the cameras run: no evidence can be ordered."""
    return 0


def _alarms_of(outputs: Sequence[Output]) -> list[AlarmChange]:
    """Alarms that the work monitor raised."""
    changes = [getattr(output, "change", None) for output in outputs]
    raised = AlarmState.UNACKNOWLEDGED_ACTIVE
    return [change for change in changes if change is not None and change.state is raised]
