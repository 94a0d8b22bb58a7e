"""Life of a permit 作业票 and of a report's handling 消警, as tables; all about states is here.

Rule 1: a state changes only as a table below says. Rule 2: what a table does not hold is refused
and changes nothing. The diagrams in ARCHITECTURE.md are made from these tables (`diagram`).

Permit:   received → approved → active ⇄ suspended → ended → closed; cancelled ends anywhere.
          received → active is in the table because sites do it: it is judged as started without
          approval, and the work is watched all the same.
Closing:  new → pushed → confirmed / false → handling → closed, each step with person and time.

Pure.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeVar


class State(enum.Enum):
    """Where a permit is in its life."""

    RECEIVED = "received"
    APPROVED = "approved"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ENDED = "ended"
    CLOSED = "closed"

    @property
    def zh(self) -> str:
        """Chinese word."""
        return _STATE_ZH[self]

    @property
    def working(self) -> bool:
        """Tell whether people may be at work under the permit: it is watched."""
        return self is State.ACTIVE

    @property
    def over(self) -> bool:
        """Tell whether the work is over."""
        return self in {State.ENDED, State.CLOSED}


class Trigger(enum.Enum):
    """What moves a permit on."""

    RECEIVE = "receive"
    APPROVE = "approve"
    START = "start"
    SUSPEND = "suspend"
    END = "end"
    CLOSE = "close"
    CANCEL = "cancel"


_STATE_ZH = {
    State.RECEIVED: "已受理",
    State.APPROVED: "已审批",
    State.ACTIVE: "作业中",
    State.SUSPENDED: "中断",
    State.ENDED: "完工",
    State.CLOSED: "关闭",
}

PERMIT: Mapping[State, Mapping[Trigger, State]] = {
    State.RECEIVED: {
        Trigger.RECEIVE: State.RECEIVED,
        Trigger.APPROVE: State.APPROVED,
        Trigger.START: State.ACTIVE,
        Trigger.CANCEL: State.CLOSED,
    },
    State.APPROVED: {
        Trigger.RECEIVE: State.RECEIVED,  # approval withdrawn: it must be approved again
        Trigger.APPROVE: State.APPROVED,
        Trigger.START: State.ACTIVE,
        Trigger.CANCEL: State.CLOSED,
    },
    State.ACTIVE: {
        Trigger.START: State.ACTIVE,
        Trigger.SUSPEND: State.SUSPENDED,
        Trigger.END: State.ENDED,
        Trigger.CLOSE: State.CLOSED,
        Trigger.CANCEL: State.CLOSED,
    },
    State.SUSPENDED: {
        Trigger.START: State.ACTIVE,
        Trigger.SUSPEND: State.SUSPENDED,
        Trigger.END: State.ENDED,
        Trigger.CLOSE: State.CLOSED,
        Trigger.CANCEL: State.CLOSED,
    },
    State.ENDED: {
        Trigger.END: State.ENDED,
        Trigger.CLOSE: State.CLOSED,
        Trigger.CANCEL: State.CLOSED,
    },
    State.CLOSED: {
        Trigger.CLOSE: State.CLOSED,
        Trigger.CANCEL: State.CLOSED,
    },
}


class Handling(enum.Enum):
    """Where the handling of an alarm of vision or work is (消警)."""

    NEW = "new"
    PUSHED = "pushed"
    CONFIRMED = "confirmed"
    FALSE = "false"
    HANDLING = "handling"
    CLOSED = "closed"

    @property
    def zh(self) -> str:
        """Chinese word."""
        return _HANDLING_ZH[self]


class Action(enum.Enum):
    """What a person, or the gateway for PUSH, does about it."""

    PUSH = "push"
    CONFIRM = "confirm"
    REJECT = "reject"  # it was false
    HANDLE = "handle"
    CLOSE = "close"


_HANDLING_ZH = {
    Handling.NEW: "新报警",
    Handling.PUSHED: "已推送",
    Handling.CONFIRMED: "已确认",
    Handling.FALSE: "误报",
    Handling.HANDLING: "处置中",
    Handling.CLOSED: "已消警",
}

CLOSING: Mapping[Handling, Mapping[Action, Handling]] = {
    Handling.NEW: {
        Action.PUSH: Handling.PUSHED,
        Action.CONFIRM: Handling.CONFIRMED,
        Action.REJECT: Handling.FALSE,
    },
    Handling.PUSHED: {
        Action.CONFIRM: Handling.CONFIRMED,
        Action.REJECT: Handling.FALSE,
    },
    Handling.CONFIRMED: {
        Action.HANDLE: Handling.HANDLING,
        Action.REJECT: Handling.FALSE,
    },
    Handling.FALSE: {
        Action.CONFIRM: Handling.CONFIRMED,  # somebody looked again
        Action.CLOSE: Handling.CLOSED,
    },
    Handling.HANDLING: {Action.CLOSE: Handling.CLOSED},
    Handling.CLOSED: {},
}

StateT = TypeVar("StateT", bound=enum.Enum)
TriggerT = TypeVar("TriggerT", bound=enum.Enum)


class TransitionError(ValueError):
    """The table has no such step; the message names state, trigger and what is possible."""


def step(
    table: Mapping[StateT, Mapping[TriggerT, StateT]], state: StateT, trigger: TriggerT
) -> StateT:
    """Give the next state; raises TransitionError where the table has none."""
    following = table[state].get(trigger)
    if following is None:
        possible = ", ".join(known.value for known in table[state]) or "nothing"
        raise TransitionError(
            f"cannot {trigger.value} what is {state.value}: possible is {possible}"
        )
    return following


def diagram(table: Mapping[StateT, Mapping[TriggerT, StateT]], first: StateT) -> str:
    """Draw a table as a Mermaid state diagram; steps that stay where they are left out."""
    lines = ["stateDiagram-v2", f"    [*] --> {first.value}"]
    for state, row in table.items():
        by_next: dict[StateT, list[str]] = {}
        for trigger, following in row.items():
            if following is not state:
                by_next.setdefault(following, []).append(trigger.value)
        lines += [
            f"    {state.value} --> {following.value}: {', '.join(triggers)}"
            for following, triggers in by_next.items()
        ]
        if not by_next:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join(lines) + "\n"
