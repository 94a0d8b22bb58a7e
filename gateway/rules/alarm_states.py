"""States of an alarm 报警状态 (ISA-18.2, IEC 62682) as a table that alone says what follows.

Two rules for this file: everything that decides which state follows is data in TABLE, and whatever
the table does not hold is refused and changes nothing.

An alarm has a state and a condition that is active or not. `RAISE` and `CLEAR` set the condition in
every state; what they do to the state stands in the table. While an alarm is shelved 搁置,
suppressed by design 设计抑制 or out of service 停用 its condition goes on being followed and
recorded; coming back, the state follows from the condition (BY_CONDITION): active again means
unacknowledged, whatever was acknowledged before.

A latching alarm 锁存 differs in two entries (LATCHING): acknowledged and returned is not normal but
latched, until it is reset. It stays latched while it is put aside: what it owes people (OWES) is
remembered (`owes`), and where its condition is gone when it comes back, BACK says the state:
latched, or returned and unacknowledged if nobody has acknowledged it.

`python -m gateway.rules.alarm_states` prints the diagram of ARCHITECTURE.md. Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from gateway.model.alarm import AlarmState


class AlarmEvent(enum.Enum):
    """What may happen to an alarm. RAISE and CLEAR are the plant's, all others a person's or ours.

    REMOVE takes out of service, RESTORE brings back; RESET ends a latched alarm.
    """

    RAISE = "raise"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    RESET = "reset"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"
    REMOVE = "remove"
    RESTORE = "restore"


class Follows(enum.Enum):
    """A following state that is decided by the condition: unacknowledged if active, else normal."""

    BY_CONDITION = "by_condition"


class Owed(enum.Enum):
    """What people still have to do about a latching alarm that is put aside."""

    NOTHING = ""
    RESET = "reset"
    ACKNOWLEDGE = "acknowledge"  # and reset it then


class TransitionError(ValueError):
    """The event has no place in this state; nothing changed."""


Next = AlarmState | Follows
Row = Mapping[AlarmEvent, Next]

_S = AlarmState
_E = AlarmEvent
_ASIDE: Row = {
    _E.SHELVE: _S.SHELVED,
    _E.SUPPRESS: _S.SUPPRESSED_BY_DESIGN,
    _E.REMOVE: _S.OUT_OF_SERVICE,
}

TABLE: Mapping[AlarmState, Row] = MappingProxyType({
    _S.NORMAL: {_E.RAISE: _S.UNACKNOWLEDGED_ACTIVE, **_ASIDE},
    _S.UNACKNOWLEDGED_ACTIVE: {
        _E.CLEAR: _S.RETURNED_UNACKNOWLEDGED,
        _E.ACKNOWLEDGE: _S.ACKNOWLEDGED_ACTIVE,
        **_ASIDE,
    },
    _S.ACKNOWLEDGED_ACTIVE: {_E.CLEAR: _S.NORMAL, **_ASIDE},
    _S.RETURNED_UNACKNOWLEDGED: {
        _E.RAISE: _S.UNACKNOWLEDGED_ACTIVE,
        _E.ACKNOWLEDGE: _S.NORMAL,
        **_ASIDE,
    },
    _S.LATCHED: {_E.RAISE: _S.UNACKNOWLEDGED_ACTIVE, _E.RESET: _S.NORMAL, **_ASIDE},
    _S.SHELVED: {
        _E.RAISE: _S.SHELVED,
        _E.CLEAR: _S.SHELVED,
        _E.UNSHELVE: Follows.BY_CONDITION,
        _E.SUPPRESS: _S.SUPPRESSED_BY_DESIGN,
        _E.REMOVE: _S.OUT_OF_SERVICE,
    },
    _S.SUPPRESSED_BY_DESIGN: {
        _E.RAISE: _S.SUPPRESSED_BY_DESIGN,
        _E.CLEAR: _S.SUPPRESSED_BY_DESIGN,
        _E.UNSUPPRESS: Follows.BY_CONDITION,
        _E.REMOVE: _S.OUT_OF_SERVICE,
    },
    _S.OUT_OF_SERVICE: {
        _E.RAISE: _S.OUT_OF_SERVICE,
        _E.CLEAR: _S.OUT_OF_SERVICE,
        _E.RESTORE: Follows.BY_CONDITION,
    },
})  # fmt: skip
"""What follows from each state by each event."""

LATCHING: Mapping[AlarmState, Row] = MappingProxyType({
    **TABLE,
    _S.ACKNOWLEDGED_ACTIVE: {**TABLE[_S.ACKNOWLEDGED_ACTIVE], _E.CLEAR: _S.LATCHED},
    _S.RETURNED_UNACKNOWLEDGED: {
        **TABLE[_S.RETURNED_UNACKNOWLEDGED], _E.ACKNOWLEDGE: _S.LATCHED,
    },
})  # fmt: skip
"""The same for an alarm that latches."""

ASIDE = frozenset({_S.SHELVED, _S.SUPPRESSED_BY_DESIGN, _S.OUT_OF_SERVICE})
"""States in which an alarm calls nobody."""


OWES: Mapping[AlarmState, Owed] = MappingProxyType({
    _S.NORMAL: Owed.NOTHING,
    _S.UNACKNOWLEDGED_ACTIVE: Owed.ACKNOWLEDGE,
    _S.ACKNOWLEDGED_ACTIVE: Owed.RESET,
    _S.RETURNED_UNACKNOWLEDGED: Owed.ACKNOWLEDGE,
    _S.LATCHED: Owed.RESET,
})  # fmt: skip
"""What is owed about a latching alarm that is put aside in a state."""

BACK: Mapping[Owed, AlarmState] = MappingProxyType({
    Owed.NOTHING: _S.NORMAL,
    Owed.RESET: _S.LATCHED,
    Owed.ACKNOWLEDGE: _S.RETURNED_UNACKNOWLEDGED,
})  # fmt: skip
"""State of an alarm that comes back while its condition is gone."""


def owes(owed: Owed, state: AlarmState, event: AlarmEvent, *, latching: bool) -> Owed:
    """What is owed after an event in a state, if `owed` was before it; only aside it counts."""
    if not latching:
        return Owed.NOTHING
    if state not in ASIDE:
        return OWES[state]
    return Owed.ACKNOWLEDGE if event is AlarmEvent.RAISE else owed


def following(
    state: AlarmState,
    event: AlarmEvent,
    *,
    active: bool,
    latching: bool = False,
    owed: Owed = Owed.NOTHING,
) -> AlarmState:
    """Give the state that follows; `active` is the condition after the event.

    owed: what `owes` gave for an alarm that is put aside.

    Raises TransitionError where the event has no place in the state.
    """
    found = (LATCHING if latching else TABLE)[state].get(event)
    if found is None:
        said = state.name.lower().replace("_", " ")
        raise TransitionError(f"an alarm that is {said} takes no {event.value}")
    if isinstance(found, AlarmState):
        return found
    return AlarmState.UNACKNOWLEDGED_ACTIVE if active else BACK[owed]


def diagram() -> str:
    """Draw the table for ARCHITECTURE.md, in Mermaid; edges of latching alarms are marked."""
    lines = ["stateDiagram-v2", "    [*] --> NORMAL"]
    for state, row in TABLE.items():
        for event, target in row.items():
            if isinstance(target, Follows):
                lines.append(f"    {state.name} --> UNACKNOWLEDGED_ACTIVE: {event.value}, active")
                lines += [
                    f"    {state.name} --> {back.name}: {event.value}, not active"
                    + (f", {owed.value} owed" if owed.value else "")
                    for owed, back in BACK.items()
                ]
            elif target is not state:
                lines.append(f"    {state.name} --> {target.name}: {event.value}")
            latched = LATCHING[state].get(event)
            if latched is not target and isinstance(latched, AlarmState):
                lines.append(f"    {state.name} --> {latched.name}: {event.value}, latching")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(diagram())
