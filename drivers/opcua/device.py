"""What outlives a session: the points, the counters, and what was last said or received."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from drivers.contract import Clock, DriverPoint, Int64Array, UInt64Array
from drivers.opcua.batches import BatchMaker
from drivers.opcua.config import OpcUaAddress, OpcUaConfig
from drivers.opcua.events import EventMaker, OverflowTally
from drivers.opcua.expiry import ExpiryWatch
from drivers.opcua.field_table import FieldTable
from drivers.opcua.repeats import EchoFilter, RepeatFilter
from drivers.opcua.revised import Revisions
from drivers.opcua.shift import ClockWatch, ShiftWatch
from drivers.opcua.state import State
from drivers.opcua.traffic import Traffic


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
    backfilled: int = 0
    resumed: int = 0
    heartbeats: int = 0
    alarms: int = 0
    failovers: int = 0
    refused: int = 0
    subscribed: int = 0


@dataclass(slots=True)
class Device:
    """One configured server.

    last_value_ns: wall clock of the last values received, or None before the first ever.
    server_state: what the server last said of itself (life.STATES), 0: running.
    ends_ns: when certificates of the present session end, by whose they are (expiry.py).
    unsaved_told: why `state` was last said not to be written, empty: it is.
    renumbered_told: namespace indexes that were said to mean others now, with those of today.
    misfits: handles of points whose values were said not to fit their type.
    unread: why a field of a structure or an array could not be read, by handle, as last told.
    leaders: the handles that are watched: all points, but of the fields of one structure the first.
    fellows: all handles that a leader of fields brings values of, its own first.
    fields: how the fields are read; definitions.py fills it.
    state: what outlives a session, or this process.
    lost: bool[n], points that were said to be bad:not_connected and have not come back.
    heard_ns: int64[n], monotonic time of each point's last sample.
    awaiting_first: whether a gap waits to learn first_ns.
    first_ns: int64[n], first source time since the session began or a notification was lost.
    repeats: tells what a redundant set, or a single server, gives a second time.
    revised: where a server does not sample as it was asked to.
    last_bits: uint64[n], what stands for each point's last value (repeats.value_bits).
    """

    name: str
    config: OpcUaConfig
    points: Sequence[DriverPoint[OpcUaAddress]]
    clock: Clock
    batches: BatchMaker
    events: EventMaker
    state: State
    counters: Counters = field(default_factory=Counters)
    traffic: Traffic = field(init=False)
    overflow: OverflowTally = field(default_factory=OverflowTally)
    misfits: set[int] = field(default_factory=set)
    unread: dict[int, str] = field(default_factory=dict)
    last_value_ns: int | None = None
    server_state: int = 0
    unsaved_told: str = ""
    expiry: ExpiryWatch = field(default_factory=ExpiryWatch)
    ends_ns: Mapping[str, int] = field(default_factory=dict)
    renumbered_told: dict[int, int] = field(default_factory=dict)
    indexes_told: bool = False
    awaiting_first: bool = False
    unfiltered_told: set[int] = field(default_factory=set)
    surveyed: set[str] = field(default_factory=set)
    shift: ShiftWatch = field(default_factory=ShiftWatch)
    server_clock: ClockWatch = field(default_factory=ClockWatch)
    lost: npt.NDArray[np.bool_] = field(init=False)
    heard_ns: Int64Array = field(init=False)
    last_bits: UInt64Array = field(init=False)
    revised: Revisions = field(init=False)
    first_ns: Int64Array = field(init=False)
    leaders: list[int] = field(init=False)
    fellows: dict[int, tuple[int, ...]] = field(init=False)
    fields: FieldTable = field(init=False)
    repeats: RepeatFilter | EchoFilter = field(init=False)

    def __post_init__(self) -> None:
        """Make the columns that have one row for each point."""
        self.traffic = Traffic(self.clock.monotonic_ns)
        count = len(self.points)
        self.lost = np.zeros(count, np.bool_)
        self.heard_ns = np.zeros(count, np.int64)
        self.first_ns = np.zeros(count, np.int64)
        self.last_bits = np.zeros(count, np.uint64)
        asked_ms = self.config.sampling_interval_ms or self.config.publish_ms
        self.revised = Revisions(asked_ms, self.config.item_queue_size)
        self.fellows = _fellows(self.points)
        led = {h for handles in self.fellows.values() for h in handles[1:]}
        self.leaders = [handle for handle in range(count) if handle not in led]
        elements = [h for h, point in enumerate(self.points) if point.address.index]
        self.fields = FieldTable(count, elements)
        redundant = len(self.config.servers) > 1
        self.repeats = RepeatFilter(count) if redundant else EchoFilter(count)

    def with_fellows(self, handles: Iterable[int]) -> list[int]:
        """Give the handles of all points that these, which are watched, bring values of."""
        return [one for handle in handles for one in self.fellows.get(handle, (handle,))]


def _fellows(points: Sequence[DriverPoint[OpcUaAddress]]) -> dict[int, tuple[int, ...]]:
    """Group the fields of each structure under the first of them."""
    groups: dict[tuple[str, str], list[int]] = {}
    for handle, point in enumerate(points):
        if point.address.field:
            groups.setdefault((point.address.node, point.address.index), []).append(handle)
    return {handles[0]: tuple(handles) for handles in groups.values()}


__all__ = ["Counters", "Device"]
