"""What leaves the duty desk: tells (a person is to be told something) and notes. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.duty.roster import Recipient
from gateway.model.alarm import AlarmChange

NOBODY, EXHAUSTED, ENDED = "notify.nobody", "notify.exhausted", "notify.ended"
"""Kinds of notes."""


class Kind(enum.Enum):
    """What a person is told."""

    ALARM = "alarm"
    RETURNED = "returned"
    TEST = "test"
    FLOOD = "flood"
    FLOOD_OVER = "flood_over"


@dataclass(frozen=True, slots=True)
class Flood:
    """Alarms of a flood 报警泛滥 that are told as one. first: names of the first ones."""

    position: str
    since_ns: int
    alarms: int = 0
    urgent: int = 0
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tell:
    """One message to one person by one notifier.

    id: the same for every attempt, so that a receiver can drop what it has.  round, step: of the
    escalation, from 1; 0 where there is none.  attempt: from 1.  repeated: it may have been told
    before, because the gateway was stopped before it knew.  returned: the condition is gone.
    """

    id: str
    call: str
    kind: Kind
    recipient: Recipient
    subject: AlarmChange | Flood
    round: int
    step: int
    attempt: int = 1
    repeated: bool = False
    returned: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something to put on record as an event. alarm_id: hex, empty for a flood."""

    kind: str
    source: str
    text: str
    attributes: Mapping[str, str] = field(default_factory=dict)


Output = Tell | Note
