"""Work monitor 作业监护: watches everything about a permit while people are at work under it.

Guarantees:

- A violation that stands is raised once, with one alarm id, and returns once; what is gone for less
  than `merge_s` is the same one when it comes back. A restart changes neither.
- What a permit's state is depends on the set of messages, not on their order (permit.py).
- Watching begins when the site says that work goes on. The permit *counts* as active only once
  every gate is passed: approved, a gas analysis that holds, and the devices it names deliver.
- What cannot be judged is said: an unknown gas, grade, status word, area or device.
- It recommends to stop; it commands nothing.

Checks are pure functions of a Situation (situation.py); this class keeps what must be remembered
between two looks. Pure itself: the time comes in as `Now`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import Batch, Int32Array, SourceEvent
from gateway.model.plan_cache import PlanCache
from gateway.rules.open_alarm import StateError, checked_id
from gateway.rules.rulebook import RuleBooks, local_date
from gateway.work import (
    check_cross,
    check_gas,
    check_people,
    check_permit,
    check_size,
    check_watch,
    recordings,
    report,
)  # fmt: skip
from gateway.work.almanac import Almanac
from gateway.work.facts import Facts, Scalar
from gateway.work.gases import GasTable
from gateway.work.job import (
    Evidence,
    Job,
    Span,
    Violation,
    analysis_from_plain,
    analysis_to_plain,
    from_plain,
    to_plain,
)
from gateway.work.life import State
from gateway.work.listing import listed
from gateway.work.outputs import Now, Output, WorkAlarm, WorkEvent, WorkRecord
from gateway.work.permit import Analysis, Kind, Permit, Version
from gateway.work.record import record_of
from gateway.work.site import WorkSite
from gateway.work.situation import DAY_NS, FAR_NS, S_NS, Check, Finding, Situation

CHECKS: Sequence[Check] = (
    check_permit.approval, check_permit.validity, check_permit.change, check_permit.grade,
    check_gas.timing, check_gas.results, check_gas.detectors, check_gas.record,
    check_gas.temporary_power,
    check_people.guardian, check_people.people, check_people.equipment,
    check_watch.devices, check_watch.cameras, check_watch.recording, check_watch.wind,
    check_cross.crossing,
    check_size.height_grade, check_size.communication, check_size.lifting_grade,
    check_size.other_permit, check_size.one_plate,
)  # fmt: skip
"""In this order findings of one look become alarms."""

Plan = npt.NDArray[np.intp]
LOOK_NS = 60 * S_NS
"""Longest time between two looks while work goes on: a clock step is noticed by then."""

PATIENCE_NS = 60 * S_NS
"""How long a work record waits for clips that were ordered: they end 20 s after the alarm."""

KEPT_NS = 7 * DAY_NS
"""How long a permit that is over is remembered, for versions that come late."""

_VERSION = 1


class WorkMonitor:
    """All permits of a site.

    points: names by catalogue id, of every point that the site binds.  new_id: makes 16 bytes.
    restored: an earlier `state()`; raises StateError if it cannot be read.
    """

    def __init__(
        self,
        site: WorkSite,
        books: RuleBooks,
        tables: tuple[GasTable, Almanac],
        points: Mapping[int, str],
        new_id: Callable[[], bytes],
        restored: bytes = b"",
    ) -> None:
        self._site = site
        self._books = books
        self._gases, self._almanac = tables
        self._names = dict(points)
        self._watched = np.array(sorted(points), np.int32)
        self._plans: PlanCache[Plan] = PlanCache(self._plan, point_count=len(points))
        self._new_id = new_id
        self._facts = Facts()
        self._jobs: dict[str, Job] = {}
        self._analyses: dict[str, dict[str, Analysis]] = {}
        self._deadline_ns: int | None = None
        self._calendar_told = ""
        self._restore(restored)

    # ---- what comes in -------------------------------------------------------------------------

    def feed(self, batch: Batch, now: Now) -> list[Output]:
        """Take the values of bound points; engineering units."""
        places = self._plans.of(batch.points)
        if not len(places) or isinstance(batch.values, tuple):
            return []
        times = batch.source_time_ns
        for index in places:
            time_ns = int(times) if isinstance(times, int) else int(times[index])
            name = self._names[int(batch.points[index])]
            quality = int(batch.quality[index])
            self._facts.value(name, float(batch.values[index]), quality, time_ns, now.mono_ns)
            self._remember(name, now)
        return self.tick(now)

    def feed_event(self, event: SourceEvent, now: Now) -> list[Output]:
        """Take an event of a source; raises PermitError (a ValueError) if it cannot be used."""
        said = event.attributes
        if event.kind == "intake.permit":
            return self._permit(Version.of(said, event.time_ns), now)
        if event.kind == "intake.gas_analysis":
            return self._analysis(Analysis.of(said, event.time_ns), said, now)
        if event.kind == recordings.GAP:
            recordings.note(self._site, self._jobs.values(), event)
            return self.tick(now)
        if self._facts.event(event.kind, event.source, said, event.time_ns, now.mono_ns):
            return self.tick(now)
        return []

    def begin(self, now: Now) -> list[Output]:
        """Look once at start; says that a year of the calendar is missing."""
        return self.tick(now)

    def tick(self, now: Now) -> list[Output]:
        """Look at every permit; returns what changed."""
        outputs: list[Output] = []
        doubt = self._almanac.doubt(now.wall_ns)
        if doubt != self._calendar_told and any(job.permit for job in self._jobs.values()):
            self._calendar_told = doubt
            if doubt:
                outputs.append(WorkEvent("work.calendar", "gateway", doubt))
        left_ns = FAR_NS
        for job in list(self._jobs.values()):
            if job.permit is not None:
                more, next_ns = self._look(job, job.permit, now)
                outputs += more
                left_ns = min(left_ns, next_ns)
        self._deadline_ns = None if left_ns >= FAR_NS else now.mono_ns + max(0, left_ns)
        return outputs

    def next_deadline_ns(self) -> int | None:
        """Monotonic time at which `tick` has something to do, or None."""
        return self._deadline_ns

    def expect(self, alarm_id: bytes, files: int) -> None:
        """Say that so many files of an alarm were ordered."""
        for job, _ in self._of(alarm_id):
            job.expected += files

    def attach(self, alarm_id: bytes, sha256: str, media_type: str, now: Now) -> list[Output]:
        """Note a file that is durable; the work record names it."""
        for job, violation in self._of(alarm_id):
            violation.evidence.append(Evidence(sha256, media_type, now.wall_ns))
            job.expected = max(0, job.expected - (media_type != "application/json"))
        return self.tick(now)

    # ---- what is known -------------------------------------------------------------------------

    def state(self) -> bytes:
        """Encode everything that must survive a restart."""
        state = {
            "version": _VERSION,
            "jobs": [to_plain(job) for job in self._jobs.values()],
            "analyses": [
                analysis_to_plain(a) for group in self._analyses.values() for a in group.values()
            ],
        }
        return json.dumps(state, ensure_ascii=False, separators=(",", ":")).encode()

    def permits(self, now: Now, *, over_for_ns: int = FAR_NS) -> list[dict[str, Any]]:
        """What `plantgate permit list` shows, oldest first; what is over longer is left out."""
        shown = [
            (job, job.permit)
            for job in self._jobs.values()
            if job.permit and not (job.over_ns and now.wall_ns - job.over_ns > over_for_ns)
        ]
        return [listed(job, self._situation(job, permit, now)) for job, permit in shown]

    def latest(self, ticket: str) -> Mapping[str, Scalar] | None:
        """What a permit says in sum, None for an unknown one."""
        job = self._jobs.get(ticket)
        return job.permit.said if job is not None and job.permit is not None else None

    def maintenance_at(self, place: str) -> bool:
        """Tell whether people are at maintenance 检维修 under a permit at a place or in an area."""
        permits = [job.permit for job in self._jobs.values() if job.permit is not None]
        return check_people.maintenance_at(self._site, permits, place)

    def recorded(self) -> frozenset[str]:
        """Cameras that are to be recorded now."""
        return recordings.wanted(self._site, self._jobs.values())

    @property
    def standing(self) -> int:
        """Count of violations that stand."""
        return sum(len(job.standing()) for job in self._jobs.values())

    # ---- one permit ----------------------------------------------------------------------------

    def _permit(self, version: Version, now: Now) -> list[Output]:
        job = self._jobs.setdefault(version.ticket, Job(version.ticket))
        if not job.add(version):
            return []
        job.say(version.time_ns, "permit", f"permit says {version.said.get('status')}",
                f"作业票状态:{version.said.get('status')}")  # fmt: skip
        self._forget(now)
        return self.tick(now)

    def _analysis(self, analysis: Analysis, said: Mapping[str, Scalar], now: Now) -> list[Output]:
        group = self._analyses.setdefault(analysis.ticket, {})
        key = analysis.id or analysis.digest
        before = group.get(key)
        if before is not None and (before.time_ns, before.digest) >= (
            analysis.time_ns, analysis.digest
        ):  # fmt: skip
            return []
        group[key] = analysis
        if said.get("deleted") is True:
            group[key] = Analysis(analysis.id, analysis.ticket, analysis.time_ns, "", 0.0, "",
                                  digest="~deleted")  # fmt: skip
        for job in self._jobs.values():
            if analysis.ticket in job.ids():
                told = f"{analysis.gas} {analysis.value:g} {analysis.unit} {analysis.place}".strip()
                job.say(analysis.time_ns, "gas", f"gas sampled: {told}", f"气体分析取样:{told}")
        return self.tick(now)

    def _look(self, job: Job, permit: Permit, now: Now) -> tuple[list[Output], int]:
        """Judge one permit. Gives what changed, and time until the next look is needed (ns)."""
        working = permit.state.working
        if working and not job.watched_ns:
            job.watched_ns = now.mono_ns
        elif not working:
            job.watched_ns = job.counted_ns = 0
        situation = self._situation(job, permit, now)
        outputs: list[Output] = list(report.notices(job, situation))
        found = {} if permit.state.over else self._found(situation)
        left_ns = LOOK_NS if working else FAR_NS
        outputs += self._compare(job, situation, found)
        if working:
            outputs += self._automatic_record(job, situation)
            left_ns = min(left_ns, check_gas.auto_record_due(situation))
        outputs += self._counted(job, situation, found)
        pending = (f.left_ns if f.left_ns > 0 else f.ends_ns for f in found.values())
        left_ns = min([left_ns, *pending, *self._merging(job, now)])
        if permit.state.over:
            more, left = self._finish(job, situation)
            outputs += more
            left_ns = min(left_ns, left)
        return outputs, left_ns

    def _situation(self, job: Job, permit: Permit, now: Now) -> Situation:
        area = self._site.area(permit.text("area"), permit.text("place"))
        codes = (*permit.codes("camera"), *permit.codes("detectors"))
        start_ns, end_ns = permit.plan_ns
        special = self._almanac.special(start_ns or now.wall_ns, end_ns or now.wall_ns)
        level = permit.level
        if permit.kind is Kind.HOT_WORK and level and special and not permit.raised_by_site:
            level = level.raised()
        on = local_date(start_ns or now.wall_ns)
        return Situation(
            permit=permit,
            area=area,
            level=level,
            special=special,
            analyses=self._analyses_of(job),
            devices=tuple(self._site.devices[code] for code in codes if code in self._site.devices),
            unknown_codes=tuple(code for code in codes if code not in self._site.devices),
            others=[
                other.permit
                for other in self._jobs.values()
                if other is not job and other.permit is not None and other.permit.state.working
            ],
            facts=self._facts,
            holds=self._site.holds,
            gases=self._gases,
            almanac=self._almanac,
            rule=lambda rule_id: self._books.get(rule_id, on=on),
            now_ns=now.wall_ns,
            mono_ns=now.mono_ns,
            watched_since_ns=job.watched_ns or now.mono_ns,
            last_record_ns=job.last_record_ns,
            elsewhere=self._site.elsewhere(area),
        )

    def _analyses_of(self, job: Job) -> tuple[Analysis, ...]:
        groups = (self._analyses.get(name, {}) for name in job.ids())
        found = [a for group in groups for a in group.values() if a.digest != "~deleted"]
        return tuple(sorted(found, key=lambda a: (a.time_ns, a.digest)))

    def _found(self, situation: Situation) -> dict[tuple[str, str], Finding]:
        """All findings by code and subject; of two with one name the earlier stands."""
        found: dict[tuple[str, str], Finding] = {}
        for check in CHECKS:
            for finding in check(situation):
                key = (finding.code, finding.subject)
                if key not in found or finding.left_ns < found[key].left_ns:
                    found[key] = finding
        return found

    def _compare(
        self, job: Job, situation: Situation, found: Mapping[tuple[str, str], Finding]
    ) -> list[Output]:
        """Raise what is new, return what is gone."""
        outputs: list[Output] = []
        standing = job.standing()
        for key, finding in found.items():
            if key in standing:
                if finding.left_ns <= 0 or finding.begun:
                    violation = standing.pop(key)
                    violation.absent_ns = 0
                    if finding.tells:
                        job.tell_reason(violation, situation.now_ns, finding)
            elif finding.left_ns <= 0:
                outputs += self._raise(job, situation, finding)
        merge_ns = round(self._site.holds.merge_s * S_NS)
        for violation in standing.values():
            violation.absent_ns = violation.absent_ns or situation.mono_ns
            if situation.permit.state.over or situation.mono_ns - violation.absent_ns >= merge_ns:
                outputs.append(self._return(job, situation, violation))
        return outputs

    def _merging(self, job: Job, now: Now) -> Iterable[int]:
        merge_ns = round(self._site.holds.merge_s * S_NS)
        return (
            violation.absent_ns + merge_ns - now.mono_ns
            for violation in job.standing().values()
            if violation.absent_ns
        )

    def _raise(self, job: Job, situation: Situation, finding: Finding) -> list[Output]:
        alarm_id = checked_id(self._new_id())
        violation = Violation.of(alarm_id, finding, situation.now_ns)
        job.violations.append(violation)
        job.say(situation.now_ns, "alarm", finding.en, finding.zh)
        change = report.change(job, situation, violation, raised=True)
        sheet = report.sheet(situation, violation)
        outputs: list[Output] = [WorkAlarm(change, sheet, situation.cameras)]
        if finding.stop and situation.permit.state.working:
            outputs.append(report.stop_recommended(job, situation, violation))
        return outputs

    def _return(self, job: Job, situation: Situation, violation: Violation) -> WorkAlarm:
        violation.returned_ns = situation.now_ns
        job.say(situation.now_ns, "returned", f"no longer: {violation.en}",
                f"恢复:{violation.zh}")  # fmt: skip
        return WorkAlarm(report.change(job, situation, violation, raised=False))

    def _counted(
        self, job: Job, situation: Situation, found: Mapping[tuple[str, str], Finding]
    ) -> list[Output]:
        """Report a change of state; active only once no gate is closed."""
        permit = situation.permit
        gates = sorted({f.code for f in found.values() if f.gate})
        if permit.state.working and not gates and not job.counted_ns:
            job.counted_ns = situation.now_ns
        reported = permit.state.value
        if permit.state.working and not job.counted_ns:
            reported = State.APPROVED.value if permit.approved else State.RECEIVED.value
            reported += ": " + ", ".join(gates)
        if reported == job.reported:
            return []
        before, job.reported = job.reported, reported
        en = f"{before or 'new'} to {reported}"
        job.say(situation.now_ns, "state", en, f"状态:{permit.state.zh}")
        state, _, waits = reported.partition(": ")
        text = f"Permit {job.ticket} ({permit.kind.value} {permit.kind.zh}): {en}."
        attributes: dict[str, Scalar] = {
            "ticket_no": job.ticket, "work": permit.kind.value, "state": state,
            "site_state": permit.state.value, "waiting_for": waits,
            "level": situation.level.word if situation.level else "",
            "area": situation.area.name if situation.area else "",
        }  # fmt: skip
        return [WorkEvent("work.permit", f"permit/{job.ticket}", text, attributes)]

    def _automatic_record(self, job: Job, situation: Situation) -> list[Output]:
        if not situation.continuous or not situation.gas_points:
            return []
        if not 0 < job.last_record_ns <= situation.now_ns:  # none, or the clock was set back
            due_ns = situation.now_ns
        else:
            due_ns = job.last_record_ns + round(
                situation.rule("confined_space.record_interval").value * 3600 * S_NS
            ) - 300 * S_NS  # fmt: skip
        if situation.now_ns < due_ns:
            return []
        values = {p.name: situation.reading(p.name) for p in situation.gas_points}
        if any(reading is None or not reading.usable for reading in values.values()):
            return []
        job.last_record_ns = situation.now_ns
        told = ", ".join(
            f"{point.name} {reading.value:g} {point.unit}"
            for point in situation.gas_points
            if (reading := values[point.name]) is not None
        )
        job.say(situation.now_ns, "gas", f"gas recorded: {told}", f"气体记录:{told}")
        attributes: dict[str, Scalar] = {"ticket_no": job.ticket} | {
            f"value.{name}": reading.value for name, reading in values.items() if reading
        }
        return [WorkEvent("work.gas_record", f"permit/{job.ticket}",
                          f"Permit {job.ticket}: gas recorded, {told}.", attributes)]  # fmt: skip

    def _finish(self, job: Job, situation: Situation) -> tuple[list[Output], int]:
        """Make the work record once all evidence is there, or patience is over."""
        job.over_ns = job.over_ns or situation.now_ns
        permit = situation.permit
        told = f"{permit.state.value} {len(job.versions)}"
        if job.recorded == told or not (permit.started_ns or job.violations):
            return [], FAR_NS
        waited_ns = situation.now_ns - job.over_ns
        if job.expected and 0 <= waited_ns < PATIENCE_NS:
            return [], PATIENCE_NS - waited_ns
        job.recorded = told
        job.revision += 1
        job.say(situation.now_ns, "record", "work record made", "生成作业记录")
        return [WorkRecord(job.ticket, job.revision, record_of(job, situation))], FAR_NS

    # ---- small things --------------------------------------------------------------------------

    def _remember(self, name: str, now: Now) -> None:
        """Keep extremes of a bound value for the record of every permit that watches it."""
        reading = self._facts.values[name]
        if not reading.usable or reading.mono_ns != now.mono_ns:
            return
        for job in self._jobs.values():
            permit = job.permit
            if permit is None or not permit.state.working:
                continue
            if name in self._site.points_of(permit):
                job.spans.setdefault(name, Span()).add(reading.value, reading.time_ns)

    def _of(self, alarm_id: bytes) -> list[tuple[Job, Violation]]:
        return [
            (job, violation)
            for job in self._jobs.values()
            for violation in job.violations
            if violation.alarm_id == alarm_id
        ]

    def _forget(self, now: Now) -> None:
        for ticket, job in list(self._jobs.items()):
            if job.recorded and job.over_ns and now.wall_ns - job.over_ns > KEPT_NS:
                for name in job.ids():
                    self._analyses.pop(name, None)
                del self._jobs[ticket]

    def _plan(self, points: Int32Array) -> Plan:
        return np.flatnonzero(np.isin(points, self._watched))

    def _restore(self, restored: bytes) -> None:
        if not restored:
            return
        try:
            state = json.loads(restored)
            if state["version"] != _VERSION:
                raise StateError(f"work is of version {state['version']}, not {_VERSION}")
            for row in state["jobs"]:
                job = from_plain(row)
                self._jobs[job.ticket] = job
            for row in state["analyses"]:
                analysis = analysis_from_plain(row)
                key = analysis.id or analysis.digest
                self._analyses.setdefault(analysis.ticket, {})[key] = analysis
        except (ValueError, KeyError, TypeError) as error:
            self._jobs, self._analyses = {}, {}
            raise StateError(f"the stored permits cannot be read: {error}") from error
