"""Warnings about set points of gas detectors, at their cells; see gateway/work/set_points.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from drivers.contract import ValueKind
from gateway.config.problems import Report
from gateway.config.site import Device
from gateway.model.point import Limits
from gateway.rules.rulebook import RuleBooks, local_date

if TYPE_CHECKING:
    from drivers.point_table import PointRow
    from gateway.work.set_points import Audit

BINARY = frozenset({0.5, 1.0})
"""Limits of a value that is 0 or 1, which has no unit."""
_NO_UNIT = "alarm limits without a unit 单位: nobody can tell 25 %LEL from 25 ppm"
_NO_GAS = "a gas detector without a gas 气体: its set points are not held against GB/T 50493"
MOST_WARNINGS = 50
"""Warnings written out; a wrong column would repeat one for every detector."""


def audit_set_points(
    devices: Iterable[Device], books: RuleBooks, report: Report, now_ns: int
) -> None:
    """Warn of every set point that is not as GB/T 50493 asks, or cannot be judged."""
    audit: Audit | None = None
    count = 0
    for device in devices:
        bare: dict[str, list[PointRow[Any]]] = {}
        for row in device.rows:
            settings = row.settings
            if said := _not_said(device, row):
                bare.setdefault(said, []).append(row)
            if not settings.gas:
                continue
            if audit is None:  # imported only where a point measures gas
                from gateway.work.gases import shipped_gases
                from gateway.work.set_points import Audit

                audit = Audit(books, local_date(now_ns), shipped_gases())
            limits = Limits(settings.low_low, settings.low, settings.high, settings.high_high)
            for finding in audit.of(settings.gas, settings.unit, limits):
                count += 1
                if count <= MOST_WARNINGS:
                    report.warn_cell(
                        device.table, row.row, finding.column, f"{row.tag}: {finding.message}"
                    )
        for said, rows in bare.items():
            more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
            report.warn_cell(device.table, rows[0].row, "unit", f"{rows[0].tag}{more}: {said}")
    if count > MOST_WARNINGS:
        report.warn(("device",), f"{count - MOST_WARNINGS} more findings about set points of gas"
                    " detectors are not shown")  # fmt: skip


def _not_said(device: Device, row: PointRow[Any]) -> str:
    """What a point with limits leaves open that people or rules need; empty where nothing is."""
    settings = row.settings
    limits = Limits(settings.low_low, settings.low, settings.high, settings.high_high)
    given = {
        v for v in (limits.low_low, limits.low, limits.high, limits.high_high) if v is not None
    }
    if not given or device.driver.kind(row.address) is ValueKind.TEXT:
        return ""
    if not settings.unit:
        return "" if given <= BINARY else _NO_UNIT
    return "" if settings.gas or "lel" not in settings.unit.lower() else _NO_GAS
