"""Mistakes of the column alarm_of 对应报警, which says what alarm a panel's bit is.

Guarantees: every mistake is named at its cell: no such point, no such limit, two bits of one
alarm. A point that leaves a limit to its panel is warned of where no bit says that it is it: then
nobody would raise that alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

from drivers.wording import shown, suggestion
from gateway.config.problems import Report
from gateway.config.site import Device, in_full
from gateway.rules.authority import LIMITS


def check_alarm_of(devices: Sequence[Device], report: Report) -> None:
    """Report the mistakes of all tables; devices with mistakes of their own are not here."""
    rows = {name: row for d in devices for name, row in zip(d.names(), d.rows, strict=True)}
    taken: dict[str, str] = {}
    for device in devices:
        for row in device.rows:
            if not row.settings.alarm_of:
                continue
            said = in_full(f"{device.name}/{row.tag}", row.settings.alarm_of)
            name, colon, limit = said.rpartition(":")
            wrong = ""
            if not colon or limit not in LIMITS:
                wrong = f"must be tag:limit with one of {', '.join(LIMITS)}, not {shown(said)}"
            elif name not in rows:
                wrong = f"no point is called {shown(name)}; {suggestion(name, rows)}"
            elif said in taken:
                wrong = f"{taken[said]} is the bit of {said} already"
            if wrong:
                report.wrong_cell(device.table, row.row, "alarm_of", f"{row.tag}: {wrong}")
            taken[said] = row.tag
    _nobody(devices, taken, report)


def _nobody(devices: Sequence[Device], taken: dict[str, str], report: Report) -> None:
    for device in devices:
        for row in device.rows:
            if row.settings.alarm_source != "panel":
                continue
            for limit in LIMITS:
                alarm = f"{device.name}/{row.tag}:{limit}"
                if getattr(row.settings, limit) is not None and alarm not in taken:
                    report.warn_cell(
                        device.table, row.row, limit,
                        f"{row.tag} leaves its {limit} alarm to the panel, but no bit says"
                        f" alarm_of {row.tag}:{limit}: nothing here raises it, nor compares it",
                    )  # fmt: skip
