"""The duty desk against an independent model, by random scripts of alarms, answers and restarts.

The model knows one alarm at a time, keeps the whole history and works out from it, anew at every
question, which step is the present one. It shares no code with the desk.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.duty.policy import CallPolicy
from gateway.duty.roster import Roster
from gateway.duty.tell import Kind, Output, Tell
from gateway.model.alarm import AlarmState
from tests.gateway.duty.duty_rig import Rig, S, alarm, changed, shift, tells

WAIT_S = (60, 120, 300, 600)
PEOPLE = {1: ("an@horn", "bo@sms"), 2: ("chen@sms",), 4: ("da@sms", "er@horn")}


@dataclass
class History:
    """What the model knows of one alarm.

    steps: time and step of every first attempt, in order.  reached: by place in `steps` of the
    message, the last place there was when it got through.  failed: by place, who failed once.
    """

    priority: int
    raised_ns: int
    steps: list[tuple[int, int]] = field(default_factory=list)
    reached: dict[int, int] = field(default_factory=dict)
    present: set[int] = field(default_factory=set)  # places that were the last at a success
    failed: dict[int, set[str]] = field(default_factory=dict)
    closed_ns: int | None = None

    def rounds(self) -> list[list[int]]:
        """Places in `steps`, by round: a round begins with step 1."""
        found: list[list[int]] = []
        for place, (_, step) in enumerate(self.steps):
            if step == 1 or not found:
                found.append([])
            found[-1].append(place)
        return found

    def counted(self) -> int:
        return sum(any(place in self.present for place in one) for one in self.rounds())


class DutyMachine(RuleBasedStateMachine):
    """Alarms come, are told, answered and closed; the gateway is killed in between."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = CallPolicy(priority=3, rounds=2, attempts=3, tell_return=False,
                                 wait_ns=tuple(S * wait for wait in WAIT_S))  # type: ignore[arg-type]  # four of them  # fmt: skip
        self.histories: dict[str, History] = {}
        self.alarms: dict[str, int] = {}
        self.pending: dict[str, Tell] = {}
        self.attempts: dict[str, int] = {}
        self.place_of: dict[str, int] = {}
        self.restarts = 0
        self.next = 1

    @initialize()
    def start(self) -> None:
        roster = Roster(tuple(shift(step, *who) for step, who in PEOPLE.items()))
        self.rig = Rig(roster, self.policy)

    def take(self, outputs: list[Output], *, repeated: bool = False) -> None:
        for one in tells(outputs):
            assert one.repeated == repeated
            assert one.kind is Kind.ALARM, "no test is told as real, and nothing else was asked for"
            history = self.histories[one.call]
            assert history.closed_ns is None or repeated is False
            assert history.closed_ns is None, "told after it was acknowledged"
            self.pending[one.id] = one
            self.attempts[one.id] = self.attempts.get(one.id, 0) + (not repeated)
            assert self.attempts[one.id] <= self.policy.attempts
            if one.attempt == 1 and not repeated and one.id not in self.place_of:
                last = history.steps[-1] if history.steps else (-1, 0)
                if last != (self.rig.now_ns, one.step):
                    history.steps.append((self.rig.now_ns, one.step))
                self.place_of[one.id] = len(history.steps) - 1

    @rule(priority=st.integers(1, 4), test=st.booleans())
    def raise_one(self, priority: int, test: bool) -> None:
        number, self.next = self.next, self.next + 1
        change = alarm(number, priority=priority, declaration="d" if test else "")
        key = change.alarm_id.hex()
        if not test and priority <= self.policy.priority:
            self.histories[key] = History(priority, self.rig.now_ns)
            self.alarms[key] = number
        self.take(self.rig.feed(change))

    @precondition(lambda self: self.alarms)
    @rule(data=st.data(), state=st.sampled_from([
        AlarmState.ACKNOWLEDGED_ACTIVE, AlarmState.NORMAL, AlarmState.SHELVED,
    ]))  # fmt: skip
    def close(self, data: st.DataObject, state: AlarmState) -> None:
        key = data.draw(st.sampled_from(sorted(self.alarms)))
        number = self.alarms.pop(key)
        self.take(self.rig.feed(changed(alarm(number), state)))
        self.histories[key].closed_ns = self.rig.now_ns
        self.pending = {name: one for name, one in self.pending.items() if one.call != key}

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), reached=st.booleans())
    def answer(self, data: st.DataObject, reached: bool) -> None:
        self.heard(data.draw(st.sampled_from(sorted(self.pending))), reached=reached)

    def heard(self, name: str, *, reached: bool) -> None:
        one = self.pending.pop(name)
        history = self.histories[one.call]
        place = self.place_of[name]
        if reached:
            history.reached.setdefault(place, len(history.steps) - 1)
            history.present.add(len(history.steps) - 1)
        else:
            history.failed.setdefault(place, set()).add(one.recipient.person)
        self.take(self.rig.sent(name, reached=reached))

    @rule(seconds=st.sampled_from([0.5, 5.0, 60.0, 125.0, 700.0]))
    def wait(self, seconds: float) -> None:
        until_ns = self.rig.now_ns + round(seconds * S)
        while self.rig.now_ns < until_ns:  # in steps, so that the model sees each moment
            while seconds > 30 and self.pending:  # a notifier gives up after some seconds
                self.heard(min(self.pending), reached=False)
            due_ns = self.rig.desk.next_deadline_ns()
            left_ns = until_ns - self.rig.now_ns
            step_ns = left_ns if due_ns is None else min(left_ns, max(1, due_ns - self.rig.now_ns))
            self.take(self.rig.advance_ns(step_ns))

    @rule()
    def kill(self) -> None:
        before = set(self.pending)
        outputs = self.rig.restart()
        self.take(outputs, repeated=True)
        again = {one.id for one in tells(outputs)}
        assert before <= again, "under way at the kill, and not told again"
        waiting = {t.id for call in self.rig.desk.calls() for t in call.waiting()}
        assert again == waiting

    @invariant()
    def every_open_alarm_is_told_or_will_be(self) -> None:
        calls = {call.key: call for call in self.rig.desk.calls()} if self.histories else {}
        for key in self.alarms:
            history, call = self.histories[key], calls[key]
            assert history.steps, "an alarm that nobody was told"
            assert history.steps[0] == (history.raised_ns, 1)
            done = history.counted() >= self.policy.rounds
            if call.due_ns is None:
                assert done, "given up before the rounds were over"
        assert set(calls) == set(self.alarms)

    @invariant()
    def steps_come_in_order_and_in_time(self) -> None:
        for history in self.histories.values():
            wait_ns = WAIT_S[history.priority - 1] * S
            order = list(PEOPLE)
            for place in range(1, len(history.steps)):
                (before_ns, was), (at_ns, step) = history.steps[place - 1 : place + 1]
                place_in_order = order.index(was) + 1
                if place_in_order < len(order):
                    assert step == order[place_in_order]
                    unreached = history.reached.get(place - 1, place) >= place
                    assert at_ns - before_ns <= wait_ns + 1000
                    if at_ns - before_ns < wait_ns - 1000:
                        assert unreached, "went on although somebody was reached"
                        assert history.failed.get(place - 1)
                else:
                    assert step == order[0]
                    assert at_ns - before_ns <= 2 * wait_ns + 2000
            if history.closed_ns is None:
                # nobody waits for longer than two waiting times, but after the last round
                last_ns = history.steps[-1][0] if history.steps else self.rig.now_ns
                late = self.rig.now_ns - last_ns > 2 * wait_ns + 2000
                assert not late or history.counted() >= self.policy.rounds or self._busy(history)

    def _busy(self, history: History) -> bool:
        """Somebody is still being told (the answer is outstanding)."""
        key = next(k for k, one in self.histories.items() if one is history)
        return any(one.call == key for one in self.pending.values())


DutyMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestDutyDesk = DutyMachine.TestCase


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from(["raise", "ack", "flood", "over"])),
             max_size=60),
    st.integers(0, 60),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_no_alarm_of_a_flood_is_lost_whatever_comes_between(
    script: list[tuple[int, str]], killed_at: int
) -> None:
    """Each open alarm is in exactly one call, over a restart too; none is told twice apart."""
    rig = Rig(policy=CallPolicy(through_most=2))
    open_alarms: set[int] = set()
    for place, (number, verb) in enumerate(script):
        if place == killed_at:
            rig.restart()
        if verb == "raise" and number not in open_alarms:
            rig.feed(alarm(number, priority=1 + number % 3))
            open_alarms.add(number)
        elif verb == "ack" and number in open_alarms:
            rig.feed(changed(alarm(number), AlarmState.ACKNOWLEDGED_ACTIVE))
            open_alarms.discard(number)
        elif verb in {"flood", "over"}:
            rig.flood(begins=verb == "flood")
        rig.advance(1)
    held = [key for call in rig.desk.calls() for key in rig.desk.members(call.key)]
    wanted = sorted(number.to_bytes(16, "big").hex() for number in open_alarms)
    assert sorted(held) == wanted
    for call in rig.desk.calls():
        assert call.open == len(rig.desk.members(call.key))
