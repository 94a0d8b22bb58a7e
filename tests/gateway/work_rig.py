"""A pipeline with a work monitor, a log in memory and a clock moved by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from buffer.memory import MemoryLog
from drivers.contract import SourceEvent
from gateway.model.catalogue import Catalogue
from gateway.normalise.scale import Normaliser
from gateway.pipeline import Pipeline
from gateway.rules.area_count import AreaSpec
from gateway.rules.judge import Judge
from gateway.rules.rulebook import shipped
from gateway.work.almanac import Almanac
from gateway.work.gases import shipped_gases
from gateway.work.monitor import WorkMonitor
from gateway.work.permit import Scalar
from gateway.work.site import Area, GasPoint, Holds, WorkSite
from gateway.workflow import STATE, WorkFlow
from tests.gateway.flow_rig import ZONE, HandClock, counting_ids, points

SUNDAY = dt.date(2025, 6, 15)  # the rig's day
ALMANAC = Almanac(night=(0, 0), workdays=frozenset({SUNDAY}))
AREA = Area("yard", cameras=("cam",), gases=(GasPoint("gds/c", "methane", "%LEL"),))


def working(
    log: MemoryLog, clock: HandClock, areas: Sequence[AreaSpec] = ()
) -> tuple[Pipeline, WorkFlow]:
    """Pipeline and flow, going on from what the log holds; no time of day is special."""
    catalogue, ids = Catalogue.of(points()), counting_ids()
    monitor = WorkMonitor(
        WorkSite((AREA,), holds=Holds(merge_s=5.0)), shipped(),
        (shipped_gases(), ALMANAC), {3: "gds/c"}, lambda: b"\xaa" + ids()[1:], log.state(STATE),
    )  # fmt: skip
    work = WorkFlow(monitor, clock)
    rule = shipped().get("headcount.running_maintenance", on=SUNDAY)
    rules = Judge(points(), (ZONE,), new_id=counting_ids(), state=log.states(""), areas=areas,
                  area_rules={rule.id.partition(".")[2]: rule})  # fmt: skip
    return Pipeline(log, catalogue, Normaliser(catalogue.points), rules, clock, work), work


def permit(clock: HandClock, status: str, **more: Scalar) -> SourceEvent:
    said: dict[str, Scalar] = {
        "id": "p", "ticket_no": "DH-1", "work": "hot_work", "level": "first", "area": "yard",
        "status": status, **more,
    }  # fmt: skip
    return SourceEvent("intake.permit", "tickets", clock.wall_ns(), "A permit.", said)


def analysis(clock: HandClock, value: float) -> SourceEvent:
    said: dict[str, Scalar] = {
        "id": f"a{value}", "permit": "DH-1", "gas": "methane", "value": value, "unit": "%vol",
    }  # fmt: skip
    return SourceEvent("intake.gas_analysis", "tickets", clock.wall_ns(), "A sample.", said)
