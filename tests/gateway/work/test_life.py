"""Every state with every trigger, both tables; ARCHITECTURE.md draws what the code has."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.work.life import (
    CLOSING,
    PERMIT,
    Action,
    Handling,
    State,
    TransitionError,
    Trigger,
    diagram,
    step,
)
from gateway.work.permit import KIND_ZH, Kind, Level, Permit, Version, fold

ROOT = Path(__file__).resolve().parents[3]

# The same machine written down a second time, by hand, one row a state in the order of Trigger:
# receive approve start suspend end close cancel; "." is refused.
PERMIT_ROWS = {
    "received": "received approved active . . . closed",
    "approved": "received approved active . . . closed",
    "active": ". . active suspended ended closed closed",
    "suspended": ". . active suspended ended closed closed",
    "ended": ". . . . ended closed closed",
    "closed": ". . . . . closed closed",
}
# push confirm reject handle close
CLOSING_ROWS = {
    "new": "pushed confirmed false . .",
    "pushed": ". confirmed false . .",
    "confirmed": ". . false handling .",
    "false": ". confirmed . . closed",
    "handling": ". . . . closed",
    "closed": ". . . . .",
}


@pytest.mark.parametrize(
    ("state", "trigger"), list(itertools.product(State, Trigger)), ids=lambda part: str(part.value)
)
def test_permit_table(state: State, trigger: Trigger) -> None:
    expected = PERMIT_ROWS[state.value].split()[list(Trigger).index(trigger)]
    if expected == ".":
        with pytest.raises(TransitionError, match=f"cannot {trigger.value}"):
            step(PERMIT, state, trigger)
    else:
        assert step(PERMIT, state, trigger) is State(expected)


@pytest.mark.parametrize(
    ("state", "action"), list(itertools.product(Handling, Action)), ids=lambda part: str(part.value)
)
def test_closing_table(state: Handling, action: Action) -> None:
    expected = CLOSING_ROWS[state.value].split()[list(Action).index(action)]
    if expected == ".":
        with pytest.raises(TransitionError):
            step(CLOSING, state, action)
    else:
        assert step(CLOSING, state, action) is Handling(expected)


@pytest.mark.parametrize(
    ("heading", "drawn"),
    [
        ("Life of a permit", diagram(PERMIT, State.RECEIVED)),
        ("Handling of an alarm", diagram(CLOSING, Handling.NEW)),
    ],
)
def test_the_diagrams_are_those_of_the_tables(heading: str, drawn: str) -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"**{heading}**" in text
    assert f"```mermaid\n{drawn}```" in text, (
        "stale: paste what `diagram` gives into ARCHITECTURE.md"
    )


def test_every_kind_and_state_has_a_chinese_word() -> None:
    assert all(kind.zh for kind in Kind)
    assert len(KIND_ZH) == 12
    assert all(state.zh for state in State)
    assert all(handling.zh for handling in Handling)
    assert [level.zh for level in Level] == ["特级", "一级", "二级"]


WORDS = {
    "received": "receive", "approved": "approve", "active": "start", "suspended": "suspend",
    "ended": "end", "closed": "close", "cancelled": "cancel",
}  # fmt: skip


def version(time_s: int, status: str, **said: str | bool) -> Version:
    attributes = {"ticket_no": "T", "work": "hot_work", "status": status, **said}
    return Version.of(attributes, time_s * 1_000_000_000)


class Model:
    """What a permit is after messages in the order of their times, written independently."""

    def __init__(self) -> None:
        self.state = "received"
        self.started = self.ended = 0
        self.breaks: list[list[int]] = []
        self.refused = 0

    def hear(self, time_s: int, status: str) -> None:
        column = list(WORDS).index(status)
        following = PERMIT_ROWS[self.state].split()[column]
        if following == ".":
            self.refused += 1
            return
        if self.state == "suspended" and following == "active":
            self.breaks[-1][1] = time_s
        if self.state == "active" and following == "suspended":
            self.breaks.append([time_s, 0])
        if following == "active" and not self.started:
            self.started = time_s
        if following in {"ended", "closed"} and self.started and not self.ended:
            self.ended = time_s
        self.state = following


MESSAGES = st.lists(
    st.tuples(st.integers(1, 10**6), st.sampled_from(list(WORDS))), min_size=1, max_size=12,
    unique_by=lambda message: message[0],
)  # fmt: skip


@given(MESSAGES, st.randoms(use_true_random=False))
def test_a_permit_is_what_its_messages_say_in_any_order(
    messages: list[tuple[int, str]], order: object
) -> None:
    model = Model()
    for time_s, status in sorted(messages):
        model.hear(time_s, status)
    versions = [version(*message) for message in messages]
    order.shuffle(versions)  # type: ignore[attr-defined]  # a random.Random
    permit = fold([*versions, *versions[:3]])  # repeated messages change nothing
    assert permit.state.value == model.state
    assert _seconds(permit.started_ns) == model.started
    assert _seconds(permit.ended_ns) == model.ended
    assert [[_seconds(a), _seconds(b)] for a, b in permit.breaks] == model.breaks
    assert len(permit.refused) == model.refused
    assert permit == fold(versions)


def _seconds(time_ns: int) -> int:
    return time_ns // 1_000_000_000


def test_an_edited_version_corrects_start_and_end() -> None:
    first = version(100, "active", actual_start="2026-05-01T08:00:00.000Z")
    edited = version(200, "active", actual_start="2026-05-01T07:30:00.000Z")
    permit = fold([edited, first])
    assert permit.started_ns == 1_777_620_600_000_000_000
    assert permit.state is State.ACTIVE


def test_deleted_and_cancelled_close() -> None:
    for said in ({"deleted": True}, {"cancelled": True}):
        permit: Permit = fold([version(1, "approved"), version(2, "approved", **said)])
        assert permit.state is State.CLOSED


def test_what_changed_after_the_approval() -> None:
    before = version(1, "received", worker="A", content="weld")
    approved = version(2, "approved", worker="B", content="weld")
    same = version(3, "active", worker="B")
    other = version(4, "active", worker="C")
    assert fold([before, approved, same]).changed_after_approval() == ()
    assert fold([before, approved, same, other]).changed_after_approval() == ("worker",)
