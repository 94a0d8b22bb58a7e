"""From a document to SourceEvents, row by row: what is right is taken, what is wrong gets a reason.

Guarantees:

- Every row gives exactly one Accepted or Rejected, in order, so that a sender can be told of each.
- An event's attributes are flat. Beside the record's fields: `source_system`, `sender`,
  `mapping_table`, `content_sha256` (of what the record says, not of how it was sent), `sent.*`,
  `extra.*`.
- Two rows that say the same have the same digest, whatever their order of fields or their sender.
- A sender's clock more than 10 minutes ahead of ours is noted (`clock_ahead_s`), not corrected.

Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from drivers.contract import SourceEvent
from drivers.intake.document import MAX_ROWS, DocumentError
from drivers.intake.mapping import Mapped, SourceMapping, Table
from drivers.intake.records import NO_TEXT, Record, Scalar
from drivers.wording import sentence

DIGEST_BYTES = 16
CLOCK_AHEAD_NS = 600_000_000_000
MAX_ATTRIBUTES_BYTES = 64 << 10
"""Attributes of one event; a permit with all texts has some 4 KB."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A row that is right. digest: 16 bytes of SHA-256 over what it says."""

    id: str
    event: SourceEvent
    digest: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is wrong and why. id: the row's own, or `row 3` where it has none."""

    id: str
    reason: str


class RowReader:
    """Reads the documents of one source system for one device."""

    def __init__(self, device: str, mapping: SourceMapping) -> None:
        self._device = device
        self._mapping = mapping

    @property
    def mapping(self) -> SourceMapping:
        """Tables known."""
        return self._mapping

    def read(
        self,
        table: Table,
        document: object,
        sender: str,
        now_ns: int,
        picture: bytes = b"",
        envelope: Mapping[str, object] | None = None,
    ) -> list[Accepted | Rejected]:
        """Read all rows of a document; raises DocumentError if there are none to be found.

        picture: belongs to the one row of the document.  envelope: see Table.rows.
        """
        rows = table.rows(document, envelope)
        if len(rows) > MAX_ROWS:
            raise DocumentError(f"has {len(rows)} rows, more than {MAX_ROWS}: split it")
        found: list[Accepted | Rejected] = []
        for number, (row, beside) in enumerate(rows):
            name = f"row {number}"
            try:
                mapped = table.apply(row, beside)
                name = shown_id(mapped.given.get("id", name))
                found.append(self._row(table, mapped, sender, now_ns, picture))
            except ValidationError as failure:
                found.append(Rejected(name, _reasons(failure)))
            except ValueError as error:
                found.append(Rejected(name, str(error)))
        return found

    def _row(
        self, table: Table, mapped: Mapped, sender: str, now_ns: int, picture: bytes
    ) -> Accepted:
        kind = table.record
        if kind is None:
            raise ValueError("is a table of samples, not of records")
        if picture:
            mapped.given.setdefault("id", hashlib.sha256(picture).hexdigest())
        record = kind.model_validate(mapped.given, context={"moment": table.times.parse})
        said = self._said(record, mapped)
        if picture:
            said["picture_sha256"] = hashlib.sha256(picture).hexdigest()
            said["picture_type"] = "image/png" if picture[:4] == b"\x89PNG" else "image/jpeg"
        digest = _digest(record.kind, said)
        more: dict[str, Scalar] = {"sender": sender, "mapping_table": table.name}
        if record.time.ns > now_ns + CLOCK_AHEAD_NS:
            more["clock_ahead_s"] = (record.time.ns - now_ns) // 1_000_000_000
        event = SourceEvent(
            kind=f"intake.{record.kind}",
            source=self._device,
            time_ns=record.time.ns,
            text=f"{self._mapping.source}: {record.summary()}.",
            attributes={**said, **more, "content_sha256": digest.hex()},
            picture=picture,
        )
        return Accepted(record.id, event, digest[:DIGEST_BYTES])

    def _said(self, record: Record, mapped: Mapped) -> dict[str, Scalar]:
        said = {**record.attributes(), "source_system": self._mapping.source}
        said |= {f"sent.{name}": value for name, value in mapped.sent.items()}
        said |= {f"extra.{name}": value for name, value in mapped.extra.items()}
        size = sum(len(name) + len(str(value).encode("utf-8", "surrogatepass"))
                   for name, value in said.items())  # fmt: skip
        if size > MAX_ATTRIBUTES_BYTES:
            raise ValueError(f"is {size} bytes, more than {MAX_ATTRIBUTES_BYTES >> 10} KB")
        for name, value in said.items():
            _check_text(name)
            if isinstance(value, str):
                _check_text(value)
        return said


def shown_id(value: object) -> str:
    """Text of an id that may be wrong, fit for an answer and for an event."""
    return str(value)[:128].encode("utf-8", "replace").decode().replace("\0", "?")


def _check_text(text: str) -> None:
    """Refuse what protobuf and SQLite cannot hold."""
    if NO_TEXT.search(text):
        raise ValueError("holds a character that is no text (NUL or half a surrogate pair)")


def _digest(kind: str, said: dict[str, Scalar]) -> bytes:
    written = json.dumps([kind, said], sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(written.encode()).digest()


def _reasons(failure: ValidationError) -> str:
    said = []
    for error in failure.errors(include_url=False):
        where = ".".join(str(part) for part in error["loc"])
        said.append(f"{where} {sentence(error)}".strip())
    return "; ".join(said)
