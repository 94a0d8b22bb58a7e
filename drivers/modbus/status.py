"""Quality from what a device says about itself: status, fault, unit, heartbeat, error values.

Guarantees:

- a value whose device says warm-up, inhibit, calibration, simulation or test keeps its value and
  gets that quality, which is not for alarm 不参与报警; never a silent zero;
- a value whose status could not be read is `uncertain`; one that is bad for itself stays so;
- a fault, an error value or a foreign unit makes the value bad, and NaN;
- an alarm bit is never muted by a fault or by a status that could not be read, only by a state in
  which the device itself is not for alarm; where the heartbeat stands still it is `uncertain:stale`
  as the value is: it still raises, and that nobody can rely on its rest is the gateway's to tell;
- a code that the profile does not know is said to be what the profile says of unknown codes.

How: all loops of a rule are judged together. At start each rule becomes two index arrays into the
column (register that says it, point it is about) and a sorted table of codes; a poll costs a few
numpy calls per rule, whatever the number of loops, and none for rules whose registers say what they
said before. Where several rules judge a point the worse quality wins, which is the larger code.

Cost on one core (measured, 64 loops): 22 µs a poll with the rules of an XCD while no state changes,
70 µs when one does; 110 µs for a Midas, whose heartbeat and decimal digits are judged each poll.
Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from drivers.contract import (
    DriverPoint,
    Float64Array,
    Int32Array,
    Quality,
    UInt16Array,
    ValueKind,
)
from drivers.modbus.decode import Column
from drivers.modbus.profile import (
    QUALITIES,
    Flag,
    Heartbeat,
    Profile,
    ProfileAddress,
    Register,
    Status,
    Unit,
    bits,
    code_number,
)
from drivers.modbus.profile_files import load

Index = npt.NDArray[np.intp]
Codes = npt.NDArray[np.int64]

NOT_FOR_ALARM = frozenset(
    {
        Quality.GOOD_SIMULATED, Quality.UNCERTAIN_INHIBITED, Quality.UNCERTAIN_WARM_UP,
        Quality.UNCERTAIN_CALIBRATING, Quality.UNCERTAIN_UNDER_TEST,
    }
)  # fmt: skip
"""States in which even the device's own alarm bit is not one: domain rule for maintenance."""

_BAD = 0x8000
_MAX_DIGITS = 9  # more decimal digits than a 32-bit number has are no number of digits
_MAX_CODE = float(2**53)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the device that a person should hear once; ids of the points it is about."""

    kind: str
    text: str
    ids: tuple[int, ...]


@dataclass(slots=True)
class _Pairs:
    """Positions in the column: register that says something, point that it is about."""

    said: list[int] = field(default_factory=list)
    about: list[int] = field(default_factory=list)

    def add(self, said: int | None, about: int | None) -> None:
        if said is not None and about is not None:
            self.said.append(said)
            self.about.append(about)

    def arrays(self) -> tuple[Index, Index]:
        return np.array(self.said, np.intp), np.array(self.about, np.intp)


@dataclass(slots=True)
class _Poll:
    """What a rule sees and may change: raw values, whether each was read, quality found so far."""

    values: Float64Array
    read: npt.NDArray[np.bool_]
    found: UInt16Array
    now_ns: int

    def worse(self, about: Index, quality: UInt16Array) -> None:
        """Raise what was found; `about` names each point once."""
        self.found[about] = np.maximum(self.found[about], quality)

    def codes(self, at: Index, shift: int, mask: int) -> Codes:
        """Integers that stand in registers; 0 where none was read."""
        whole = np.where(self.read[at], self.values[at], 0.0).clip(-_MAX_CODE, _MAX_CODE)
        return (whole.astype(np.int64) >> shift) & mask


_Rule = Callable[[_Poll], None]
_Places = Mapping[tuple[int, str], int]  # loop, item → position
Load = Callable[[str], Profile]


class Judge:
    """Applies the rules of profiles to one float column, poll by poll.

    column: ids of the column's points in its order, as the decoder has them.
    """

    def __init__(
        self, points: Iterable[DriverPoint[Any]], column: Int32Array, profiles: Load = load
    ) -> None:
        at = {number: position for position, number in enumerate(column.tolist())}
        self._tags: dict[int, str] = {}
        places: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)
        units: dict[int, str] = {}
        for point in points:
            address = point.address
            if isinstance(address, ProfileAddress) and point.id in at:
                position = at[point.id]
                places[address.profile][address.loop, address.item] = position
                units[position] = address.expected_unit
                self._tags[position] = point.tag
        self._ids = column
        self._coded: list[_Rule] = []  # depend on the registers at `_said` alone
        self._rules: list[_Rule] = []
        self._transforms: list[_Rule] = []
        self._units: list[_UnitRule] = []
        said: set[int] = set()
        for name, of in places.items():
            said |= self._plan(profiles(name), of, units)
        self._said = np.array(sorted(said), np.intp)
        self._seen: Float64Array = np.full(len(said), np.nan)  # equal to nothing
        self._marks: UInt16Array = np.zeros(len(said), np.uint16)
        self._found: UInt16Array = np.zeros(len(column), np.uint16)

    @classmethod
    def of(
        cls, points: Iterable[DriverPoint[Any]], columns: Mapping[ValueKind, Int32Array]
    ) -> Judge | None:
        """Judge of these points, or None where nothing is to be judged."""
        if ValueKind.FLOAT not in columns:
            return None
        judge = cls(points, columns[ValueKind.FLOAT])
        return judge if judge._coded or judge._rules or judge._transforms else None

    def judged(self, columns: Iterable[Column], now_ns: int) -> list[Column]:
        """Columns of one poll with the float one judged."""
        found: list[Column] = []
        for points, values, quality in columns:
            if points is self._ids:
                floats = cast("Float64Array", values)
                found.append((points, *self.apply(floats, quality, now_ns)))
            else:
                found.append((points, values, quality))
        return found

    def apply(
        self, values: Float64Array, quality: UInt16Array, now_ns: int
    ) -> tuple[Float64Array, UInt16Array]:
        """Judge one poll; now_ns is monotonic. Neither argument is changed."""
        read = quality < _BAD
        poll = _Poll(values, read, self._codes_found(values, quality, read), now_ns)
        for rule in self._rules:
            rule(poll)
        if self._transforms:
            poll.values = values.copy()
            for transform in self._transforms:
                transform(poll)
        judged = np.where(read, np.maximum(quality, poll.found), quality)
        bad = judged >= _BAD
        if bad.any():
            return np.where(bad, np.nan, poll.values), judged
        return poll.values, judged

    def _codes_found(
        self, values: Float64Array, quality: UInt16Array, read: npt.NDArray[np.bool_]
    ) -> UInt16Array:
        """Quality by states, flags and units: worked out anew only when one of them has changed."""
        seen, marks = values[self._said], quality[self._said]
        if not ((seen == self._seen).all() and (marks == self._marks).all()):
            poll = _Poll(values, read, np.zeros(len(quality), np.uint16), 0)
            for rule in self._coded:
                rule(poll)
            self._seen, self._marks, self._found = seen, marks, poll.found
        return self._found.copy()

    def notices(self) -> list[Notice]:
        """What is news since the last call."""
        return [notice for unit in self._units for notice in unit.news(self._ids, self._tags)]

    def _plan(self, profile: Profile, of: _Places, units: Mapping[int, str]) -> set[int]:
        """Make the rules of a profile; returns the positions that states, flags and units have."""
        loops = sorted({loop for loop, _ in of})
        alarms = {flag.tag for flag in profile.flags if flag.alarm}
        for status in profile.statuses:
            self._coded += _status_rules(status, of, loops, alarms)
        for flag in profile.flags:
            if flag.quality:
                self._coded += _flag_rules(flag, of, loops, alarms)
        for unit in profile.units:
            pairs = _pairs(unit.by, unit.of, of, loops)
            if pairs.said:
                rule = _UnitRule(unit, pairs, units)
                self._coded.append(rule)
                self._units.append(rule)
        for heartbeat in profile.heartbeats:
            pairs = _pairs(heartbeat.by, {*heartbeat.of, *alarms}, of, loops)
            if pairs.said:
                self._rules.append(_HeartbeatRule(heartbeat, pairs))
        for register in profile.registers:
            self._rules += _sentinel_rules(register, of, loops)
            self._transforms += _transforms(register, of, loops)
        tags = {status.by for status in profile.statuses} | {unit.by for unit in profile.units}
        tags |= {flag.tag for flag in profile.flags if flag.quality}
        return {position for (_, tag), position in of.items() if tag in tags}


def same_unit(one: str, other: str) -> bool:
    """Tell whether two spellings mean one unit: mg/m3 and mg/m³, %vol and % VOL."""
    return _plain_unit(one) == _plain_unit(other)


def _plain_unit(unit: str) -> str:
    plain = unit.casefold().replace("³", "3").replace("·", "").replace(" ", "")
    return plain.replace(".", "").replace("％", "%")


def _pairs(register: str, about: Iterable[str], of: _Places, loops: Iterable[int]) -> _Pairs:
    pairs = _Pairs()
    for loop in loops:
        for tag in about:
            pairs.add(of.get((loop, register)), of.get((loop, tag)))
    return pairs


def _status_rules(
    status: Status, of: _Places, loops: Sequence[int], alarms: set[str]
) -> Iterator[_Rule]:
    table = {code_number(code): QUALITIES[word] for code, word in status.codes.items()}
    other = QUALITIES[status.other]
    yield from _code_rules(status.by, status.bits, table, other, status.of, of, loops, alarms)


def _flag_rules(flag: Flag, of: _Places, loops: Sequence[int], alarms: set[str]) -> Iterator[_Rule]:
    table = {flag.when: QUALITIES[flag.quality], 1 - flag.when: int(Quality.GOOD)}
    other = int(Quality.UNCERTAIN)
    yield from _code_rules(flag.tag, "", table, other, flag.of, of, loops, alarms)


def _code_rules(
    register: str,
    part: str,
    table: Mapping[int, int],
    other: int,
    about: Sequence[str],
    of: _Places,
    loops: Sequence[int],
    alarms: set[str],
) -> Iterator[_Rule]:
    """Rules for values, and for alarm bits, which only a state not for alarm may mute."""
    values = _pairs(register, [tag for tag in about if tag not in alarms], of, loops)
    if values.said:
        yield _code_rule(values, part, table, other, int(Quality.UNCERTAIN))
    muted = _pairs(register, [tag for tag in about if tag in alarms], of, loops)
    if muted.said:
        good = int(Quality.GOOD)
        mild = {code: q if q in NOT_FOR_ALARM else good for code, q in table.items()}
        yield _code_rule(muted, part, mild, other if other in NOT_FOR_ALARM else good, good)


def _code_rule(
    pairs: _Pairs, part: str, table: Mapping[int, int], other: int, unread: int
) -> _Rule:
    said, about = pairs.arrays()
    shift, mask = bits(part)
    codes = np.array(sorted(table), np.int64)
    meanings = np.array([table[code] for code in sorted(table)], np.uint16)

    def judge(poll: _Poll) -> None:
        found = poll.codes(said, shift, mask)
        at = codes.searchsorted(found).clip(max=len(codes) - 1)
        quality = np.where(codes[at] == found, meanings[at], other)
        poll.worse(about, np.where(poll.read[said], quality, unread).astype(np.uint16))

    return judge


class _UnitRule:
    """Compares the unit that a register names with the one in the catalogue."""

    def __init__(self, unit: Unit, pairs: _Pairs, expected: Mapping[int, str]) -> None:
        self._said, self._about = pairs.arrays()
        self._shift, self._mask = bits(unit.bits)
        by_code = {code_number(code): word for code, word in unit.codes.items()}
        self._names = by_code
        self._codes = np.array(sorted(by_code), np.int64)
        number: dict[str, int] = {}
        words = [_plain_unit(by_code[code]) for code in sorted(by_code)]
        self._units = np.array([number.setdefault(word, len(number)) for word in words], np.int64)
        wanted = [expected.get(position, "") for position in pairs.about]
        self._wanted = wanted
        # -1: nothing is said, nothing to compare; -2: a unit that the device cannot name.
        self._expected = np.array(
            [number.get(_plain_unit(word), -2) if word else -1 for word in wanted], np.int64
        )
        self._wrong = np.zeros(len(wanted), np.bool_)
        self._told = np.zeros(len(wanted), np.bool_)
        self._found: Codes = np.zeros(len(wanted), np.int64)

    def __call__(self, poll: _Poll) -> None:
        found = poll.codes(self._said, self._shift, self._mask)
        at = self._codes.searchsorted(found).clip(max=len(self._codes) - 1)
        named = np.where(self._codes[at] == found, self._units[at], -3)
        read = poll.read[self._said]
        wrong = (self._expected != -1) & (named != self._expected)
        # While the register cannot be read, what it said last holds.
        self._wrong = np.where(read, wrong, self._wrong)
        self._found = np.where(read, found, self._found)
        poll.worse(
            self._about, np.where(self._wrong, Quality.BAD_CONFIG_ERROR, 0).astype(np.uint16)
        )

    def news(self, ids: Int32Array, tags: Mapping[int, str]) -> Iterator[Notice]:
        changed = self._wrong != self._told
        if not changed.any():
            return
        self._told = self._wrong.copy()
        fresh = np.flatnonzero(changed & self._wrong).tolist()
        if fresh:
            first = fresh[0]
            code = int(self._found[first])
            named = self._names.get(code, "a unit that the profile does not know")
            more = f" and {len(fresh) - 1} more" if len(fresh) > 1 else ""
            yield Notice(
                "device.unit_mismatch",
                f"{tags[int(self._about[first])]}{more}: the device says {named} (code {code}),"
                f" the catalogue {self._wanted[first]}; the values are not used until they agree",
                tuple(ids[self._about[fresh]].tolist()),
            )
        mended = np.flatnonzero(changed & ~self._wrong).tolist()
        if mended:
            names = ", ".join(tags[int(self._about[at])] for at in mended[:20])
            text = f"{names}: unit of device and catalogue agree again"
            yield Notice("device.unit_agrees", text, tuple(ids[self._about[mended]].tolist()))


class _HeartbeatRule:
    """Makes values stale whose register has not changed for too long."""

    def __init__(self, heartbeat: Heartbeat, pairs: _Pairs) -> None:
        self._said, self._about = pairs.arrays()
        self._shift, self._mask = bits(heartbeat.bits)
        self._within_ns = int(heartbeat.within_s * 1e9)
        self._last: Codes = np.full(len(self._said), -1, np.int64)
        self._changed_ns = np.zeros(len(self._said), np.int64)
        self._seen = np.zeros(len(self._said), np.bool_)

    def __call__(self, poll: _Poll) -> None:
        found = poll.codes(self._said, self._shift, self._mask)
        read = poll.read[self._said]
        moved = read & (~self._seen | (found != self._last))
        self._seen |= read
        self._last = np.where(read, found, self._last)
        self._changed_ns = np.where(moved, poll.now_ns, self._changed_ns)
        stale = read & (poll.now_ns - self._changed_ns > self._within_ns)
        quality = np.where(stale, Quality.UNCERTAIN_STALE, 0)
        quality = np.where(read, quality, Quality.UNCERTAIN)
        poll.worse(self._about, quality.astype(np.uint16))


def _sentinel_rules(register: Register, of: _Places, loops: Sequence[int]) -> Iterator[_Rule]:
    at = _pairs(register.tag, [register.tag], of, loops).arrays()[0]
    if not len(at):
        return
    for sentinel in register.sentinels:
        quality = QUALITIES[sentinel.quality]

        def judge(
            poll: _Poll,
            first: float = sentinel.first,
            last: float = sentinel.last,
            q: int = quality,
        ) -> None:
            raw = poll.values[at]
            hit = poll.read[at] & (raw >= first) & (raw <= last)
            poll.worse(at, np.where(hit, q, 0).astype(np.uint16))

        yield judge


def _transforms(register: Register, of: _Places, loops: Sequence[int]) -> Iterator[_Rule]:
    """What makes a number of the raw value; linear scale is the gateway's."""
    if register.encoding == "int_frac":
        yield _int_frac(_pairs(register.tag, [register.tag], of, loops), register.fraction)
    if register.decimals not in {"", "ask"}:
        pairs = _pairs(register.decimals, [register.tag], of, loops)
        yield _decimals(pairs, register.decimals_bits)
    if register.scale_by is not None:
        pairs = _pairs(register.scale_by.by, [register.tag], of, loops)
        yield _scale_by(pairs, register.scale_by.table)


def _int_frac(pairs: _Pairs, digits: int) -> _Rule:
    """Whole number in the high byte, `digits` decimals in the low one: 0x1409 is 20.9."""
    at = pairs.arrays()[0]
    most = 10**digits - 1

    def convert(poll: _Poll) -> None:
        raw = poll.codes(at, 0, 0xFFFF)
        fraction = raw & 0xFF
        poll.values[at] = (raw >> 8) + fraction / (most + 1)
        wrong = np.where(fraction > most, Quality.BAD_SENSOR_FAULT, 0)
        poll.worse(at, wrong.astype(np.uint16))

    return convert


def _decimals(pairs: _Pairs, part: str) -> _Rule:
    said, about = pairs.arrays()
    shift, mask = bits(part)

    def convert(poll: _Poll) -> None:
        digits = poll.codes(said, shift, mask)
        sane = (digits >= 0) & (digits <= _MAX_DIGITS)
        poll.values[about] /= np.power(10.0, digits.clip(0, _MAX_DIGITS))
        # Without the digits the number is not known, not even its magnitude.
        quality = np.where(sane, 0, Quality.BAD_CONFIG_ERROR)
        quality = np.where(poll.read[said], quality, Quality.BAD_COMM_FAILURE)
        poll.worse(about, quality.astype(np.uint16))

    return convert


def _scale_by(pairs: _Pairs, table: Sequence[tuple[float, float, float]]) -> _Rule:
    said, about = pairs.arrays()
    rows = sorted(table)
    first, last, factor = (np.array([row[part] for row in rows]) for part in range(3))

    def convert(poll: _Poll) -> None:
        by = np.where(poll.read[said], poll.values[said], 0.0)
        at = (first.searchsorted(by, "right") - 1).clip(0)
        fits = (by >= first[at]) & (by <= last[at])
        poll.values[about] *= np.where(fits, factor[at], 1.0)
        quality = np.where(fits, 0, Quality.BAD_CONFIG_ERROR)
        quality = np.where(poll.read[said], quality, Quality.BAD_COMM_FAILURE)
        poll.worse(about, quality.astype(np.uint16))

    return convert
