"""Judge: all rules of one gateway behind one face, and what must survive a restart.

Guarantees: what rules find goes through the alarm desk (desk.py), which decides what becomes of it;
`state_of(change)` is to be stored with each change, in one transaction; a `Judge` restored from it
neither raises a standing alarm again nor forgets one, nor what a person did to it. A state that
cannot be read is left out and named in `complaints`; an alarm that still stands is raised again.
Alarms of points, limits or zones that are gone are returned. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from drivers.contract import Batch, SourceEvent
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.model.point import Point
from gateway.rules.area_count import AreaCounts, AreaNow, AreaSpec
from gateway.rules.condition_groups import Evaluate
from gateway.rules.condition_spec import MATCHES, AlarmSpec
from gateway.rules.conditions import Conditions, named_in
from gateway.rules.declarations import DeclarationError, Declarations, Note
from gateway.rules.desk import PREFIX, AlarmDesk, Command, Entry, active_of
from gateway.rules.desk_policy import DeskPolicy
from gateway.rules.gathering import Gatherings, GatheringSpec
from gateway.rules.headcount import KINDS as HEADCOUNT_KINDS
from gateway.rules.headcount import HeadcountAlarms
from gateway.rules.late import LateAlarms, judged_late
from gateway.rules.limits import LimitAlarms, Standing
from gateway.rules.metrics import Flood, FloodWatch, Thresholds, is_raise
from gateway.rules.mirror import KINDS as MIRROR_KINDS
from gateway.rules.mirror import Mirror, key_of
from gateway.rules.not_judged import CAMERA_AFTER_NS, NotJudged, carrying
from gateway.rules.open_alarm import OpenAlarm, encode_open
from gateway.rules.rulebook import Rule

DESK_STATE = PREFIX
"""Beginning of the names of what must survive a restart, in the state of the log."""


FLOOD, FLOOD_OVER = "alarm.flood", "alarm.flood_over"
"""Kinds of the notes about floods."""
PERMITS = "permit/"
"""Sources of alarms that the work monitor finds and keeps; whatever rule they name."""
PART = 100
"""Alarms that go through the desk and into the log at once; the rest lets others have a turn."""
_AREA_RULES = ("headcount.high_risk", "headcount.running_maintenance", "headcount.area")


@dataclass(frozen=True, slots=True)
class Handover:
    """What a judge of a changed configuration goes on from."""

    limits: Standing
    headcount: bytes
    entries: tuple[Entry, ...]


class Judge:
    """Feeds batches and events to the rules.

    points: of the catalogue.  zones: camera/zone of every camera zone that is configured.
    new_id: makes 16 random bytes.  state: what `state_of` gave, by name.

    `permit_active` answers whether maintenance on a running unit has an active permit at a place;
    until somebody sets it, none has.
    """

    def __init__(
        self,
        points: Sequence[Point],
        zones: Collection[str],
        *,
        new_id: Callable[[], bytes],
        state: Mapping[str, bytes] | None = None,
        policy: DeskPolicy | None = None,
        specs: Sequence[AlarmSpec] = (),
        compile_expression: Callable[[str], Evaluate] | None = None,
        thresholds: Thresholds | None = None,
        areas: Sequence[AreaSpec] = (),
        area_rules: Mapping[str, Rule] | None = None,
        gatherings: Sequence[GatheringSpec] = (),
        gathering_rules: tuple[Rule, Rule] | None = None,
    ) -> None:
        self._zones = frozenset(zones)
        self._new_id = new_id
        self._desk = AlarmDesk(policy or DeskPolicy(), new_id=new_id)
        self._desk.restore(state or {})
        self.declarations = Declarations(points, new_id=new_id)
        self._positions = {p.name: p.operator_position for p in points if p.operator_position}
        self._floods = FloodWatch(thresholds) if thresholds is not None else None
        self._flood_notes: list[Note] = []
        self._waiting: deque[AlarmChange] = deque()  # found, and not through the desk yet
        self._waiting_keys: set[tuple[str, str]] = set()
        self._waiting_ns = 0
        self._mirror = Mirror(lambda: [e.last for e in self._desk.entries()], new_id)
        self._limits = LimitAlarms(points, new_id=new_id, restored=self._standing("limit."))
        sights = [rule for _, rule in HEADCOUNT_KINDS.values()]
        self._headcount = HeadcountAlarms(new_id=new_id, restored=self._standing(*sights))

        named = named_in(specs) | {name for area in areas for name in area.cameras}
        few = [point for point in points if point.name in named]  # of all, nothing is kept
        self._make_conditions = partial(
            Conditions, specs, few, new_id=new_id, compile_expression=compile_expression
        )
        self._conditions = self._make_conditions(restored=self._open("alarm.", "gas."))
        self._late = LateAlarms(
            lambda: (
                LimitAlarms(self._limits.points, new_id=new_id, ticks=False),
                Conditions(judged_late(specs), few, new_id=new_id, ticks=False),
            ),
            self._desk.entry,
        )
        states = {name for spec in specs if spec.kind in MATCHES for name in spec.points}
        eyes = {"/".join(zone.split("/")[:2]) + ".headcount" for zone in zones}
        self._make_not_judged = partial(
            NotJudged, carrying(points, states | eyes), new_id=new_id,
            after_ns=dict.fromkeys(eyes, CAMERA_AFTER_NS),
        )  # fmt: skip
        self._not_judged = self._make_not_judged(restored=self._open("fault."))
        self.permit_active: Callable[[str], bool] = lambda _place: False
        self._make_areas = partial(
            AreaCounts, areas, few, area_rules or {}, new_id=new_id,
            permit_active=self._permit_is_active,
        )  # fmt: skip
        self._areas = self._make_areas(restored=self._open(*_AREA_RULES))
        self._make_gatherings = partial(Gatherings, gatherings, gathering_rules, new_id=new_id)
        self._gatherings = self._make_gatherings(restored=self._open("gathering."))

    def _permit_is_active(self, place: str) -> bool:
        return self.permit_active(place)

    def _open(self, *rules: str) -> list[OpenAlarm]:
        entries = [e for e in self._desk.entries() if not e.last.source.startswith(PERMITS)]
        return [OpenAlarm.of(one) for rule in rules for one in active_of(entries, rule)]

    def _standing(self, *rules: str) -> bytes:
        return encode_open(self._open(*rules))

    def found(self, changes: Sequence[AlarmChange]) -> list[AlarmChange]:
        """Give the desk what was found elsewhere: by the work monitor."""
        return self._desk.feed(changes)

    @property
    def complaints(self) -> list[str]:
        """What of the stored state could not be read, a sentence each."""
        return self._desk.complaints

    def begin(self, wall_ns: int, *, now_ns: int, declared: bytes = b"") -> list[AlarmChange]:
        """Set the clocks; return the alarms of zones that are gone. Once, at start.

        What the policy of now does not suppress any more is returned with them.
        wall_ns: wall clock.  now_ns: the monotonic time of that moment.  declared: an earlier
        `declarations.encode()`.
        """
        try:
            self.declarations.restore(declared, now_ns=now_ns, wall_ns=wall_ns)
        except DeclarationError as error:
            self.complaints.append(str(error))
        self._desk.set_ends(now_ns=now_ns, wall_ns=wall_ns)
        self._conditions.begin(now_ns)
        gone = self._desk.feed(self._headcount.close_removed(self._zones, wall_ns))
        return gone + self._desk.settle(wall_ns)

    def take_over(self, other: Judge, gateway_time_ns: int) -> list[AlarmChange]:
        """Go on where `other` stopped; before the first `feed`, instead of `state` and `begin`.

        Standing alarms keep their ids and states, running delays of points that are the same run
        on. Returns the alarms of points, limits and zones that are gone; `other` is not to be fed
        any more.
        """
        rest = other.rest()
        was = other.hand_over()
        self._desk.adopt(was.entries)
        self.declarations.adopt(other.declarations)
        self._floods, self._flood_notes = other.hand_over_floods()
        self._conditions = self._make_conditions(restored=self._open("alarm.", "gas."))
        self._areas = self._make_areas(restored=self._open(*_AREA_RULES))
        self._gatherings = self._make_gatherings(restored=self._open("gathering."))
        self._not_judged = self._make_not_judged(restored=self._open("fault."))
        self._not_judged.take_over(other._not_judged)
        self._mirror.take_over(other._mirror)
        self.permit_active = other.permit_active
        self._headcount = HeadcountAlarms(new_id=self._new_id, restored=was.headcount)
        gone = [
            *self._limits.take_over(was.limits, gateway_time_ns),
            *self._headcount.close_removed(self._zones, gateway_time_ns),
        ]
        return [*rest, *self._desk.feed(gone), *self._desk.settle(gateway_time_ns)]

    def hand_over_floods(self) -> tuple[FloodWatch | None, list[Note]]:
        """Give the floods that run, for `take_over`."""
        return self._floods, self._flood_notes

    def hand_over(self) -> Handover:
        """Give what stands, for `take_over`."""
        return Handover(
            self._limits.hand_over(),
            self._headcount.open_alarms(),
            tuple(self._desk.entries()),
        )

    def feed(self, batch: Batch, *, now_ns: int) -> list[AlarmChange]:
        """Judge a batch of engineering values; `now_ns` is monotonic.

        Of a flood this gives the first part; while `waiting`, `more` gives the next.
        """
        if batch.is_history:
            found = self._late.feed(batch, now_ns=now_ns)
            return self._taken(found, now_ns) if found else found
        found = self._limits.feed(batch, now_ns=now_ns)
        found += self._conditions.feed(batch, now_ns=now_ns)
        found += self._not_judged.feed(batch, now_ns=now_ns)
        found += self._areas.feed(batch, now_ns=now_ns)
        return self._taken(found, now_ns) if found else found

    @property
    def waiting(self) -> bool:
        """Tell whether found alarms wait for their turn."""
        return bool(self._waiting)

    def more(self, now_ns: int) -> list[AlarmChange]:
        """Take the next part of a flood through the desk; `now_ns` is monotonic."""
        part = [self._waiting.popleft() for _ in range(min(PART, len(self._waiting)))]
        if not self._waiting:
            self._waiting_keys.clear()
        return self._through(part, now_ns)

    def rest(self) -> list[AlarmChange]:
        """Take all that waits through the desk."""
        changes = []
        while self._waiting:
            changes += self.more(self._waiting_ns)
        return changes

    def _taken(self, found: list[AlarmChange], now_ns: int) -> list[AlarmChange]:
        """Take what was found through the desk, of a flood the first part.

        The order of what happens to one alarm is kept: where it waits already, all go first.
        """
        changes: list[AlarmChange] = []
        if self._waiting and any((c.source, c.condition) in self._waiting_keys for c in found):
            changes = self.rest()
        if len(found) > PART:
            late = found[PART:]
            self._waiting.extend(late)
            self._waiting_keys.update((one.source, one.condition) for one in late)
            self._waiting_ns = now_ns
            found = found[:PART]
        return changes + self._through(found, now_ns)

    def _mirrored(self, event: SourceEvent, now_ns: int) -> list[AlarmChange]:
        """Take what the control system says of its own alarms."""
        key = key_of(event)
        entry = self._desk.entry(*key) if key is not None else None
        changes = self._mirror.feed(event, entry.last if entry is not None else None)
        settled: list[AlarmChange] = []
        for change in changes:
            settled += self._desk.mirror(change)
            if self._floods is not None and is_raise(change):
                for flood in self._floods.raised("", now_ns):
                    self._note_flood(flood, "begins")
        return [*changes, *settled]

    def _through(self, found: Sequence[AlarmChange], now_ns: int) -> list[AlarmChange]:
        changes = self._desk.feed(found, self.declarations.of)
        for change in changes:
            if change.declaration and change.state is AlarmState.UNACKNOWLEDGED_ACTIVE:
                self.declarations.count_alarm(change.declaration)
            elif self._floods is not None and is_raise(change):
                position = self._positions.get(change.source, "")
                for flood in self._floods.raised(position, now_ns):
                    self._note_flood(flood, "begins")
        return changes

    def position_of(self, source: str) -> str:
        """Operator position of a source, or empty."""
        return self._positions.get(source, "")

    def _note_flood(self, flood: Flood, words: str) -> None:
        where = flood.position or "the site"
        self._flood_notes.append(
            Note(
                FLOOD_OVER if flood.end_ns else FLOOD,
                where,
                f"A flood of alarms 报警泛滥 {words} at {where}: {flood.alarms} alarms so far.",
                {"position": flood.position, "alarms": str(flood.alarms)},
            )
        )

    def notes(self) -> list[Note]:
        """Hand over what is to be stored as events since the last call."""
        floods, self._flood_notes = self._flood_notes, []
        return [*floods, *self.declarations.notes()]

    def feed_event(self, event: SourceEvent, *, now_ns: int) -> list[AlarmChange]:
        """Judge an event of a source. Raises ValueError if an over-count event is malformed."""
        mirrored = self._mirrored(event, now_ns) if event.kind in MIRROR_KINDS else []
        found = self._headcount.feed(event, now_ns=now_ns)
        found += self._areas.feed_event(event, now_ns=now_ns)
        found += self._gatherings.feed_event(event, now_ns=now_ns)
        return mirrored + self._taken(found, now_ns) if found else mirrored

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        parts = (
            self._limits, self._conditions, self._not_judged, self._areas, self._gatherings,
            self._desk, self.declarations, self._late,
        )  # fmt: skip
        deadlines = [part.next_deadline_ns() for part in parts]
        if self._waiting:
            deadlines.append(self._waiting_ns)
        if self._floods is not None:
            deadlines.append(self._floods.next_deadline_ns())
        return min((at for at in deadlines if at is not None), default=None)

    def tick(self, now_ns: int, *, wall_ns: int) -> list[AlarmChange]:
        """Fire the delays, shelves and outages that ran out by `now_ns` (monotonic)."""
        self._conditions.begin(now_ns)  # after a reload nobody may come to feed it
        found = self._limits.tick(now_ns)
        found += self._conditions.tick(now_ns, wall_ns)
        found += self._not_judged.tick(now_ns, wall_ns)
        found += self._areas.tick(now_ns, wall_ns)
        found += self._gatherings.tick(now_ns, wall_ns)
        found += self._late.tick(now_ns)
        changes = self._taken(found, now_ns) if found else self.more(now_ns)
        changes += self._desk.tick(now_ns, wall_ns=wall_ns)
        for flood in self._floods.tick(now_ns) if self._floods is not None else ():
            self._note_flood(flood, "is over")
        for ended in self.declarations.tick(now_ns):
            changes += self._desk.end_declaration(ended, wall_ns)
        return changes

    def command(self, command: Command, *, now_ns: int, wall_ns: int) -> AlarmChange:
        """Carry out a person's command. Raises CommandError, changing nothing."""
        known = self._limits.example(command.source, command.condition)
        known = known or self._conditions.example(command.source, command.condition)
        known = known or self._not_judged.example(command.source, command.condition)
        return self._desk.command(command, known, now_ns=now_ns, wall_ns=wall_ns)

    def state_of(self, change: AlarmChange, encoded: bytes = b"") -> Mapping[str, bytes]:
        """Encode what must be stored with a change, by name; `encoded`: the change, if at hand."""
        return self._desk.state_of(change, encoded)

    def states(self) -> Mapping[str, bytes]:
        """Encode everything that must survive a restart, by name."""
        return {k: v for e in self._desk.entries() for k, v in self.state_of(e.last).items()}

    def entries(self) -> list[Entry]:
        """Alarms that are not plainly normal."""
        return self._desk.entries()

    def areas(self, now_ns: int) -> list[AreaNow]:
        """How every area stands; `now_ns` is monotonic."""
        return self._areas.listed(now_ns)

    def floods(self) -> list[str]:
        """Operator positions at which a flood of alarms runs; empty text: those without one."""
        return [flood.position for flood in self._floods.standing()] if self._floods else []

    @property
    def standing(self) -> int:
        """Count of alarms that are raised and have not returned."""
        parts = (
            self._limits, self._conditions, self._not_judged, self._areas, self._gatherings,
            self._headcount,
        )  # fmt: skip
        return sum(part.open_count for part in parts)

    def standing_zones(self, camera: str) -> list[str]:
        """Zones of a camera whose over-count alarm stands."""
        prefix = f"{camera}/"
        return [s.removeprefix(prefix) for s in self._headcount.sources if s.startswith(prefix)]
