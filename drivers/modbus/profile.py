"""Device profiles 设备模板: what a model of gas detector keeps in which register, as data.

Guarantees:

- a profile is judged whole when it is loaded: names that it uses exist, addresses resolve, ranges
  are ranges; what is wrong is one clear sentence;
- expansion is pure: the same profile, count and pattern always give the same points;
- everything that the driver needs at run time travels in the point's address (`ProfileAddress`),
  so nothing is guessed from a tag;
- a register that the document does not place (`address = ""`) is never guessed: the site file
  places it, or the point does not exist.

A profile is one file, profiles/NAME.toml here, or one of the site's own (`profile_file`):

    [profile]     name, maker, model, source, verified, notes, base, repeat, stride, …
    [[register]]  one point each: tag, address, type, order, unit, scale, sentinels, …
    [[flag]]      one bit as a point: tag, address, bit; what it means for alarm and quality
    [[status]]    a register whose codes say what the values are worth 状态字
    [[unit]]      a register that says the unit of values, with its codes
    [[heartbeat]] a register that must change

The register called "value" takes the name of its loop 回路, all others stand behind it: AT-001,
AT-001.state, AT-001.alarm_1. Loops repeat by a stride of registers (a panel) or by unit number
(transmitters on one bus). How the rules act on values is in status.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from drivers.contract import QUALITY_WORDS, StrictModel, ValueKind
from drivers.modbus.config import AddressError, ModbusAddress, kind, resolve
from drivers.wording import sentence, suggestion

VALUE = "value"
"""Tag of the register that takes the name of its loop."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_PLACE = re.compile(r"\{n(?::(0?\d{1,2}))?\}")
_BITS = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?")

QUALITIES: Mapping[str, int] = {
    word.partition(":")[2] or word: code
    for code, word in QUALITY_WORDS.items()
    if word not in {"bad:waiting_for_initial_data", "uncertain:out_of_range"}
}
"""Quality of each word that a profile may use: good, warm_up, sensor_fault, …; out_of_range is the
bad one, as the value is not a measurement."""

Tag = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]
Word = Annotated[str, Field(min_length=1, max_length=40)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Head(StrictModel):
    """[profile]: which device, read where, seen by whom.

    source: documents with page.  verified: whether the map was compared with a real device.
    base: how addresses below are written; modicon is 4xxxx notation of 5 or 6 digits.
    repeat: how several loops are laid out: "stride" registers apart, or "unit" numbers.
    loops: most loops of one device.  tag: name of a loop where the site file gives none.
    never_read: ranges whose reading has a side effect, as in the device key `forbidden`.
    never_write: what writing would do; for people, as nothing here can write.
    serial: factory settings of the serial line, for people.
    """

    name: str = Field(pattern=_NAME.pattern)
    maker: Word
    model: str = Field(min_length=1, max_length=80)
    source: tuple[str, ...] = Field(min_length=1)
    verified: bool = False
    notes: tuple[str, ...] = ()
    base: Literal["zero", "modicon"] = "zero"
    repeat: Literal["none", "stride", "unit"] = "none"
    stride: int = Field(default=0, ge=0, le=65535)
    loops: int = Field(default=1, ge=1, le=2048)
    tag: Tag = "gas"
    never_read: tuple[str, ...] = ()
    never_write: tuple[str, ...] = ()
    serial: str = ""
    max_registers: int = Field(default=125, ge=4, le=125)

    @property
    def origin(self) -> str:
        """Say in a few words how far the map can be trusted."""
        return "seen on a device" if self.verified else "from documents, not yet seen on a device"


class Sentinel(StrictModel):
    """Raw values from `first` to `last` are no measurement but say something: 错误值."""

    first: Number
    last: Number
    quality: Word


class ScaleBy(StrictModel):
    """Factor that depends on another register: rows of (first, last, factor)."""

    by: Tag
    table: tuple[tuple[Number, Number, Number], ...] = Field(min_length=1)


class Register(StrictModel):
    """[[register]]: one point of each loop.

    address: as printed in the document, "" where the document does not say.
    decimals: "" for none, "ask" where only the site file can say how many decimal digits 小数位 the
    number has, or the tag of the register that says it, with `decimals_bits` inside it.
    encoding: "int_frac" for integer and fraction in the two bytes of a u16, the fraction in
    `fraction` decimal digits. value = raw * scale.
    """

    tag: Tag
    address: str = Field(default="", max_length=6)
    area: Literal["", "coil", "discrete", "input", "holding"] = ""
    type: Word
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    unit: str = Field(default="", max_length=20)
    description: str = Field(default="", max_length=200)
    scale: Number = 1.0
    decimals: str = ""
    decimals_bits: str = ""
    encoding: Literal["", "int_frac"] = ""
    fraction: int = Field(default=1, ge=1, le=2)
    scale_by: ScaleBy | None = None
    sentinels: tuple[Sentinel, ...] = ()
    stride: int | None = Field(default=None, ge=0, le=65535)

    @field_validator("type")
    @classmethod
    def _type(cls, value: str) -> str:
        if kind(ModbusAddress(address="0", type=value)) is not ValueKind.FLOAT:
            raise ValueError(f"type {value!r} is none whose value a rule could judge")
        return value


class Flag(StrictModel):
    """[[flag]]: one bit as a point of 0 or 1.

    bit: of a register; left out for coils and discrete inputs.
    alarm: the limit that this bit stands for, so that the device's own alarm becomes one here.
    quality: what `of` is worth while the bit is `when`.
    """

    tag: Tag
    address: str = Field(default="", max_length=6)
    area: Literal["", "coil", "discrete", "input", "holding"] = ""
    bit: int | None = Field(default=None, ge=0, le=15)
    description: str = Field(default="", max_length=200)
    alarm: Literal["", "high", "high_high"] = ""
    priority: int = Field(default=2, ge=1, le=4)
    quality: str = ""
    when: Literal[0, 1] = 1
    of: tuple[Tag, ...] = (VALUE,)
    stride: int | None = Field(default=None, ge=0, le=65535)


class Status(StrictModel):
    """[[status]]: codes of a register, or of bits "0-3" of it, and what `of` is worth then.

    other: quality of a code that the document does not have.
    """

    by: Tag
    bits: str = ""
    codes: Mapping[str, Word] = Field(min_length=1)
    other: Word = "uncertain"
    of: tuple[Tag, ...] = (VALUE,)


class Unit(StrictModel):
    """[[unit]]: codes of a register, or of bits of it, and the unit of `of` they mean."""

    by: Tag
    bits: str = ""
    codes: Mapping[str, Word] = Field(min_length=1)
    of: tuple[Tag, ...] = (VALUE,)


class Heartbeat(StrictModel):
    """[[heartbeat]]: a register that changes at least every `within_s` seconds if all is well."""

    by: Tag
    bits: str = ""
    within_s: Number = Field(gt=0, le=3600)
    of: tuple[Tag, ...] = (VALUE,)


class Profile(StrictModel):
    """A whole profile; names, addresses, codes and bits are known to be right."""

    profile: Head
    registers: tuple[Register, ...] = Field(default=(), alias="register")
    flags: tuple[Flag, ...] = Field(default=(), alias="flag")
    statuses: tuple[Status, ...] = Field(default=(), alias="status")
    units: tuple[Unit, ...] = Field(default=(), alias="unit")
    heartbeats: tuple[Heartbeat, ...] = Field(default=(), alias="heartbeat")

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        problems = list(_problems(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def items(self) -> tuple[Register | Flag, ...]:
        """Registers and flags in order: the points of one loop."""
        both: list[Register | Flag] = [*self.registers, *self.flags]
        return tuple(both)

    @property
    def has_alarms(self) -> bool:
        """Whether the device says by bits of its own that it alarms."""
        return any(flag.alarm for flag in self.flags)

    def asked(self) -> list[str]:
        """Tags whose address the document does not give."""
        return [item.tag for item in self.items if not item.address]

    def units_of(self, tag: str) -> list[str]:
        """Units that the device may name for a register; empty if it names none."""
        return sorted(
            {word for rule in self.units if tag in rule.of for word in rule.codes.values()}
        )


class ProfileError(ValueError):
    """A profile that does not exist or is wrong; one clear sentence."""


class ProfileAddress(ModbusAddress):
    """Address of a point that came from a profile: on the wire from 0, with its part in the rules.

    profile, item: which profile (name or path) and which register or flag of it.  loop: number
    from 1, equal for all points of a loop.  expected_unit: what the catalogue says, "" if nothing.
    """

    fixed_base: ClassVar[Literal["zero"]] = "zero"

    profile: str
    item: str
    loop: int
    expected_unit: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One point of an expanded profile. `of` is the register or flag it came from."""

    tag: str
    address: ProfileAddress
    of: Register | Flag


@dataclass(frozen=True, slots=True)
class Placement:
    """What the site file says about a profile's points.

    unit: unit number of the first loop.  first, count: numbers of the loops.  tags: pattern such as
    "AT-{n:03}", "" for the profile's own.  offset: added to every wire address.
    addresses: places of registers that the document does not give, as printed.
    """

    first: int = 1
    count: int = 1
    tags: str = ""
    offset: int = 0
    addresses: Mapping[str, str] | None = None


def parse(text: str, name: str = "") -> Profile:
    """Read a profile from TOML; raises ProfileError."""
    where = f"profile {name}: " if name else "profile: "
    try:
        return Profile.model_validate(_tuples(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{where}no TOML: {error}") from None
    except ValidationError as failure:
        said = [
            f"{'.'.join(str(part) for part in error['loc'])} {sentence(error)}".strip()
            for error in failure.errors()
        ]
        raise ProfileError(where + "; ".join(said)) from None


def expand(profile: Profile, place: Placement) -> list[Item]:
    """Points of all loops in order; registers without an address are left out.

    Raises ProfileError where the loops asked for do not exist or an address leaves 0..65535.
    """
    _check_loops(profile.profile, place)
    placed = dict(place.addresses or {})
    unknown = [tag for tag in placed if tag not in profile.asked()]
    if unknown:
        raise ProfileError(
            f"profile {profile.profile.name} places {unknown[0]} itself, or has no such register; "
            + suggestion(unknown[0], profile.asked())
        )
    found: list[Item] = []
    for index in range(place.count):
        name = loop_name(profile.profile, place, index)
        for item in profile.items:
            printed = item.address or placed.get(item.tag, "")
            if printed:
                tag = name if item.tag == VALUE else f"{name}.{item.tag}"
                found.append(Item(tag, _address(profile, item, printed, place, index), item))
    return found


def loop_name(head: Head, place: Placement, index: int) -> str:
    """Name of the loop with this index from 0."""
    number = place.first + index
    if place.tags:
        return _PLACE.sub(lambda match: format(number, match[1] or ""), place.tags)
    return head.tag if place.count == 1 else f"{head.tag}-{number:02}"


def pattern_problem(tags: str, count: int) -> str:
    """What is wrong with a pattern of tags, or empty."""
    rest = _PLACE.sub("", tags)
    if "{" in rest or "}" in rest:
        return f"tags {tags!r} may hold {{n}} or {{n:03}} and no other braces"
    if count > 1 and tags and not _PLACE.search(tags):
        return f"tags {tags!r} needs {{n}}, else {count} loops have one name"
    return ""


def bits(text: str) -> tuple[int, int]:
    """Shift and mask of bits "0-3", "11" or "" for all; raises ValueError."""
    if not text:
        return 0, -1
    match = _BITS.fullmatch(text)
    if not match:
        raise ValueError(f"bits {text!r} are not like 0-3 or 11")
    low, high = int(match[1]), int(match[2] or match[1])
    if not low <= high < 32:
        raise ValueError(f"bits {text!r} must rise and stay below 32")
    return low, (1 << (high - low + 1)) - 1


def code_number(text: str) -> int:
    """Number of a code as TOML keys write it, decimal or 0x; raises ValueError."""
    return int(text, 0)


def _address(
    profile: Profile, item: Register | Flag, printed: str, place: Placement, index: int
) -> ProfileAddress:
    head = profile.profile
    word = item.type if isinstance(item, Register) else _flag_type(item)
    order = item.order if isinstance(item, Register) else "ABCD"
    try:
        written = ModbusAddress(area=item.area, address=printed, type=word, order=order)
        span = resolve(written, head.base).span
    except (AddressError, ValidationError) as error:
        said = _plain(error)
        raise ProfileError(f"profile {head.name}: {item.tag} at {printed}: {said}") from None
    stride = head.stride if item.stride is None else item.stride
    steps = place.first - 1 + index if head.repeat == "stride" else 0
    start = span.start + steps * stride + place.offset
    if not 0 <= start <= 65536 - span.count:
        text = f"{item.tag} of loop {place.first + index} would be at wire address {start}"
        raise ProfileError(f"profile {head.name}: {text}, outside 0..65535")
    given: dict[str, Any] = {
        "area": span.area.name.lower(), "address": str(start), "type": word, "order": order,
        "profile": head.name, "item": item.tag, "loop": index + 1,
    }  # fmt: skip
    return ProfileAddress(**given)


def _check_loops(head: Head, place: Placement) -> None:
    if head.repeat == "none" and place.count > 1:
        raise ProfileError(
            f"profile {head.name} is of one detector: count must be 1, and each further one is"
            " a [[device]] of its own"
        )
    last = place.first + place.count - 1
    if head.repeat == "stride" and last > head.loops:
        raise ProfileError(
            f"profile {head.name} has {head.loops} loops; first and count ask for loop {last}"
        )
    problem = pattern_problem(place.tags, place.count)
    if problem:
        raise ProfileError(problem)


def _problems(profile: Profile) -> Iterator[str]:
    """Mistakes between the parts of a profile."""
    items = profile.items
    tags = [item.tag for item in items]
    for tag in sorted({tag for tag in tags if tags.count(tag) > 1}):
        yield f"{tag} is there twice"
    if not tags:
        yield "there are no registers and no flags"
    if profile.profile.repeat == "stride" and not profile.profile.stride:
        yield 'repeat = "stride" needs a stride'
    for item in items:
        if item.address:
            yield from _address_problems(profile, item)
    yield from _reference_problems(profile, set(tags))
    yield from _word_problems(profile)


def _address_problems(profile: Profile, item: Register | Flag) -> Iterator[str]:
    try:
        _address(profile, item, item.address, Placement(), 0)
    except ProfileError as error:
        yield str(error)


def _reference_problems(profile: Profile, tags: set[str]) -> Iterator[str]:
    registers = {register.tag for register in profile.registers}
    rules: list[Status | Unit | Heartbeat] = [*profile.statuses, *profile.units]
    rules += profile.heartbeats
    wanted = [(rule.by, registers) for rule in rules]
    wanted += [(tag, tags) for rule in rules for tag in rule.of]
    wanted += [(tag, tags) for flag in profile.flags for tag in flag.of]
    for register in profile.registers:
        if register.decimals not in {"", "ask"}:
            wanted.append((register.decimals, registers))
        if register.scale_by is not None:
            wanted.append((register.scale_by.by, registers))
    for tag, known in wanted:
        if tag not in known and not (tag == VALUE and tag not in tags):
            yield f"{tag} is used but not declared; {suggestion(tag, known)}"


def _word_problems(profile: Profile) -> Iterator[str]:
    words = [word for rule in profile.statuses for word in (*rule.codes.values(), rule.other)]
    words += [flag.quality for flag in profile.flags if flag.quality]
    words += [s.quality for register in profile.registers for s in register.sentinels]
    for word in words:
        if word not in QUALITIES:
            yield f"quality {word!r} is unknown; {suggestion(word, QUALITIES)}"
    coded: list[Status | Unit] = [*profile.statuses, *profile.units]
    texts = [rule.bits for rule in (*coded, *profile.heartbeats)]
    texts += [register.decimals_bits for register in profile.registers]
    for text in texts:
        try:
            bits(text)
        except ValueError as error:
            yield str(error)
    for rule in coded:
        for code in rule.codes:
            try:
                code_number(code)
            except ValueError:
                yield f"code {code!r} of {rule.by} is no number"


def _flag_type(flag: Flag) -> str:
    return "bool" if flag.bit is None else f"bit{flag.bit}"


def _tuples(value: object) -> Any:  # noqa: ANN401  # whatever TOML holds
    """Tuples for TOML's lists: the strict model takes no list for a tuple."""
    if isinstance(value, list):
        return tuple(_tuples(part) for part in value)
    if isinstance(value, dict):
        return {key: _tuples(part) for key, part in value.items()}
    return value


def _plain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(sentence(found) for found in error.errors())
    return str(error)
