"""Recording 录像 of work: which cameras it wants, and what is missing of it. Pure.

Guarantees: a camera is wanted from the start of a permit that it watches to its end, breaks
included; a gap is noted with every permit that it lies in, so that the work record names it, in
another revision where it is told after the record was made.
"""

from __future__ import annotations

from collections.abc import Iterable

from drivers.contract import SourceEvent
from gateway.work.job import Job, RecordingGap
from gateway.work.permit import Permit
from gateway.work.site import WorkSite

GAP = "vision.recording_gap"
MOST_GAPS = 500
"""Of one permit; a camera that comes and goes for a day."""


def cameras_of(site: WorkSite, permit: Permit) -> frozenset[str]:
    """Cameras that watch the work of a permit: those of its area, and its own."""
    area = site.area(permit.text("area"), permit.text("place"))
    own = (site.devices[code].camera for code in permit.codes("camera") if code in site.devices)
    return frozenset((*own, *(area.cameras if area is not None else ()))) - {""}


def begun(permit: Permit) -> bool:
    """Tell whether the work has begun and is not over."""
    return bool(permit.started_ns) and not permit.state.over


def wanted(site: WorkSite, jobs: Iterable[Job]) -> frozenset[str]:
    """Cameras that are to be recorded now."""
    permits = [job.permit for job in jobs if job.permit is not None and begun(job.permit)]
    return frozenset(camera for permit in permits for camera in cameras_of(site, permit))


def note(site: WorkSite, jobs: Iterable[Job], event: SourceEvent) -> None:
    """Take a gap event of a camera; ValueError if it does not say from when to when."""
    said = event.attributes
    since, until = said.get("from_ns"), said.get("to_ns")
    if not isinstance(since, int) or not isinstance(until, int):
        raise ValueError("a gap of a recording says neither from_ns nor to_ns")  # noqa: TRY004 - as of all input
    for job in jobs:
        permit = job.permit
        if permit is None or not permit.started_ns or len(job.gaps) >= MOST_GAPS:
            continue
        over = permit.ended_ns and since >= permit.ended_ns
        if until > permit.started_ns and not over and event.source in cameras_of(site, permit):
            to_ns = min(until, permit.ended_ns or until)
            why = str(said.get("reason", ""))
            job.gaps.append(RecordingGap(event.source, since, to_ns, why))
            job.recorded = ""  # a record that was made without it is made anew
