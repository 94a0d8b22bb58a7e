"""A site, a monitor and a clock for tests: verbs of the trade instead of records."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivers.contract import Batch, SourceEvent
from gateway.model.alarm import AlarmState
from gateway.rules.rulebook import PLANT_TIME, shipped
from gateway.work.almanac import Almanac, parse_almanac
from gateway.work.gases import GasTable, shipped_gases
from gateway.work.monitor import WorkMonitor
from gateway.work.outputs import Now, Output, WorkAlarm, WorkEvent, WorkRecord
from gateway.work.site import Area, GasPoint, Holds, PermitDevice, WorkSite

S = 1_000_000_000
MIN = 60 * S
HOUR = 60 * MIN
CALENDAR = """
night = ["22:00", "06:00"]
[year.2026]
holidays = ["2026-10-01..2026-10-07"]
workdays = ["2026-10-10"]
[year.2027]
"""
POINTS = {
    1: "gds/AT-1", 2: "gds/OT-1", 3: "cam/zone.headcount", 4: "cam/guard.headcount",
    5: "met/wind", 6: "nvr/rec", 7: "cam/analysed_fps", 8: "ball/analysed_fps", 9: "port/LEL",
    10: "gds/H2S-1",
}  # fmt: skip
IDS = {name: number for number, name in POINTS.items()}
AREA = Area(
    name="pump-yard",
    place="tank-farm",
    names=("泵区",),
    cameras=("cam",),
    counts=("cam/zone.headcount",),
    gases=(GasPoint("gds/AT-1", "methane", "%LEL"),),
    wind="met/wind",
    recording="nvr/rec",
    max_people=6,
)
VESSEL = Area(
    name="vessel",
    gases=(GasPoint("gds/AT-1", "methane", "%LEL"), GasPoint("gds/OT-1", "oxygen", "%vol"),
           GasPoint("gds/H2S-1", "H2S", "ppm")),
)  # fmt: skip
BALL = PermitDevice("BKQ-7", "ball", ())
PORTABLE = PermitDevice("PD-3", "", (GasPoint("port/LEL", "methane", "%LEL"),))
SITE = WorkSite(
    areas=(AREA, VESSEL, Area("rich", oxygen_rich=True)),
    devices={"BKQ-7": BALL, "PD-3": PORTABLE},
    holds=Holds(merge_s=5.0),
)


def at(text: str) -> int:
    """Wall-clock time (ns) of a local time such as 2026-09-16 10:00:00 (a working Wednesday)."""
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=PLANT_TIME)
    return int(moment.timestamp()) * S


def iso(time_ns: int) -> str:
    moment = dt.datetime.fromtimestamp(time_ns / 1e9, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


NOON = at("2026-09-16 12:00:00")


@dataclass
class Scene:
    """One monitor and its outputs so far."""

    now_ns: int = NOON
    site: WorkSite = SITE
    almanac: Almanac = field(default_factory=lambda: parse_almanac(CALENDAR, "calendar.toml"))
    restored: bytes = b""
    gases: GasTable = field(default_factory=shipped_gases)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        self.new_id: Callable[[], bytes] = lambda: next(numbers).to_bytes(16, "big")
        self.mono_ns = 10**15
        self.outputs: list[Output] = []
        self.monitor = self.make(self.restored)

    def make(self, restored: bytes = b"") -> WorkMonitor:
        tables = (self.gases, self.almanac)
        return WorkMonitor(self.site, shipped(), tables, POINTS, self.new_id, restored)

    @property
    def now(self) -> Now:
        return Now(self.now_ns, self.mono_ns)

    def restart(self) -> None:
        """Stop and start again from the stored state, on another monotonic clock."""
        self.mono_ns += 10**12
        self.monitor = self.make(self.monitor.state())
        self.outputs += self.monitor.begin(self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass; every deadline is kept to the nanosecond."""
        end_ns = self.mono_ns + round(seconds * S)
        for _ in range(10_000):
            due_ns = self.monitor.next_deadline_ns()
            if due_ns is None or due_ns > end_ns:
                break
            self._to(max(due_ns, self.mono_ns))
            self.outputs += self.monitor.tick(self.now)
        self._to(end_ns)
        self.outputs += self.monitor.tick(self.now)

    def _to(self, mono_ns: int) -> None:
        self.now_ns += mono_ns - self.mono_ns
        self.mono_ns = mono_ns

    def event(self, kind: str, source: str = "tickets", time_ns: int | None = None,
              **said: Any) -> None:  # fmt: skip
        time_ns = self.now_ns if time_ns is None else time_ns
        event = SourceEvent(kind, source, time_ns, "", said)
        self.outputs += self.monitor.feed_event(event, self.now)

    def permit(self, ticket: str = "DH-1", status: str = "active", time_ns: int | None = None,
               **said: Any) -> None:  # fmt: skip
        given: dict[str, Any] = {
            "id": ticket, "ticket_no": ticket, "work": "hot_work", "level": "first",
            "area": "pump-yard", **said, "status": status,
        }  # fmt: skip
        self.event("intake.permit", time_ns=time_ns, **given)

    def gas(self, minutes_ago: float = 10, value: float = 0.1, gas: str = "methane",
            unit: str = "%vol", ticket: str = "DH-1", **said: str) -> None:  # fmt: skip
        time_ns = self.now_ns - round(minutes_ago * MIN)
        name = said.pop("id", f"{ticket}/{gas}/{time_ns}/{value}/{said.get('place', '')}")
        self.event("intake.gas_analysis", time_ns=time_ns, permit=ticket, gas=gas, value=value,
                   unit=unit, id=name, **said)  # fmt: skip

    def value(self, name: str, value: float, quality: int = 0) -> None:
        self.values({name: value}, quality)

    def values(self, named: Mapping[str, float], quality: int = 0) -> None:
        batch = Batch(
            np.array([IDS[name] for name in named], np.int32),
            np.array(list(named.values()), np.float64),
            np.full(len(named), quality, np.uint16),
            self.now_ns, self.now_ns, 0,
        )  # fmt: skip
        self.outputs += self.monitor.feed(batch, self.now)

    def all_well(self) -> None:
        """Every bound point says that all is as it should be."""
        self.values({"gds/AT-1": 1.0, "gds/OT-1": 20.9, "cam/zone.headcount": 3.0,
                     "cam/guard.headcount": 1.0, "met/wind": 2.0, "nvr/rec": 1.0,
                     "cam/analysed_fps": 4.0, "ball/analysed_fps": 4.0, "port/LEL": 0.0,
                     "gds/H2S-1": 0.0})  # fmt: skip

    def keep_well(self, seconds: float, step_s: float = 10.0) -> None:
        """All is well for so long, told every `step_s`."""
        for _ in range(round(seconds / step_s)):
            self.all_well()
            self.wait(step_s)
        self.all_well()

    def standing(self) -> set[str]:
        """Conditions raised and not returned, from the outputs alone."""
        found: dict[bytes, str] = {}
        for output in self.outputs:
            if isinstance(output, WorkAlarm):
                change = output.change
                if change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
                    found[change.alarm_id] = change.condition
                else:
                    del found[change.alarm_id]
        return set(found.values())

    def raised(self) -> list[str]:
        """Conditions in the order in which they were raised."""
        return [o.change.condition for o in self.alarms()]

    def alarms(self) -> list[WorkAlarm]:
        raised = AlarmState.UNACKNOWLEDGED_ACTIVE
        return [o for o in self.outputs if isinstance(o, WorkAlarm) and o.change.state is raised]

    def alarm(self, condition: str) -> WorkAlarm:
        return next(alarm for alarm in self.alarms() if alarm.change.condition == condition)

    def events(self, kind: str) -> list[WorkEvent]:
        return [o for o in self.outputs if isinstance(o, WorkEvent) and o.kind == kind]

    def records(self) -> list[WorkRecord]:
        return [o for o in self.outputs if isinstance(o, WorkRecord)]

    def state(self, ticket: str = "DH-1") -> str:
        """State as reported, with what it waits for."""
        found = {str(p["ticket_no"]): str(p["state"]) for p in self.monitor.permits(self.now)}
        return found[ticket]

    def start(self, ticket: str = "DH-1", **said: Any) -> None:
        """Approve, analyse and start with all well."""
        self.permit(ticket, "approved", self.now_ns - HOUR, **said)
        self.gas(10, ticket=ticket)
        if said.get("work") == "confined_space":
            self.gas(10, 20.9, "oxygen", ticket=ticket)
        self.all_well()
        self.permit(ticket, "active", **said)
