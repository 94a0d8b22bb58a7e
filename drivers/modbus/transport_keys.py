"""Site keys that say how a Modbus device is reached: network, serial line, or a DTU that dials in.

Guarantees: keys that contradict each other are refused with one sentence that says what would be
right; an address is parsed in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from drivers.contract import Problem, StrictModel
from drivers.host_form import Host

FilePath = Annotated[Path, Field(strict=False)]
Endpoint = tuple[str, int]
"""Host and port; for a serial line its path and 0."""
TLS_PORT = 802
"""mbap-s, Modbus/TCP Security v3.6."""
Transport = Literal["tcp", "tls", "udp", "rtu", "rtu-tcp", "ascii", "ascii-tcp"]

_SERIAL = frozenset({"rtu", "ascii"})
_MBAP = frozenset({"tcp", "tls", "udp"})
_CAN_DIAL_IN = frozenset({"tcp", "rtu-tcp", "ascii-tcp"})
_ENDPOINT = re.compile(r"\[?([^\[\]\s]+?)\]?:([0-9]{1,5})")


class TransportKeys(StrictModel):
    """Keys of a [[device]] about its transport.

    transport: tcp, tls and udp carry MBAP frames; rtu and ascii a serial line; rtu-tcp and
    ascii-tcp the frames of a serial line through a TCP converter.
    host, port, backup ("host:port", tried where the first fails); or serial (a path under
    /dev/serial/by-id) with baud, parity, stop_bits, data_bits, rs485; or listen ("0.0.0.0:port")
    for a DTU that dials in, whose registration and heartbeat packets begin with one of
    dial_in_ignore (text, or "hex:0102").
    ca, certificate, key, server_name: of transport tls; the server's name is always checked.
    pause_after_connect_ms, pause_between_requests_ms, close_after_poll: for slow devices.
    listen_only: transmit nothing; take what another master reads on an RTU line. A value that has
    not passed for stale_ms is bad.
    state_dir: folder where what was learned about the device survives a restart.
    """

    transport: Transport = "tcp"
    host: Host = ""
    port: int = Field(default=502, ge=1, le=65535)
    backup: str = ""
    listen: str = ""
    dial_in_ignore: tuple[str, ...] = ()
    serial: str = ""
    baud: int = Field(default=9600, ge=300, le=4_000_000)
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1
    data_bits: Literal[7, 8] = 8
    rs485: bool = False
    rs485_rts_low: bool = False
    ca: FilePath | None = None
    certificate: FilePath | None = None
    key: FilePath | None = None
    server_name: str = ""
    pause_after_connect_ms: int = Field(default=0, ge=0, le=60_000)
    pause_between_requests_ms: int = Field(default=0, ge=0, le=60_000)
    close_after_poll: bool = False
    listen_only: bool = False
    stale_ms: int = Field(default=10_000, ge=100, le=86_400_000)
    state_dir: FilePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _port_of_tls(cls, keys: object) -> object:
        if isinstance(keys, Mapping) and keys.get("transport") == "tls" and "port" not in keys:
            return {**keys, "port": TLS_PORT}
        return keys

    @field_validator("dial_in_ignore", mode="before")
    @classmethod
    def _patterns_as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for wrong, text in _contradictions(self):
            if wrong:
                raise ValueError(text)
        for text in (self.backup, self.listen):
            if text:
                parse_endpoint(text)
        self.dial_in_prefixes()
        return self

    @property
    def is_line(self) -> bool:
        """Whether frames carry no transaction id, so that a late answer looks like the next."""
        return self.transport not in _MBAP

    @property
    def place(self) -> str:
        """Where the device is, for people."""
        if self.serial:
            return self.serial
        return f"dial-in at {self.listen}" if self.listen else f"{self.host}:{self.port}"

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where to connect or listen, the preferred one first."""
        if self.serial:
            return ((self.serial, 0),)
        if self.listen:
            return (parse_endpoint(self.listen),)
        first = (self.host, self.port)
        return (first, parse_endpoint(self.backup)) if self.backup else (first,)

    def dial_in_prefixes(self) -> tuple[bytes, ...]:
        """How the packets begin that a DTU sends of its own."""
        return tuple(_pattern(text) for text in self.dial_in_ignore)

    def missing_files(self) -> list[Problem]:
        """Files that are named and do not exist."""
        return [
            Problem(0, key, f"there is no file {path}")
            for key in ("ca", "certificate", "key")
            if (path := getattr(self, key)) is not None and not path.is_file()
        ]


def parse_endpoint(text: str) -> Endpoint:
    """Read "host:port"; raises ValueError."""
    match = _ENDPOINT.fullmatch(text.strip())
    if not match or not 1 <= int(match[2]) <= 65535:
        raise ValueError(f"{text!r} is not like 192.0.2.11:502")
    return match[1], int(match[2])


def _contradictions(keys: TransportKeys) -> Iterator[tuple[bool, str]]:
    """Each combination of keys that makes no sense, with what would be right."""
    transport = keys.transport
    on_serial = transport in _SERIAL
    places = [name for name in ("host", "listen", "serial") if getattr(keys, name)]
    text = f'transport = "{transport}" needs serial, the path of the port, and no host or listen'
    yield on_serial and places != ["serial"], text
    text = 'serial needs transport = "rtu" or "ascii"; for a TCP converter use host and "rtu-tcp"'
    yield bool(keys.serial) and not on_serial, text
    yield not places, "host is required (or listen, or serial with transport rtu or ascii)"
    yield len(places) > 1, f"{' and '.join(places)} are given; a device has one of them"
    text = 'listen works with transport "tcp", "rtu-tcp" or "ascii-tcp"'
    yield bool(keys.listen) and transport not in _CAN_DIAL_IN, text
    text = 'listen_only works on RTU: transport "rtu" or "rtu-tcp"'
    yield keys.listen_only and transport not in {"rtu", "rtu-tcp"}, text
    yield bool(keys.backup) and not keys.host, "backup goes with host"
    if transport == "tls":
        text = "transport tls needs ca, the certificate of whoever signed the device's"
        yield keys.ca is None, text
        text = "certificate and key go together"
        yield (keys.certificate is None) != (keys.key is None), text
        return
    text = 'ca, certificate, key and server_name need transport = "tls"'
    yield any((keys.ca, keys.certificate, keys.key, keys.server_name)), text


def _pattern(text: str) -> bytes:
    """Bytes of a dial_in_ignore entry; raises ValueError."""
    pattern = text.encode()
    if text.startswith("hex:"):
        try:
            pattern = bytes.fromhex(text[4:])
        except ValueError:
            raise ValueError(f"{text!r} is not hexadecimal, like hex:0102") from None
    if not pattern:
        raise ValueError("an entry of dial_in_ignore must not be empty")
    return pattern
