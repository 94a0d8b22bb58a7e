"""What registers that were read once could mean: for commissioning, not for the poll loop.

Guarantees:

- a value is decoded and judged exactly as the driver does it (same decoder, same rules);
- a verdict on the address base 地址基准 comes with the evidence for it, and no evidence is said to
  be none: registers of zeros fit every base.

Documents print addresses from 1 or from 0 and do not say which. The same points are therefore
interpreted at the address as configured, one below and one above; a finite float of a sensible
size, a status code and a unit code that the document has speak for a place, a refused register, an
unknown code or a float of absurd size against it. Pure.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from drivers.contract import DriverPoint, Quality
from drivers.modbus.codec import Area
from drivers.modbus.config import resolve
from drivers.modbus.decode import Decoder, Layout, Value
from drivers.modbus.learn import covering
from drivers.modbus.plan import Limits, Span, touches
from drivers.modbus.profile import ProfileAddress, Status, Unit, bits, code_number
from drivers.modbus.profile_files import load
from drivers.modbus.status import Judge

SHIFTS = (0, -1, 1)
"""Added to the wire address, in the order of what is most often right."""

_SMALLEST, _LARGEST = 1e-4, 1e6  # gas readings in any unit in use lie between
_MARGIN = 2  # points of evidence by which one place must lead
_FOR, _AGAINST, _REFUSED = 2, -2, -3

Memory = Mapping[tuple[Area, int], int]
Points = Sequence[DriverPoint[Any]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One point as it was read. words: registers as they came; empty where they were not read."""

    tag: str
    value: float
    quality: int
    span: Span
    words: tuple[int, ...]


@dataclass(slots=True)
class Case:
    """What speaks for and against one shift of the addresses."""

    shift: int
    points: int = 0
    reasons: list[str] = field(default_factory=list)

    def add(self, points: int, reason: str) -> None:
        """Add evidence: positive speaks for the shift."""
        self.points += points
        self.reasons.append(reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which shift the evidence is for, None where there is none, and one sentence."""

    shift: int | None
    text: str
    cases: tuple[Case, ...]


def spans(points: Points, limits: Limits, shifts: Iterable[int] = SHIFTS) -> list[Span]:
    """What has to be read for all shifts; ranges that must not be read are left out."""
    wanted = {_moved(_span(point), shift) for point in points for shift in shifts}
    return sorted(
        span
        for span in wanted
        if span.start >= 0 and span.end <= 65536 and not touches(span, limits)
    )


def interpret(
    points: Points, memory: Memory, shift: int = 0, *, judged: bool = True
) -> list[Sample]:
    """Decode points from single registers, and judge them as the driver does unless told not to."""
    moved = [(point, _moved(_span(point), shift)) for point in points]
    values = [_value(point, span) for point, span in moved]
    layout = Layout(values)
    blocks = [covering([span]) for span in sorted(layout.spans())]
    decoder = Decoder(layout, blocks)
    failed: dict[int, Quality] = {}
    for index, (block, offset) in enumerate(zip(blocks, decoder.offsets, strict=True)):
        words = _words(block.spans[0], memory)
        if not words:
            failed[index] = Quality.BAD_ILLEGAL_ADDRESS
        elif block.area.bits:
            decoder.buffer[offset] = words[0]
        else:
            decoder.buffer[offset : offset + 2 * len(words)] = struct.pack(
                f">{len(words)}H", *words
            )
    columns = decoder.decode(failed)
    judge = Judge.of(points, layout.points) if judged else None
    if judge is not None:
        columns = judge.judged(columns, 0)
    found = {
        number: (float(value), quality)
        for ids, values, marks in columns
        if not isinstance(values, tuple)  # strings say nothing about an address base
        for number, value, quality in zip(
            ids.tolist(), values.tolist(), marks.tolist(), strict=True
        )
    }
    return [
        Sample(point.tag, *found[point.id], span, _words(span, memory)) for point, span in moved
    ]


def judge_base(points: Points, memory: Memory, offset: int = 0) -> Verdict:
    """Say at which shift of the addresses the registers make most sense; offset: as configured."""
    if not memory:
        return Verdict(None, "nothing could be read at these addresses or beside them", ())
    cases = [_case(points, memory, shift) for shift in SHIFTS]
    best = max(cases, key=lambda case: case.points)
    rest = max(case.points for case in cases if case is not best)
    if best.points <= 0 or best.points - rest < _MARGIN:
        text = (
            "no evidence for either address base: the registers make as much sense one lower or"
            " higher; apply a known gas and probe again"
        )
        return Verdict(None, text, tuple(cases))
    why = "; ".join(best.reasons)
    if best.shift == 0:
        text = f"addresses are right as they are: {why}"
    else:
        text = f"addresses are off by one: set profile_offset = {offset + best.shift}; then {why}"
    return Verdict(best.shift, text, tuple(cases))


@dataclass(frozen=True, slots=True)
class Guess:
    """One register and what it and the next would be; floats in the four byte orders."""

    address: int
    word: int
    signed: int
    floats: Mapping[str, float]


def guesses(words: Sequence[int], first: int) -> Iterator[Guess]:
    """All plain readings of consecutive registers from wire address `first`."""
    for at, word in enumerate(words):
        floats: dict[str, float] = {}
        if at + 1 < len(words):
            high, low = struct.pack(">H", word), struct.pack(">H", words[at + 1])
            for order, raw in (
                ("ABCD", high + low), ("CDAB", low + high),
                ("BADC", high[::-1] + low[::-1]), ("DCBA", (high + low)[::-1]),
            ):  # fmt: skip
                floats[order] = struct.unpack(">f", raw)[0]
        yield Guess(first + at, word, word - 0x10000 if word & 0x8000 else word, floats)


def is_sensible(value: float) -> bool:
    """Tell whether a float could be a measurement: finite and of a usual size, or 0."""
    return value == 0 or (math.isfinite(value) and _SMALLEST <= abs(value) <= _LARGEST)


def _case(points: Points, memory: Memory, shift: int) -> Case:
    case = Case(shift)
    by_loop: dict[tuple[str, int], dict[str, tuple[DriverPoint[Any], Sample]]] = {}
    for point, sample in zip(points, interpret(points, memory, shift, judged=False), strict=True):
        if isinstance(point.address, ProfileAddress):
            loop = by_loop.setdefault((point.address.profile, point.address.loop), {})
            loop[point.address.item] = (point, sample)
    for (name, _), items in by_loop.items():
        profile = load(name)
        _weigh_floats(case, items)
        for rule in profile.statuses:
            _weigh_codes(case, rule, items)
        for unit in profile.units:
            _weigh_codes(case, unit, items)
    return case


def _weigh_floats(case: Case, items: Mapping[str, tuple[DriverPoint[Any], Sample]]) -> None:
    for point, sample in items.values():
        if point.address.type not in {"f32", "f64"}:
            continue
        if not sample.words:
            case.add(_REFUSED, f"{sample.tag} cannot be read")
        elif not any(sample.words):
            continue  # zeros fit everywhere
        elif is_sensible(sample.value):
            case.add(_FOR, f"{sample.tag} is {sample.value:g}")
        else:
            case.add(_AGAINST, f"{sample.tag} would be {sample.value:g}")


def _weigh_codes(
    case: Case, rule: Status | Unit, items: Mapping[str, tuple[DriverPoint[Any], Sample]]
) -> None:
    found = items.get(rule.by)
    if found is None:
        return
    sample = found[1]
    if not sample.words:
        case.add(_REFUSED, f"{sample.tag} cannot be read")
        return
    shift, mask = bits(rule.bits)
    code = (int(sample.value) >> shift) & mask if math.isfinite(sample.value) else -1
    meanings = {code_number(text): word for text, word in rule.codes.items()}
    if code in meanings:
        # A code of 0 is what an empty register says too.
        case.add(_FOR if code else 0, f"{sample.tag} is {code}, {meanings[code]}")
    else:
        case.add(_AGAINST, f"{sample.tag} would be {code}, which the document does not have")


def _span(point: DriverPoint[Any]) -> Span:
    return resolve(point.address, "zero").span


def _moved(span: Span, shift: int) -> Span:
    return Span(span.area, span.start + shift, span.count)


def _value(point: DriverPoint[Any], span: Span) -> Value:
    target = resolve(point.address, "zero")
    return Value(point.id, span, target.type, target.order)


def _words(span: Span, memory: Memory) -> tuple[int, ...]:
    """Registers of a span, or none of them where one was not read."""
    found = [memory.get((span.area, at)) for at in range(span.start, span.end)]
    return tuple(word for word in found if word is not None) if None not in found else ()
