"""Reads a device once, for commissioning: each request a single time, paced, nothing remembered.

Guarantees: a block that is refused is read value by value, once; two requests in a row without an
answer end it; whatever was read until then is returned by `read_once` or lost with the exception;
the link is closed on exit. Cancel-safe.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from drivers.contract import Clock
from drivers.modbus.codec import (
    Area,
    ExceptionReplyError,
    FramingError,
    MalformedReplyError,
    Request,
    device_identification,
    exception_text,
    frame_bytes,
    payload,
    read,
    read_device_identification,
    report_server_id,
)
from drivers.modbus.config import ModbusConfig
from drivers.modbus.exchange import Outcome
from drivers.modbus.learn import covering
from drivers.modbus.link import Link
from drivers.modbus.plan import Block, Span, plan
from drivers.modbus.transport import make_exchange, open_link

_OBJECTS = {0: "vendor", 1: "product", 2: "revision", 4: "product name", 5: "model"}
_RECEIVE_BYTES = 512


@dataclass(slots=True)
class Reading:
    """What was read. refused: why a span was not, in words; requests: how many were sent."""

    memory: dict[tuple[Area, int], int] = field(default_factory=dict)
    refused: dict[Span, str] = field(default_factory=dict)
    requests: int = 0


async def read_once(config: ModbusConfig, wanted: Sequence[Span], clock: Clock) -> Reading:
    """Read spans in as few requests as the device entry allows; raises LinkLostError."""
    exchange = make_exchange(config, shared=False)
    link = await open_link(config, config.endpoints()[0], exchange, clock)
    reading = Reading()
    try:
        for block in plan(wanted, config.limits()):
            code = await _read(link, config.unit, block, reading)
            if code and len(block.spans) > 1 and code not in {Outcome.TIMED_OUT}:
                for span in block.spans:
                    single = covering([span])
                    _note(reading, single, await _read(link, config.unit, single, reading))
            else:
                _note(reading, block, code)
    finally:
        link.close()
    return reading


async def identify(config: ModbusConfig) -> str:
    """Who the device says it is: 43/14, else 17; empty if it does not say, or not over TCP."""
    if config.transport != "tcp":
        return ""
    for request in (read_device_identification(config.unit), report_server_id(config.unit)):
        try:
            async with asyncio.timeout(config.timeout_ms / 1e3):
                content = await _ask(config, request)
        except (TimeoutError, OSError, EOFError, FramingError):
            return ""
        except (ExceptionReplyError, MalformedReplyError):
            continue
        return _who(request, content)
    return ""


async def _read(link: Link, unit: int, block: Block, reading: Reading) -> int:
    """Read a block into memory; returns an Outcome or an exception code."""
    request = read(block.area, unit, block.start, block.count)
    buffer = bytearray(block.payload_bytes)
    reading.requests += 1
    (code,) = await link.exchange([request], buffer, [0])
    if code == Outcome.READ:
        for at in range(block.count):
            if block.area.bits:
                word = buffer[at // 8] >> (at % 8) & 1
            else:
                word = int.from_bytes(buffer[2 * at : 2 * at + 2], "big")
            reading.memory[block.area, block.start + at] = word
    return code


def _note(reading: Reading, block: Block, code: int) -> None:
    """Remember why a block was not read."""
    if code == Outcome.READ:
        return
    if code == Outcome.MALFORMED:
        text = "an answer that does not fit"
    elif code in {Outcome.TIMED_OUT, Outcome.UNANSWERED}:
        text = "no answer"
    else:
        text = f"exception {code}: {exception_text(code)}"
    for span in block.spans:
        reading.refused[span] = text


async def _ask(config: ModbusConfig, request: Request) -> bytes:
    """One request on a connection of its own; its answer has no fixed length."""
    reader, writer = await asyncio.open_connection(config.host, config.port)
    try:
        writer.write(request.frame(1))
        held = b""
        while not (whole := frame_bytes(held, 0)):
            chunk = await reader.read(_RECEIVE_BYTES)
            if not chunk:
                raise EOFError("the device closed the connection")
            held += chunk
        return payload(request, 1, held[:whole])
    finally:
        writer.close()


def _who(request: Request, content: bytes) -> str:
    if request.function == 17:
        return content.decode("ascii", "replace").strip("\x00 ")
    objects = device_identification(content)
    return ", ".join(
        f"{_OBJECTS.get(number, f'object {number}')} {text.decode('utf-8', 'replace')}"
        for number, text in sorted(objects.items())
    )
