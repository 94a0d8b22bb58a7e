"""The state table: each state with each event, and against an independent model."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.alarm import AlarmState
from gateway.rules.alarm_states import (
    ASIDE,
    LATCHING,
    TABLE,
    AlarmEvent,
    Owed,
    TransitionError,
    diagram,
    following,
    owes,
)

ROOT = Path(__file__).resolve().parents[3]
S, E = AlarmState, AlarmEvent


class Plain:
    """An independent model: four flags instead of states."""

    def __init__(self, latching: bool) -> None:
        self.latching = latching
        self.active = self.unacknowledged = self.latched = False
        self.aside: AlarmState | None = None

    def happens(self, event: AlarmEvent) -> bool:
        """Tell whether the event has a place; then it is done."""
        if event in {E.RAISE, E.CLEAR}:
            raised = event is E.RAISE
            if raised == self.active:
                return False
            self._condition(raised)
            return True
        if event in {E.ACKNOWLEDGE, E.RESET}:
            return self.aside is None and self._person(event)
        return self._aside(event)

    def _condition(self, raised: bool) -> None:
        self.active = raised
        if self.aside is not None and not self.latching:
            return  # a shelf stands for a word; a latch waits for its reset all the same
        if raised:
            self.unacknowledged, self.latched = True, False
        else:
            self.latched = self.latching and not self.unacknowledged

    def _person(self, event: AlarmEvent) -> bool:
        if event is E.RESET:
            had, self.latched = self.latched, False
            return had
        had, self.unacknowledged = self.unacknowledged, False
        self.latched = self.latched or (had and self.latching and not self.active)
        return had

    def _aside(self, event: AlarmEvent) -> bool:
        into = {E.SHELVE: S.SHELVED, E.SUPPRESS: S.SUPPRESSED_BY_DESIGN, E.REMOVE: S.OUT_OF_SERVICE}
        back = {E.UNSHELVE: S.SHELVED, E.UNSUPPRESS: S.SUPPRESSED_BY_DESIGN,
                E.RESTORE: S.OUT_OF_SERVICE}  # fmt: skip
        rank = [None, S.SHELVED, S.SUPPRESSED_BY_DESIGN, S.OUT_OF_SERVICE]
        if event in into:
            if rank.index(into[event]) <= rank.index(self.aside):
                return False
            self.aside = into[event]
            return True
        if self.aside is not back[event]:
            return False
        self.aside = None
        if self.active or not self.latching:
            self.unacknowledged, self.latched = self.active, False
        return True

    @property
    def state(self) -> AlarmState:
        if self.aside is not None:
            return self.aside
        if self.active:
            return S.UNACKNOWLEDGED_ACTIVE if self.unacknowledged else S.ACKNOWLEDGED_ACTIVE
        if self.unacknowledged:
            return S.RETURNED_UNACKNOWLEDGED
        return S.LATCHED if self.latched else S.NORMAL


@given(st.booleans(), st.lists(st.sampled_from(E), max_size=40))
def test_any_history_leads_where_the_plain_model_says(
    latching: bool, events: list[AlarmEvent]
) -> None:
    model, state, active, owed = Plain(latching), S.NORMAL, False, Owed.NOTHING
    for event in events:
        if event in {E.RAISE, E.CLEAR}:
            if (event is E.RAISE) == active:
                assert not model.happens(event)
                continue  # the desk does not ask the table for these
            active = event is E.RAISE
        right = model.happens(event)
        try:
            following_state = following(state, event, active=active, latching=latching, owed=owed)
        except TransitionError:
            assert not right
        else:
            assert right
            owed = owes(owed, state, event, latching=latching)
            state = following_state
        assert state is model.state


@pytest.mark.parametrize(
    ("before", "events", "after"),
    [
        (S.ACKNOWLEDGED_ACTIVE, [E.SHELVE, E.CLEAR, E.UNSHELVE], S.LATCHED),
        (S.LATCHED, [E.REMOVE, E.RESTORE], S.LATCHED),
        (S.UNACKNOWLEDGED_ACTIVE, [E.SUPPRESS, E.CLEAR, E.UNSUPPRESS], S.RETURNED_UNACKNOWLEDGED),
        (S.RETURNED_UNACKNOWLEDGED, [E.SHELVE, E.UNSHELVE], S.RETURNED_UNACKNOWLEDGED),
        (S.NORMAL, [E.SHELVE, E.RAISE, E.CLEAR, E.UNSHELVE], S.RETURNED_UNACKNOWLEDGED),
        (S.LATCHED, [E.SHELVE, E.SUPPRESS, E.REMOVE, E.RESTORE], S.LATCHED),
        (S.NORMAL, [E.SHELVE, E.UNSHELVE], S.NORMAL),
        (S.LATCHED, [E.SHELVE, E.RAISE, E.UNSHELVE], S.UNACKNOWLEDGED_ACTIVE),
    ],
)
def test_a_latch_outlives_a_shelf_a_suppression_and_an_outage(
    before: AlarmState, events: list[AlarmEvent], after: AlarmState
) -> None:
    state, owed = before, Owed.NOTHING
    active = before in {S.ACKNOWLEDGED_ACTIVE, S.UNACKNOWLEDGED_ACTIVE}
    for event in events:
        active = active if event not in {E.RAISE, E.CLEAR} else event is E.RAISE
        moved = following(state, event, active=active, latching=True, owed=owed)
        owed, state = owes(owed, state, event, latching=True), moved
    assert state is after


PAIRS = list(itertools.product(S, E, (False, True), (False, True)))


@pytest.mark.parametrize(("state", "event", "active", "latching"), PAIRS)
def test_each_state_takes_an_event_or_names_both(
    state: AlarmState, event: AlarmEvent, active: bool, latching: bool
) -> None:
    table = LATCHING if latching else TABLE
    if event in table[state]:
        found = following(state, event, active=active, latching=latching)
        if event in {E.UNSHELVE, E.UNSUPPRESS, E.RESTORE}:
            assert found is (S.UNACKNOWLEDGED_ACTIVE if active else S.NORMAL)
        if event in {E.RAISE, E.CLEAR} and state in ASIDE:
            assert found is state
        return
    words = f"{state.name.lower().replace('_', ' ')} takes no {event.value}"
    with pytest.raises(TransitionError, match=words):
        following(state, event, active=active, latching=latching)


def test_every_state_can_be_reached_and_left() -> None:
    reached = {f for row in LATCHING.values() for f in row.values() if isinstance(f, AlarmState)}
    assert reached == set(S)
    assert all(any(f is not s for f in row.values()) for s, row in TABLE.items())


def test_the_diagram_of_the_documents_is_the_table() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram()}```" in text, (
        "run python -m gateway.rules.alarm_states and put what it prints into ARCHITECTURE.md"
    )
