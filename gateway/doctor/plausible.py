"""Whether values that were read once make sense: range, word order, alarm limits. Pure.

Guarantees: nothing here calls a value right, since a value in its range may still be of another
tag; what is told are values that contradict the point table, with the evidence.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drivers.point_table import PointRow
from gateway.doctor.finding import About, Finding, State

_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_USUAL = ("CDAB", "ABCD", "DCBA", "BADC")
"""In the order of what is met most often where a document does not say."""
_FORMATS = {"f32": ">f", "u32": ">I", "s32": ">i", "f64": ">d"}
"""Types whose bytes a float64 brings back whole. Of 64-bit integers it would lose some."""
_SMALLEST, _LARGEST = 1e-6, 1e7
"""Plant values in any usual unit lie between, in size; words in a wrong order give 1e-41, 4e28."""
_SLACK = 0.05
"""Share of the span by which a live zero or an over-range may leave it."""
_ALIKE = 4
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """A point with a value that its device calls good; raw as read, value in engineering units."""

    row: PointRow[Any]
    raw: float

    @property
    def value(self) -> float:
        """In engineering units."""
        return self.raw * self.row.settings.scale + self.row.settings.offset

    def scaled(self, raw: float) -> float:
        """Another raw value in engineering units."""
        return raw * self.row.settings.scale + self.row.settings.offset


def judged(part: str, readings: Sequence[Reading]) -> list[Finding]:
    """Say what of good readings contradicts the point table."""
    wrong_order = _orders(readings)
    swapped = {reading.row.tag for found in wrong_order.values() for reading, _ in found}
    rest = [reading for reading in readings if reading.row.tag not in swapped]
    return [
        *_order_findings(part, wrong_order),
        *_range(part, rest),
        *_alarms(part, rest),
        *_all_alike(part, rest),
    ]


def other_orders(raw: float, kind: str, order: str) -> Mapping[str, float]:
    """What the same bytes would be in the other orders of words and bytes; empty if not known."""
    form = _FORMATS.get(kind)
    if form is None or order not in _ORDERS:
        return {}
    try:
        whole = struct.pack(form, raw if "f" in form or "d" in form else int(raw))
    except (struct.error, OverflowError, ValueError):
        return {}
    wire = _moved(whole, order)
    return {
        other: float(struct.unpack(form, _moved(wire, other))[0])
        for other in _ORDERS
        if other != order
    }


def _moved(content: bytes, order: str) -> bytes:
    """Bytes in an order, from plain or back to it: each of the four is its own inverse."""
    words = [content[at : at + 2] for at in range(0, len(content), 2)]
    if order in {"CDAB", "DCBA"}:
        words.reverse()
    if order in {"BADC", "DCBA"}:
        words = [word[::-1] for word in words]
    return b"".join(words)


def _orders(readings: Sequence[Reading]) -> dict[tuple[str, str], list[tuple[Reading, float]]]:
    """Readings that make no sense as configured and do in another order, by (order, other).

    Where several orders fit a value, it is the one that fits most values, and of those the usual.
    """
    fitting: list[tuple[Reading, str, dict[str, float]]] = []
    for reading in readings:
        address = reading.row.address
        kind, order = getattr(address, "type", ""), getattr(address, "order", "")
        if reading.raw == 0 or _fits(reading, reading.raw, kind):
            continue
        others = {
            other: reading.scaled(raw)
            for other, raw in other_orders(reading.raw, kind, order).items()
            if raw and _fits(reading, raw, kind)
        }
        if others:
            fitting.append((reading, order, others))
    votes = Counter((order, other) for _, order, others in fitting for other in others)
    found: dict[tuple[str, str], list[tuple[Reading, float]]] = {}
    for reading, order, others in fitting:
        best = min(others, key=lambda other: (-votes[order, other], _USUAL.index(other)))
        found.setdefault((order, best), []).append((reading, others[best]))
    return found


def _fits(reading: Reading, raw: float, kind: str) -> bool:
    """Tell whether a raw value could be one of this point."""
    value = reading.scaled(raw)
    if not math.isfinite(value) or _outside(reading, value):
        return False
    settings = reading.row.settings
    if settings.range_low is not None or settings.range_high is not None:
        return kind not in {"f32", "f64"} or raw == 0 or abs(raw) >= 1e-30
    return kind not in {"f32", "f64"} or _SMALLEST <= abs(raw) <= _LARGEST


def _order_findings(
    part: str, found: Mapping[tuple[str, str], Sequence[tuple[Reading, float]]]
) -> Iterator[Finding]:
    for (order, other), of_order in found.items():
        first, value = of_order[0]
        shown = f"{first.row.tag} reads {first.value:.6g} as {order} and {value:.6g} as {other}"
        yield Finding(
            part, About.ORDER, State.DOUBTFUL,
            f"{_points(len(of_order))} look as if words were swapped: {shown}",
            f"{len(of_order)} 个点位疑似字序错误:{first.row.tag} 按 {order} 为 {first.value:.6g},"
            f"按 {other} 为 {value:.6g}",
            f"set order = {other} for {_names([reading for reading, _ in of_order])}, and compare"
            " one value with the device's own display",
            f"把点表中这些点位的 order 改为 {other},并与设备显示值核对",
        )  # fmt: skip


def _outside(reading: Reading, value: float) -> bool:
    low, high = reading.row.settings.range_low, reading.row.settings.range_high
    span = high - low if low is not None and high is not None else 0.0
    slack = _SLACK * abs(span)
    return (low is not None and value < low - slack) or (high is not None and value > high + slack)


def _range(part: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    out = [
        r for r in readings
        if _outside(r, r.value) or not math.isfinite(r.value)
    ]  # fmt: skip
    if not out:
        return
    shown = "; ".join(
        f"{r.row.tag} is {r.value:.6g} {r.row.settings.unit}".rstrip() + f", range {_span(r)}"
        for r in out[:_NAMED]
    )
    chinese = ";".join(
        f"{r.row.tag} 为 {r.value:.6g} {r.row.settings.unit}".rstrip() + f",量程 {_span(r)}"
        for r in out[:_NAMED]
    )
    yield Finding(
        part, About.RANGE, State.DOUBTFUL,
        f"{_points(len(out))} outside the measuring range: {shown}{_more(out)}",
        f"{len(out)} 个点位超出量程:{chinese}{_more(out)}",
        "compare type, scale, offset and address with the manual, and the value with the device's"
        " own display",
        "对照手册核对类型、比例、偏移和地址,并与设备显示值比较",
    )  # fmt: skip


def _alarms(part: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    tests: tuple[tuple[str, Callable[[float, float], bool]], ...] = (
        ("high_high", lambda value, limit: value >= limit),
        ("high", lambda value, limit: value >= limit),
        ("low_low", lambda value, limit: value <= limit),
        ("low", lambda value, limit: value <= limit),
    )
    standing = []
    for reading in readings:
        for name, beyond in tests:
            limit = getattr(reading.row.settings, name)
            if limit is not None and beyond(reading.value, limit):
                standing.append((reading, name, limit))
                break
    if standing:
        shown = "; ".join(
            f"{reading.row.tag} is {reading.value:.6g}, {name} {limit:g}"
            for reading, name, limit in standing[:_NAMED]
        )
        yield Finding(
            part, About.ALARMS, State.DOUBTFUL,
            f"{_points(len(standing))} beyond an alarm limit now, so the gateway would raise it at"
            f" its start: {shown}{_more(standing)}",
            f"{len(standing)} 个点位现已越限,网关一启动就会报警:{shown}{_more(standing)}",
            "if the plant is well, scale, unit or limit in the point table is wrong; if not, this"
            " is a real alarm",
            "若现场正常,则点表中的比例、单位或报警值有误;否则就是真实报警",
        )  # fmt: skip


def _all_alike(part: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    analog = [r for r in readings if not _is_digital(r)]
    counts = Counter(r.raw for r in analog)
    if len(analog) < _ALIKE or len(counts) > 1:
        return
    (raw,) = counts
    yield Finding(
        part, About.RANGE, State.DOUBTFUL,
        f"all {len(analog)} analog points read {raw:g}",
        f"全部 {len(analog)} 个模拟量都读到 {raw:g}",
        "that is what an empty area, a wrong unit id or a device without its sensors gives: compare"
        " with its display",
        "区域或站号不对、或设备未接传感器时会这样:与设备显示值核对",
    )  # fmt: skip


def _is_digital(reading: Reading) -> bool:
    kind = str(getattr(reading.row.address, "type", ""))
    area = str(getattr(reading.row.address, "area", ""))
    return kind.startswith("b") or area in {"coil", "discrete"}


def _span(reading: Reading) -> str:
    low, high = reading.row.settings.range_low, reading.row.settings.range_high
    return f"{'–∞' if low is None else f'{low:g}'}…{'∞' if high is None else f'{high:g}'}"


def _names(readings: Sequence[Reading]) -> str:
    return ", ".join(r.row.tag for r in readings[:_NAMED]) + _more(readings)


def _more(found: Sequence[object]) -> str:
    return f" (+{len(found) - _NAMED})" if len(found) > _NAMED else ""


def _points(count: int) -> str:
    return "1 point" if count == 1 else f"{count} points"


__all__ = ["Reading", "judged", "other_orders"]
