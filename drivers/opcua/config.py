"""Configuration of an OPC UA device and of its points' addresses.

Guarantees: every mistake is one clear sentence; a password never stands in the site file; an
unencrypted link needs `insecure = true` in so many words.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from drivers.contract import StrictModel, ValueKind

FilePath = Annotated[Path, Field(strict=False)]
Milliseconds = Annotated[int, Field(ge=1, le=3_600_000)]

_NODE = re.compile(r"(?:ns=(?P<index>\d{1,5});|nsu=(?P<uri>[^;]+);)?(?P<form>[isgb])=(?P<id>.+)")
_NODE_FORMS = "nsu=<namespace URI>;s=<text>, with i=<number>, g=<guid> or b=<base64> for others"


@dataclass(frozen=True, slots=True)
class Node:
    """A node as the point table names it.

    namespace: URI, or an index where the table has a bare one.
    identifier: int, str, UUID or bytes (forms i, s, g, b of OPC 10000-6, 5.3.1.10).
    """

    namespace: str | int
    identifier: int | str | uuid.UUID | bytes


def _parse_node(text: str) -> Node:
    if text.startswith("/"):
        raise ValueError(f"a browse path is not supported yet; write the node id as {_NODE_FORMS}")
    match = _NODE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"must be {_NODE_FORMS}, not {text!r}")
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


def _node_text(text: str) -> str:
    _parse_node(text)
    return text.strip()


def _kind_word(text: str) -> str:
    word = text.strip().lower()
    if word not in _KINDS:
        raise ValueError(f"must be one of {', '.join(w for w in _KINDS if w)}, not {text!r}")
    return word or "float"


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

    def target(self) -> Node:
        """Give the node, parsed."""
        return _parse_node(self.node)

    def kind(self) -> ValueKind:
        """Column type of the values."""
        return _KINDS[self.type]


class OpcUaConfig(StrictModel):
    """Keys of a [[device]] with driver = "opcua"."""

    endpoint: str
    security: Literal["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss", "None"] = (
        "Basic256Sha256"
    )
    mode: Literal["SignAndEncrypt", "Sign"] = "SignAndEncrypt"
    insecure: bool = False
    certificate: FilePath | None = None
    key: FilePath | None = None
    server_certificate: FilePath | None = None
    trust: FilePath | None = None
    user: str | None = None
    password_file: FilePath | None = None
    publish_ms: Milliseconds = 500
    sampling_ms: int | None = Field(default=None, ge=0, le=3_600_000)
    queue_size: int | None = Field(default=None, ge=1, le=100_000)
    items_per_call: int = Field(default=1000, ge=1, le=100_000)
    retry_s: int = Field(default=60, ge=1, le=86_400)
    timeout_ms: int = Field(default=4000, ge=100, le=60_000)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        address = urlsplit(self.endpoint)
        if address.scheme != "opc.tcp" or not address.hostname:
            raise ValueError(f"endpoint must be opc.tcp://host:port/path, not {self.endpoint!r}")
        if address.username or address.password:
            raise ValueError("endpoint must not hold user or password: use user and password_file")
        if (self.user is None) != (self.password_file is None):
            raise ValueError("user and password_file go together; the password is never in here")
        if self.security == "None":
            if not self.insecure:
                raise ValueError('security = "None" is only allowed together with insecure = true')
            return self
        if self.certificate is None or self.key is None:
            raise ValueError("certificate and key (of our application instance) are required")
        if self.trust is None and self.server_certificate is None:
            raise ValueError("trust (a folder) or server_certificate must say whom to trust")
        return self

    @property
    def sampling_interval_ms(self) -> int:
        """Requested sampling interval: the publishing interval unless set; 0 is every change."""
        return self.publish_ms if self.sampling_ms is None else self.sampling_ms

    @property
    def item_queue_size(self) -> int:
        """Values kept per item at the server; by default two publishing intervals' worth."""
        fastest_ms = max(self.sampling_interval_ms, 10)  # where every change counts, 100 a second
        return self.queue_size or max(2, -(-2 * self.publish_ms // fastest_ms))


__all__ = ["Node", "OpcUaAddress", "OpcUaConfig"]
