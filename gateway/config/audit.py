"""Warnings about set points of gas detectors, at their cells; see gateway/work/set_points.py."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from gateway.config.problems import Report
from gateway.config.site import Device
from gateway.model.point import Limits
from gateway.rules.rulebook import RuleBooks, local_date

if TYPE_CHECKING:
    from gateway.work.set_points import Audit

MOST_WARNINGS = 50
"""Warnings written out; a wrong column would repeat one for every detector."""


def audit_set_points(
    devices: Iterable[Device], books: RuleBooks, report: Report, now_ns: int
) -> None:
    """Warn of every set point that is not as GB/T 50493 asks, or cannot be judged."""
    audit: Audit | None = None
    count = 0
    for device in devices:
        for row in device.rows:
            settings = row.settings
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
    if count > MOST_WARNINGS:
        report.warn(("device",), f"{count - MOST_WARNINGS} more findings about set points of gas"
                    " detectors are not shown")  # fmt: skip
