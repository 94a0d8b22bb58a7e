"""Carries out what the duty desk decides: sends, puts on record, tells the desk what came of it.

Guarantees:

- What the desk remembers is stored with the record of the very change that it was told; a message
  leaves after that commit, or PATIENCE_S later where the disk takes nothing: people come first.
- One worker a notifier: a slow or dead one delays no other. The most urgent message goes first.
- Every delivery and every failure is an event; a notifier that fails is an alarm, told by the
  others, and returns with its next delivery.
- What was delivered moves the handling 消警 of the alarm to pushed.
- Nothing here is ever awaited by the flow of values.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from drivers.contract import Clock
from gateway.duty.desk import STATE, DutyDesk
from gateway.duty.roster import Roster
from gateway.duty.tell import Kind, Note, Output, Tell
from gateway.duty.words import Message, Words
from gateway.model.alarm import AlarmChange
from gateway.notify import trouble
from gateway.notify.contract import Notifier, NotifyError
from gateway.observe.log import logger
from gateway.rules.desk import Entry
from gateway.runtime.wake import sleep_until_or

PATIENCE_S = 2.0
TOLD, FAILED = "notify.told", "notify.failed"
_LOG = logger("notify")
_PUSHING = frozenset({Kind.ALARM, Kind.FLOOD})


class Flow(Protocol):
    """The pipeline, as far as it is needed here."""

    async def settled(self) -> None:
        """Wait until everything accepted so far is durable, or has failed."""
        ...

    def note(
        self, kind: str, source: str, text: str, attributes: Mapping[str, str],
        state: Mapping[str, bytes],
    ) -> None:  # fmt: skip
        """Store an event and state, in one transaction."""
        ...

    def keep_alarms(self, found: Sequence[AlarmChange], state: Mapping[str, bytes]) -> bool:
        """Pass alarms through the desk into the log."""
        ...

    def pushed(self, alarms: Iterable[str], person: str) -> None:
        """Note that people were told of alarms."""
        ...

    def alarms(self) -> list[Entry]:
        """Alarms that are not plainly normal."""
        ...

    def position_of(self, source: str) -> str:
        """Operator position of a source, or empty."""
        ...


@dataclass(slots=True)
class _Queue:
    """Messages for one notifier: the most urgent first, else as they came."""

    heap: list[tuple[int, int, Tell]] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    told: int = 0
    failed: int = 0
    trouble: str | None = None  # why it does not deliver; None: not known since the start


@dataclass(frozen=True, slots=True)
class Enterprise:
    """What messages call the enterprise, and its code."""

    name: str
    code: str


class DutyService:
    """Made before the pipeline begins; `run` until cancelled, again after a failure."""

    def __init__(
        self,
        desk: DutyDesk,
        words: tuple[Words, Enterprise],
        notifiers: Mapping[str, Notifier],
        clock: Clock,
        new_id: Callable[[], bytes],
    ) -> None:
        self.desk = desk
        self._words, self._enterprise = words
        self._notifiers = notifiers
        self._clock = clock
        self._new_id = new_id
        self._queues = {name: _Queue() for name in notifiers}
        self._numbers = itertools.count()
        self._sooner = asyncio.Event()
        self._wakes_ns: int | None = None
        self._flow: Flow | None = None

    # -- what the pipeline calls -------------------------------------------------------------

    def heard(self, change: AlarmChange, position: str) -> Mapping[str, bytes]:
        """Take a change of an alarm; gives the state to store with its record."""
        self._take(self.desk.feed(change, position, **self._now))
        return self.desk.take_state()

    def flooded(self, position: str, *, begins: bool) -> Mapping[str, bytes]:
        """A flood begins or is over; gives the state to store with its record."""
        self._take(self.desk.flood(position, begins=begins, **self._now))
        return self.desk.take_state()

    def begin(self, flow: Flow, states: Mapping[str, bytes]) -> None:
        """Go on from the stored states; call for what stands and never called. Once, at start."""
        self._flow = flow
        outputs = self.desk.restore(states, **self._now)
        for complaint in self.desk.complaints:
            flow.note("notify.state_lost", "gateway", complaint, {}, {})
        standing = [entry.last for entry in flow.alarms() if entry.active]
        outputs += self.desk.begin(standing, flow.position_of, **self._now)
        self._take(outputs)
        self._store(outputs)

    def renew(self, roster: Roster) -> None:
        """Use another roster from now on."""
        self.desk.renew(roster)

    def listed(self) -> list[dict[str, str | int | bool]]:
        """Calls that are not settled, for people; oldest first."""
        return [
            {
                "source": call.source,
                "what": "flood" if call.flood else "alarm",
                "alarms": max(call.open, 1),
                "priority": call.priority,
                "round": call.round,
                "step": call.step,
                "told": ", ".join(f"{who.person} ({who.notifier})" for who in call.told()),
                "waiting": ", ".join(
                    f"{one.recipient.person} ({one.recipient.notifier})" for one in call.waiting()
                ),
                "returned": call.returned,
                "next_in_s": self._left_s(call.due_ns),
            }
            for call in self.desk.calls()
            if not call.over
        ]

    def _left_s(self, due_ns: int | None) -> int:
        """Seconds until the next step, -1 where none will be told."""
        if due_ns is None:
            return -1
        return max(0, (due_ns - self._clock.monotonic_ns()) // 1_000_000_000)

    # -- tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send and keep time until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self._queues:
                group.create_task(self._work(name))
            group.create_task(self._keep_time())

    async def _keep_time(self) -> None:
        while True:
            self._sooner.clear()
            due_ns = self._wakes_ns = self.desk.next_deadline_ns()
            if due_ns is None:
                await self._sooner.wait()
                continue
            await sleep_until_or(self._clock, due_ns, self._sooner)
            now = self._now
            outputs = self.desk.tick(now["now_ns"], wall_ns=now["wall_ns"])
            self._take(outputs)
            self._store(outputs)

    async def _work(self, name: str) -> None:
        queue, notifier = self._queues[name], self._notifiers[name]
        while True:
            if not queue.heap:
                queue.filled.clear()
                await queue.filled.wait()
            await self._committed()
            _, _, tell = heapq.heappop(queue.heap)
            if not self.desk.wants(tell):
                continue  # acknowledged meanwhile
            message = self._words.message(tell, self._enterprise.name, self._enterprise.code)
            try:
                await notifier.send(message)
            except NotifyError as error:
                self._failed(tell, message, str(error))
            except asyncio.CancelledError:
                self._queue(tell)  # another task failed: it is sent when all run again
                raise
            except Exception as error:  # the message is put on record as not told, whatever it was
                self._failed(tell, message, f"a fault of ours: {type(error).__name__}")
                raise
            else:
                self._told(tell, message)

    async def _committed(self) -> None:
        if self._flow is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._flow.settled()

    # -- outcomes ----------------------------------------------------------------------------

    def _told(self, tell: Tell, message: Message) -> None:
        members = self.desk.members(tell.call)
        outputs = self.desk.sent(tell.id, reached=True, **self._now)
        who, queue = tell.recipient, self._queues[tell.recipient.notifier]
        text = f"{who.person} was told by {who.notifier} 已通知: {message.zh}"
        self._record(TOLD, tell, text, {})
        self._take(outputs)
        if self._flow is not None and tell.kind in _PUSHING:
            self._flow.pushed(members, f"{who.person} ({who.notifier})")
        queue.told += 1
        if queue.trouble != "":
            queue.trouble = ""
            self._say(who.notifier, "")

    def _failed(self, tell: Tell, message: Message, why: str) -> None:
        who, queue = tell.recipient, self._queues[tell.recipient.notifier]
        outputs = self.desk.sent(tell.id, reached=False, **self._now)
        text = f"{who.person} was not told by {who.notifier}, attempt {tell.attempt}: {why}."
        self._record(FAILED, tell, text, {"why": why})
        self._take(outputs)
        queue.failed += 1
        if not queue.trouble:
            _LOG.warning("a notifier does not deliver", notifier=who.notifier, why=why,
                         message=message.id)  # fmt: skip
            queue.trouble = why
            self._say(who.notifier, why)

    def _say(self, name: str, why: str) -> None:
        """Raise or return the alarm about a notifier; the alarm desk knows whether it stands."""
        if self._flow is not None:
            made = trouble.change(name, why, self._new_id(), self._clock.wall_ns())
            self._flow.keep_alarms([made], {})

    def _record(self, kind: str, tell: Tell, text: str, more: Mapping[str, str]) -> None:
        who = tell.recipient
        attributes = {
            "message": tell.id, "call": tell.call, "what": tell.kind.value, "person": who.person,
            "notifier": who.notifier, "round": str(tell.round), "step": str(tell.step),
            "attempt": str(tell.attempt), "repeated": str(tell.repeated).lower(), **more,
        }  # fmt: skip
        source = tell.subject.source if isinstance(tell.subject, AlarmChange) else "gateway"
        if self._flow is not None:
            self._flow.note(kind, source, text, attributes, self.desk.take_state())

    # -- inside ------------------------------------------------------------------------------

    @property
    def _now(self) -> dict[str, int]:
        return {"now_ns": self._clock.monotonic_ns(), "wall_ns": self._clock.wall_ns()}

    def _take(self, outputs: Iterable[Output]) -> None:
        """Queue messages, put notes on record."""
        for output in outputs:
            match output:
                case Tell():
                    self._queue(output)
                case Note():
                    if self._flow is not None:
                        self._flow.note(output.kind, output.source, output.text,
                                        output.attributes, {})  # fmt: skip
        due_ns = self.desk.next_deadline_ns()
        if due_ns is not None and (self._wakes_ns is None or due_ns < self._wakes_ns):
            self._sooner.set()

    def _queue(self, tell: Tell) -> None:
        queue = self._queues.get(tell.recipient.notifier)
        if queue is not None:
            priority = getattr(tell.subject, "priority", 1)
            heapq.heappush(queue.heap, (priority, next(self._numbers), tell))
            queue.filled.set()

    def _store(self, outputs: Sequence[Output] = ()) -> None:
        """Store what changed without a record of its own: whom the next step is."""
        state = self.desk.take_state()
        if not state or self._flow is None:
            return
        tells = [one for one in outputs if isinstance(one, Tell)]
        people = ", ".join(f"{t.recipient.person} ({t.recipient.notifier})" for t in tells)
        calls = ", ".join(dict.fromkeys(t.call for t in tells))
        text = f"To be told now 升级通知: {people or 'nobody'}."
        self._flow.note("notify.step", "gateway", text, {"call": calls, "people": people}, state)

    def health(self) -> tuple[bool, str]:
        """Whether every notifier delivers, as far as is known, and one sentence."""
        failing = [f"{name}: {one.trouble}" for name, one in self._queues.items() if one.trouble]
        return not failing, "; ".join(failing) or f"{len(self.desk.calls())} calls"

    def statistics(self) -> dict[str, float]:
        """Counts since start, for metrics."""
        queues = self._queues.values()
        return {
            "told": float(sum(queue.told for queue in queues)),
            "failed": float(sum(queue.failed for queue in queues)),
            "waiting": float(sum(len(queue.heap) for queue in queues)),
            "calls": float(len(self.desk.calls())),
            "notifiers_failing": float(sum(bool(queue.trouble) for queue in queues)),
        }


__all__ = ["STATE", "DutyService", "Enterprise"]
