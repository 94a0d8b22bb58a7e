"""Points of a device that has a profile: the profile's, with what the site's table says of them.

Guarantees:

- a row whose name is a point of the profile changes its settings only (limits, priority, place,
  unit …), never its address; any other row is a point of its own and needs an address;
- value points of a device with alarm bits of its own get `alarm_source = "panel"`, and each alarm
  bit a limit, so that the alarm of record 报警依据 is the device's; a row may say otherwise;
- what only the site can know (unit, decimal digits) is asked for by name, never assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from drivers.contract import Problem
from drivers.modbus.config import ModbusAddress
from drivers.modbus.profile import (
    VALUE,
    Flag,
    Item,
    Placement,
    Profile,
    ProfileError,
    Register,
    expand,
)
from drivers.modbus.profile_files import load
from drivers.modbus.profile_keys import ProfileKeys
from drivers.modbus.state_words import legend
from drivers.modbus.status import same_unit
from drivers.point_table import PointRow, PointSettings
from drivers.wording import suggestion

WARNING = "warning: "
_ALARM_LIMIT = 0.5  # a bit is 0 or 1
_SHOWN_LOOPS = 1
_LIMITS = ("low_low", "low", "high", "high_high")


class TableAddress(ModbusAddress):
    """Columns of a table beside a profile: a row for one of its points leaves the address empty."""

    address: str = ""


def merged(
    keys: ProfileKeys, rows: Sequence[PointRow[ModbusAddress]]
) -> tuple[list[PointRow[ModbusAddress]], list[Problem]]:
    """Points of the profile in order, then the table's own; with every mistake found."""
    profile = load(keys.profile_source)
    try:
        items = expand(profile, placement(keys))
    except ProfileError as error:
        return [], [Problem(0, "profile", str(error))]
    said = {row.tag: row for row in rows}
    problems = list(_row_problems(items, rows, profile))
    points: list[PointRow[ModbusAddress]] = []
    values = {item.address.loop: item.tag for item in items if item.of.tag == VALUE}
    for item in items:
        row = said.get(item.tag)
        settings = _settings(profile, item, keys, row, values.get(item.address.loop, ""))
        problems += _unit_problems(profile, item, settings, row)
        if row is not None:
            problems += _limit_problems(settings, row)
        if isinstance(item.of, Register) and item.of.decimals == "ask":
            problems += _decimals_problems(profile, item, keys, row)
        address = _placed(item, profile, keys, settings)
        points.append(PointRow(row.row if row else 0, item.tag, settings, address))
    problems += _unit_unsaid(profile, points)
    names = {item.tag for item in items}
    own = [
        replace(row, address=ModbusAddress(**row.address.model_dump()))
        for row in rows
        if row.tag not in names and row.address.address
    ]
    return [*points, *own], _once(problems)


def placement(keys: ProfileKeys) -> Placement:
    """Where and under which names the points of the profile lie."""
    return Placement(keys.first, keys.count, keys.tags, keys.profile_offset, keys.profile_addresses)


def described(keys: ProfileKeys) -> list[str]:
    """Name the profile, how far it can be trusted, and the points of one loop with addresses."""
    profile = load(keys.profile_source)
    items = expand(profile, placement(keys))
    head = profile.profile
    lines = [f"{head.name}: {head.maker} {head.model}, {head.origin}"]
    shown = [item for item in items if item.address.loop <= _SHOWN_LOOPS]
    lines += [
        f"{item.tag}: {item.address.area} {item.address.address} {item.address.type}"
        + (f", {item.of.description}" if item.of.description else "")
        + (f": {states}" if (states := legend(profile, item.of.tag)) else "")
        for item in shown
    ]
    if len(items) > len(shown):
        lines.append(f"… and {len(items) - len(shown)} points of {keys.count - 1} more loops")
    placed = set(keys.profile_addresses)
    missing = [tag for tag in profile.asked() if tag not in placed]
    if missing:
        lines.append(f"not read, as no document at hand places it: {', '.join(missing)}")
    return lines


def _placed(
    item: Item, profile: Profile, keys: ProfileKeys, settings: PointSettings
) -> ModbusAddress:
    """Address with the unit of the bus where loops are units, and the unit that is expected."""
    update: dict[str, Any] = {"profile": keys.profile_source}
    if profile.units_of(item.of.tag):
        update["expected_unit"] = settings.unit
    if profile.profile.repeat == "unit":
        update["unit_id"] = getattr(keys, "unit", 1) + item.address.loop - 1
    return item.address.model_copy(update=update)


def _settings(
    profile: Profile, item: Item, keys: ProfileKeys, row: PointRow[Any] | None, value_tag: str
) -> PointSettings:
    """What the profile says of a point, overridden by what the row says.

    value_tag: tag of the value of its loop, or empty.
    """
    given: dict[str, Any] = {"name": item.tag, "description": item.of.description}
    if isinstance(item.of, Flag):
        if item.of.alarm:
            given |= {item.of.alarm: _ALARM_LIMIT, "priority": item.of.priority}
            # Of two bits of one limit (three levels of an MSA) the first is its bit.
            first = next(flag for flag in profile.flags if flag.alarm == item.of.alarm)
            if value_tag and first is item.of:
                given["alarm_of"] = f"{value_tag}:{item.of.alarm}"
    else:
        given |= _register_settings(profile, item.of, keys)
    if row is not None:
        own = {name: getattr(row.settings, name) for name in row.settings.model_fields_set}
        given |= {name: value for name, value in own.items() if name != "name"}
    return PointSettings(**given)


def _register_settings(profile: Profile, register: Register, keys: ProfileKeys) -> dict[str, Any]:
    given: dict[str, Any] = {"unit": register.unit, "scale": register.scale}
    states = legend(profile, register.tag)
    if states:
        given["description"] = f"{register.description}: {states}".removeprefix(": ")
    if register.tag == VALUE or profile.units_of(register.tag):
        given["unit"] = register.unit or keys.gas_unit
        if profile.has_alarms:
            given["alarm_source"] = "panel"
    if register.decimals == "ask" and keys.decimals is not None:
        given["scale"] = register.scale / 10**keys.decimals
    return given


def _row_problems(
    items: Sequence[Item], rows: Sequence[PointRow[ModbusAddress]], profile: Profile
) -> Iterator[Problem]:
    names = {item.tag for item in items}
    for row in rows:
        if row.tag in names and row.address.address:
            text = f"{row.tag} has its address from profile {profile.profile.name}: leave it empty"
            yield Problem(row.row, "address", text)
        if row.tag not in names and not row.address.address:
            near = suggestion(row.tag, names)
            text = f"is no point of profile {profile.profile.name} ({near}) and has no address"
            yield Problem(row.row, "name", f"{row.tag} {text}")


def _decimals_problems(
    profile: Profile, item: Item, keys: ProfileKeys, row: PointRow[Any] | None
) -> Iterator[Problem]:
    if keys.decimals is None and (row is None or "scale" not in row.settings.model_fields_set):
        yield Problem(
            0,
            "decimals",
            f"profile {profile.profile.name} cannot know how many digits of {item.of.tag} stand"
            " behind the decimal point: set decimals, for example 1 where the display shows 20.9",
        )


def _limit_problems(settings: PointSettings, row: PointRow[Any]) -> Iterator[Problem]:
    """Limits that nobody would judge, as the panel's own bits are the alarm."""
    given = [name for name in _LIMITS if name in row.settings.model_fields_set]
    if (
        given
        and settings.alarm_source == "panel"
        and "alarm_source" not in (row.settings.model_fields_set)
    ):
        text = (
            f"{WARNING}{row.tag} leaves the alarm to the device's own alarm bits, so this limit is"
            " only compared with them: set alarm_source to gateway, or to panel if that is meant"
        )
        yield Problem(row.row, given[0], text)


def _unit_problems(
    profile: Profile, item: Item, settings: PointSettings, row: PointRow[Any] | None
) -> Iterator[Problem]:
    known = profile.units_of(item.of.tag)
    if settings.unit and known and not any(same_unit(settings.unit, word) for word in known):
        own = row is not None and "unit" in row.settings.model_fields_set
        text = f"{settings.unit!r} is no unit that the device can name: {', '.join(known)}"
        yield Problem(row.row if row and own else 0, "unit" if own else "gas_unit", text)


def _unit_unsaid(profile: Profile, points: Sequence[PointRow[Any]]) -> Iterator[Problem]:
    unsaid = [
        point.tag for point in points if not point.settings.unit and point.address.item == VALUE
    ]
    if unsaid:
        known = profile.units_of(VALUE)
        of = f" (one of {', '.join(known)})" if known else ""
        yield Problem(
            0,
            "gas_unit",
            f"{WARNING}the unit of {unsaid[0]} is not said; gas_unit{of} goes into the catalogue"
            + (" and is checked against the device" if known else ""),
        )


def _once(problems: Sequence[Problem]) -> list[Problem]:
    """Each mistake of the device entry once, however many loops have it."""
    return list(dict.fromkeys(problems))
