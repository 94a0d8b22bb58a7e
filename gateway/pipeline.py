"""Batch to normalise to rules to buffer: the flow on one screen.

Guarantees:

- An alarm is queued for its own commit before the batch that caused it waits for room.
- Every batch is stored as it was read and scaled; no rule filters what is stored.
- A receipt completes when the buffer has committed; what it could not store is counted here, too.
- An event that no rule can read is stored as it came, with one sentence beside it; its source is
  not disturbed. Likewise evidence that finds no room: the alarm stands without it.

Only this module feeds the rules, so their state has one writer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from buffer.contract import Log, NotStoredError, Stream
from drivers.contract import Batch, Clock, Receipt, SourceEvent
from gateway.duty.roster import Roster
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event, event, evidence_attached_event
from gateway.normalise.scale import Normaliser
from gateway.rules.declarations import STATE as DECLARATIONS_STATE
from gateway.rules.declarations import Declaration
from gateway.rules.desk import Command, Entry
from gateway.rules.judge import FLOOD, FLOOD_OVER, Judge
from gateway.rules.mirror import KINDS as MIRROR_KINDS
from gateway.rules.risk import STATE as RISK_STATE
from gateway.rules.risk_flow import RiskFlow
from gateway.runtime.wake import sleep_until_or
from gateway.wire.v1 import uplink_pb2 as wire

if TYPE_CHECKING:
    from gateway.work.outputs import Output
    from gateway.workflow import WorkFlow

JPEG, PNG = "image/jpeg", "image/png"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PERMIT = "intake.permit"
LOG_RENEWED = "uplink.log_forked"
_NEVER = 1 << 63
_NO_STATE: Mapping[str, bytes] = {}


@dataclass(slots=True)
class FlowCounters:
    """What has flowed since start. Read by metrics, written by the pipeline only."""

    batches: int = 0
    values: int = 0
    bad_values: int = 0
    alarms_raised: int = 0
    alarms_returned: int = 0
    events: int = 0
    not_stored: int = 0


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
        self._under_way: set[asyncio.Future[int] | asyncio.Future[None]] = set()
        self.counters = FlowCounters()
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
        self._count(batch)
        await self._log.room()
        if normaliser is not self._normaliser:  # renewed meanwhile: stored under the new catalogue
            batch = self._judge.declarations.mark(self._normaliser.apply(item))
        stored = self._log.add_batch(
            batch.points, batch.values, batch.quality, batch.source_time_ns, batch.gateway_time_ns
        )
        self._watch(stored)
        return stored

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
        if self._under_way:
            await asyncio.wait(self._under_way)

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
        stored = self._log.add_record(Stream.EVENT, payload, state=state, keep=catalogue.hash)
        self._watch(stored)
        await stored

    def renew(self, catalogue: Catalogue, normaliser: Normaliser, judge: Judge) -> None:
        """Change over between two batches; the catalogue has been announced.

        `judge` is new and takes over what stands. Sources of points that are in the catalogue no
        more must have ended; all others go on and notice nothing.
        """
        changes = judge.take_over(self._judge, self._clock.wall_ns())
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
        stored = self._log.add_record(
            Stream.EVENT,
            catalogue_event(self._catalogue, self._clock.wall_ns()),
            state=state,
            keep=self._catalogue.hash,
        )
        self._watch(stored)
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
        state: Mapping[str, bytes] = _NO_STATE,
    ) -> None:
        """Store an event of the gateway itself (link to a destination, configuration)."""
        payload = event(kind, source, self._clock.wall_ns(), text, attributes)
        self._store(Stream.EVENT, payload, state)

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
        payload = event(item.kind, item.source, item.time_ns, item.text, item.attributes)
        return self._store(Stream.EVENT, payload, state)

    async def _accept_event(self, item: SourceEvent) -> Receipt:
        changes = self._judged(item)
        if changes:
            own = changes if item.kind not in MIRROR_KINDS else []
            followed = self._work.opened(own) if self._work is not None else _NO_STATE
            self._store_alarms(changes, followed)
            self._store_notes()
            for change in changes:
                if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
                    self.capture(item.source, change.alarm_id)
        outputs, state = self._watched(item)
        if self._work is not None and outputs:
            await self._work.carry_out(outputs, self)
        payload = event(item.kind, item.source, item.time_ns, item.text, item.attributes)
        stored = self._store(Stream.EVENT, payload, {**state, **self.risk.feed(item)})
        self.risk.tell()
        if self._work is not None:
            if item.kind == PERMIT:  # limits of people hold only while there is a permit
                wall_ns = self._clock.wall_ns()
                now_ns = self._clock.monotonic_ns()
                await self._store_flood(self._judge.tick(now_ns, wall_ns=wall_ns))
            self._earlier.set()
        if item.picture:
            media_type, alarm_id = _meant(item)
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
        try:
            sha256 = await self._log.put_file(content)
        except NotStoredError as error:
            self.counters.not_stored += 1
            what = "picture" if media_type in {JPEG, PNG} else "file"
            text = f"A {what} of {item.source} could not be stored: {error}."
            self.note("evidence.not_stored", item.source, text, {"alarm_id": alarm_id.hex()})
            return ""
        size = len(content)
        file = wire.EvidenceFile(
            sha256=sha256,
            media_type=media_type,
            total_bytes=size,
            alarm_id=alarm_id,
            source=item.source,
            time_ns=item.time_ns,
        )
        self._store(Stream.EVIDENCE, file.SerializeToString(deterministic=True))
        attached = evidence_attached_event(
            alarm_id, item.source, sha256, media_type, size, self._clock.wall_ns()
        )
        self._store(Stream.EVENT, attached)
        return sha256.hex()

    def _store_notes(self) -> None:
        """Put what the rules have to say on record, with the state of declarations."""
        for note in self._judge.notes():
            payload = event(
                note.kind, note.source, self._clock.wall_ns(), note.text, note.attributes
            )
            state = {DECLARATIONS_STATE: self._judge.declarations.encode()}
            if self.listener is not None and note.kind in {FLOOD, FLOOD_OVER}:
                position = note.attributes["position"]
                state |= self.listener.flooded(position, begins=note.kind == FLOOD)
            self.counters.events += 1
            self._watch(self._log.add_record(Stream.EVENT, payload, state=state))

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
        self, changes: Sequence[AlarmChange], state: Mapping[str, bytes] = _NO_STATE
    ) -> None:
        for change in changes:
            self.counters.alarms_raised += change.state is AlarmState.UNACKNOWLEDGED_ACTIVE
            self.counters.alarms_returned += change.state is AlarmState.RETURNED_UNACKNOWLEDGED
            payload = change.encode(self._catalogue.hash)
            with_it = {**state, **self._heard(change), **self._judge.state_of(change, payload)}
            self._watch(self._log.add_record(Stream.ALARM, payload, state=with_it))

    def _heard(self, change: AlarmChange) -> Mapping[str, bytes]:
        if self.listener is None:
            return _NO_STATE
        return self.listener.heard(change, self.position_of(change.source))

    def _store(
        self, stream: Stream, payload: bytes, state: Mapping[str, bytes] = _NO_STATE
    ) -> asyncio.Future[int]:
        self.counters.events += stream is Stream.EVENT
        stored = self._log.add_record(stream, payload, state=state or None)
        self._watch(stored)
        return stored

    def _watch(self, stored: asyncio.Future[int] | asyncio.Future[None]) -> None:
        self._under_way.add(stored)
        stored.add_done_callback(self._settle)

    def _settle(self, stored: asyncio.Future[int] | asyncio.Future[None]) -> None:
        self._under_way.discard(stored)
        if not stored.cancelled() and isinstance(stored.exception(), NotStoredError):
            self.counters.not_stored += 1

    def _count(self, batch: Batch) -> None:
        counters = self.counters
        counters.batches += 1
        counters.values += len(batch)
        counters.bad_values += int(np.count_nonzero(batch.quality & 0x8000))


def _no_camera(_camera: str, _alarm_id: bytes) -> int:
    """Until the cameras run: no evidence can be ordered."""
    return 0


def _meant(item: SourceEvent) -> tuple[str, bytes]:
    """Media type of a file and the alarm it belongs to.

    A camera's process names both; pictures of others are JPEG or PNG, by their first bytes.
    """
    if not item.kind.startswith("vision."):
        return PNG if item.picture.startswith(PNG_MAGIC) else JPEG, b""
    media_type = str(item.attributes.get("media_type", JPEG))
    return media_type, bytes.fromhex(str(item.attributes.get("alarm_id", "")))


def _alarms_of(outputs: Sequence[Output]) -> list[AlarmChange]:
    """Alarms that the work monitor raised."""
    changes = [getattr(output, "change", None) for output in outputs]
    raised = AlarmState.UNACKNOWLEDGED_ACTIVE
    return [change for change in changes if change is not None and change.state is raised]
