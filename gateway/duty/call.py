"""One call: an alarm, or a flood of them, and whom it was told. Pure.

Encoding for the log's state: JSON, times as wall clock; see `encode` and `decode`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.duty.roster import Recipient
from gateway.duty.tell import Flood, Kind, Tell
from gateway.model.alarm import AlarmChange

WAITING, TOLD, FAILED = "waiting", "told", "failed"
CALLING = frozenset({Kind.ALARM, Kind.FLOOD})
"""Kinds by which a call goes from step to step."""
_VERSION = 1


@dataclass(slots=True)
class Telling:
    """One message of a call. failures: attempts that failed.

    retry_ns: monotonic time of the next attempt, None while one is under way or none will be.
    """

    id: str
    kind: Kind
    recipient: Recipient
    round: int
    step: int
    failures: int = 0
    state: str = WAITING
    retry_ns: int | None = None


@dataclass(slots=True)
class Call:
    """An alarm that somebody must acknowledge.

    key: alarm id in hex, or that of a flood.  stamp: tells apart calls of one alarm.  step: the
    last one told, 0: none yet.  due_ns: monotonic time at which the next step is told, or None.
    open: alarms that nobody has acknowledged.  over: nobody else is to be told.  unmanned: nobody
    was on duty when somebody should have been told.  reached: somebody was in this round;
    rounds_told: rounds in which somebody was.  returned: the condition is gone; returned_told:
    people were told so.  issued: count of messages made.  told_alarms: alarms of a flood when it
    was last told.
    """

    key: str
    stamp: int
    subject: AlarmChange | Flood
    position: str
    priority: int
    round: int = 1
    step: int = 0
    due_ns: int | None = None
    open: int = 0
    over: bool = False
    unmanned: bool = False
    reached: bool = False
    rounds_told: int = 0
    returned: bool = False
    returned_told: bool = False
    issued: int = 0
    told_alarms: int = 0
    tellings: dict[str, Telling] = field(default_factory=dict)

    @property
    def flood(self) -> Flood | None:
        """The flood, None for a single alarm."""
        return self.subject if isinstance(self.subject, Flood) else None

    @property
    def source(self) -> str:
        """Source of the alarm, or position of the flood."""
        flood = self.flood
        return (flood.position or "gateway") if flood else self._change.source

    @property
    def _change(self) -> AlarmChange:
        assert isinstance(self.subject, AlarmChange)  # noqa: S101 - a call is of one or the other
        return self.subject

    def waiting(self) -> Iterator[Telling]:
        """Messages that were neither delivered nor given up."""
        return (one for one in self.tellings.values() if one.state == WAITING)

    def told(self) -> list[Recipient]:
        """Everybody who was told of it, each once."""
        told = (t for t in self.tellings.values() if t.state == TOLD)
        found = (t.recipient for t in told if t.kind in CALLING)
        return list(dict.fromkeys(found))

    def drop(self, *, before_round: int) -> None:
        """Forget messages of earlier rounds that failed or wait for another attempt."""
        for one in list(self.tellings.values()):
            settled = one.state == FAILED or (one.state == WAITING and one.retry_ns is not None)
            if settled and one.kind in CALLING and one.round < before_round:
                del self.tellings[one.id]

    def deadline_ns(self) -> int | None:
        """Monotonic time at which something of it is due, or None."""
        times = [one.retry_ns for one in self.waiting() if one.retry_ns is not None]
        if self.due_ns is not None:
            times.append(self.due_ns)
        return min(times, default=None)

    def tell(self, one: Telling, *, repeated: bool = False) -> Tell:
        """Make what is to be sent now."""
        one.retry_ns = None
        return Tell(one.id, self.key, one.kind, one.recipient, self.subject, one.round, one.step,
                    one.failures + 1, repeated, self.returned)  # fmt: skip

    def encode(self, *, now_ns: int, wall_ns: int) -> bytes:
        """Write it for the log's state."""
        row = {
            "version": _VERSION,
            "key": self.key, "stamp": self.stamp, "position": self.position,
            "priority": self.priority, "round": self.round, "step": self.step, "open": self.open,
            "due_ns": None if self.due_ns is None else self.due_ns - now_ns + wall_ns,
            "over": self.over, "unmanned": self.unmanned, "reached": self.reached,
            "rounds_told": self.rounds_told,
            "returned": self.returned, "returned_told": self.returned_told,
            "issued": self.issued, "told_alarms": self.told_alarms,
            "tellings": [
                [t.id, t.kind.value, t.recipient.person, t.recipient.notifier, t.recipient.contact,
                 t.round, t.step, t.failures, t.state]
                for t in self.tellings.values()
            ],
        }  # fmt: skip
        flood = self.flood
        if flood is not None:
            row["flood"] = asdict(flood)
        else:
            row["alarm"] = base64.b64encode(self._change.encode(b"")).decode()
        return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, encoded: bytes, *, now_ns: int, wall_ns: int, most_ns: int) -> Call:
        """Read it back; what is due is due within `most_ns`, whatever the clock did meanwhile.

        Raises ValueError, KeyError or TypeError where it cannot be read.
        """
        row: dict[str, Any] = json.loads(encoded)
        if row.pop("version") != _VERSION:
            raise ValueError(f"it is of another version than {_VERSION}")
        due = row.pop("due_ns")
        flood, alarm = row.pop("flood", None), row.pop("alarm", "")
        subject: AlarmChange | Flood = (
            Flood(**{**flood, "first": tuple(flood["first"])})
            if flood is not None
            else AlarmChange.decode(base64.b64decode(alarm))
        )
        tellings = {}
        for name, kind, person, notifier, contact, rnd, step, failures, state in row["tellings"]:
            who = Recipient(person, notifier, contact)
            tellings[name] = Telling(name, Kind(kind), who, rnd, step, failures, state)
        due_ns = None if due is None else now_ns + min(max(0, due - wall_ns), most_ns)
        return cls(**{**row, "tellings": tellings}, subject=subject, due_ns=due_ns)
