"""What leaves the work monitor: alarms, events, and finished work records. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.model.alarm import AlarmChange


@dataclass(frozen=True, slots=True)
class Now:
    """The time: wall clock and monotonic, ns."""

    wall_ns: int
    mono_ns: int


@dataclass(frozen=True, slots=True)
class WorkAlarm:
    """A violation raised or returned.

    sheet: what was judged, by what rule, from which values; empty on return.  cameras: those that
    see the place, of which a picture and a clip are wanted.
    """

    change: AlarmChange
    sheet: Mapping[str, Any] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkEvent:
    """Something to be told. A stop-work recommendation is one of these, never a command."""

    kind: str
    source: str
    text: str
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class WorkRecord:
    """The record 作业记录 of a permit whose work is over; plain values, ready for JSON."""

    ticket: str
    revision: int
    content: Mapping[str, Any]


Output = WorkAlarm | WorkEvent | WorkRecord
