"""An MQTT 3.1.1 broker on loopback that does what a test says and writes every frame down.

It keeps sessions by client id (subscriptions, messages of QoS 1 that were not acknowledged), and
can refuse, forget, freeze, cut and send rubbish; what is published to it is acknowledged.
`frames` holds what clients sent: (type, body).
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

from tests.fakes.listening import Listener
from tests.ports import own_port

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
PINGREQ, PINGRESP, DISCONNECT = 12, 13, 14


@dataclass
class Session:
    """What the broker keeps of one client id. unacknowledged: packet id → (topic, payload)."""

    topics: list[tuple[str, int]] = field(default_factory=list)
    unacknowledged: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    next_id: int = 1


class FakeBroker:
    """`async with FakeBroker() as broker:`; `port` is where it listens."""

    def __init__(self) -> None:
        self.port = 0
        self.frames: list[tuple[int, bytes]] = []
        self.sessions: dict[str, Session] = {}
        self.acknowledged: list[int] = []
        self.connections = 0
        self.connected = 0
        self.refuse_code = 0
        self.refuse_topic = ""
        self.answers = True
        self.greeting = b""  # instead of CONNACK
        self._listener = Listener(self._serve)
        self._writers: dict[str, asyncio.StreamWriter] = {}

    async def __aenter__(self) -> FakeBroker:
        """Listen."""
        self.port = await self._listener.open(self.port or own_port())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, cutting every connection."""
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and cut; sessions stay."""
        await self._listener.close()
        self._writers.clear()

    def cut(self) -> None:
        """Cut every connection."""
        for writer in self._writers.values():
            writer.transport.abort()
        self._writers.clear()

    def forget(self) -> None:
        """Forget all sessions."""
        self.sessions.clear()

    def send_raw(self, raw: bytes) -> None:
        """Send bytes to every client."""
        for writer in self._writers.values():
            _give(writer, raw)

    def publish(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Give a message to every session; at QoS 1 it is kept until acknowledged."""
        for name, session in self.sessions.items():
            number = 0
            if qos:
                number, session.next_id = session.next_id, session.next_id + 1
                session.unacknowledged[number] = (topic, payload)
            if name in self._writers:
                _give(self._writers[name], _publish(topic, payload, number))

    def kinds(self) -> set[int]:
        """Types of all frames that clients sent."""
        return {kind for kind, _ in self.frames}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name = ""
        self.connected += 1
        try:
            while True:
                kind, body = await _frame(reader)
                self.frames.append((kind, body))
                if not self.answers:
                    continue
                if kind == CONNECT:
                    name = _client_id(body)
                    await self._connect(name, writer)
                elif kind == SUBSCRIBE:
                    self._subscribe(self.sessions[name], body, writer)
                elif kind == PUBACK:
                    (number,) = struct.unpack(">H", body)
                    self.acknowledged.append(number)
                    self.sessions[name].unacknowledged.pop(number, None)
                elif kind in {PUBLISH, PINGREQ}:
                    _give(writer, _answer(kind, body))
                elif kind == DISCONNECT:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.connected -= 1
            if self._writers.get(name) is writer:
                del self._writers[name]
            writer.close()

    async def _connect(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.greeting:
            _give(writer, self.greeting)
            return
        if self.refuse_code:
            _give(writer, bytes([CONNACK << 4, 2, 0, self.refuse_code]))
            return
        present = name in self.sessions
        session = self.sessions.setdefault(name, Session())
        self._writers[name] = writer
        _give(writer, bytes([CONNACK << 4, 2, int(present), 0]))
        for number, (topic, payload) in session.unacknowledged.items():
            _give(writer, _publish(topic, payload, number, again=True))

    def _subscribe(self, session: Session, body: bytes, writer: asyncio.StreamWriter) -> None:
        answer = bytearray(body[:2])
        place = 2
        while place < len(body):
            (size,) = struct.unpack_from(">H", body, place)
            topic = body[place + 2 : place + 2 + size].decode()
            qos = body[place + 2 + size]
            place += 3 + size
            session.topics = [old for old in session.topics if old[0] != topic] + [(topic, qos)]
            answer.append(0x80 if topic == self.refuse_topic else qos)
        _give(writer, bytes([SUBACK << 4, len(answer)]) + answer)


def _give(writer: asyncio.StreamWriter, frame: bytes) -> None:
    """Write, unless the client has just gone: uvloop raises where asyncio's own loop only warns."""
    if not writer.is_closing():
        writer.write(frame)


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    size, shift = 0, 0
    while True:
        digit = (await reader.readexactly(1))[0]
        size |= (digit & 0x7F) << shift
        shift += 7
        if not digit & 0x80:
            break
    return head >> 4, await reader.readexactly(size)


def _answer(kind: int, body: bytes) -> bytes:
    if kind == PINGREQ:
        return bytes([PINGRESP << 4, 0])
    (size,) = struct.unpack_from(">H", body)
    return bytes([PUBACK << 4, 2]) + body[2 + size : 4 + size]


def _client_id(body: bytes) -> str:
    place = 2 + struct.unpack_from(">H", body)[0] + 4  # protocol name, level, flags, keep-alive
    (size,) = struct.unpack_from(">H", body, place)
    return body[place + 2 : place + 2 + size].decode()


def _publish(topic: str, payload: bytes, number: int, *, again: bool = False) -> bytes:
    name = topic.encode()
    body = struct.pack(">H", len(name)) + name
    if number:
        body += struct.pack(">H", number)
    body += payload
    head = PUBLISH << 4 | (2 if number else 0) | (8 if again else 0)
    size, digits = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (128 if size else 0))
        if not size:
            break
    return bytes([head]) + digits + body
