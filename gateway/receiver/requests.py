"""Requests of the platform's people to a gateway, and its answers.

Guarantees: what may be asked is on the wire's list (Request) and nothing else can be: records sent
again, a catalogue, a status, a file, a picture. None of it configures or writes anything. Each
request has a number of its own, the answer finds the one who asked by it, and a gateway that is not
connected here, or does not answer, is an error at once or after ANSWER_SECONDS. Every request and
answer is logged; the gateway records each as an event and takes at most ten a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from buffer.contract import Stream
from drivers.contract import Clock
from gateway.observe.log import logger
from gateway.receiver.check import HASH_BYTES, SEQUENCE_STOP
from gateway.wire.v1 import uplink_pb2 as wire

ANSWER_SECONDS = 8.0
_LOG = logger("receiver")


class Line(Protocol):
    """A connection that a request can be sent on."""

    async def request(self, message: wire.Request) -> None:
        """Send one request."""
        ...


class Requests:
    """Requests that wait for their answer. All on one event loop."""

    def __init__(self, clock: Clock, lines: Callable[[str, str], Sequence[Line]]) -> None:
        """lines: open connections of a gateway and its destination, the priority lane first."""
        self._lines = lines
        self._waiting: dict[int, asyncio.Future[wire.RequestResult]] = {}
        self._number = clock.wall_ns() // 1000  # numbers of an earlier run never come again

    async def ask(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Ask a gateway; fields as `request_of` has them, and gateway and destination.

        Raises ValueError with one sentence where that cannot be.
        """
        request = request_of(asked)
        gateway, destination = str(asked["gateway"]), str(asked.get("destination", ""))
        lines = self._lines(gateway, destination)
        if not lines:
            named = f" (destination {destination})" if destination else ""
            raise ValueError(f"gateway {gateway}{named} is not connected to this receiver")
        self._number += 1
        request.request_id = self._number
        answer = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        what = request.WhichOneof("what")
        _LOG.info("request.sent", gateway=gateway, request=self._number, what=what)
        try:
            await lines[0].request(request)
            async with asyncio.timeout(ANSWER_SECONDS):
                result = await answer
        except TimeoutError:
            _LOG.warning("request.unanswered", gateway=gateway, request=request.request_id)
            text = f"gateway {gateway} has not answered within {ANSWER_SECONDS:g} s"
            raise ValueError(text) from None
        finally:
            del self._waiting[request.request_id]
        said = {"accepted": result.accepted, "message": result.message}
        return {**said, "sha256": result.sha256.hex()} if result.sha256 else said

    def answered(self, gateway: str, result: wire.RequestResult) -> None:
        """Take a gateway's answer; one that nobody waits for is only logged."""
        _LOG.info(
            "request.answered",
            gateway=gateway,
            request=result.request_id,
            accepted=result.accepted,
            message=result.message[:256],
        )
        waiting = self._waiting.get(result.request_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)


def request_of(asked: Mapping[str, Any]) -> wire.Request:
    """Make a Request of plain fields: `what`, and what it needs. Raises ValueError."""
    match asked.get("what"):
        case "status":
            return wire.Request(status=True)
        case "resend":
            first, last = int(asked["first"]), int(asked["last"])
            if not 0 < first <= last < SEQUENCE_STOP:
                raise ValueError(f"{first} to {last} are no sequences: the first is 1")
            span = wire.Range(start=first, stop=last + 1)
            return wire.Request(resend=wire.Resend(stream=_stream(asked), ranges=[span]))
        case "period":
            return wire.Request(resend_period=_period(asked, _stream(asked)))
        case "unthinned":
            return wire.Request(unthinned=_period(asked, wire.STREAM_TELEMETRY))
        case "catalogue":
            return wire.Request(catalogue=_digest(asked))
        case "evidence":
            return wire.Request(evidence=_digest(asked))
        case "snapshot":
            return wire.Request(snapshot=_camera(asked))
        case other:
            raise ValueError(f"there is no request {other!r}")


def _period(asked: Mapping[str, Any], stream: wire.Stream.ValueType) -> wire.ResendPeriod:
    from_ns, to_ns = int(asked["from_ns"]), int(asked["to_ns"])
    if from_ns > to_ns:
        raise ValueError("the period ends before it begins")
    return wire.ResendPeriod(stream=stream, from_ns=from_ns, to_ns=to_ns)


def _stream(asked: Mapping[str, Any]) -> wire.Stream.ValueType:
    name = str(asked["stream"]).upper()
    if name not in Stream.__members__:
        raise ValueError(f"there is no stream {name.lower()!r}")
    return wire.Stream.ValueType(int(Stream[name]))


def _camera(asked: Mapping[str, Any]) -> str:
    name = str(asked["camera"]).strip()
    if not name:
        raise ValueError("the request names no camera")
    return name


def _digest(asked: Mapping[str, Any]) -> bytes:
    try:
        digest = bytes.fromhex(str(asked["sha256"]))
    except ValueError:
        digest = b""
    if len(digest) != HASH_BYTES:
        raise ValueError("a SHA-256 is 64 hexadecimal digits")
    return digest
