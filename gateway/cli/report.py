"""`plantgate report SITE.toml`: what a site's alarms were like, from the log; also while it runs.

Exit 0; 1 if the log cannot be read; 2 for a mistake in the options or the site file.
"""

from __future__ import annotations

import sqlite3
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.output import AS_JSON, print_json
from gateway.cli.period import period
from gateway.cli.running import plant_time

if TYPE_CHECKING:
    from gateway.config.load import Site
    from gateway.rules.metrics import Report
    from gateway.rules.risk import RiskView

DAY_NS = 86_400 * 10**9
EXAMPLE = """\b
Example:
  plantgate report site.toml
  plantgate report site.toml --from 2026-05-01 --to 2026-05-08 --json
"""


@click.command("report", epilog=EXAMPLE)
@click.argument("site", type=click.Path(path_type=Path))
@period(since="Only from this time on; the last 24 h unless given.")
@AS_JSON
def command(site: Path, from_ns: int | None, to_ns: int | None, as_json: bool) -> None:
    """Report on the alarms of SITE: rates, floods, bad actors, chattering, stale ones, answers.

    Below it: the grade of the enterprise and the risk of its units, as site systems said it.
    """
    from buffer.contract import BufferPathError
    from gateway.config.load import ConfigError, load
    from gateway.runtime.clock import SystemClock

    until_ns = to_ns if to_ns is not None else SystemClock().wall_ns()
    start_ns = from_ns if from_ns is not None else until_ns - DAY_NS
    try:
        loaded = load(site)
        report, risk = _report(loaded, start_ns, until_ns), _risk(loaded, until_ns)
    except (ConfigError, BufferPathError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except sqlite3.Error as error:
        print(f"{site}: the log cannot be read: {error}", file=sys.stderr)
        sys.exit(1)
    if as_json:
        print_json(_facts(report) | _risk_facts(risk))
    else:
        print("\n".join([*_lines(report), *_risk_lines(risk)]))


def _report(site: Site, start_ns: int, end_ns: int) -> Report:
    from buffer.contract import Stream
    from buffer.inspection import Inspection
    from gateway.model.alarm import AlarmChange
    from gateway.rules.metrics import AlarmMetrics, Thresholds
    from gateway.rules.rulebook import local_date

    positions = {
        f"{device.name}/{row.tag}": row.settings.operator_position
        for device in site.devices
        for row in device.rows
    }
    thresholds = Thresholds.of(site.rules, local_date(end_ns))
    metrics = AlarmMetrics(thresholds, lambda source: positions.get(source, ""))
    with Inspection(site.gateway.data_dir) as inspection:
        for record in inspection.records(Stream.ALARM):
            change = AlarmChange.decode(record.payload)
            if start_ns <= change.gateway_time_ns < end_ns:
                metrics.feed(change)
    return metrics.report(start_ns, end_ns)


def _risk(site: Site, end_ns: int) -> RiskView:
    """What was said of grade and risk until then, from all that the log still holds."""
    from buffer.contract import Stream
    from buffer.inspection import Inspection
    from gateway.rules.risk import GRADE_EVENT, UNIT_EVENT, RiskView
    from gateway.wire.v1 import uplink_pb2 as wire

    view = RiskView()
    with Inspection(site.gateway.data_dir) as inspection:
        for record in inspection.records(Stream.EVENT):
            event = wire.Event.FromString(record.payload)
            if event.kind in {GRADE_EVENT, UNIT_EVENT} and event.time_ns < end_ns:
                view.feed(event.kind, dict(event.attributes), event.time_ns)
    return view


def _risk_facts(risk: RiskView) -> dict[str, Any]:
    grade = risk.grade.value if risk.grade is not None else None
    return {"enterprise_grade": grade, "unit_risks": {u: r.value for u, r in risk.units.items()}}


def _risk_lines(risk: RiskView) -> list[str]:
    grade = risk.grade.words if risk.grade is not None else "not known"
    lines = [f"Grade of the enterprise 企业分级: {grade}"]
    lines += [f"  risk of {unit} 风险等级: {level.words}" for unit, level in risk.units.items()]
    return lines


def _facts(report: Report) -> dict[str, Any]:
    return asdict(report) | {
        "positions": [
            {"position": position, "mean_per_10_min": mean, "most_in_10_min": most}
            for position, (mean, most) in report.positions.items()
        ]
    }


def _lines(report: Report) -> list[str]:
    lines = [
        f"Alarms from {plant_time(report.start_ns)} to {plant_time(report.end_ns)}:"
        f" {report.raised} raised, {report.under_test} more under declared tests",
    ]
    for position, (mean, most) in report.positions.items():
        over = "" if mean <= report.average_limit else f" (more than {report.average_limit:g})"
        lines.append(
            f"  position {position or 'unnamed'}: {mean:.2f} per 10 min{over}, at most {most}"
        )
    lines.append(f"  floods: {len(report.floods)}")
    lines += [
        f"    {flood.position or 'unnamed'}: {plant_time(flood.start_ns)} to"
        f" {plant_time(flood.end_ns) if flood.end_ns else 'now'}, {flood.alarms} alarms"
        for flood in report.floods
    ]
    for title, rows, words in (
        ("most frequent", report.top, "{} times"),
        ("chattering", report.chattering, "{} within a minute"),
        ("put aside now", report.aside, "{}"),
    ):
        lines.append(f"  {title}: {len(rows)}")
        lines += [f"    {source} {condition}: {words.format(n)}" for source, condition, n in rows]
    lines.append(f"  stale: {len(report.stale)}")
    lines += [f"    {s} {condition}: since {plant_time(ns)}" for s, condition, ns in report.stale]
    priorities = ", ".join(f"{n} of priority {p}" for p, n in report.priorities.items())
    lines.append(f"  priorities: {priorities or 'none'}")
    lines.append(
        f"  acknowledged: {report.acknowledged}, after {report.acknowledge_median_ns / 1e9:.0f} s"
        f" (median), {report.acknowledge_most_ns / 1e9:.0f} s (longest)"
    )
    lines.append(f"  judged by {', '.join(report.rules)}")
    return lines
