"""What a site file and a point table may say about a Modbus device, and what is wrong with it.

Guarantees: every mistake is one clear sentence; an address is resolved in exactly one place
(`resolve`), so the planner, the checks and the driver cannot disagree about it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from drivers.contract import DriverPoint, Problem, StrictModel, ValueKind
from drivers.modbus.codec import ADDRESSES, MAX_BITS, MAX_REGISTERS, Area
from drivers.modbus.plan import Limits, Span, aligned, touches
from drivers.modbus.profile_keys import ProfileKeys
from drivers.modbus.text import characters
from drivers.modbus.transport_keys import TransportKeys
from drivers.serial_names import name_problem

TYPE_REGISTERS: Mapping[str, int] = {
    "bool": 1,
    **{f"bit{number}": 1 for number in range(16)},
    "u8hi": 1, "u8lo": 1, "s8hi": 1, "s8lo": 1, "u16": 1, "s16": 1, "bcd16": 1,
    "u32": 2, "s32": 2, "f32": 2,
    "u64": 4, "s64": 4, "f64": 4,
}  # fmt: skip
"""Registers (or bits, for bool) that a value of each type takes; text:N takes half of N."""

_TYPE_ALIASES = {
    "uint8hi": "u8hi", "uint8lo": "u8lo", "int8hi": "s8hi", "int8lo": "s8lo", "bcd": "bcd16",
    "uint16": "u16", "int16": "s16", "i16": "s16", "word": "u16",
    "uint32": "u32", "int32": "s32", "i32": "s32", "dword": "u32",
    "uint64": "u64", "int64": "s64", "i64": "s64",
    "float": "f32", "float32": "f32", "real": "f32", "浮点": "f32",
    "double": "f64", "float64": "f64",
    "boolean": "bool", "开关量": "bool",
}  # fmt: skip
_AREA_ALIASES = {
    "coils": "coil", "线圈": "coil",
    "discrete_input": "discrete", "离散输入": "discrete", "离散量输入": "discrete",
    "input_register": "input", "输入寄存器": "input",
    "holding_register": "holding", "保持寄存器": "holding",
}  # fmt: skip
_AREAS = {"coil": Area.COIL, "discrete": Area.DISCRETE, "input": Area.INPUT,
          "holding": Area.HOLDING}  # fmt: skip
_ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")
_ORDER_ALIASES = {"ABCDEFGH": "ABCD", "GHEFCDAB": "CDAB", "BADCFEHG": "BADC", "HGFEDCBA": "DCBA",
                  "AB": "ABCD", "BA": "DCBA", "": "ABCD"}  # fmt: skip
_MODICON = {"0": Area.COIL, "1": Area.DISCRETE, "3": Area.INPUT, "4": Area.HOLDING}
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{1,4}|[0-9]{1,6}")
_AREA_NUMBER = re.compile(r"0?[0-4]|0x0?[1-4]|[0134]x+")
_RANGE = re.compile(r"(coil|discrete|input|holding):([0-9]+)(?:-([0-9]+))?")


class ModbusConfig(ProfileKeys, TransportKeys):
    """Keys of a [[device]] with driver = "modbus"; those of a profile are in profile_keys.

    forbidden: ranges that are never read, "holding:100-119", wire addresses, both ends included.
    base: "zero", addresses as on the wire; "modicon", 4xxxx notation with 5 or 6 digits.
    max_per_area: { input = 32 }, areas of which the device gives less at once than of others.
    align: requests for registers begin and end at multiples of it, as some devices demand.
    in_flight: requests outstanding at once; 1 unless the device is known to take more.
    lost_after: consecutive time-outs after which the link is given up and made anew.
    """

    unit: int = Field(default=1, ge=0, le=255)
    poll_ms: int = Field(default=1000, ge=10)
    timeout_ms: int = Field(default=1000, ge=10, le=60_000)
    base: Literal["zero", "modicon"] = "zero"
    max_registers: int = Field(default=MAX_REGISTERS, ge=4, le=MAX_REGISTERS)
    max_bits: int = Field(default=MAX_BITS, ge=1, le=MAX_BITS)
    max_gap: int = Field(default=16, ge=0, le=MAX_REGISTERS)
    max_per_area: Mapping[Literal["coil", "discrete", "input", "holding"], int] = Field(
        default_factory=dict
    )
    align: Literal[1, 2, 4, 8, 16, 32] = 1
    forbidden: tuple[str, ...] = ()
    in_flight: int = Field(default=1, ge=1, le=16)
    busy_retries: int = Field(default=2, ge=0, le=10)
    lost_after: int = Field(default=2, ge=1, le=100)

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.in_flight > 1 and (self.is_line or self.pause_between_requests_ms):
            raise ValueError(
                "in_flight must be 1 on a serial line and with pause_between_requests_ms"
            )
        return self

    @field_validator("max_per_area")
    @classmethod
    def _at_least_one(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        for area, count in value.items():
            most = MAX_BITS if _AREAS[area].bits else MAX_REGISTERS
            if not 1 <= count <= most:
                raise ValueError(f"{area} = {count} must be between 1 and {most}")
        return value

    @field_validator("forbidden", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("forbidden")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            _parse_range(text)
        return value

    def limits(self) -> Limits:
        """Limits of one request, for the planner."""
        forbidden: dict[Area, list[tuple[int, int]]] = {}
        for text in (*self.forbidden, *self.forbidden_by_profile()):
            area, first, end = _parse_range(text)
            forbidden.setdefault(area, []).append((first, end))
        most = min(self.max_registers, self.most_by_profile())
        per_area = {_AREAS[name]: count for name, count in self.max_per_area.items()}
        return Limits(most, self.max_bits, self.max_gap, forbidden, per_area)


class ModbusAddress(StrictModel):
    """Columns of a point table that only Modbus knows; all are text, as a table gives them.

    area may be left out with base = "modicon"; type may be left out for coils and discrete
    inputs. order is of the bytes of a value as they arrive, A being the most significant:
    ABCD, CDAB (words swapped), BADC (bytes of each word swapped), DCBA; 8-byte names are taken
    for the same four. unit_id: id on the bus, 0..255; left out, the one of the device entry.
    fixed_base: how the address is written, where that is not for the device entry to say.
    """

    fixed_base: ClassVar[Literal["zero", "modicon"] | None] = None

    area: Literal["", "coil", "discrete", "input", "holding"] = Field(
        default="", json_schema_extra={"headings": ["区域", "寄存器区", "寄存器类型"]}
    )
    address: str = Field(json_schema_extra={"headings": ["地址", "寄存器地址"]})
    type: str = Field(default="", json_schema_extra={"headings": ["类型", "数据类型"]})
    order: str = Field(default="ABCD", json_schema_extra={"headings": ["字节序", "字序"]})
    unit_id: int | None = Field(
        default=None,
        ge=0,
        le=255,
        json_schema_extra={"headings": ["站号", "从站地址", "单元", "设备地址"]},
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_words(cls, row: object) -> object:
        if not isinstance(row, Mapping):
            return row
        plain = dict(row)
        for name, aliases in (("area", _AREA_ALIASES), ("type", _TYPE_ALIASES)):
            if isinstance(plain.get(name), str):
                word = plain[name].strip().lower()
                plain[name] = aliases.get(word, word)
        if isinstance(plain.get("address"), int):
            plain["address"] = str(plain["address"])
        unit = plain.get("unit_id")
        if isinstance(unit, str) and re.fullmatch(r" *[0-9]{1,3} *", unit):
            plain["unit_id"] = int(unit)
        return plain

    @field_validator("area", mode="before")
    @classmethod
    def _area(cls, value: object) -> object:
        if isinstance(value, str) and _AREA_NUMBER.fullmatch(value):
            raise ValueError(
                f"{value!r} may be a function code (01 coil, 02 discrete, 03 holding, 04 input) or"
                " a digit of 4xxxx notation (0 coil, 1 discrete, 3 input, 4 holding): write the"
                " word"
            )
        return value

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        text = value.strip()
        if not _ADDRESS.fullmatch(text):
            raise ValueError(
                f"address {value!r} is not a number such as 40, 0x28 or, with base modicon, 40041"
            )
        return text

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        if value and value not in TYPE_REGISTERS and not characters(value):
            raise ValueError(
                f"type {value!r} is unknown; use bool, bit0..bit15, u8hi, u8lo, s8hi, s8lo, u16, "
                "s16, bcd16, u32, s32, f32, u64, s64, f64 or text:N of up to 250 characters"
            )
        return value

    @field_validator("order")
    @classmethod
    def _order(cls, value: str) -> str:
        order = _ORDER_ALIASES.get(value.strip().upper(), value.strip().upper())
        if order not in _ORDERS:
            raise ValueError(f"order {value!r} is unknown; use {', '.join(_ORDERS)}")
        return order


@dataclass(frozen=True, slots=True)
class Target:
    """A resolved address: where on the wire, and how the value is made."""

    span: Span
    type: str
    order: str


class AddressError(ValueError):
    """An address that cannot be read; `column` names the cell that is wrong."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


def resolve(address: ModbusAddress, base: Literal["zero", "modicon"]) -> Target:
    """Turn table columns into a wire address; raises AddressError with one clear sentence."""
    if (address.fixed_base or base) == "modicon":
        area, start = _modicon(address)
    elif not address.area:
        raise AddressError("area", "area is missing; use coil, discrete, input or holding")
    else:
        area, start = _AREAS[address.area], int(address.address, 0 if _hex(address) else 10)
    word = address.type or ("bool" if area.bits else "")
    if not word:
        raise AddressError("type", "type is missing; registers need one, for example u16 or f32")
    if area.bits and word != "bool":
        raise AddressError("type", f"area {area.name.lower()} holds single bits, not {word}")
    if not area.bits and word == "bool":
        raise AddressError("type", "a register holds no bool; name its bit: bit0 to bit15")
    length = characters(word)
    if length and address.order not in {"ABCD", "BADC"}:
        raise AddressError("order", f"{word} is ABCD, or BADC with the bytes of a register swapped")
    span = Span(area, start, (length + 1) // 2 or TYPE_REGISTERS[word])
    if span.end > ADDRESSES:
        raise AddressError("address", f"{word} at wire address {start} leaves 0..65535")
    return Target(span, sys.intern(word), sys.intern(address.order))  # the same few for all points


def kind(address: ModbusAddress) -> ValueKind:
    """Column type of a point: 64-bit integers keep every bit, all other numbers are float64."""
    if characters(address.type):
        return ValueKind.TEXT
    return {"s64": ValueKind.INT, "u64": ValueKind.UINT}.get(address.type, ValueKind.FLOAT)


def check(config: ModbusConfig, points: Sequence[DriverPoint[ModbusAddress]]) -> list[Problem]:
    """Mistakes that need the device entry or more than one row."""
    problems = [*config.missing_files(), *filter(None, [name_problem(config.serial)])]
    if not points:
        problems.append(Problem(0, "points", "the device has no points"))
    if config.base == "zero" and looks_modicon(point.address for point in points):
        text = (
            f"warning: all addresses, as {points[0].address.address}, could be in 4xxxx notation"
            ' (5 digits, the first for the area): if the maker counts so, set base = "modicon";'
            " without it they are taken as they go over the wire"
        )
        problems.append(Problem(0, "base", text))
    limits = config.limits()
    spans: dict[int, dict[Span, DriverPoint[ModbusAddress]]] = {}
    for point in points:
        try:
            span = resolve(point.address, config.base).span
            cell = aligned(span, config.align)
        except AddressError as error:
            problems.append(Problem(point.row, error.column, str(error)))
            continue
        if cell.count > limits.cap(span.area):
            text = f"{point.tag} takes {cell.count} registers, one request {limits.cap(span.area)}"
            problems.append(Problem(point.row, "type", text))
            continue
        if touches(cell, limits):
            text = f"{point.tag} lies in a range that the device entry forbids"
            if not touches(span, limits):
                text = (
                    f"with align = {config.align} reading {point.tag} would read a range that the"
                    " device entry forbids"
                )
            problems.append(Problem(point.row, "address", text))
        unit = config.unit if point.address.unit_id is None else point.address.unit_id
        spans.setdefault(unit, {}).setdefault(span, point)
    for of_unit in spans.values():
        problems += _overlaps(of_unit)
    return problems


def looks_modicon(addresses: Iterable[ModbusAddress]) -> bool:
    """Tell whether every address reads in 4xxxx notation, too, in the area that it stands in."""
    some = False
    for address in addresses:
        some = True
        if address.fixed_base is not None or len(address.address) < 5:
            return False
        try:
            resolve(address, "modicon")
        except AddressError:
            return False
    return some


def _overlaps(spans: Mapping[Span, DriverPoint[ModbusAddress]]) -> list[Problem]:
    """Values of several registers that share some but not all of them: a typing error."""
    problems: list[Problem] = []
    previous: Span | None = None
    for span in sorted(spans):
        if span.count == 1:
            continue  # a word or bit inside a longer value may be meant
        if previous and previous.area is span.area and span.start < previous.end:
            here, there = spans[span], spans[previous]
            if span.start != previous.start:
                text = f"{here.tag} begins inside {there.tag} (row {there.row})"
                problems.append(Problem(here.row, "address", text))
        if previous is None or previous.area is not span.area or span.end > previous.end:
            previous = span
    return problems


def _hex(address: ModbusAddress) -> bool:
    return address.address[:2].lower() == "0x"


def _modicon(address: ModbusAddress) -> tuple[Area, int]:
    """4xxxx notation: up to five digits (1 to 9999 behind the area's), or six (1 to 65536)."""
    if _hex(address):
        raise AddressError("address", "base modicon takes 5 or 6 decimal digits, not hexadecimal")
    digits = address.address.zfill(5)  # spreadsheets drop the leading 0 of coils
    area = _MODICON.get(digits[0])
    number = int(digits[1:])
    if area is None:
        text = f"{digits} begins with {digits[0]}; 0 is coil, 1 discrete, 3 input, 4 holding"
        raise AddressError("address", text)
    if not 1 <= number <= ADDRESSES:
        raise AddressError("address", f"{digits} counts from 1 to 9999 or, six digits, 65536")
    if address.area and _AREAS[address.area] is not area:
        text = f"{digits} is area {area.name.lower()}, but the area column says {address.area}"
        raise AddressError("area", text)
    return area, number - 1


def _parse_range(text: str) -> tuple[Area, int, int]:
    """Read "holding:100-119" as (area, first, end); raises ValueError."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if not match:
        raise ValueError(f"forbidden range {text!r} is not like holding:100-119")
    first = int(match[2])
    last = int(match[3] or match[2])
    if not first <= last < ADDRESSES:
        raise ValueError(f"forbidden range {text!r} must rise and stay below 65536")
    return _AREAS[match[1]], first, last + 1
