"""What outlives a session: the points, the counters, and what was last said or received."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.contract import Clock, DriverPoint
from drivers.opcua.batches import BatchMaker
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from drivers.opcua.events import EventMaker, OverflowTally


@dataclass(slots=True)
class Counters:
    """Counts since start, over all sessions; `refused` and `subscribed` are of the present one."""

    notifications: int = 0
    values: int = 0
    gaps: int = 0
    republished: int = 0
    sessions: int = 0
    overflows: int = 0
    unknown_handles: int = 0
    not_stored: int = 0
    refused: int = 0
    subscribed: int = 0


@dataclass(slots=True)
class Device:
    """One configured server.

    last_value_ns: wall clock of the last values received, or None before the first ever.
    misfits: handles of points whose values were said not to fit their type.
    """

    name: str
    config: OpcUaConfig
    points: Sequence[DriverPoint[OpcUaAddress]]
    clock: Clock
    batches: BatchMaker
    events: EventMaker
    counters: Counters = field(default_factory=Counters)
    overflow: OverflowTally = field(default_factory=OverflowTally)
    misfits: set[int] = field(default_factory=set)
    last_value_ns: int | None = None
    indexes_told: bool = False


__all__ = ["Counters", "Device"]
