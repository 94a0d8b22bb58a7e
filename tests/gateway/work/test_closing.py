"""The closing loop: every step with person and time, refused steps change nothing, restart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.open_alarm import StateError
from gateway.work.closing import MOST_KEPT, Closing, Step
from gateway.work.life import CLOSING, Action, Handling


def change(number: int, *, raised: bool = True) -> AlarmChange:
    states = (AlarmState.NORMAL, AlarmState.UNACKNOWLEDGED_ACTIVE)
    state = states[1] if raised else AlarmState.RETURNED_UNACKNOWLEDGED
    return AlarmChange(
        number.to_bytes(16, "big"), "permit/DH-1", "gas_over", state, states[0 if raised else 1], 1,
        1.0, 0, 0.5, "%vol", 5, 5, "r/1", "text",
    )  # fmt: skip


def by(person: str = "王芳", note: str = "seen") -> Step:
    return Step(7, "", "", person, note)


ID = (1).to_bytes(16, "big").hex()


def test_from_new_to_closed_with_person_and_time() -> None:
    closing = Closing()
    closing.feed(change(1))
    for action in (Action.PUSH, Action.CONFIRM, Action.HANDLE, Action.CLOSE):
        closing.act(ID, action, by())
    closing.feed(change(1, raised=False))
    (case,) = closing.cases()
    assert case.state is Handling.CLOSED
    assert case.returned
    assert [(s.action, s.person, s.time_ns) for s in case.steps][-1] == ("close", "王芳", 7)


@pytest.mark.parametrize(
    ("action", "step", "says"),
    [
        (Action.CLOSE, by(), "cannot close what is new"),
        (Action.CONFIRM, by(person=" "), "who does it"),
        (Action.REJECT, by(note=""), "a word of why"),
    ],
)
def test_what_is_refused_changes_nothing(action: Action, step: Step, says: str) -> None:
    closing = Closing()
    closing.feed(change(1))
    before = closing.state()
    with pytest.raises(ValueError, match=says):
        closing.act(ID, action, step)
    assert closing.state() == before


def test_an_alarm_must_be_named_without_doubt() -> None:
    closing = Closing()
    closing.feed(change(1))
    closing.feed(change(2))
    with pytest.raises(ValueError, match="several"):
        closing.act("00", Action.CONFIRM, by())
    with pytest.raises(ValueError, match="no alarm"):
        closing.act("ff", Action.CONFIRM, by())


def test_closed_ones_go_first_when_there_are_too_many() -> None:
    closing = Closing()
    closing.feed(change(1))
    closing.act(ID, Action.REJECT, by())
    closing.act(ID, Action.CLOSE, by())
    for number in range(2, MOST_KEPT + 3):
        closing.feed(change(number))
    assert ID not in [case.alarm_id for case in closing.cases()]
    assert len(closing.cases()) == MOST_KEPT + 1  # none that is open is ever forgotten


@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(Action)), max_size=20))
def test_any_steps_follow_the_table_and_survive_a_restart(steps: list[tuple[int, Action]]) -> None:
    closing = Closing()
    model = dict.fromkeys((1, 2, 3), Handling.NEW)
    for number in model:
        closing.feed(change(number))
    for number, action in steps:
        name = number.to_bytes(16, "big").hex()
        following = CLOSING[model[number]].get(action)
        if following is None:
            with pytest.raises(ValueError, match="cannot"):
                closing.act(name, action, by())
        else:
            closing.act(name, action, by())
            model[number] = following
        closing = Closing(closing.state())
    assert [case.state for case in closing.cases()] == list(model.values())


def test_a_state_that_cannot_be_read_is_refused() -> None:
    for state in (b"[", b'{"version": 2}', b'{"version": 1, "cases": [{}]}'):
        with pytest.raises(StateError):
            Closing(state)
