"""A relay on loopback between an OPC UA client and its server, which looks at every message.

    async with OpcUaRelay(server.endpoint) as relay:     # the client connects to relay.endpoint
        relay.request = lambda number, body: SWALLOW if number == HISTORY_READ else None

`request` says what becomes of a request: None passes it on, SWALLOW loses it, a StatusCode answers
it with a ServiceFault, bytes are its answer's body. `answer` gives what is sent instead of an
answer, None loses it. Both are given the number of the binary encoding (NodeIds.csv) and the body,
type id first. Sequence numbers of the channel are written anew, so that nobody sees the difference.
Security None only.
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.fakes.listening import ListeningFake

SWALLOW = -1
(
    READ, READ_ANSWER, HISTORY_READ, CALL, CREATE_SUBSCRIPTION, CREATE_ITEMS, ITEMS_ANSWER, PUBLISH,
    PUBLISH_ANSWER, REPUBLISH, TRANSLATE, OPEN_CHANNEL, CHANNEL_ANSWER,
) = 631, 634, 664, 712, 787, 751, 754, 826, 829, 832, 554, 446, 449  # fmt: skip
"""Numbers of binary encodings (OPC 10000-6, annex A: NodeIds.csv)."""

_FAULT = (
    b"\x01\x00" + struct.pack("<H", 397) + bytes(8 + 4) + b"%b" + b"\x00" + b"\xff" * 4 + bytes(3)
)
_HEAD = 8  # message type, chunk type, size (OPC 10000-6, 7.1.2.2)

Decide = Callable[[int, bytes], int | bytes | None]
Change = Callable[[int, bytes], bytes | None]


class OpcUaRelay(ListeningFake):
    """See the module. requests: how many of each came, by number."""

    def __init__(self, endpoint: str) -> None:
        super().__init__()
        self._url = urlsplit(endpoint)
        self.request: Decide = lambda _number, _body: None
        self.answer: Change = lambda _number, body: body
        self.requests: Counter[int] = Counter()

    @property
    def endpoint(self) -> str:
        """URL that leads through the relay."""
        return f"opc.tcp://127.0.0.1:{self.port}{self._url.path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other: asyncio.StreamWriter | None = None
        try:
            back, other = await asyncio.open_connection(self._url.hostname, self._url.port)
            to_server, to_client = _Way(other), _Way(writer)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._requests(reader, to_server, to_client))
                tasks.create_task(self._answers(back, to_client))
        except* OSError:
            pass
        finally:
            if other is not None:
                other.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, to_server: _Way, to_client: _Way
    ) -> None:
        while message := await _next(reader):
            at = _body_at(message)
            verdict = None
            if at:
                number = _number(message, at)
                self.requests[number] += 1
                verdict = self.request(number, message[at:])
            if verdict is None:
                to_server.send(message)
            elif verdict != SWALLOW:
                body = verdict if isinstance(verdict, bytes) else _FAULT % _u32(verdict)
                to_client.send(_with_body(message, at, body))
        to_server.writer.transport.abort()

    async def _answers(self, reader: asyncio.StreamReader, to_client: _Way) -> None:
        while message := await _next(reader):
            at = _body_at(message)
            if at:
                body = self.answer(_number(message, at), message[at:])
                if body is None:
                    continue
                message = _with_body(message, at, body)
            to_client.send(message)
        to_client.writer.transport.abort()


class _Way:
    """One direction of a connection, with its own sequence numbers."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self._sequence = 0

    def send(self, message: bytes) -> None:
        at = _body_at(message)
        if at:
            self._sequence += 1
            number = struct.pack("<I", self._sequence)
            message = message[: at - 8] + number + message[at - 4 :]
        self.writer.write(message)


async def _next(reader: asyncio.StreamReader) -> bytes:
    """Read one message chunk; empty at the end."""
    try:
        head = await reader.readexactly(_HEAD)
        return head + await reader.readexactly(struct.unpack_from("<I", head, 4)[0] - _HEAD)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


def _body_at(message: bytes) -> int:
    """Where the body begins, behind SequenceNumber and RequestId; 0 where there is no channel."""
    kind = message[:3]
    if kind in (b"MSG", b"CLO"):
        return 24
    if kind != b"OPN":
        return 0
    at = _HEAD + 4
    for _ in range(3):  # policy, certificate, thumbprint
        at += 4 + max(0, struct.unpack_from("<i", message, at)[0])
    return at + 8


def _number(message: bytes, at: int) -> int:
    """Number of the type id that a body begins with, or 0."""
    return struct.unpack_from("<H", message, at + 2)[0] if message[at : at + 2] == b"\1\0" else 0


def items_made(*statuses: int) -> bytes:
    """Answer to CreateMonitoredItems of a server that makes none, whatever it says."""
    head = b"\x01\x00" + struct.pack("<H", ITEMS_ANSWER) + bytes(8 + 4 + 4 + 1 + 4 + 3)
    items = [_u32(s) + _u32(9000 + i) + struct.pack("<d", 100.0) + _u32(2) + bytes(3)
             for i, s in enumerate(statuses)]  # fmt: skip
    return head + _u32(len(items)) + b"".join(items) + bytes(4)


REFRESHED = (
    b"\x01\x00"
    + struct.pack("<H", 715)
    + bytes(8 + 4 + 4 + 1 + 4 + 3)
    + (b"\x01\x00\x00\x00" + bytes(4) + b"\xff" * 12 + b"\xff" * 4)
)
"""Answer to one Call, good and without arguments: what a server says to ConditionRefresh."""


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


def _with_body(message: bytes, at: int, body: bytes) -> bytes:
    return message[:4] + struct.pack("<I", at + len(body)) + message[8:at] + body
