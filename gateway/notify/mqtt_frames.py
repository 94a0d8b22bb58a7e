"""Frames of MQTT 3.1.1 that publishing one message at QoS 1 takes. Pure.

    CONNECT ─▶   ◀─ CONNACK     PUBLISH ─▶   ◀─ PUBACK     DISCONNECT ─▶

A frame: type and flags (one byte) | remaining length (1 to 4 bytes of 7 bits) | body (OASIS MQTT
3.1.1, 2.2). Anything a broker sends that is not the one answer waited for raises FrameError.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, DISCONNECT = 0x10, 0x20, 0x32, 0x40, 0xE0
PACKET_ID = 1
MOST_BYTES = 256
"""Longest answer read: a CONNACK and a PUBACK have two bytes."""
REFUSALS: Mapping[int, str] = {
    1: "the broker does not speak MQTT 3.1.1", 2: "the broker refuses the client id",
    3: "the broker is not ready", 4: "the broker refuses user or password",
    5: "the broker refuses user or password, or does not allow this client",
}  # fmt: skip
"""Return codes of CONNACK, 3.2.2.3."""


class FrameError(ValueError):
    """The broker sent something else than what is due; one sentence."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who connects."""

    client_id: str
    user: str | None = None
    password: str | None = None


def connect(login: Login, keep_alive_s: int) -> bytes:
    """CONNECT with a clean session and no will (3.1)."""
    flags = 0x02
    payload = _text(login.client_id)
    if login.user is not None:
        flags |= 0x80
        payload += _text(login.user)
        if login.password is not None:
            flags |= 0x40
            payload += _text(login.password)
    return _frame(CONNECT, _text("MQTT") + struct.pack(">BBH", 4, flags, keep_alive_s) + payload)


def publish(topic: str, payload: bytes) -> bytes:
    """PUBLISH at QoS 1, not retained (3.3)."""
    return _frame(PUBLISH, _text(topic) + struct.pack(">H", PACKET_ID) + payload)


def disconnect() -> bytes:
    """DISCONNECT (3.14)."""
    return _frame(DISCONNECT, b"")


def length(digits: bytes) -> int | None:
    """Remaining length by its bytes so far, None while more are due. Raises FrameError."""
    if digits and not digits[-1] & 0x80:
        return sum((digit & 0x7F) << 7 * place for place, digit in enumerate(digits))
    if len(digits) >= 4:
        raise FrameError("the broker sent a frame of no length")
    return None


def check_connack(kind: int, body: bytes) -> None:
    """Raise FrameError unless the broker took us."""
    if kind != CONNACK or len(body) != 2:
        raise FrameError("the broker did not answer CONNECT with CONNACK")
    if body[1]:
        raise FrameError(REFUSALS.get(body[1], f"the broker refuses with code {body[1]}"))


def check_puback(kind: int, body: bytes) -> None:
    """Raise FrameError unless the broker has our message."""
    if kind != PUBACK or body != struct.pack(">H", PACKET_ID):
        raise FrameError("the broker did not acknowledge the message")


def _frame(kind: int, body: bytes) -> bytes:
    size, digits = len(body), bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes([kind]) + digits + body


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw
