"""Alarms of the control system mirrored: states, one record a change, refresh, restart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from drivers.contract import SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.alarm_states import AlarmEvent
from gateway.rules.desk import Command, CommandError
from gateway.rules.judge import Judge
from gateway.rules.mirror import PRIORITIES, priority_of, state_of
from tests.gateway.flow_rig import WALL_NS, judge

S = AlarmState
NORMAL: dict[str, Any] = {"active": False, "acknowledged": True}
RAISED: dict[str, Any] = {"active": True, "acknowledged": False}


def said(name: str = "Tank1", device: str = "dcs", **more: str | int | bool) -> SourceEvent:
    attributes: dict[str, str | int | float | bool] = {
        "source_name": name, "condition": "LevelAlarm", "severity": 700, "branch": "",
        "condition_id": f"ns=1;s={name}", "received_ns": WALL_NS, **more,
    }  # fmt: skip
    return SourceEvent("opcua.alarm", device, WALL_NS, "Level too high.", attributes)


def refresh(*, begins: bool, device: str = "dcs") -> SourceEvent:
    return SourceEvent("opcua.refresh", device, WALL_NS, "", {"begins": begins})


@pytest.mark.parametrize(
    ("what", "state"),
    [
        ({"active": True, "acknowledged": False}, S.UNACKNOWLEDGED_ACTIVE),
        ({"active": True, "acknowledged": True}, S.ACKNOWLEDGED_ACTIVE),
        ({"active": True}, S.ACKNOWLEDGED_ACTIVE),  # an alarm that nobody can acknowledge
        ({"active": False, "acknowledged": False}, S.RETURNED_UNACKNOWLEDGED),
        ({"active": False, "acknowledged": True}, S.NORMAL),
        ({"active": False, "acknowledged": True, "latched": True}, S.LATCHED),
        ({"active": True, "acknowledged": False, "shelving": "i=2932"}, S.SHELVED),
        ({"active": True, "acknowledged": False, "shelving": "i=2930"}, S.UNACKNOWLEDGED_ACTIVE),
        ({"active": True, "shelving": "i=2933", "suppressed": True}, S.SUPPRESSED_BY_DESIGN),
        ({"active": True, "suppressed": True, "out_of_service": True}, S.OUT_OF_SERVICE),
        ({"enabled": False}, S.OUT_OF_SERVICE),  # tells no other state (10000-9, 5.5.2)
        ({"enabled": True, "active": True}, S.ACKNOWLEDGED_ACTIVE),
    ],
)
def test_states_of_conditions_in_words_of_isa_18_2(
    what: dict[str, bool | str], state: AlarmState
) -> None:
    assert state_of(what) is state


def test_severity_becomes_a_priority_one_step_on_either_side() -> None:
    for least, priority in PRIORITIES:
        assert priority_of({"severity": max(least, 1)}) == priority
        if least:
            assert priority_of({"severity": least - 1}) == priority + 1
    assert priority_of({}) == 4


def states(changes: list[AlarmChange]) -> list[AlarmState]:
    return [change.state for change in changes]


def test_one_life_is_one_alarm_and_a_new_raise_is_a_new_one() -> None:
    rules = judge()
    [raised] = rules.feed_event(said(**RAISED), now_ns=1)
    assert (raised.source, raised.condition, raised.priority) == ("dcs/Tank1", "LevelAlarm", 2)
    assert rules.feed_event(said(**RAISED), now_ns=2) == []
    [urgent] = rules.feed_event(said(**RAISED, severity=900), now_ns=3)
    [back] = rules.feed_event(said(active=False, acknowledged=False), now_ns=4)
    [done] = rules.feed_event(said(**NORMAL), now_ns=5)
    assert {urgent.alarm_id, back.alarm_id, done.alarm_id} == {raised.alarm_id}
    assert (urgent.priority, done.state, rules.entries()) == (1, S.NORMAL, [])
    [again] = rules.feed_event(said(**RAISED), now_ns=6)
    assert again.alarm_id != raised.alarm_id


def test_a_condition_that_is_disabled_while_it_stands_is_out_of_service() -> None:
    rules = judge()
    [raised] = rules.feed_event(said(**RAISED), now_ns=1)
    [disabled] = rules.feed_event(said(enabled=False, retain=False), now_ns=2)
    assert (disabled.alarm_id, disabled.state) == (raised.alarm_id, S.OUT_OF_SERVICE)
    [back] = rules.feed_event(said(enabled=True, **RAISED), now_ns=3)
    assert back.state is S.UNACKNOWLEDGED_ACTIVE


def test_nobody_acknowledges_it_here() -> None:
    rules = judge()
    rules.feed_event(said(**RAISED), now_ns=1)
    for verb in (AlarmEvent.ACKNOWLEDGE, AlarmEvent.SHELVE, AlarmEvent.REMOVE):
        command = Command(verb, "dcs/Tank1", "LevelAlarm", "王芳", "x", WALL_NS + 10**12)
        with pytest.raises(CommandError, match="this gateway never does"):
            rules.command(command, now_ns=1, wall_ns=WALL_NS)
    assert states([entry.last for entry in rules.entries()]) == [S.UNACKNOWLEDGED_ACTIVE]


def test_a_whole_refresh_keeps_what_stands_and_ends_what_it_leaves_out() -> None:
    rules = judge()
    for name in ("Tank1", "Tank2"):
        rules.feed_event(said(name, **RAISED), now_ns=1)
    rules.feed_event(said("Tank9", "other", **RAISED), now_ns=1)
    rules.feed_event(refresh(begins=True), now_ns=2)
    assert rules.feed_event(said("Tank1", **RAISED, refreshed=True), now_ns=3) == []
    [ended] = rules.feed_event(refresh(begins=False), now_ns=4)
    assert (ended.source, ended.state) == ("dcs/Tank2", S.NORMAL)
    assert {entry.last.source for entry in rules.entries()} == {"dcs/Tank1", "other/Tank9"}


def test_a_refresh_that_breaks_off_ends_nothing() -> None:
    rules = judge()
    rules.feed_event(said(**RAISED), now_ns=1)
    rules.feed_event(refresh(begins=True), now_ns=2)
    rules.feed_event(SourceEvent("link.down", "dcs", WALL_NS, "lost"), now_ns=3)
    assert rules.feed_event(refresh(begins=False), now_ns=4) == []
    assert len(rules.entries()) == 1


def test_an_event_that_is_no_condition_is_no_alarm() -> None:
    event = said()
    assert judge().feed_event(event, now_ns=1) == []


@dataclass
class Plain:
    """An independent model: of each tank what was said last, and a number for each life."""

    last: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    life: dict[str, int] = field(default_factory=dict)

    def say(self, name: str, active: bool, acknowledged: bool) -> bool:
        before = self.last.get(name, (False, True))
        returned_first = before == (False, True) and not active and not acknowledged
        if (active and not before[0]) or returned_first:
            self.life[name] = self.life.get(name, 0) + 1
        self.last[name] = (active, acknowledged)
        return before != (active, acknowledged)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("ab"), st.booleans(), st.booleans()),
        st.sampled_from(["restart", "refresh", "away"]),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_any_history_gives_one_record_a_change_and_one_id_a_life(steps: list[object]) -> None:
    rules, model, stored = judge(), Plain(), dict[str, bytes]()
    ids: dict[tuple[str, int], set[bytes]] = {}

    def took(rules: Judge, changes: list[AlarmChange]) -> None:
        for change in changes:
            stored.update(rules.state_of(change))
            name = change.source.removeprefix("dcs/")
            ids.setdefault((name, model.life.get(name, 0)), set()).add(change.alarm_id)

    for step in steps:
        if isinstance(step, tuple):
            name, active, acknowledged = step
            changed = model.say(name, active, acknowledged)
            event = said(name, active=active, acknowledged=acknowledged)
            changes = rules.feed_event(event, now_ns=1)
            assert bool(changes) == changed
            took(rules, changes)
            continue
        if step == "restart":
            rules = judge({name: value for name, value in stored.items() if value})
        kept = [name for name, one in model.last.items() if one != (False, True)]
        if step == "away" and kept:
            model.last[kept.pop()] = (False, True)  # it ended while nobody listened
        rules.feed_event(refresh(begins=True), now_ns=1)
        for name in kept:
            active, acknowledged = model.last[name]
            event = said(name, active=active, acknowledged=acknowledged, refreshed=True)
            assert rules.feed_event(event, now_ns=1) == []
        took(rules, rules.feed_event(refresh(begins=False), now_ns=1))
        assert {e.last.source for e in rules.entries()} == {f"dcs/{name}" for name in kept}
    assert all(len(found) == 1 for found in ids.values())


def test_a_branch_is_no_alarm_of_its_own_and_keeps_its_alarm_returned() -> None:
    """As node-opcua says a return: the earlier state as a branch, then the condition itself."""
    rules = judge()
    [raised] = rules.feed_event(said(**RAISED), now_ns=1)
    assert raised.condition_id == "ns=1;s=Tank1"
    assert AlarmChange.decode(raised.encode(b"")).condition_id == "ns=1;s=Tank1"
    assert rules.feed_event(said(**RAISED, branch="g=1", severity=900), now_ns=2) == []
    [back] = rules.feed_event(said(**NORMAL), now_ns=3)
    assert (back.state, back.alarm_id) == (S.RETURNED_UNACKNOWLEDGED, raised.alarm_id)
    acknowledged = said(active=True, acknowledged=True, branch="g=1", severity=900)
    [done] = rules.feed_event(acknowledged, now_ns=4)
    assert (done.state, done.alarm_id, done.priority) == (S.NORMAL, raised.alarm_id, 2)


def test_a_branch_that_is_all_that_is_left_raises_nothing() -> None:
    rules = judge()
    rules.feed_event(refresh(begins=True), now_ns=1)
    [owed] = rules.feed_event(said(**RAISED, branch="g=1"), now_ns=2)
    assert owed.state is S.RETURNED_UNACKNOWLEDGED
    assert rules.feed_event(refresh(begins=False), now_ns=3) == []
    [ended] = rules.feed_event(refresh(begins=True), now_ns=4) or rules.feed_event(
        refresh(begins=False), now_ns=5
    )
    assert (ended.state, ended.alarm_id) == (S.NORMAL, owed.alarm_id)


BRANCHED = st.lists(
    st.sampled_from(["raised", "acknowledged", "returned", "heard", "refreshed", "restarted"]),
    max_size=40,
)


class Branching:
    """The rules beside a model: the condition, and earlier states that nobody has acknowledged."""

    def __init__(self, random: Any) -> None:
        self.random = random
        self.rules, self.stored = judge(), dict[str, bytes]()
        self.active, self.unheard = False, False
        self.branches: list[str] = []
        self.made = 0

    def say(self, **what: Any) -> list[AlarmChange]:
        changes = self.rules.feed_event(said(**what), now_ns=1)
        for change in changes:
            self.stored.update(self.rules.state_of(change))
            raises = change.state is S.UNACKNOWLEDGED_ACTIVE
            assert not raises or self.active, "something that is over was raised"
        return changes

    def raised(self) -> None:
        self.active = self.unheard = True
        self.say(**RAISED)

    def acknowledged(self) -> None:
        self.unheard = False
        self.say(active=self.active, acknowledged=True)

    def returned(self) -> None:
        """As node-opcua says it: what is unheard becomes a branch, then the condition is over."""
        self.active = False
        if self.unheard:
            self.made += 1
            self.branches.append(f"g={self.made}")
            self.say(**RAISED, branch=self.branches[-1])
        self.acknowledged()

    def heard(self) -> None:
        if self.branches:
            branch = self.branches.pop(self.random.randrange(len(self.branches)))
            self.say(active=True, acknowledged=True, branch=branch)

    def refreshed(self) -> None:
        self.rules.feed_event(refresh(begins=True), now_ns=1)
        told: list[dict[str, Any]] = [{**RAISED, "branch": branch} for branch in self.branches]
        told.append({"active": self.active, "acknowledged": not self.unheard})
        self.random.shuffle(told)
        assert [change for what in told for change in self.say(**what)] == []
        assert self.rules.feed_event(refresh(begins=False), now_ns=1) == []

    def restarted(self) -> None:
        self.rules = judge({name: value for name, value in self.stored.items() if value})
        self.refreshed()

    def wanted(self) -> list[AlarmState]:
        if self.active:
            return [S.UNACKNOWLEDGED_ACTIVE if self.unheard else S.ACKNOWLEDGED_ACTIVE]
        return [S.RETURNED_UNACKNOWLEDGED] if self.branches else []


@given(BRANCHED, st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_any_history_with_branches_is_in_the_state_that_people_owe(
    steps: list[str], random: Any
) -> None:
    scene = Branching(random)
    for step in steps:
        getattr(scene, step)()
        assert states([entry.last for entry in scene.rules.entries()]) == scene.wanted()
