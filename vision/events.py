"""Messages between the gateway and a camera's process: their types and their bytes. Pure.

    0        4             8           12
    | "PGV1" | header size | blob size | header: JSON, UTF-8 | blob: JPEG or nothing |

Sizes are unsigned 32-bit, big-endian. The last letter of the magic is the version: both ends come
from one installation, so a mismatch is an error, not a negotiation.

Guarantees: bytes from a broken peer give a ProtocolError, never a huge allocation (header at most
64 KiB, blob at most 4 MiB), never a message with a wrong type in it. After an error the decoder
refuses everything.
"""

from __future__ import annotations

import struct
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from vision.config import CameraConfig
from vision.strict import StrictModel

MAGIC = b"PGV1"
MOST_HEADER_BYTES = 64 * 1024
MOST_BLOB_BYTES = 4 * 1024 * 1024
_PREFIX = struct.Struct(">4sII")


class ProtocolError(Exception):
    """The peer sent what no version of this protocol sends."""


class Message(StrictModel):
    """Base of all messages. blob is carried beside the JSON header."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    blob: bytes = Field(default=b"", exclude=True, repr=False)


class Configure(Message):
    """First message to the worker.

    active: zones whose over-count alarm stands; `zone/no_item` for one of equipment.
    memory: file in which it keeps what it learned of the view; nowhere if empty.
    logins: folder in which cameras share which logins were refused; nowhere if empty.
    """

    type: Literal["configure"] = "configure"
    camera: CameraConfig
    active: list[str] = Field(default_factory=list)
    memory: str = ""
    logins: str = ""


class Stop(Message):
    """To the worker: end now."""

    type: Literal["stop"] = "stop"


class Capture(Message):
    """To the worker: give a picture now and a clip of before and after, for an alarm."""

    type: Literal["capture"] = "capture"
    alarm_id: str = Field(pattern=r"^[0-9a-f]{32}$")


class Look(Message):
    """To the worker: give one picture of now; `Seen` with this number answers."""

    type: Literal["look"] = "look"
    number: int


class Relearn(Message):
    """To the worker: what the camera shows now is right; learn the view anew."""

    type: Literal["relearn"] = "relearn"


class Seen(Message):
    """From the worker: the picture (blob, JPEG) that was asked for, or one clause why not.

    wall_ns: wall-clock time of its frame, 0 where there is none.
    """

    type: Literal["seen"] = "seen"
    number: int
    wall_ns: int = 0
    text: str = ""


class Started(Message):
    """From the worker, once the model is loaded.

    tries_hardware: the next thing it does is to open a driver that decodes; if it dies now, that
    is why.
    """

    type: Literal["started"] = "started"
    model_sha256: str
    onnxruntime: str
    tries_hardware: bool = False


class Sample(Message):
    """From the worker, once a second: its heartbeat.

    counts: people per zone in the order of the configuration; None where quality is bad.
    wearing: value and quality of the points of equipment and passages, as by `camera_tags`.
    frame_wall_ns: wall-clock time of the newest judged frame, 0 before the first.
    """

    type: Literal["sample"] = "sample"
    counts: list[int | None]
    quality: int = Field(ge=0, le=0xFFFF)
    wearing: list[tuple[int | None, int]] = Field(default_factory=list)
    frame_wall_ns: int
    analysed_fps: float
    statistics: dict[str, float] = Field(default_factory=dict)


class Happened(Message):
    """From the worker: an event; blob is the JPEG evidence, if any."""

    type: Literal["happened"] = "happened"
    kind: str
    wall_ns: int
    text: str
    attributes: dict[str, str | int | float | bool] = Field(default_factory=dict)


class Failed(Message):
    """From the worker, its last: one sentence why it cannot go on."""

    type: Literal["failed"] = "failed"
    text: str


class RecordOrder(Message):
    """First message to a recorder (vision/recorder.py).

    folder: of this camera's files.  since_ns, why: see vision.recording.Cutter.  reserve_bytes:
    free space of the disk below which nothing is written.  logins: as of Configure.
    """

    type: Literal["record"] = "record"
    camera: CameraConfig
    folder: str
    since_ns: int
    why: str
    segment_s: float = Field(gt=0)
    reserve_bytes: int = Field(ge=0)
    logins: str = ""


class Recording(Message):
    """From a recorder, once a second: its heartbeat.

    running: pictures reach the disk.  problem: one sentence if they do not.  written_ns:
    wall-clock time of the last picture on the disk.  files: closed so far.
    """

    type: Literal["recording"] = "recording"
    running: bool
    problem: str
    written_ns: int
    written_bytes: int
    files: int


ToChild = Configure | RecordOrder | Stop | Capture | Look | Relearn
FromChild = Started | Sample | Happened | Seen | Recording | Failed
AnyMessage = ToChild | FromChild
_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="type")])


def encode(message: AnyMessage) -> bytes:
    """Bytes of one message; ValueError if it is larger than the protocol allows."""
    header = message.model_dump_json().encode()
    if len(header) > MOST_HEADER_BYTES or len(message.blob) > MOST_BLOB_BYTES:
        raise ValueError(f"a {message.type} message of {len(header)} + {len(message.blob)} bytes")
    return _PREFIX.pack(MAGIC, len(header), len(message.blob)) + header + message.blob


class MessageDecoder:
    """Cuts a byte stream into messages, however it arrives in pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._broken = ""

    def feed(self, received: bytes) -> list[AnyMessage]:
        """Take bytes, return the messages they complete; raises ProtocolError."""
        if self._broken:
            raise ProtocolError(self._broken)
        self._buffer += received
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def _next(self) -> AnyMessage | None:
        if len(self._buffer) < _PREFIX.size:
            return None
        magic, header_bytes, blob_bytes = _PREFIX.unpack_from(self._buffer)
        if magic != MAGIC:
            raise self._break(f"not a message of this version: begins with {magic!r}")
        if header_bytes > MOST_HEADER_BYTES or blob_bytes > MOST_BLOB_BYTES:
            raise self._break(f"a message of {header_bytes} + {blob_bytes} bytes is too large")
        middle = _PREFIX.size + header_bytes
        end = middle + blob_bytes
        if len(self._buffer) < end:
            return None
        header, blob = bytes(self._buffer[_PREFIX.size : middle]), bytes(self._buffer[middle:end])
        del self._buffer[:end]
        try:
            message = _ADAPTER.validate_json(header)
        except ValidationError as error:
            raise self._break(f"an unreadable header: {error.errors()[0]['msg']}") from error
        return message.model_copy(update={"blob": blob}) if blob else message

    def _break(self, reason: str) -> ProtocolError:
        self._broken = reason
        self._buffer.clear()
        return ProtocolError(reason)
