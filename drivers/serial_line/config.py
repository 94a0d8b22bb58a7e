"""What a site file may say about a device with frames of its own, and what is wrong with it.

Guarantees: `check` reads the description file and opens no port; a description that is refused
names every mistake; what was taken from a document and not seen on a device is warned of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from drivers.contract import DriverPoint, Problem, StrictModel, ValueKind
from drivers.host_form import Host
from drivers.serial_line.description import (
    Description,
    DescriptionError,
    parse_description,
)
from drivers.serial_names import name_problem
from drivers.wording import suggestion

WARNING = "warning: "
MAX_FILE_BYTES = 64 * 1024
_KINDS = {"float": ValueKind.FLOAT, "int": ValueKind.INT, "text": ValueKind.TEXT}
_TYPE_OF = {"float": "float", "bool": "float", "map": "float", "int": "int", "text": "text"}
_ADDRESS = r"^[A-Za-z0-9_.-]{0,16}$"


class SerialLineConfig(StrictModel):
    """Keys of a [[device]] with driver = "serial_line".

    serial: path of the port, best under /dev/serial/by-id; or host and port of a converter that
        passes the bytes of the line through TCP.
    frame: description file.  address: text for {address} in it; a point may have its own.
    poll_ms: period of asking; of a device that talks by itself, the newest frame of each period
        is taken.
    timeout_ms: how long to wait for an answer, or how long a device that talks may be silent.
    lost_after: unanswered requests in a row after which a device is down.
    """

    serial: str = ""
    baud: int = Field(default=9600, ge=300, le=4_000_000)
    data_bits: Literal[7, 8] = 8
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    rs485: bool = False
    rs485_rts_low: bool = False
    host: Host = ""
    port: int | None = Field(default=None, ge=1, le=65_535)
    frame: Path
    address: str = Field(default="", pattern=_ADDRESS)
    poll_ms: int = Field(default=1000, ge=10, le=3_600_000)
    timeout_ms: int = Field(default=1000, ge=10, le=600_000)
    lost_after: int = Field(default=3, ge=1, le=100)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if bool(self.serial) == bool(self.host):
            raise ValueError("give either serial, the path of the port, or host and port")
        if bool(self.host) != (self.port is not None):
            raise ValueError("host and port belong together; the path of a port is called serial")
        if self.rs485_rts_low and not self.rs485:
            raise ValueError("rs485_rts_low needs rs485 = true")
        return self

    @property
    def place(self) -> str:
        """Where the device is, for people."""
        return self.serial or f"{self.host}:{self.port}"


class SerialAddress(StrictModel):
    """Columns of a point table: the field of the frame, the type of its value, and the device.

    address: text for {address} where several devices share the line; empty: that of the entry.
    """

    field: str = Field(
        min_length=1,
        max_length=64,
        description="Field of the description file 帧描述文件中的字段",
        json_schema_extra={"headings": ["字段", "字段名"]},
    )
    type: Literal["float", "int", "text"] = Field(
        default="float",
        description="Type of the value 数据类型",
        json_schema_extra={"headings": ["类型", "数据类型"]},
    )
    address: str = Field(
        default="",
        pattern=_ADDRESS,
        description="Address on the line, where it is not that of the device entry 站号",
        json_schema_extra={"headings": ["站号", "设备地址", "地址"]},
    )


def kind_of(address: SerialAddress) -> ValueKind:
    """Column type of a point."""
    return _KINDS[address.type]


def address_of(config: SerialLineConfig, point: DriverPoint[SerialAddress]) -> str:
    """Address of the device that a point belongs to."""
    return point.address.address or config.address


def read_description(path: Path) -> Description:
    """Read a description file; raises DescriptionError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DescriptionError([f"it is larger than {MAX_FILE_BYTES} bytes"])
        return parse_description(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DescriptionError([f"it cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError:
        raise DescriptionError(["it is not UTF-8 text"]) from None


def check(config: SerialLineConfig, points: Sequence[DriverPoint[SerialAddress]]) -> list[Problem]:
    """Find mistakes of the description and of the point table; opens no port."""
    try:
        description = read_description(config.frame)
    except DescriptionError as error:
        return [Problem(0, "frame", f"{config.frame.name}: {said}") for said in error.problems]
    return [
        *filter(None, [name_problem(config.serial)]),
        *_check_points(description, points),
        *_check_addresses(config, description, points),
        *_doubts(config, description),
    ]


def _check_points(
    description: Description, points: Sequence[DriverPoint[SerialAddress]]
) -> Iterator[Problem]:
    if not points:
        yield Problem(0, "points", "the point table has no point")
    kinds = {row.name: row.kind for row in description.field}
    for point in points:
        address = point.address
        kind = kinds.get(address.field)
        if kind is None:
            said = f"no field {address.field!r:.60}; {suggestion(address.field, kinds)}"
            yield Problem(point.row, "field", said)
        elif _TYPE_OF[kind] != address.type:
            said = f"{address.field} is {kind} in the description, so type is {_TYPE_OF[kind]}"
            yield Problem(point.row, "type", said)


def _check_addresses(
    config: SerialLineConfig,
    description: Description,
    points: Sequence[DriverPoint[SerialAddress]],
) -> Iterator[Problem]:
    addresses = {address_of(config, point) for point in points}
    if not description.has_address:
        for point in points:
            if address_of(config, point):
                said = "the description has no {address}, so there is none to give"
                yield Problem(point.row if point.address.address else 0, "address", said)
                return
        return
    if "" in addresses:
        said = "the description has {address}: give it here or for each point"
        yield Problem(0, "address", said)
    if len(addresses) > 1 and not description.answers_say_address:
        said = (
            "several devices share the line and their frames do not say whose they are: a late"
            " answer of one would be taken for another's; have {address} in the pattern"
        )
        yield Problem(0, "frame", said)


def _doubts(config: SerialLineConfig, description: Description) -> Iterator[Problem]:
    name = config.frame.name
    if not description.frame.verified:
        said = f"{name} is from {description.frame.source!r:.80} and not verified on a device"
        yield Problem(0, "frame", f"{WARNING}{said}")
    if not description.guarded:
        said = f"{name} has neither check sum nor start: a garbled frame may pass for a value"
        yield Problem(0, "frame", f"{WARNING}{said}")


__all__ = [
    "SerialAddress",
    "SerialLineConfig",
    "address_of",
    "check",
    "kind_of",
    "read_description",
]
