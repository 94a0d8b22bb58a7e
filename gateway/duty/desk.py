"""Duty desk 值守台: tells people of alarms, step by step along the roster, until one acknowledges.

Guarantees:

- Every alarm that calls (`CallPolicy.priority`) is told to somebody on duty, or a note says that
  nobody is, and it is tried again every waiting time until somebody is there.
- Nobody acknowledges in the waiting time of its priority: the next step is told; after the last
  step the round begins anew, until somebody was reached in `rounds` rounds. A step of which nobody
  could be reached is followed by the next at once.
- A message that failed is tried at most `attempts` times in all, with a growing pause. A round in
  which nobody was reached does not count: it begins anew after the waiting time, for as long as
  nobody acknowledges.
- What is acknowledged, put aside or closed calls nobody any more. What returns unacknowledged is
  told as returned to the people who know of it, and as active if it comes back, each once; the call
  goes on, under the new alarm's id. If all rounds were told by then, they begin anew; what comes
  back after its flood is over is a call of its own.
- An alarm under a declared test or outage is told to nobody, or (`tell_tests`) to the first step,
  once and marked as a test.
- In a flood (`flood`) alarms become one call with their number, but for those of priority
  `through`, of which the first `through_most` are told one by one.
- The alarm that a notifier has failed is not told by that notifier.
- `take_state()` is what to store with the record of the very change; a desk restored from it tells
  what was under way again, under the same message ids and marked as repeated, and nothing else
  twice. A clock step moves no waiting time.

State: names STATE + "c/" + call and STATE + "m/" + alarm id (JSON: call, source, condition); empty
once over. Pure; not thread-safe.
`now_ns` is monotonic, `wall_ns` the wall clock of that moment.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from google.protobuf.message import DecodeError

from gateway.duty.call import CALLING, FAILED, TOLD, WAITING, Call, Telling
from gateway.duty.notes import ended, exhausted, nobody
from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Recipient, Roster
from gateway.duty.tell import Flood, Kind, Output, Tell
from gateway.model.alarm import AlarmChange, AlarmState

STATE = "notify/"
NOTIFIER = "notifier/"
"""Beginning of the source of alarms about notifiers themselves."""
S = 10**9
FIRST_NAMED = 5
FIRST_DIGEST_NS = 60 * S
MOST_AT_START = 10
"""Alarms of one position that stand at the start and were never told: more are told as one."""


@dataclass(slots=True)
class _Running:
    """A flood that goes on: its call, and how many urgent alarms may still be told apart."""

    call: str
    through: int
    digest_ns: int


@dataclass(frozen=True, slots=True)
class _Member:
    """An alarm that nobody has acknowledged: the call it belongs to, and its name."""

    call: str
    source: str
    condition: str


class DutyDesk:
    """All calls of one gateway."""

    def __init__(self, roster: Roster, policy: CallPolicy) -> None:
        self._roster = roster
        self._policy = policy
        self._calls: dict[str, Call] = {}
        self._members: dict[str, _Member] = {}  # by alarm id
        self._current: dict[tuple[str, str], str] = {}  # alarm id by source and condition
        self._floods: dict[str, _Running] = {}  # by position
        self._due: list[tuple[int, str]] = []
        self._changed: set[str] = set()
        self._changed_members: set[str] = set()
        self._now_ns = self._wall_ns = 0
        self.complaints: list[str] = []

    # -- what happens ----------------------------------------------------------------------

    def feed(
        self, change: AlarmChange, position: str, *, now_ns: int, wall_ns: int
    ) -> list[Output]:
        """Take a change of an alarm; `position` is its operator position, or empty."""
        self._time(now_ns, wall_ns)
        key = change.alarm_id.hex()
        if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
            return self._raised(key, change, position)
        member = self._members.get(key)
        if member is None:
            return []
        call = self._calls[member.call]
        if change.state is AlarmState.RETURNED_UNACKNOWLEDGED:
            return self._returned(call) if call.flood is None else []
        self._leave(key)
        running = any(one.call == call.key for one in self._floods.values())
        return [] if call.open or running else self._end(call, _words(change))

    def flood(self, position: str, *, begins: bool, now_ns: int, wall_ns: int) -> list[Output]:
        """A flood at a position begins, or is over."""
        self._time(now_ns, wall_ns)
        if begins:
            return self._flood_begins(position) if position not in self._floods else []
        running = self._floods.pop(position, None)
        call = self._calls.get(running.call) if running is not None else None
        if call is None or call.over:
            return []
        outputs = self._tell(call, Kind.FLOOD_OVER, call.told(), at=(0, 0))
        return outputs if call.open else outputs + self._end(call, "nothing of it is open")

    def sent(self, tell: str, *, reached: bool, now_ns: int, wall_ns: int) -> list[Output]:
        """Take what became of a message; unknown ones (withdrawn meanwhile) change nothing."""
        self._time(now_ns, wall_ns)
        call = self._calls.get(tell.partition("/")[0])
        one = call.tellings.get(tell) if call is not None else None
        if call is None or one is None or one.state != WAITING:
            return []
        outputs: list[Output] = []
        if reached:
            one.state, one.retry_ns = TOLD, None
            call.reached = call.reached or one.kind in CALLING
        else:
            one.failures += 1
            pauses = self._policy.retry_ns
            one.retry_ns = now_ns + pauses[min(one.failures, len(pauses)) - 1]
            if one.failures >= self._policy.attempts:
                one.state, one.retry_ns = FAILED, None
            if not call.over and self._unreached(call, one):
                outputs = self._advance(call)
        self._touch(call)
        return outputs

    def tick(self, now_ns: int, *, wall_ns: int) -> list[Output]:
        """Do what is due."""
        self._time(now_ns, wall_ns)
        outputs: list[Output] = []
        while self._due and self._due[0][0] <= now_ns:
            _, key = heapq.heappop(self._due)
            call = self._calls.get(key)
            deadline_ns = call.deadline_ns() if call is not None else None
            if call is None or deadline_ns is None or deadline_ns > now_ns:
                continue
            outputs += self._due_now(call)
        for running in self._floods.values():
            if running.digest_ns <= now_ns:
                running.digest_ns = now_ns + self._policy.digest_ns
                outputs += self._digest(self._calls.get(running.call))
        return outputs

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        while self._due:
            at_ns, key = self._due[0]
            call = self._calls.get(key)
            if call is not None and call.deadline_ns() == at_ns:
                break
            heapq.heappop(self._due)
        times = [self._due[0][0]] if self._due else []
        times += [running.digest_ns for running in self._floods.values()]
        return min(times, default=None)

    # -- a single alarm --------------------------------------------------------------------

    def _raised(self, key: str, change: AlarmChange, position: str) -> list[Output]:
        if change.priority > self._policy.priority or key in self._members:
            return []
        if change.declaration:
            return self._test(key, change, position)
        earlier = self._current.get((change.source, change.condition), "")
        member = self._members.get(earlier)
        if member is not None:
            return self._again(self._calls[member.call], earlier, change)
        return self._call(key, change, position)

    def _call(self, key: str, change: AlarmChange, position: str) -> list[Output]:
        """Call for an alarm that belongs to no call, or let it join the flood that runs."""
        running = self._floods.get(position)
        if running is not None and not self._goes_through(running, change):
            return self._join(self._calls[running.call], change)
        call = Call(key, change.gateway_time_ns, change, position, change.priority)
        self._calls[key] = call
        self._enter(call, change)
        return self._advance(call)

    def _enter(self, call: Call, change: AlarmChange) -> None:
        """Let an alarm belong to a call."""
        key = change.alarm_id.hex()
        self._members[key] = _Member(call.key, change.source, change.condition)
        self._current[change.source, change.condition] = key
        self._changed_members.add(key)
        call.open += 1
        self._touch(call)

    def _leave(self, key: str) -> None:
        """Let an alarm belong to no call any more."""
        member = self._members.pop(key)
        self._current.pop((member.source, member.condition), None)
        self._changed_members.add(key)
        call = self._calls[member.call]
        call.open -= 1
        self._touch(call)

    def _again(self, call: Call, earlier: str, change: AlarmChange) -> list[Output]:
        """An alarm that had returned unacknowledged is active again, under a new id."""
        self._leave(earlier)
        if call.flood is not None:
            if any(one.call == call.key for one in self._floods.values()):
                return self._join(call, change)
            ended = [] if call.open else self._end(call, "active again by itself")
            return ended + self._call(change.alarm_id.hex(), change, call.position)
        self._enter(call, change)
        call.subject = change
        if call.due_ns is None:  # all rounds were told, of something that was over since
            call.returned = call.returned_told = False
            call.rounds_told, call.round, call.step = 0, call.round + 1, 0
            call.drop(before_round=call.round)
            return self._advance(call)
        was_told = call.returned and call.returned_told
        if was_told and not any(t.kind is Kind.ALARM and t.round == 0
                                for t in call.tellings.values()):  # fmt: skip
            call.returned = False
            return self._tell(call, Kind.ALARM, call.told(), at=(0, 0))
        call.returned = False
        return []

    def _test(self, key: str, change: AlarmChange, position: str) -> list[Output]:
        call = Call(key, change.gateway_time_ns, change, position, change.priority, over=True)
        plan = self._plan(call)
        if not self._policy.tell_tests or not plan:
            return []
        self._calls[key] = call
        return self._tell(call, Kind.TEST, plan[min(plan)], at=(0, 0))

    def _advance(self, call: Call) -> list[Output]:
        """Tell the next step, or begin the next round."""
        plan = self._plan(call)
        following = [step for step in plan if step > call.step]
        wait_ns = self._policy.wait_ns[call.priority - 1]
        call.due_ns = self._now_ns + wait_ns
        outputs: list[Output] = []
        if following:
            call.step, call.unmanned = following[0], False
            kind = Kind.ALARM if call.flood is None else Kind.FLOOD
            busy = {one.recipient for one in call.waiting() if one.retry_ns is None}
            outputs = self._tell(call, kind, [who for who in plan[call.step] if who not in busy])
        elif call.step == 0:
            outputs = [] if call.unmanned else [nobody(call)]
            call.unmanned = True
        else:
            outputs = self._next_round(call)
        self._touch(call)
        return outputs

    def _next_round(self, call: Call) -> list[Output]:
        reached, call.reached = call.reached, False
        call.rounds_told += reached
        if call.rounds_told >= self._policy.rounds:
            call.due_ns = None
            return [exhausted(call, self._policy.rounds)]
        call.round, call.step = call.round + 1, 0
        call.drop(before_round=call.round)
        return self._advance(call) if reached else []

    def _plan(self, call: Call) -> dict[int, tuple[Recipient, ...]]:
        plan = self._roster.on_duty(call.position, call.priority, self._wall_ns)
        own = call.source.removeprefix(NOTIFIER) if call.source.startswith(NOTIFIER) else None
        kept = {step: tuple(r for r in who if r.notifier != own) for step, who in plan.items()}
        return {step: who for step, who in kept.items() if who}

    def _tell(
        self, call: Call, kind: Kind, who: Iterable[Recipient], at: tuple[int, int] | None = None
    ) -> list[Output]:
        """Make messages; `at` is round and step, those of the call unless given."""
        outputs: list[Output] = []
        for recipient in who:
            call.issued += 1
            name = f"{call.key}/{call.stamp:x}/{call.issued}"
            one = Telling(name, kind, recipient, *(at or (call.round, call.step)))
            call.tellings[name] = one
            outputs.append(call.tell(one))
        self._touch(call)
        return outputs

    def _unreached(self, call: Call, failed: Telling) -> bool:
        """Tell whether now nobody of the present step was reached by a first attempt."""
        if (failed.round, failed.step) != (call.round, call.step) or failed.failures > 1:
            return False
        present = [
            one for one in call.tellings.values()
            if (one.round, one.step) == (call.round, call.step) and one.kind in CALLING
        ]  # fmt: skip
        return all(one.failures and one.state != TOLD for one in present)

    def _returned(self, call: Call) -> list[Output]:
        call.returned = True
        self._touch(call)
        if call.returned_told or not self._policy.tell_return:
            return []
        call.returned_told = True
        return self._tell(call, Kind.RETURNED, call.told(), at=(0, 0))

    def _end(self, call: Call, why: str) -> list[Output]:
        """Nobody else is told; what was not sent is withdrawn, and said so."""
        call.over, call.due_ns = True, None
        withdrawn = [one for one in call.waiting() if one.kind in CALLING]
        told = ", ".join(dict.fromkeys(one.person for one in call.told()))
        for one in withdrawn:
            del call.tellings[one.id]
        self._touch(call)
        return [ended(call, why, told, len(withdrawn))]

    # -- floods ----------------------------------------------------------------------------

    def _flood_begins(self, position: str) -> list[Output]:
        key = f"flood-{self._wall_ns:x}-{position.encode().hex()[:24]}"
        call = Call(key, 0, Flood(position, self._wall_ns), position, 1)
        self._calls[key] = call
        soon_ns = self._now_ns + min(self._policy.digest_ns, FIRST_DIGEST_NS)
        self._floods[position] = _Running(key, self._policy.through_most, soon_ns)
        return self._advance(call)

    def _goes_through(self, running: _Running, change: AlarmChange) -> bool:
        if change.priority > self._policy.through or not running.through:
            return False
        running.through -= 1
        return True

    def _join(self, call: Call, change: AlarmChange) -> list[Output]:
        flood = call.flood
        assert flood is not None  # noqa: S101 - a running flood's call is of a flood
        first = flood.first
        if len(first) < FIRST_NAMED:
            first = (*first, f"{change.source} {change.condition}")
        urgent = flood.urgent + (change.priority == 1)
        call.subject = replace(flood, alarms=flood.alarms + 1, urgent=urgent, first=first)
        self._enter(call, change)
        return []

    def _digest(self, call: Call | None) -> list[Output]:
        flood = call.flood if call is not None else None
        if call is None or flood is None or call.over or flood.alarms == call.told_alarms:
            return []
        call.told_alarms = flood.alarms
        told = call.told()
        for one in [t for t in call.tellings.values() if t.round == 0 and t.state != WAITING]:
            del call.tellings[one.id]
        return self._tell(call, Kind.FLOOD, told, at=(0, 0))

    # -- time ------------------------------------------------------------------------------

    def _due_now(self, call: Call) -> list[Output]:
        outputs: list[Output] = []
        for one in list(call.waiting()):
            if one.retry_ns is not None and one.retry_ns <= self._now_ns:
                outputs.append(call.tell(one))
        if call.due_ns is not None and call.due_ns <= self._now_ns:
            outputs += self._advance(call)
        self._touch(call)
        return outputs

    def _time(self, now_ns: int, wall_ns: int) -> None:
        self._now_ns, self._wall_ns = now_ns, wall_ns

    def _touch(self, call: Call) -> None:
        """Note that a call changed: its state is to be stored, its deadline may be another."""
        self._changed.add(call.key)
        if call.over and not any(call.waiting()):
            self._calls.pop(call.key, None)
            return
        deadline_ns = call.deadline_ns()
        if deadline_ns is not None:
            heapq.heappush(self._due, (deadline_ns, call.key))

    # -- state -----------------------------------------------------------------------------

    def take_state(self) -> Mapping[str, bytes]:
        """What changed since the last call, by name; to be stored with the record of it."""
        state: dict[str, bytes] = {}
        for key in self._changed:
            call = self._calls.get(key)
            encoded = b"" if call is None else call.encode(now_ns=self._now_ns,
                                                           wall_ns=self._wall_ns)  # fmt: skip
            state[f"{STATE}c/{key}"] = encoded
        for key in self._changed_members:
            member = self._members.get(key)
            said = [member.call, member.source, member.condition] if member is not None else None
            state[f"{STATE}m/{key}"] = (
                json.dumps(said, ensure_ascii=False).encode() if said else b""
            )
        self._changed, self._changed_members = set(), set()
        return state

    def restore(self, states: Mapping[str, bytes], *, now_ns: int, wall_ns: int) -> list[Output]:
        """Go on from stored states, once, at start; gives what was under way, marked repeated."""
        self._time(now_ns, wall_ns)
        outputs: list[Output] = []
        for name, encoded in states.items():
            what, _, key = name.removeprefix(STATE).partition("/")
            if not encoded:
                continue
            try:
                if what == "m":
                    self._members[key] = _Member(*json.loads(encoded))
                else:
                    self._calls[key] = self._decoded(encoded)
            except (ValueError, KeyError, TypeError, DecodeError) as error:
                self.complaints.append(f"Whom alarm {key} was told is not known any more: {error}")
        for key in [k for k, one in self._members.items() if one.call not in self._calls]:
            del self._members[key]
            self._changed_members.add(key)
        self._current = {(m.source, m.condition): key for key, m in self._members.items()}
        for call in list(self._calls.values()):
            call.open = sum(one.call == call.key for one in self._members.values())
            outputs += [call.tell(one, repeated=True) for one in call.waiting()]
            outputs += [] if call.open or call.over else self._end(call, "not known any more")
            self._touch(call)
        return outputs

    def _decoded(self, encoded: bytes) -> Call:
        times = {"now_ns": self._now_ns, "wall_ns": self._wall_ns}
        return Call.decode(encoded, **times, most_ns=max(self._policy.wait_ns))

    def begin(
        self,
        standing: Iterable[AlarmChange],
        position_of: Callable[[str], str],
        *,
        now_ns: int,
        wall_ns: int,
    ) -> list[Output]:
        """Call for alarms that stand and never called: the roster or a policy is new."""
        by_position: dict[str, list[AlarmChange]] = {}
        for change in standing:
            new = change.alarm_id.hex() not in self._members and not change.declaration
            if new and change.priority <= self._policy.priority:
                by_position.setdefault(position_of(change.source), []).append(change)
        outputs: list[Output] = []
        for position, changes in by_position.items():
            many = len(changes) > MOST_AT_START
            if many:
                outputs += self.flood(position, begins=True, now_ns=now_ns, wall_ns=wall_ns)
            for change in changes:
                outputs += self.feed(change, position, now_ns=now_ns, wall_ns=wall_ns)
            if many:
                outputs += self.flood(position, begins=False, now_ns=now_ns, wall_ns=wall_ns)
        return outputs

    def renew(self, roster: Roster) -> None:
        """Use another roster from now on; calls that run go on with it."""
        self._roster = roster

    def wants(self, tell: Tell) -> bool:
        """Tell whether a message is still to be sent: it was not withdrawn meanwhile."""
        call = self._calls.get(tell.call)
        one = call.tellings.get(tell.id) if call is not None else None
        return one is not None and one.state == WAITING

    def members(self, call: str) -> list[str]:
        """Alarm ids (hex) that a call is about and that nobody has acknowledged."""
        return [key for key, own in self._members.items() if own.call == call]

    def calls(self) -> list[Call]:
        """Calls that are not settled, oldest first."""
        return list(self._calls.values())


def _words(change: AlarmChange) -> str:
    word = change.state.name.lower().replace("_", " ")
    return f"{word} by {change.operator}" if change.operator else word


__all__ = ["NOTIFIER", "STATE", "CallPolicy", "DutyDesk"]
