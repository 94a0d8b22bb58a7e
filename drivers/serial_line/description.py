"""What the frames of a device look like, as its description file says; README.md explains it. Pure.

Guarantees: text in, a checked description out, or a DescriptionError that lists every mistake in
plain sentences. A pattern is a list of at most 64 items that one walk over a frame reads: there is
no regular expression that a hostile frame could make run for ever. A request stands only beside
`reads_only = true` and the document that says so.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from drivers.contract import QUALITY_WORDS, StrictModel
from drivers.serial_line import checksum
from drivers.wording import sentence

MAX_ITEMS = 64
MAX_WIDTH = 64
"""Bytes of one value; indicators show 6 to 8 digits, texts of devices up to a display line."""
MAX_FRAME_BYTES = 4096
QUALITY_CODES: Mapping[str, int] = {word: int(code) for code, word in QUALITY_WORDS.items()}

_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|[rnt\\]|.?)", re.DOTALL)
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}
_NAME = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
_Text = Annotated[str, Field(min_length=1, max_length=256)]


class DescriptionError(ValueError):
    """The description is wrong; `problems` holds one sentence for each mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Checksum(StrictModel):
    """kind and encoding of the check sum, and which byte is the first that it covers (from 0).

    It covers everything from `first_byte` up to the place where the pattern has it.
    """

    kind: checksum.Kind = "none"
    encoding: checksum.Encoding = "hex"
    order: checksum.Order = "high_first"
    first_byte: int = Field(default=0, ge=0, le=64)

    @property
    def width(self) -> int:
        """Bytes it takes in a frame."""
        return checksum.width(self.kind, self.encoding)


class Item(StrictModel):
    """One piece of a frame: exactly one of literal, number, text, hex, skip, checksum.

    number, text, hex name a field. width: bytes of a value; until: the text in front of which a
    value ends (the text itself is not consumed). decimals: digits behind a point that the device
    does not send. signed: a hex value is two's complement.
    """

    literal: _Text | None = None
    number: _NAME | None = None
    text: _NAME | None = None
    hex: _NAME | None = None
    skip: int | None = Field(default=None, ge=1, le=MAX_FRAME_BYTES)
    checksum: Literal[True] | None = None
    width: int | None = Field(default=None, ge=1, le=MAX_WIDTH)
    until: _Text | None = None
    decimals: int = Field(default=0, ge=0, le=9)
    signed: bool = False

    @model_validator(mode="after")
    def _one_meaning(self) -> Item:
        words = ("literal", "number", "text", "hex", "skip", "checksum")
        given = [word for word in words if getattr(self, word) is not None]
        if len(given) != 1:
            raise ValueError(f"an item has exactly one of {', '.join(words)}")
        if self.field is None:
            if self.width is not None or self.until is not None:
                raise ValueError("width and until belong to number, text and hex")
        elif (self.width is None) == (self.until is None):
            raise ValueError(f"{self.field} needs either width or until")
        if self.hex is not None and (self.width is None or self.width > 16):
            raise ValueError("hex needs width, at most 16 digits")
        if self.decimals and self.number is None:
            raise ValueError("decimals belong to number")
        for text in (self.literal, self.until):
            if text is not None:
                unescaped(text)
        return self

    @property
    def field(self) -> str | None:
        """Field that the item reads, if any."""
        return self.number or self.text or self.hex


class FieldRow(StrictModel):
    """A field of the frame.

    kind: float, int, bool (0 or 1), map (a number for each text, by `values`) or text.
    quality: what the device sends instead of a value, or a state: text to quality word.
    governs: fields whose quality is no better than this one's.
    unit: for people; scale, offset and unit of a point belong to the point table.
    """

    name: _NAME
    kind: Literal["float", "int", "bool", "map", "text"] = "float"
    unit: str = Field(default="", max_length=32)
    values: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(default_factory=dict)
    quality: dict[str, str] = Field(default_factory=dict)
    governs: Annotated[tuple[str, ...], Field(strict=False)] = ()

    @field_validator("quality")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        for text, word in value.items():
            if word not in QUALITY_CODES:
                known = ", ".join(QUALITY_CODES)
                raise ValueError(f"{word!r} for {text!r} is no quality; there are: {known}")
        return value

    @model_validator(mode="after")
    def _mapped(self) -> FieldRow:
        if (self.kind == "map") != bool(self.values):
            raise ValueError('values belong to kind = "map", and such a field needs them')
        return self


class FrameKeys(StrictModel):
    """The table [frame] of a description; README.md says each key."""

    source: _Text
    verified: bool
    request: _Text | None = None
    reads_only: bool = False
    reads_only_source: str = Field(default="", max_length=400)
    start: str = Field(default="", max_length=16)
    terminator: str = Field(default="", max_length=16)
    length: int | None = Field(default=None, ge=1, le=MAX_FRAME_BYTES)
    max_bytes: int = Field(default=256, ge=2, le=MAX_FRAME_BYTES)
    checksum: Checksum = Checksum()
    request_checksum: Checksum = Checksum()
    pattern: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=MAX_ITEMS)]


class Description(StrictModel):
    """A whole description file."""

    frame: FrameKeys
    field: Annotated[tuple[FieldRow, ...], Field(strict=False, min_length=1, max_length=MAX_ITEMS)]

    @property
    def listens(self) -> bool:
        """Whether the device talks by itself."""
        return self.frame.request is None

    @property
    def has_address(self) -> bool:
        """Whether request or frames name the address of the device."""
        return "{address}" in (self.frame.request or "") or self.answers_say_address

    @property
    def answers_say_address(self) -> bool:
        """Whether a frame says which device it is of."""
        return any("{address}" in (item.literal or "") for item in self.frame.pattern)

    @property
    def guarded(self) -> bool:
        """Whether a frame that lost its beginning cannot pass for a whole one."""
        return self.frame.checksum.kind != "none" or bool(self.frame.start)

    def trailing_bytes(self) -> int | None:
        """Bytes of a frame behind its terminator; None where the pattern does not have it."""
        end = unescaped(self.frame.terminator).encode("latin-1")
        behind = 0
        for item in reversed(self.frame.pattern):
            if item.literal is not None:
                literal = unescaped(item.literal).encode("latin-1")
                if literal.endswith(end):
                    return behind
                behind += len(literal)
            elif item.checksum:
                behind += self.frame.checksum.width
            else:
                return None
        return None

    def request_for(self, address: str) -> bytes:
        """The one request to a device; raises ValueError where there is none."""
        if self.frame.request is None:
            raise ValueError("a device that talks by itself is asked nothing")
        text = unescaped(self.frame.request.replace("{address}", address))
        head, mark, tail = text.encode("latin-1").partition(b"{checksum}")
        if not mark:
            return head
        rule = self.frame.request_checksum
        covered = head[rule.first_byte :]
        return head + checksum.encoded(rule.kind, covered, rule.encoding, rule.order) + tail


def unescaped(text: str) -> str:
    r"""Read \x02, \r, \n, \t and \\; raises ValueError on others and beyond one byte."""

    def one(match: re.Match[str]) -> str:
        word = match[1]
        if word.startswith("x") and len(word) == 3:
            return chr(int(word[1:], 16))
        if word not in _PLAIN:
            raise ValueError(rf"\{word} is no escape; there are \x02 (two digits), \r, \n, \t, \\")
        return _PLAIN[word]

    plain = _ESCAPE.sub(one, text)
    if any(ord(letter) > 0xFF for letter in plain):
        raise ValueError(f"{text!r:.60} has letters beyond one byte; write them as \\xHH")
    return plain


def parse_description(text: str) -> Description:
    """Read a description file; raises DescriptionError."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = rf"{error}; text with \x02 stands in single quotes"
        raise DescriptionError([said]) from None
    try:
        found = Description.model_validate(raw)
    except ValidationError as error:
        raise DescriptionError(
            [f"{'.'.join(map(str, one['loc']))}: {sentence(one)}" for one in error.errors()]
        ) from None
    problems: list[str] = []
    try:
        problems += _frame_mistakes(found)
        problems += _checksum_mistakes(found)
        problems += _request_mistakes(found)
        problems += _field_mistakes(found)
    except ValueError as error:  # an escape
        problems.append(str(error))
    if problems:
        raise DescriptionError(problems)
    return found


def _frame_mistakes(found: Description) -> Iterator[str]:
    frame = found.frame
    start = unescaped(frame.start)
    if bool(frame.terminator) == (frame.length is not None):
        yield "frame: give either terminator or length"
    elif frame.terminator and found.trailing_bytes() is None:
        yield (
            "frame.pattern: a literal must end with the terminator; only literals and the check"
            " sum may stand behind it"
        )
    first = frame.pattern[0].literal
    if start and not unescaped(first or "").startswith(start):
        yield "frame.start: the first item of the pattern must be a literal that begins with it"
    if frame.length is not None and found.listens and not start:
        yield "frame.length: a device that talks by itself needs start, to find its frames"
    if frame.length is not None and frame.length > frame.max_bytes:
        yield "frame.length is more than max_bytes"
    yield from _size_mistakes(found)


def _size_mistakes(found: Description) -> Iterator[str]:
    """Find patterns that no frame can fit."""
    frame = found.frame
    if found.answers_say_address:
        return  # an address may have any length
    if any(item.until is not None for item in frame.pattern):
        return
    total = sum(
        len(unescaped(item.literal)) if item.literal
        else item.skip or item.width or frame.checksum.width
        for item in frame.pattern
    )  # fmt: skip
    if frame.length is not None and total != frame.length:
        yield f"frame.length is {frame.length}, and the pattern has {total} bytes"
    elif total > frame.max_bytes:
        yield f"frame.max_bytes is {frame.max_bytes}, and the pattern has {total} bytes"


def _checksum_mistakes(found: Description) -> Iterator[str]:
    frame = found.frame
    count = sum(1 for item in frame.pattern if item.checksum)
    if count != (frame.checksum.kind != "none"):
        yield "frame.checksum: a kind and one item {checksum = true} in the pattern go together"
        return
    at = next((at for at, item in enumerate(frame.pattern) if item.checksum), None)
    if at is None or frame.checksum.encoding != "binary" or not frame.terminator:
        return
    end = unescaped(frame.terminator)
    before = [unescaped(item.literal) for item in frame.pattern[:at] if item.literal]
    if not any(literal.endswith(end) for literal in before):
        yield (
            "frame.terminator: a binary check sum may look like the terminator, so name as"
            " terminator what stands before it (often '\\x03')"
        )


def _request_mistakes(found: Description) -> Iterator[str]:
    frame = found.frame
    if frame.request is None:
        if frame.reads_only or frame.request_checksum.kind != "none":
            yield "frame: reads_only and request_checksum belong to request"
        return
    if not frame.reads_only or not frame.reads_only_source.strip():
        yield (
            "frame.request is refused: nothing says that it only reads; say reads_only = true and"
            " reads_only_source, the document and place that say so"
        )
    if ("{checksum}" in frame.request) != (frame.request_checksum.kind != "none"):
        yield "frame.request_checksum: a kind and {checksum} in the request go together"
    unescaped(frame.request)


def _field_mistakes(found: Description) -> Iterator[str]:
    read = [item.field for item in found.frame.pattern if item.field]
    rows = {row.name: row for row in found.field}
    if len(rows) < len(found.field):
        yield "field: two fields have the same name"
    for name in sorted({name for name in read if read.count(name) > 1}):
        yield f"frame.pattern reads {name} twice"
    for name in sorted(set(read) ^ set(rows)):
        yield f"{name} stands in the pattern or under [[field]], and must stand in both"
    for item in found.frame.pattern:
        if item.field in rows:
            yield from _item_mistakes(item, rows[item.field])
    for row in found.field:
        for name in row.governs:
            if name not in rows or name == row.name:
                yield f"{row.name} governs {name}, which is no other field"


def _item_mistakes(item: Item, row: FieldRow) -> Iterator[str]:
    if item.text is not None and row.kind in {"float", "int"}:
        yield f"{row.name}: the pattern reads text, so kind is text, map or bool"
    elif item.text is None and row.kind == "text":
        yield f"{row.name}: kind text needs an item {{text = …}}"
    elif row.kind == "int" and item.decimals:
        yield f"{row.name}: an int has no decimals"


__all__ = [
    "MAX_WIDTH",
    "QUALITY_CODES",
    "Checksum",
    "Description",
    "DescriptionError",
    "FieldRow",
    "FrameKeys",
    "Item",
    "parse_description",
    "unescaped",
]
