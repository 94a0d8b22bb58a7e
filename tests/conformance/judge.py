"""Judges of what drivers sent: each takes raw bytes and names what is in them, or objects.

They know the wire from its standards and nothing of our code, so that no guard of the product is
its own judge. ALLOWED is the whole list of what this product may say to a plant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tests.fakes.modbus_line import crc16

MODBUS = frozenset({1, 2, 3, 4, 7, 17, 20, 43})
"""Functions that only read, Modbus Application Protocol V1.1b3 §6; 43 with MEI type 14 alone."""

OPCUA: Mapping[int, str] = {
    446: "OpenSecureChannel", 452: "CloseSecureChannel", 428: "GetEndpoints",
    461: "CreateSession", 467: "ActivateSession", 473: "CloseSession",
    631: "Read", 664: "HistoryRead", 527: "Browse", 533: "BrowseNext",
    554: "TranslateBrowsePathsToNodeIds", 787: "CreateSubscription",
    751: "CreateMonitoredItems", 781: "DeleteMonitoredItems", 826: "Publish",
    832: "Republish", 841: "TransferSubscriptions",
}  # fmt: skip
"""Identifiers of the binary encoding of each request, OPC 10000-6 annex A (NodeIds)."""
CALL = 712
CONDITION_REFRESH = bytes.fromhex("0100be0a0100230f")
"""ObjectId i=2782 (ConditionType) and MethodId i=3875 (ConditionRefresh), four-byte NodeIds."""

MQTT: Mapping[int, str] = {1: "CONNECT", 4: "PUBACK", 8: "SUBSCRIBE", 12: "PINGREQ",
                           14: "DISCONNECT"}  # fmt: skip
"""Control packets of a client that only reads at QoS 1, MQTT 3.1.1 table 2.1."""

RTSP = frozenset({"OPTIONS", "DESCRIBE", "SETUP", "PLAY", "TEARDOWN", "GET_PARAMETER"})
"""RFC 2326 §10, without what records, announces or sets."""


class WroteError(AssertionError):
    """Something was sent that may change the plant, or that no judge can read."""


def modbus_pdu(pdu: bytes, allowed: frozenset[int] = MODBUS) -> int:
    """Judge function and content of one request."""
    if not pdu or pdu[0] not in allowed:
        raise WroteError(f"Modbus function in {pdu.hex(' ')}")
    if pdu[0] == 43 and pdu[1:2] != b"\x0e":
        raise WroteError(f"Modbus MEI type in {pdu.hex(' ')}")
    if pdu[0] <= 4 and len(pdu) != 5:
        raise WroteError(f"{len(pdu)} bytes of a read: {pdu.hex(' ')}")
    return pdu[0]


def mbap(stream: bytes, allowed: frozenset[int] = MODBUS) -> set[int]:
    """Functions in a stream of Modbus TCP requests."""
    found, at = set(), 0
    while at < len(stream):
        size = int.from_bytes(stream[at + 4 : at + 6], "big")
        if stream[at + 2 : at + 4] != b"\0\0" or not 2 <= size <= 254:
            raise WroteError(f"no MBAP header: {stream[at : at + 12].hex(' ')}")
        if at + 6 + size > len(stream):
            raise WroteError(f"half a frame: {stream[at:].hex(' ')}")
        found.add(modbus_pdu(stream[at + 7 : at + 6 + size], allowed))
        at += 6 + size
    return found


def rtu(stream: bytes, allowed: frozenset[int] = MODBUS) -> set[int]:
    """Functions in a stream of RTU requests; a read has eight bytes."""
    found, at = set(), 0
    while at < len(stream):
        frame = stream[at : at + 8]
        if len(frame) < 8 or crc16(frame[:6]) != frame[6:]:
            raise WroteError(f"no read request: {stream[at : at + 16].hex(' ')}")
        found.add(modbus_pdu(frame[1:6], allowed))
        at += 8
    return found


def ascii_lines(stream: bytes, allowed: frozenset[int] = MODBUS) -> set[int]:
    """Functions in a stream of ASCII requests."""
    found = set()
    for line in stream.split(b"\r\n")[:-1]:
        if line[:1] != b":":
            raise WroteError(f"no ASCII frame: {line!r}")
        adu = bytes.fromhex(line[1:].decode("ascii"))
        if sum(adu) % 256:
            raise WroteError(f"wrong LRC: {line!r}")
        found.add(modbus_pdu(adu[1:-1], allowed))
    return found


def opcua(stream: bytes, allowed: Mapping[int, str] = OPCUA) -> set[str]:
    """Services in a stream of OPC UA Binary without encryption."""
    found, at, body = set(), 0, b""
    while at < len(stream):
        kind, final = stream[at : at + 3], stream[at + 3 : at + 4]
        size = int.from_bytes(stream[at + 4 : at + 8], "little")
        if kind not in {b"HEL", b"OPN", b"MSG", b"CLO"} or size < 8:
            raise WroteError(f"no OPC UA chunk: {stream[at : at + 16].hex(' ')}")
        if at + size > len(stream):
            break  # cut in the middle of a message, as a link is
        chunk = stream[at + 8 : at + size]
        at += size
        if kind == b"HEL":
            continue
        if kind == b"OPN":
            body = chunk[_open_header(chunk) :]
        else:
            body += chunk[16:]  # channel, token, sequence, request
        if final == b"C":
            continue
        found.add(_service(body, allowed))
        body = b""
    return found


def _open_header(chunk: bytes) -> int:
    """Bytes before the body of OPN: channel, three byte strings, sequence and request."""
    at = 4
    for _ in range(3):
        size = int.from_bytes(chunk[at : at + 4], "little", signed=True)
        at += 4 + max(size, 0)
    return at + 8


def _service(body: bytes, allowed: Mapping[int, str]) -> str:
    if body[:2] != b"\x01\x00":
        raise WroteError(f"no request of namespace 0: {body[:8].hex(' ')}")
    number = int.from_bytes(body[2:4], "little")
    if number == CALL:
        if body.count(CONDITION_REFRESH) != 1:
            raise WroteError("a method call that is not ConditionRefresh")
        return "ConditionRefresh"
    if number not in allowed:
        raise WroteError(f"OPC UA request i={number}")
    return allowed[number]


def mqtt(frames: Iterable[tuple[int, bytes]], allowed: Mapping[int, str] = MQTT) -> set[str]:
    """Packets of an MQTT client, as (type, body)."""
    found = set()
    for kind, body in frames:
        if kind not in allowed:
            raise WroteError(f"MQTT packet of type {kind}")
        if kind == 1 and body[7] & 0x04:
            raise WroteError("a will: the broker would publish for us")
        found.add(allowed[kind])
    return found


def rtsp(stream: bytes, allowed: frozenset[str] = RTSP) -> set[str]:
    """Methods in a stream of RTSP requests; interleaved receiver reports are stepped over."""
    found, at = set(), 0
    while at < len(stream):
        if stream[at : at + 1] == b"$":
            at += 4 + int.from_bytes(stream[at + 2 : at + 4], "big")
            continue
        head, _, rest = stream[at:].partition(b"\r\n\r\n")
        method = head.split(b" ", 1)[0].decode("ascii", "replace")
        if method not in allowed:
            raise WroteError(f"RTSP method {method!r:.40}")
        if b"content-length" in head.lower():
            raise WroteError(f"RTSP {method} with a body")
        found.add(method)
        at = len(stream) - len(rest)
    return found


def http_server(stream: bytes) -> set[str]:
    """Status lines of a server: it answers, and asks for nothing."""
    lines = [line for line in stream.split(b"\r\n") if line.startswith(b"HTTP/")]
    if not re.match(rb"HTTP/[0-9]\.[0-9] [1-5][0-9][0-9] ", stream):
        raise WroteError(f"no answer of a server: {stream[:40]!r}")
    return {line.split(b" ")[1].decode() for line in lines}
