"""What all intakes may say in the site file and the point table, and what is wrong with it. Pure.

A point table lists the points that samples may bring, by the id they carry there. Without one the
intake brings two points of its own; a table that wants them beside samples lists them:

    name,id
    records,#records      records stored since start
    rejected,#rejected    rows refused since start

They are bad:not_connected while the intake cannot receive, so that the silence of a permit system
shows like that of a detector.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from drivers.contract import DriverPoint, Problem, StrictModel, ValueKind
from drivers.intake.mapping import MappingError, load
from drivers.point_table import PointRow, PointSettings

_OWN_TEXTS = {
    "#records": "Records stored since start 已接收记录数",
    "#rejected": "Rows refused since start 已拒绝记录数",
}
OWN = tuple(_OWN_TEXTS)
_KINDS = {"float": ValueKind.FLOAT, "int": ValueKind.INT, "text": ValueKind.TEXT}


class IntakeConfig(StrictModel):
    """Keys that every intake has.

    mapping: mapping file (mapping.py); without one the system sends our own names.
    stale_after_s: a point without a sample for so long becomes uncertain:stale, or bad:waiting if
        it never had one; 0 leaves points as they are for ever.
    """

    own_table: ClassVar[str] = "the intake itself"

    mapping: Path | None = None
    stale_after_s: float = Field(default=60.0, ge=0, le=86_400)

    @classmethod
    def own_row(cls, _keys: Mapping[str, object]) -> type[StrictModel] | None:
        """Say that a point table may be left out; its rows are as always."""
        return ExternalAddress

    def own_rows(
        self, rows: Sequence[PointRow[ExternalAddress]]
    ) -> tuple[Sequence[PointRow[ExternalAddress]], Sequence[Problem]]:
        """Points of the table, or where there is none the intake's own."""
        return rows or [_own_row(name) for name in OWN], ()


class ExternalAddress(StrictModel):
    """Columns of a point table: the id that the site system uses, and the type of the value."""

    id: str = Field(
        min_length=1,
        max_length=128,
        description="Id as the site system sends it; #records and #rejected are our own 外部编号",
        json_schema_extra={"headings": ["外部编号", "编号"]},
    )
    type: Literal["float", "int", "text"] = Field(
        default="float",
        description="Type of the value 数据类型",
        json_schema_extra={"headings": ["类型", "数据类型"]},
    )

    @field_validator("id")
    @classmethod
    def _known(cls, value: str) -> str:
        if value.startswith("#") and value not in OWN:
            raise ValueError(f"{value!r} is none of the intake's own points: {', '.join(OWN)}")
        return value

    @property
    def own(self) -> bool:
        """Tell whether the intake itself makes the values."""
        return self.id in OWN

    def kind(self) -> ValueKind:
        """Column type of the point."""
        return ValueKind.FLOAT if self.own else _KINDS[self.type]


def _own_row(name: str) -> PointRow[ExternalAddress]:
    tag, text = name.removeprefix("#"), _OWN_TEXTS[name]
    settings = PointSettings(name=tag, description=text)
    return PointRow(0, tag, settings, ExternalAddress(id=name))


def kind_of(address: ExternalAddress) -> ValueKind:
    """Column type of a point."""
    return address.kind()


def check_intake(
    config: IntakeConfig, points: Sequence[DriverPoint[ExternalAddress]]
) -> Iterator[Problem]:
    """Find mistakes of the mapping file and of the point table; reads files, opens no socket."""
    first: dict[str, DriverPoint[ExternalAddress]] = {}
    for point in points:
        earlier = first.setdefault(point.address.id, point)
        if earlier is not point:
            said = f"{point.tag} has the id of {earlier.tag} (row {earlier.row})"
            yield Problem(point.row, "id", said)
    if config.mapping is None:
        return
    try:
        load(config.mapping, "")
    except MappingError as error:
        for said in error.problems:
            yield Problem(0, "mapping", f"{config.mapping.name}: {said}")


def read_secret(path: Path) -> str:
    """Read a file that holds one line; raises ValueError with one sentence."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text or "\n" in text:
        raise ValueError(f"{path} must hold one line")
    return text
