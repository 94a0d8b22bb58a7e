"""Addresses of OPC UA points: node ids, browse paths, elements of arrays. Pure.

Guarantees: every mistake is one clear sentence; a namespace is named by its URI, an index only
where the table has a bare one.

Browse path: `/Objects/nsu=<URI>;Tank1/2:Level`, from the Root folder; each name stands in the
namespace before it (`nsu=<URI>;`, `<index>:`, else 0); `&` before a character takes it literally
(the escape of OPC 10000-4, A.2).
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from drivers.contract import StrictModel, ValueKind
from drivers.opcua.field_path import FieldStep, field_path_text, parse_field_path

_NODE = re.compile(r"(?:ns=(?P<index>\d{1,5});|nsu=(?P<uri>[^;]+);)?(?P<form>[isgb])=(?P<id>.+)")
_NODE_FORMS = "nsu=<namespace URI>;s=<text>, with i=<number>, g=<guid> or b=<base64> for others"
_INDEX = re.compile(r"\d{1,10}(,\d{1,10})*")
_DEADBAND = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(%?)")
_MOST_STEPS = 32


@dataclass(frozen=True, slots=True)
class Step:
    """One name of a browse path; namespace: URI or index."""

    namespace: str | int
    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the point table names it.

    namespace: URI, or an index where the table has a bare one.
    identifier: int, str, UUID or bytes (forms i, s, g, b of OPC 10000-6, 5.3.1.10), or the steps
        of a browse path; then namespace is 0.
    """

    namespace: str | int
    identifier: int | str | uuid.UUID | bytes | tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Deadband:
    """Changes smaller than this are not sent: absolute, or percent of the node's EURange."""

    value: float
    percent: bool


def _parse_node(text: str) -> Node:
    text = text.strip()
    if text.startswith("/"):
        return Node(0, _parse_path(text))
    match = _NODE.fullmatch(text)
    if match is None:
        raise ValueError(f"must be {_NODE_FORMS}, or a browse path /Objects/…, not {text!r}")
    namespace: str | int = match["uri"] or int(match["index"] or 0)
    if isinstance(namespace, int) and namespace > 0xFFFF:
        raise ValueError(f"a namespace index is at most 65535, not {namespace}")
    return Node(namespace, _parse_identifier(match["form"], match["id"]))


def _parse_identifier(form: str, text: str) -> int | str | uuid.UUID | bytes:
    if form == "s":
        return text
    if form == "i":
        if not text.isascii() or not text.isdigit() or int(text) > 0xFFFF_FFFF:
            raise ValueError(f"i= takes a whole number up to 4294967295, not {text!r}")
        return int(text)
    try:
        return uuid.UUID(text) if form == "g" else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        wanted = "a GUID" if form == "g" else "base64"
        raise ValueError(f"{form}= takes {wanted}, not {text!r}") from None


def _parse_path(text: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    rest = text
    while rest:
        step, rest = _parse_step(rest[1:], text)
        steps.append(step)
    if len(steps) > _MOST_STEPS:
        raise ValueError(f"a browse path has at most {_MOST_STEPS} names, not {len(steps)}")
    return tuple(steps)


def _parse_step(rest: str, path: str) -> tuple[Step, str]:
    """Read one name; returns it and what follows, which begins with a slash or is empty."""
    namespace: str | int = 0
    if rest.startswith("nsu="):
        uri, separator, rest = rest[4:].partition(";")
        if not separator or not uri:
            raise ValueError(f"nsu= in a browse path ends with ;, as in nsu=urn:x;Tank1: {path!r}")
        namespace = uri
    elif match := re.match(r"(\d{1,5}):", rest):
        namespace = int(match[1])
        rest = rest[match.end() :]
    name = ""
    while rest and rest[0] != "/":
        if rest[0] == "&":
            rest = rest[1:]
        name, rest = name + rest[:1], rest[1:]
    if not name:
        raise ValueError(f"a browse path has a name after every /, as in /Objects/Tank1: {path!r}")
    return Step(namespace, name), rest


def _node_text(text: str) -> str:
    _parse_node(text)
    return text.strip()


def _kind_word(text: str) -> str:
    word = text.strip().lower()
    if word not in _KINDS:
        raise ValueError(f"must be one of {', '.join(w for w in _KINDS if w)}, not {text!r}")
    return word or "float"


def _index_text(text: str) -> str:
    text = text.strip().removeprefix("[").removesuffix("]").replace(" ", "")
    if text and not _INDEX.fullmatch(text):
        raise ValueError(f"must be the place of one element from 0, as 3 or 1,2, not {text!r}")
    return text


def _field_text(text: str) -> str:
    text = text.strip()
    return field_path_text(parse_field_path(text)) if text else ""


def _deadband_text(text: str) -> str:
    text = text.strip()
    match = _DEADBAND.fullmatch(text)
    if text and match is None:
        raise ValueError(f"must be a number (0.5) or percent of the range (2%), not {text!r}")
    if match is not None and match[2] and float(match[1]) > 100:
        raise ValueError(f"is at most 100 %, not {text!r}")
    return text


_KINDS = {
    "": ValueKind.FLOAT,
    "float": ValueKind.FLOAT,
    "bool": ValueKind.FLOAT,
    "int": ValueKind.INT,
    "uint": ValueKind.UINT,
    "text": ValueKind.TEXT,
}


class OpcUaAddress(StrictModel):
    """Columns of a point table that this driver reads."""

    node: Annotated[str, AfterValidator(_node_text)] = Field(
        json_schema_extra={"headings": ["节点", "节点号", "节点标识", "nodeid", "node id"]},
        description="Node id with namespace URI, for example nsu=urn:plant:dcs;s=Tank1.Level",
    )
    type: Annotated[str, AfterValidator(_kind_word)] = Field(
        default="float",
        json_schema_extra={"headings": ["类型", "数据类型"]},
        description="Column type: float (default), int or uint (64 bits exact), bool, text",
    )
    index: Annotated[str, AfterValidator(_index_text)] = Field(
        default="",
        json_schema_extra={"headings": ["元素", "数组下标"]},
        description="Element of an array, from 0: 3, or 1,2 of a matrix",
    )
    field: Annotated[str, AfterValidator(_field_text)] = Field(
        default="",
        json_schema_extra={"headings": ["字段", "结构字段", "结构成员"]},
        description="Field of a structure: BuildInfo.ProductName or sub[2].value",
    )
    server_deadband: Annotated[str, AfterValidator(_deadband_text)] = Field(
        default="",
        json_schema_extra={"headings": ["服务器死区"]},
        description="Changes the server leaves out: 0.5, or 2% of the range. Empty: every change",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.field and self.server_deadband:
            raise ValueError(
                f"server_deadband is for numbers, not for a structure (field {self.field!r}): leave"
                " it empty, or use the column deadband"
            )
        return self

    def path(self) -> tuple[FieldStep, ...]:
        """Give the field of a structure, parsed; empty where the value itself is meant."""
        return parse_field_path(self.field) if self.field else ()

    def target(self) -> Node:
        """Give the node, parsed."""
        return _parse_node(self.node)

    def kind(self) -> ValueKind:
        """Column type of the values."""
        return _KINDS[self.type]

    def deadband(self) -> Deadband | None:
        """What the server is asked to leave out."""
        match = _DEADBAND.fullmatch(self.server_deadband)
        return Deadband(float(match[1]), bool(match[2])) if match is not None else None

    def bare_index(self) -> bool:
        """Tell whether a namespace is named by its index, which a server may change."""
        node = self.target()
        if isinstance(node.identifier, tuple):
            return any(isinstance(s.namespace, int) and s.namespace for s in node.identifier)
        return isinstance(node.namespace, int) and self.node.startswith("ns=")


__all__ = ["Deadband", "Node", "OpcUaAddress", "Step"]
