"""The alarm desk: what becomes of what rules find, and of what people ask for."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.alarm_states import AlarmEvent
from gateway.rules.desk import AlarmDesk, Command, CommandError
from gateway.rules.desk_policy import DeskPolicy, FirstOut, Suppression
from gateway.rules.mirror import RULE as MIRRORED

S, E = AlarmState, AlarmEvent
NS = 10**9
WALL_NS = 1_750_000_000 * NS
HOUR = 3600 * NS


def ids() -> itertools.count[int]:
    return itertools.count(1)


def found(source: str, *, raised: bool, number: int = 7, condition: str = "high") -> AlarmChange:
    states = (S.UNACKNOWLEDGED_ACTIVE, S.NORMAL) if raised else (
        S.RETURNED_UNACKNOWLEDGED, S.UNACKNOWLEDGED_ACTIVE
    )  # fmt: skip
    return AlarmChange(
        number.to_bytes(16, "big"), source, condition, states[0], states[1], 2, 11.0, 0, 10.0,
        "ppm", WALL_NS, WALL_NS, "limit.high/1", "said",
    )  # fmt: skip


def desk(policy: DeskPolicy | None = None) -> AlarmDesk:
    numbers = itertools.count(1000)
    return AlarmDesk(policy or DeskPolicy(), new_id=lambda: next(numbers).to_bytes(16, "big"))


def ask(
    table: AlarmDesk, verb: AlarmEvent, *, until_ns: int = 0, reason: str = "", at_ns: int = 0
) -> AlarmChange:
    command = Command(verb, "gds/a", "high", "王芳", reason, until_ns)
    return table.command(command, None, now_ns=at_ns, wall_ns=WALL_NS + at_ns)


def test_an_acknowledged_alarm_keeps_its_id_and_names_who_acknowledged() -> None:
    table = desk()
    [raised] = table.feed([found("gds/a", raised=True)])
    acknowledged = ask(table, E.ACKNOWLEDGE, at_ns=5 * NS)
    assert acknowledged.alarm_id == raised.alarm_id
    assert (acknowledged.previous_state, acknowledged.state) == (
        S.UNACKNOWLEDGED_ACTIVE, S.ACKNOWLEDGED_ACTIVE,
    )  # fmt: skip
    assert acknowledged.operator == "王芳"
    assert acknowledged.gateway_time_ns == WALL_NS + 5 * NS
    [returned] = table.feed([found("gds/a", raised=False)])
    assert (returned.state, returned.operator) == (S.NORMAL, "")
    assert table.entries() == []


def test_a_raise_after_an_unacknowledged_return_is_a_new_alarm() -> None:
    table = desk()
    table.feed([found("gds/a", raised=True), found("gds/a", raised=False)])
    [again] = table.feed([found("gds/a", raised=True, number=8)])
    assert again.previous_state is S.RETURNED_UNACKNOWLEDGED
    assert again.alarm_id == (8).to_bytes(16, "big")


def test_raised_twice_is_raised_once_and_returned_under_the_first_id() -> None:
    table = desk()
    [raised] = table.feed([found("gds/a", raised=True)])
    assert table.feed([found("gds/a", raised=True, number=8)]) == []
    [returned] = table.feed([found("gds/a", raised=False, number=8)])
    assert returned.alarm_id == raised.alarm_id
    assert table.feed([found("gds/a", raised=False)]) == []


def test_a_shelved_alarm_is_recorded_calls_nobody_and_comes_back_by_itself() -> None:
    table = desk()
    table.feed([found("gds/a", raised=True)])
    shelved = ask(table, E.SHELVE, until_ns=WALL_NS + HOUR, reason="探头更换")
    assert (shelved.state, shelved.reason) == (S.SHELVED, "探头更换")
    [returned] = table.feed([found("gds/a", raised=False)])
    assert (returned.state, returned.previous_state) == (S.SHELVED, S.SHELVED)
    [again] = table.feed([found("gds/a", raised=True)])
    assert (again.state, again.reason) == (S.SHELVED, "探头更换")
    assert table.next_deadline_ns() == HOUR
    assert table.tick(HOUR - 1, wall_ns=WALL_NS) == []
    [back] = table.tick(HOUR, wall_ns=WALL_NS + HOUR)
    assert back.state is S.UNACKNOWLEDGED_ACTIVE
    assert table.next_deadline_ns() is None


@pytest.mark.parametrize(
    ("verb", "until_ns", "reason", "said"),
    [
        (E.SHELVE, HOUR, "", "needs a reason"),
        (E.SHELVE, 0, "x", "needs an end in the future"),
        (E.REMOVE, 8 * HOUR + 1, "x", "at most 8 h"),
        (E.RESET, 0, "", "takes no reset"),
        (E.UNSHELVE, 0, "", "takes no unshelve"),
    ],
)
def test_a_command_that_cannot_be_is_refused_and_changes_nothing(
    verb: AlarmEvent, until_ns: int, reason: str, said: str
) -> None:
    table = desk()
    [raised] = table.feed([found("gds/a", raised=True)])
    with pytest.raises(CommandError, match=said):
        ask(table, verb, until_ns=until_ns and WALL_NS + until_ns, reason=reason)
    assert table.entry("gds/a", "high").last == raised  # type: ignore[union-attr] # it stands


def test_the_longest_shelf_is_allowed() -> None:
    table = desk()
    table.feed([found("gds/a", raised=True)])
    assert ask(table, E.REMOVE, until_ns=WALL_NS + 8 * HOUR, reason="x").state is S.OUT_OF_SERVICE


def test_a_latching_alarm_that_was_put_aside_comes_back_latched_over_a_restart() -> None:
    table, states = desk(LATCHING), dict[str, bytes]()
    table.feed([found("gds/a", raised=True)])
    ask(table, E.ACKNOWLEDGE)
    states |= table.state_of(ask(table, E.SHELVE, until_ns=WALL_NS + HOUR, reason="x"))
    [cleared] = table.feed([found("gds/a", raised=False)])
    assert cleared.state is S.SHELVED
    states |= table.state_of(cleared)
    after = restarted(table, states, now_ns=0, wall_ns=WALL_NS)
    [back] = after.tick(HOUR, wall_ns=WALL_NS + HOUR)
    assert back.state is S.LATCHED
    assert ask(after, E.RESET).state is S.NORMAL


def test_a_latching_alarm_stays_until_it_is_reset() -> None:
    table = desk(DeskPolicy(latching=("gds/*:high",)))
    table.feed([found("gds/a", raised=True)])
    ask(table, E.ACKNOWLEDGE)
    [latched] = table.feed([found("gds/a", raised=False)])
    assert latched.state is S.LATCHED
    assert ask(table, E.RESET).state is S.NORMAL
    table.feed([found("gds/a", raised=True, condition="low")])
    [low] = table.feed([found("gds/a", raised=False, condition="low")])
    assert low.state is S.RETURNED_UNACKNOWLEDGED


def test_only_the_first_of_a_group_is_first_out_until_all_are_gone() -> None:
    table = desk(DeskPolicy(groups=(FirstOut("trip", ("c1/*",)),)))
    first = table.feed([found("c1/a", raised=True), found("c1/b", raised=True)])
    assert [change.first_out for change in first] == [True, False]
    table.feed([found("c1/a", raised=False)])
    [still] = table.feed([found("c1/c", raised=True)])
    assert not still.first_out
    table.feed([found("c1/b", raised=False), found("c1/c", raised=False)])
    [anew] = table.feed([found("c1/b", raised=True)])
    assert anew.first_out
    [other] = table.feed([found("d/x", raised=True)])
    assert not other.first_out


def test_design_suppression_follows_its_cause_and_every_step_is_recorded() -> None:
    table = desk(DeskPolicy(suppressions=(Suppression("p/stopped", ("p/flow:low",), "stopped"),)))
    [low] = table.feed([found("p/flow", raised=True, condition="low")])
    changes = table.feed([found("p/stopped", raised=True, condition="discrete")])
    assert [(c.source, c.state) for c in changes] == [
        ("p/stopped", S.UNACKNOWLEDGED_ACTIVE), ("p/flow", S.SUPPRESSED_BY_DESIGN),
    ]  # fmt: skip
    assert changes[1].alarm_id == low.alarm_id
    table.feed([found("p/flow", raised=False, condition="low")])
    [again] = table.feed([found("p/flow", raised=True, condition="low")])
    assert again.state is S.SUPPRESSED_BY_DESIGN
    ended = table.feed([found("p/stopped", raised=False, condition="discrete")])
    assert [(c.source, c.state) for c in ended][1] == ("p/flow", S.UNACKNOWLEDGED_ACTIVE)
    # raised for the first time while the cause stands: recorded, then suppressed
    table = desk(DeskPolicy(suppressions=(Suppression("p/stopped", ("p/flow:low",), "stopped"),)))
    table.feed([found("p/stopped", raised=True, condition="discrete")])
    both = table.feed([found("p/flow", raised=True, condition="low")])
    assert [c.state for c in both] == [S.UNACKNOWLEDGED_ACTIVE, S.SUPPRESSED_BY_DESIGN]


STOPPED = DeskPolicy(suppressions=(Suppression("p/stopped", ("p/flow:*", "p/temp:*"), "stopped"),))


def test_suppression_lasts_until_every_condition_of_its_cause_is_gone() -> None:
    """@example: the return of high high ended it while high still stood: a flood of old alarms."""
    table = desk(STOPPED)
    for condition in ("high", "high_high"):
        table.feed([found("p/stopped", raised=True, condition=condition)])
    table.feed([found("p/flow", raised=True)])
    [returned] = table.feed([found("p/stopped", raised=False, condition="high_high")])
    assert returned.source == "p/stopped"
    ended = table.feed([found("p/stopped", raised=False, condition="high")])
    assert [(c.source, c.state) for c in ended][1] == ("p/flow", S.UNACKNOWLEDGED_ACTIVE)


def test_a_test_of_the_cause_suppresses_nothing_until_it_is_real() -> None:
    """@example: a trip that was tried out under a declaration hid real alarms."""
    table = desk(STOPPED)
    table.feed([found("p/flow", raised=True)])
    [tried] = table.feed([found("p/stopped", raised=True)], lambda _source: "d1")
    assert tried.declaration == "d1"
    [temp] = table.feed([found("p/temp", raised=True)])
    assert temp.state is S.UNACKNOWLEDGED_ACTIVE
    real = table.end_declaration("d1", WALL_NS)
    assert [(c.source, c.state) for c in real] == [
        ("p/stopped", S.UNACKNOWLEDGED_ACTIVE), ("p/flow", S.SUPPRESSED_BY_DESIGN),
        ("p/temp", S.SUPPRESSED_BY_DESIGN),
    ]  # fmt: skip
    ended = table.feed([found("p/stopped", raised=False)])
    assert [c.state for c in ended][1:] == [S.UNACKNOWLEDGED_ACTIVE] * 2


def test_what_was_acknowledged_as_a_test_is_a_new_alarm_when_the_test_is_over() -> None:
    """@example: real gas after a calibration called nobody: its test had been acknowledged."""
    table = desk()
    [tried] = table.feed([found("gds/a", raised=True)], lambda _source: "d1")
    ask(table, E.ACKNOWLEDGE)
    [real] = table.end_declaration("d1", WALL_NS)
    assert (real.state, real.previous_state) == (S.UNACKNOWLEDGED_ACTIVE, S.ACKNOWLEDGED_ACTIVE)
    assert real.declaration == ""
    assert real.alarm_id != tried.alarm_id
    [returned] = table.feed([found("gds/a", raised=False)])
    assert (returned.state, returned.alarm_id) == (S.RETURNED_UNACKNOWLEDGED, real.alarm_id)


@pytest.mark.parametrize("restart", [True, False])
def test_a_suppression_that_the_policy_names_no_more_ends(restart: bool) -> None:
    """@example: a rule taken out of the site file left its alarms suppressed for ever."""
    table = desk(STOPPED)
    table.feed([found("p/stopped", raised=True), found("p/flow", raised=True)])
    after = desk()
    if restart:
        states = dict(pair for e in table.entries() for pair in table.state_of(e.last).items())
        after.restore(states)
        after.set_ends(now_ns=0, wall_ns=WALL_NS)
    else:
        after.adopt(table.entries())
    assert [(c.source, c.state) for c in after.settle(WALL_NS)] == [
        ("p/flow", S.UNACKNOWLEDGED_ACTIVE)
    ]
    assert after.settle(WALL_NS) == []
    back = desk(STOPPED)
    back.adopt(after.entries())
    assert [(c.source, c.state) for c in back.settle(WALL_NS)] == [
        ("p/flow", S.SUPPRESSED_BY_DESIGN)
    ]


def test_a_shelf_that_ends_leaves_what_is_suppressed_by_design() -> None:
    table = desk(DeskPolicy(suppressions=(Suppression("p/stopped", ("gds/a",), "stopped"),)))
    table.feed([found("gds/a", raised=True)])
    ask(table, E.SHELVE, until_ns=WALL_NS + HOUR, reason="x")
    table.feed([found("p/stopped", raised=True)])
    assert table.tick(2 * HOUR, wall_ns=WALL_NS + 2 * HOUR) == []
    assert table.next_deadline_ns() is None
    ended = table.feed([found("p/stopped", raised=False)])
    assert ended[-1].state is S.UNACKNOWLEDGED_ACTIVE


def test_a_shelf_ends_in_time_though_the_clock_is_wrong_after_a_restart() -> None:
    """@example: a box that started in 1970 kept an alarm shelved for 55 years."""
    table = desk()
    table.feed([found("gds/a", raised=True)])
    shelved = ask(table, E.SHELVE, until_ns=WALL_NS + HOUR, reason="x")
    after = desk()
    after.restore(table.state_of(shelved))
    after.set_ends(now_ns=5 * NS, wall_ns=0)
    assert after.next_deadline_ns() == 5 * NS + 8 * HOUR
    [back] = after.tick(5 * NS + 8 * HOUR, wall_ns=8 * HOUR)
    assert back.state is S.UNACKNOWLEDGED_ACTIVE


def test_an_alarm_of_the_control_system_suppresses_ours_and_is_never_moved_itself() -> None:
    """@example: its end was heard by nobody, so that ours stayed suppressed for ever."""
    table = desk(DeskPolicy(suppressions=(Suppression("dcs/trip", ("*",), "trip"),)))

    def said(source: str, *, raised: bool) -> AlarmChange:
        return replace(found(source, raised=raised), rule=MIRRORED)

    table.mirror(said("dcs/level", raised=True))
    table.feed([found("gds/a", raised=True)])
    assert [c.source for c in table.mirror(said("dcs/trip", raised=True))] == ["gds/a"]
    assert table.mirror(said("dcs/trip", raised=True)) == []
    assert table.settle(WALL_NS) == []
    [back] = table.mirror(said("dcs/trip", raised=False))
    assert (back.source, back.state) == ("gds/a", S.UNACKNOWLEDGED_ACTIVE)


LATCHING = DeskPolicy(latching=("gds/a:high",))


def restarted(
    table: AlarmDesk, states: dict[str, bytes], *, now_ns: int, wall_ns: int
) -> AlarmDesk:
    after = desk(LATCHING)
    after.restore({name: value for name, value in states.items() if value})
    after.set_ends(now_ns=now_ns, wall_ns=wall_ns)
    assert after.complaints == []
    assert {e.key: e for e in after.entries()} == {e.key: e for e in table.entries()}
    return after


VERBS = st.sampled_from([E.ACKNOWLEDGE, E.RESET, E.SHELVE, E.UNSHELVE, E.REMOVE, E.RESTORE])
STEPS = st.one_of(st.tuples(st.sampled_from("ab"), st.booleans()), VERBS, st.just("restart"))


@example([("a", True), E.SHELVE, *[E.ACKNOWLEDGE] * 6, "restart"])  # its shelf ends in between
@given(st.lists(STEPS, max_size=40))
def test_what_is_stored_with_each_change_is_enough_to_go_on(steps: list[object]) -> None:
    """After any history a desk made from the stored states equals the one that ran."""
    table, states, now_ns = desk(LATCHING), dict[str, bytes](), 0
    for step in steps:
        now_ns += 600 * NS
        wall_ns = WALL_NS + now_ns
        changes = table.tick(now_ns, wall_ns=wall_ns)
        if isinstance(step, tuple):
            changes += table.feed([found(f"gds/{step[0]}", raised=step[1])])
        elif isinstance(step, AlarmEvent):
            with suppress(CommandError):  # what time brought in this step is stored all the same
                changes.append(ask(table, step, until_ns=wall_ns + HOUR, reason="x", at_ns=now_ns))
        for change in changes:
            states |= table.state_of(change)
        if step == "restart":
            table = restarted(table, states, now_ns=now_ns, wall_ns=wall_ns)
