"""What the points of a device profile 设备模板 hold while all is well: a rehearsal is quiet.

Guarantees: a register that says the device's state holds the code for good, one that says a unit
holds the code of the unit that the site expects, flags are at rest, counts of digits are 0. All
else moves as other points do; a gas reading stays near its zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from drivers.modbus.profile import VALUE, Flag, Profile, ProfileAddress, Register
from drivers.modbus.profile_files import load
from drivers.point_table import PointRow
from drivers.sim.site_signals import SimPoint

_GAS_TOP = 10.0  # a reading stays below a fifth of it
_INT_FRAC = float(1 << 8)  # 1 and no tenths


def at_rest(rows: Sequence[PointRow[Any]], points: Sequence[SimPoint]) -> list[SimPoint]:
    """Give the points of a device as they are while all is well."""
    units = {
        (row.address.loop, row.address.item): row.settings.unit
        for row in rows
        if isinstance(row.address, ProfileAddress)
    }
    return [
        _at_rest(row.address, point, units) if isinstance(row.address, ProfileAddress) else point
        for row, point in zip(rows, points, strict=True)
    ]


def _at_rest(
    address: ProfileAddress, point: SimPoint, units: Mapping[tuple[int, str], str]
) -> SimPoint:
    profile = load(address.profile)
    item = next(item for item in profile.items if item.tag == address.item)
    if isinstance(item, Flag):
        return replace(point, rests_at=float(bool(item.quality) and item.when == 0))
    raw = _code(profile, item, {tag: unit for (loop, tag), unit in units.items()
                                if loop == address.loop})  # fmt: skip
    if raw is not None:
        return replace(point, rests_at=raw)
    if item.encoding:
        return replace(point, rests_at=_INT_FRAC)
    unlimited = point.low is None and point.high is None and point.range_high is None
    if item.tag == VALUE and unlimited:
        return replace(point, range_low=0.0, low=None, high=_GAS_TOP)
    return point


def _code(profile: Profile, register: Register, units: Mapping[str, str]) -> float | None:
    """Raw value that says that all is well; None where the register says no such thing."""
    raw, found = 0, False
    for status in profile.statuses:
        good = next((code for code, word in status.codes.items() if word == "good"), None)
        if status.by == register.tag:
            found = True
            raw |= 0 if good is None else int(good, 0) << _lowest(status.bits)
    for rule in profile.units:
        if rule.by == register.tag:
            found = True
            wanted = {units.get(tag, "") for tag in rule.of}
            codes = [code for code, word in rule.codes.items() if word in wanted]
            raw |= (int(codes[0], 0) if codes else 0) << _lowest(rule.bits)
    if any(register.tag == other.decimals for other in profile.registers):
        found = True
    for other in profile.registers:
        if other.scale_by is not None and other.scale_by.by == register.tag:
            return other.scale_by.table[0][0]
    return float(raw) if found else None


def _lowest(bits: str) -> int:
    return int(bits.partition("-")[0]) if bits else 0


__all__ = ["at_rest"]
