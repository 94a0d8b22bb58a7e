"""What gateway and console process tell each other: JSON lines over one socketpair.

The first line in is Order; then the console says Ready once it listens, Alive every second, Note
for what belongs on record, and Failed with its reason before it ends. `stop` or the end of the
socket ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from gateway.config.console import ConsoleConfig

MOST_LINE_BYTES = 64 << 10
STOP = b'{"type":"stop"}\n'


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Order(_Message):
    """What to serve, and where the gateway's data directory is."""

    config: ConsoleConfig
    data_dir: Path


class Ready(_Message):
    """It listens. address: URL.  fingerprint: of the certificate, empty without TLS."""

    type: Literal["ready"] = "ready"
    address: str
    fingerprint: str = ""
    restricted: bool = False


class Alive(_Message):
    """It works. statistics: counters and gauges by name."""

    type: Literal["alive"] = "alive"
    statistics: Mapping[str, float]


class Note(_Message):
    """Something for the record: who signed in."""

    type: Literal["note"] = "note"
    kind: Literal["audit.console"] = "audit.console"
    text: str = Field(max_length=512)
    attributes: Mapping[str, str] = Field(default_factory=dict)


class Failed(_Message):
    """Why it ends."""

    type: Literal["failed"] = "failed"
    text: str = Field(max_length=1024)


Told = Annotated[Ready | Alive | Note | Failed, Field(discriminator="type")]
_TOLD: TypeAdapter[Ready | Alive | Note | Failed] = TypeAdapter(Told)


def told(line: bytes) -> Ready | Alive | Note | Failed:
    """Decode a line of the console's; raises ValueError."""
    return _TOLD.validate_json(line)


def encoded(message: BaseModel) -> bytes:
    """Encode a message as one line."""
    return message.model_dump_json().encode() + b"\n"
