"""What the demo shows: pure text from two readings of the gateway's metrics."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

_LINE = re.compile(r"^(\w+)(?:\{(.*?)\})? (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Samples = Mapping[tuple[str, str], float]
"""(metric name, value of its `name` label or empty) to value."""


def parse_metrics(text: str) -> dict[tuple[str, str], float]:
    """Read Prometheus text exposition; lines that are no samples are passed over."""
    found: dict[tuple[str, str], float] = {}
    for name, labels, value in _LINE.findall(text):
        label = next((v for _, v in _LABEL.findall(labels)), "")
        found[(name, label)] = float(value)
    return found


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at the gateway says. Counts are since its start.

    headcount: people now, by camera and zone; empty without a camera.  link: connected or not.
    """

    monotonic_ns: int
    values: float
    bad_values: float
    alarms_raised: float
    alarms_standing: float
    headcount: Mapping[str, float]
    sent_bytes: float
    backlog_records: float
    connected: bool
    capacity_hours: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What stays the same while the demo runs."""

    points: int
    camera: str
    metrics_url: str
    store: str
    console: str = ""


def plain_line(reading: Reading, before: Reading | None, past: Reading | None) -> str:
    """One line for a log or a pipe; `before` is a second ago, `past` up to a minute."""
    return (
        f"{values_per_s(reading, before):,.0f} values/s, {reading.values:,.0f} values, "
        f"{reading.alarms_raised:.0f} alarms ({reading.alarms_standing:.0f} standing), "
        f"headcount {_headcount(reading)}, {_bytes_a_value(reading, past)} bytes a value, "
        f"backlog {reading.backlog_records:.0f} records, "
        f"link {'up' if reading.connected else 'down'}"
    )


def screen(
    reading: Reading, before: Reading | None, past: Reading | None, facts: Facts
) -> list[str]:
    """Lines of the live view; `before` is a second ago, `past` up to a minute."""
    link = "up 已连接" if reading.connected else "down 断开"
    rows = [
        ("values/s", "采集速率", f"{values_per_s(reading, before):,.0f}"),
        ("values so far", "累计数值", f"{reading.values:,.0f}  ({reading.bad_values:,.0f} bad)"),
        ("alarms", "报警", _alarms(reading)),
        ("headcount", "人数", _headcount(reading)),
        (
            "bytes a value",
            "每值字节",
            f"{_bytes_a_value(reading, past)}  (last minute, pictures included)",
        ),
        ("backlog", "积压", f"{reading.backlog_records:.0f} records"),
        ("link to receiver", "上行链路", link),
        ("buffer lasts", "缓存可用", f"{reading.capacity_hours:,.0f} h at this rate"),
    ]
    head = [
        "plantgate demo  (Ctrl-C stops)",
        f"{facts.points} points over Modbus and OPC UA; camera: {facts.camera}",
        "",
    ]
    body = [f"  {name:<18}{_padded(chinese, 10)}{value}" for name, chinese, value in rows]
    tail = ["", f"console {facts.console}"] if facts.console else [""]
    tail += [f"metrics {facts.metrics_url}   store {facts.store}"]
    return [*head, *body, *tail]


def fitted(line: str, columns: int) -> str:
    """Cut a line to a terminal's width; Chinese characters take two columns."""
    width = 0
    for place, character in enumerate(line):
        width += _columns(character)
        if width > columns:
            return line[:place]
    return line


def values_per_s(reading: Reading, before: Reading | None) -> float:
    """Rate between two readings; 0 for the first."""
    if before is None or reading.monotonic_ns <= before.monotonic_ns:
        return 0.0
    passed_s = (reading.monotonic_ns - before.monotonic_ns) / 1e9
    return (reading.values - before.values) / passed_s


def _alarms(reading: Reading) -> str:
    return f"{reading.alarms_raised:.0f} raised, {reading.alarms_standing:.0f} standing"


def _headcount(reading: Reading) -> str:
    """Count of each zone; a dash where there is no camera, or none that has said anything yet."""
    if not reading.headcount:
        return "–"
    return ", ".join(
        f"{zone} {'cannot be judged' if math.isnan(count) else f'{count:.0f}'}"
        for zone, count in sorted(reading.headcount.items())
    )


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - sum(map(_columns, text)))


def _columns(character: str) -> int:
    """Columns a character takes in a terminal (Unicode annex 11: wide and full-width take two)."""
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _bytes_a_value(reading: Reading, past: Reading | None) -> str:
    """Bytes handed to gRPC for each value since `past`; pictures and events included."""
    if past is None or reading.values <= past.values:
        return "–"
    return f"{(reading.sent_bytes - past.sent_bytes) / (reading.values - past.values):.2f}"
