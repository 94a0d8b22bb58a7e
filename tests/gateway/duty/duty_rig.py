"""Alarms, rosters and a desk for tests of who hears it."""

from __future__ import annotations

from dataclasses import replace

from gateway.duty.desk import DutyDesk
from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Recipient, Roster, Shift
from gateway.duty.tell import Note, Output, Tell
from gateway.model.alarm import AlarmChange, AlarmState

S = 10**9
WALL_NS = 1_750_000_000 * S  # 2025-06-15 23:06:40 plant time, a Sunday


def alarm(
    number: int = 1, state: AlarmState = AlarmState.UNACKNOWLEDGED_ACTIVE, *, priority: int = 1,
    source: str = "", declaration: str = "", operator: str = "",
) -> AlarmChange:  # fmt: skip
    return AlarmChange(
        number.to_bytes(16, "big"), source or f"gds/{number}", "high", state, AlarmState.NORMAL,
        priority, 26.0, 0, 25.0, "%LEL", WALL_NS, WALL_NS, "limit.high/1", "Too much.",
        operator=operator, declaration=declaration,
    )  # fmt: skip


def changed(one: AlarmChange, state: AlarmState, operator: str = "") -> AlarmChange:
    return replace(one, state=state, previous_state=one.state, operator=operator)


def shift(step: int, *people: str, start: int = 0, end: int = 0) -> Shift:
    who = tuple(Recipient(*person.split("@", 1)) for person in people)
    return Shift(0, "*", step, who, start, end)


ROSTER = Roster((shift(1, "an@horn", "bo@sms"), shift(2, "chen@sms"), shift(3, "da@sms")))


class Rig:
    """A desk and the time; `restart` goes on from what was stored."""

    def __init__(self, roster: Roster = ROSTER, policy: CallPolicy | None = None) -> None:
        self.roster = roster
        self.policy = policy or CallPolicy()
        self.now_ns = 7 * S
        self.stored: dict[str, bytes] = {}
        self.desk = DutyDesk(roster, self.policy)

    @property
    def times(self) -> dict[str, int]:
        return {"now_ns": self.now_ns, "wall_ns": WALL_NS + self.now_ns}

    def store(self) -> None:
        self.stored.update(self.desk.take_state())
        self.stored = {name: value for name, value in self.stored.items() if value}

    def feed(self, change: AlarmChange, position: str = "") -> list[Output]:
        outputs = self.desk.feed(change, position, **self.times)
        self.store()
        return outputs

    def flood(self, position: str = "", *, begins: bool) -> list[Output]:
        outputs = self.desk.flood(position, begins=begins, **self.times)
        self.store()
        return outputs

    def sent(self, tell: str, *, reached: bool = True) -> list[Output]:
        outputs = self.desk.sent(tell, reached=reached, **self.times)
        self.store()
        return outputs

    def advance(self, seconds: float) -> list[Output]:
        """Move the time and do everything on time."""
        return self.advance_ns(round(seconds * S))

    def advance_ns(self, span_ns: int) -> list[Output]:
        until_ns = self.now_ns + span_ns
        outputs: list[Output] = []
        for _ in range(10_000):
            at_ns = self.desk.next_deadline_ns()
            if at_ns is None or at_ns > until_ns:
                break
            self.now_ns = max(self.now_ns, at_ns)
            outputs += self.desk.tick(self.now_ns, wall_ns=WALL_NS + self.now_ns)
        else:
            raise AssertionError("a deadline that never passes")
        self.now_ns = until_ns
        self.store()
        return outputs

    def restart(self, away_s: float = 0.0) -> list[Output]:
        self.now_ns += round(away_s * S)
        self.desk = DutyDesk(self.roster, self.policy)
        outputs = self.desk.restore(self.stored, **self.times)
        assert not self.desk.complaints
        self.store()
        return outputs


def people(outputs: list[Output]) -> list[str]:
    return [one.recipient.person for one in outputs if isinstance(one, Tell)]


def tells(outputs: list[Output]) -> list[Tell]:
    return [one for one in outputs if isinstance(one, Tell)]


def notes(outputs: list[Output]) -> list[str]:
    return [one.kind for one in outputs if isinstance(one, Note)]
