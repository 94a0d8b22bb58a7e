"""The wire only ever grows: whatever was released keeps its number, type and meaning.

proto/plantgate/wire/v1/released.txt has one line for each field, value and method that a released
gateway or receiver may use. A line is never taken out or changed; a release adds its new ones
with `python -m tests.gateway.test_wire`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.wire.v1 import uplink_pb2

ROOT = Path(__file__).resolve().parents[2]
RELEASED = ROOT / "proto/plantgate/wire/v1/released.txt"
TYPES = {
    value: name.removeprefix("TYPE_").lower()
    for name, value in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def lines() -> list[str]:
    """Everything of the schema that a peer may rely on, one line each, sorted."""
    file = uplink_pb2.DESCRIPTOR
    found = [line for message in file.message_types_by_name.values() for line in _message(message)]
    for enum in file.enum_types_by_name.values():
        found += _enum(enum)
    for service in file.services_by_name.values():
        found += [
            f"method {service.full_name}/{method.name}"
            f" {'stream ' * method.client_streaming}{method.input_type.name}"
            f" -> {'stream ' * method.server_streaming}{method.output_type.name}"
            for method in service.methods
        ]
    return sorted(found)


def _message(message: Descriptor) -> Iterator[str]:
    for field in message.fields:
        kind = field.message_type or field.enum_type
        named = kind.name if kind is not None else TYPES[field.type]
        many = "repeated " if field.is_repeated else ""
        optional = "optional " if field.has_presence and not field.message_type else ""
        inside = f" in {field.containing_oneof.name}" if field.containing_oneof else ""
        yield f"field {message.name} {field.number} {optional}{many}{named} {field.name}{inside}"
    for nested in message.nested_types:
        yield from _message(nested)


def _enum(enum: EnumDescriptor) -> Iterator[str]:
    for value in enum.values:
        yield f"value {enum.name} {value.number} {value.name}"


def missing(released: list[str], now: list[str]) -> list[str]:
    """What was released and is not there any more, or not as it was."""
    return sorted(set(released) - set(now))


def test_nothing_that_was_released_has_changed() -> None:
    released = RELEASED.read_text(encoding="utf-8").splitlines()
    assert released, f"{RELEASED} is empty"
    assert missing(released, lines()) == []


def test_every_field_there_is_has_been_written_down() -> None:
    assert lines() == RELEASED.read_text(encoding="utf-8").splitlines(), (
        "the schema has grown: run python -m tests.gateway.test_wire to note it"
    )


@pytest.mark.parametrize(
    ("released", "changed"),
    [
        ("field Range 2 uint64 stop", "field Range 2 int64 stop"),
        ("field Range 2 uint64 stop", "field Range 3 uint64 stop"),
        ("value Lane 2 LANE_BULK", "value Lane 2 LANE_OTHER"),
    ],
)
def test_a_change_is_found(released: str, changed: str) -> None:
    now = lines()
    assert released in now
    altered = [changed if line == released else line for line in now]
    assert missing(now, altered) == [released]


def test_no_number_and_no_name_is_used_twice() -> None:
    heads = [" ".join(line.split()[:3]) for line in lines() if not line.startswith("method")]
    assert len(set(heads)) == len(heads)


if __name__ == "__main__":
    RELEASED.write_text("\n".join(lines()) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RELEASED}: {len(lines())} lines\n")
