"""The mapping file 映射文件: a site system's tables and fields to typed records. Pure but `load`.

Guarantees: a mapping is checked whole when it is read (every mistake at once, each one sentence
with its place in the file), so that a row can only fail for what the row says. Without a mapping
file a system sends our own field names, and each record type is a table of its own name.

    source = "ticket-system"        # stands on every record as source_system
    zone = "+08:00"                 # of times that name no offset

    [table.fire]                    # name in the path, the topic or the file name
    record = "permit"
    rows = "datas"                  # where the rows lie; left out: the document itself
    time_format = "yyyyMMddHHmmss"
    id_from = ["ticketNo"]          # where rows have no id of their own
    ignore = ["attachments"]        # dropped, also from extra
    [table.fire.fields]             # ours = "theirs"; a.b walks down, ^.a is beside the rows,
                                    # ^.topic.1 a level of the MQTT topic, ^.file the file name
    ticket_no = "ticketNo"
    [table.fire.values.status]      # theirs = "ours"; what was sent is kept as sent.status
    "1" = "approved"
    [table.fire.defaults]
    work = "hot_work"
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from pydantic import Field, ValidationError

from drivers.contract import StrictModel
from drivers.intake.document import DocumentError
from drivers.intake.moments import TimeFormat, zone
from drivers.intake.records import MAX_TEXT, RECORDS, Record, Scalar
from drivers.wording import sentence, suggestion

MAX_BYTES = 1 << 20
"""Largest mapping file read; twelve tables of forty fields take some 20 KB."""

MAX_EXTRA = 64
"""Fields of one row that no mapping names; more is a document in a row."""

SAMPLES = "samples"
SAMPLE_FIELDS = ("id", "time", "value", "quality")

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
_JsonMap = Mapping[str, object]


class TableConfig(StrictModel):
    """One [table.NAME] of a mapping file."""

    record: str
    rows: str = ""
    time_format: str = "iso8601"
    id_from: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    fields: dict[str, str] = Field(default_factory=dict)
    values: dict[str, dict[str, str]] = Field(default_factory=dict)
    defaults: dict[str, str | int | float | bool] = Field(default_factory=dict)


class MappingConfig(StrictModel):
    """A mapping file."""

    source: Annotated[str, Field(min_length=1, max_length=64)]
    zone: str = "+08:00"
    table: dict[_Name, TableConfig] = Field(default_factory=dict)


class MappingError(ValueError):
    """The mapping file is wrong; `problems` has one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Mapped:
    """A row in our words. given: fields of the record. sent: values as they came, where changed.

    extra: what the mapping does not name, flat.
    """

    given: dict[str, object]
    sent: dict[str, Scalar] = field(default_factory=dict)
    extra: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Table:
    """A table ready for use; `record` is None for samples."""

    name: str
    record: type[Record] | None
    times: TimeFormat
    config: TableConfig
    paths: Mapping[str, str]

    def rows(
        self, document: object, envelope: Mapping[str, object] | None = None
    ) -> list[tuple[Mapping[str, object], Mapping[str, object]]]:
        """List the rows, each with what is beside them; raises DocumentError.

        envelope: what came with the document and is beside all rows, such as the topic.
        """
        beside: _JsonMap = {}
        found = document
        if self.config.rows:
            if not isinstance(document, dict):
                raise DocumentError(f"must be an object with {self.config.rows}")
            found = _at(document, self.config.rows)
            parent = self.config.rows.rpartition(".")[0]
            beside = cast("_JsonMap", _at(document, parent)) if parent else document
        around = {**(envelope or {}), **beside}
        listed = found if isinstance(found, list) else [found]
        rows: list[tuple[Mapping[str, object], Mapping[str, object]]] = []
        for number, row in enumerate(listed):
            if not isinstance(row, dict):
                raise DocumentError(f"row {number} must be an object, not {row!r:.40}")
            rows.append((row, around))
        return rows

    def apply(self, row: _JsonMap, beside: _JsonMap) -> Mapped:
        """Bring a row into our words; raises ValueError if what is left over is too much."""
        mapped = Mapped({})
        for ours, path in self.paths.items():
            value = _at(beside, path[2:]) if path.startswith("^.") else _at(row, path)
            if value is None or (isinstance(value, str) and not value.strip()):
                continue
            mapped.given[ours] = self._worded(ours, value, mapped)
        for ours, default in self.config.defaults.items():
            mapped.given.setdefault(ours, default)
        if self.config.id_from and "id" not in mapped.given:
            parts = [_at(beside, p[2:]) if p.startswith("^.") else _at(row, p)
                     for p in self.config.id_from]  # fmt: skip
            if any(part is None or part == "" for part in parts):
                raise ValueError(f"has no id: {' or '.join(self.config.id_from)} is missing")
            mapped.given["id"] = "/".join(str(part) for part in parts)
        mapped.extra.update(self._extra(row))
        return mapped

    def _worded(self, ours: str, value: object, mapped: Mapped) -> object:
        """Give our word for a code; what was sent is kept beside it."""
        builtin = self.record.codes.get(ours, {}) if self.record else {}
        words = {**builtin, **self.config.values.get(ours, {})}
        if not words or isinstance(value, bool) or not isinstance(value, str | int):
            return value
        sent = str(value).strip()
        word = words.get(sent)
        if word is None or word == sent:
            return value
        mapped.sent[ours] = sent
        return word

    def _extra(self, row: _JsonMap) -> dict[str, Scalar]:
        known = {*self.paths.values(), *self.config.id_from, *self.config.ignore}
        extra = dict(_leaves(row, known))
        if len(extra) > MAX_EXTRA:
            raise ValueError(
                f"has {len(extra)} fields that the mapping does not name, more than {MAX_EXTRA};"
                " name them under ignore"
            )
        for key, value in extra.items():
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise ValueError(
                    f"field {key!r:.40} is longer than {MAX_TEXT} characters; map it or name it"
                    " under ignore"
                )
        return extra


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """All tables of one source system."""

    source: str
    tables: Mapping[str, Table]

    def table(self, name: str) -> Table | None:
        """Find a table by its name."""
        return self.tables.get(name)


def load(path: Path | None, source: str) -> SourceMapping:
    """Read a mapping file; without one, our own names. Raises MappingError.

    source: name of the source system where there is no file.
    """
    if path is None:
        return build(MappingConfig(source=source))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise MappingError([f"is larger than {MAX_BYTES >> 20} MB: not a mapping file"])
        return parse(raw.decode("utf-8-sig"))
    except OSError as error:
        raise MappingError([f"cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError:
        raise MappingError(["is not UTF-8 text"]) from None


def parse(text: str) -> SourceMapping:
    """Read the text of a mapping file; raises MappingError with every mistake."""
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise MappingError([f"is no TOML: {error!s:.200}"]) from None
    try:
        config = MappingConfig.model_validate_json(json.dumps(raw, default=str))
    except ValidationError as failure:
        raise MappingError(
            [_said(failure, number) for number in range(failure.error_count())]
        ) from None
    return build(config)


def build(config: MappingConfig) -> SourceMapping:
    """Check a mapping against the record types; raises MappingError with every mistake."""
    problems: list[str] = []
    try:
        offset = zone(config.zone)
    except ValueError as error:
        raise MappingError([str(error)]) from None
    tables: dict[str, Table] = {}
    own = {name: TableConfig(record=name) for name in (*RECORDS, SAMPLES)}
    for name, table in {**own, **config.table}.items():
        where = f"[table.{name}]"
        try:
            times = TimeFormat(table.time_format, offset)
        except ValueError as error:
            problems.append(f"{where} {error}")
            continue
        if table.record != SAMPLES and table.record not in RECORDS:
            advice = suggestion(table.record, (*RECORDS, SAMPLES))
            problems.append(f"{where} record {table.record!r} is unknown; {advice}")
            continue
        record = RECORDS.get(table.record)
        ours = tuple(record.model_fields) if record else SAMPLE_FIELDS
        problems += [f"{where} {said}" for said in _mistakes(table, record, ours)]
        paths = table.fields or {name: name for name in ours}
        tables[name] = Table(name, record, times, table, paths)
    if problems:
        raise MappingError(problems)
    return SourceMapping(config.source, tables)


def _mistakes(
    table: TableConfig, record: type[Record] | None, ours: Sequence[str]
) -> Iterator[str]:
    for part in ("fields", "values", "defaults"):
        for name in getattr(table, part):
            if name not in ours:
                yield f"{part}.{name} is no field of {table.record}; {suggestion(name, ours)}"
    for part in (*table.fields.values(), *table.id_from):
        if not part or part in {"^", "^."}:
            yield "a field path is empty"
    if not table.fields:
        return
    needed = (
        [name for name, known in record.model_fields.items() if known.is_required()]
        if record
        else ["id", "time", "value"]
    )
    for name in needed:
        by_parts = name == "id" and table.id_from
        if name not in table.fields and name not in table.defaults and not by_parts:
            yield f"fields.{name} is missing: a {table.record} needs it (or a default)"


def _at(row: object, path: str) -> object:
    """Value at a path; a key that holds dots itself comes first. None if it is not there."""
    if isinstance(row, dict):
        if path in row:
            return cast("object", row[path])
        first, dot, rest = path.partition(".")
        return _at(row[first], rest) if dot and first in row else None
    if isinstance(row, list):
        first, dot, rest = path.partition(".")
        if first.isascii() and first.isdigit() and len(first) < 6 and int(first) < len(row):
            return _at(row[int(first)], rest) if dot else cast("object", row[int(first)])
    return None


def _leaves(row: object, known: set[str], path: str = "") -> Iterator[tuple[str, Scalar]]:
    """Flatten what is not known: a.b for objects, a.0 for lists; null and empty are left out."""
    if path in known:
        return
    if isinstance(row, dict):
        for key, value in row.items():
            yield from _leaves(value, known, f"{path}.{key}" if path else str(key))
    elif isinstance(row, list):
        for number, value in enumerate(row):
            yield from _leaves(value, known, f"{path}.{number}")
    elif isinstance(row, str | int | float | bool) and row != "":
        yield path, row


def _said(failure: ValidationError, number: int) -> str:
    error = failure.errors(include_url=False)[number]
    where = ".".join(str(part) for part in error["loc"])
    known = TableConfig.model_fields if len(error["loc"]) > 2 else MappingConfig.model_fields
    return f"{where} {sentence(error, known)}"
