"""What a broken or hostile gateway says harms itself alone: over every store, on the real wire.

Each of these once ended the receiver, or every gateway's session again and again.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from buffer.contract import Stream
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.service import Receiver
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import BOOT_ID, Chain, WireGateway
from tests.gateway.receiver.places import Place, held, place
from tests.gateway.receiver.serving import serving
from tests.gateway.receiver.test_service import alarm

__all__ = ["place"]
LONG = Random(1).randbytes(9000)
"""Longer, and not to be compressed, than an index of PostgreSQL takes."""


@contextlib.asynccontextmanager
async def receiving(place: Place, folder: Path) -> AsyncIterator[str]:
    with contextlib.closing(place.store()) as store:
        receiver = Receiver(store, EvidenceFiles(folder / "files"), SystemClock(), None)
        async with serving(receiver) as port:
            yield f"127.0.0.1:{port}"


def attached(alarm_id: bytes, sha256: bytes, media_type: str) -> bytes:
    event = wire.Event(kind="evidence_attached")
    event.evidence_attached.alarm_id = alarm_id
    event.evidence_attached.sha256 = sha256
    event.evidence_attached.media_type = media_type
    return event.SerializeToString()


def hello(**said: object) -> wire.GatewayMessage:
    whole = {
        "gateway_id": "G-9",
        "log_id": b"O" * 16,
        "boot_id": BOOT_ID,
        "lane": wire.LANE_PRIORITY,
        **said,
    }
    return wire.GatewayMessage(hello=wire.Hello(**whole))  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "said",
    [
        {"enterprise": "9137\x00"},
        {"software": "\x00", "destination": "p\x00q", "filter": "\x00"},
    ],
    ids=["nul", "nul-elsewhere"],
)
async def test_an_odd_hello_is_answered_and_others_go_on(
    place: Place, tmp_path: Path, said: dict[str, object]
) -> None:
    chain = Chain(Stream.ALARM)
    async with receiving(place, tmp_path) as target, WireGateway(target) as other:
        await other.push(Stream.ALARM, chain.record(alarm("one")))
        assert await other.acknowledged(1) == {1}
        odd = WireGateway(target)
        await odd.open()
        await odd.send(hello(**said))
        assert (await odd.next()).WhichOneof("body") == "welcome"
        await odd.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("its own")))
        while (await odd.next()).WhichOneof("body") != "ack":
            pass
        await other.push(Stream.ALARM, chain.record(alarm("two")))
        assert await other.acknowledged(1) == {2}
        await odd.close()
    assert len(held(place)) == 3


@pytest.mark.parametrize(
    "payload",
    [
        attached(b"A" * 16, b"S" * 32, "image/\x00jpeg"),
        attached(LONG, b"S" * 32, "image/jpeg"),
        attached(b"A" * 16, LONG, "image/jpeg"),
        attached(b"", b"", ""),
    ],
    ids=["nul", "alarm-id", "sha256", "empty"],
)
async def test_an_odd_event_is_stored_and_others_go_on(
    place: Place, tmp_path: Path, payload: bytes
) -> None:
    """It is a whole record of its gateway's log: what is odd about it is only not indexed."""
    async with receiving(place, tmp_path) as target, WireGateway(target) as other:
        async with WireGateway(target, gateway_id="G-9") as odd:
            await odd.push(Stream.EVENT, Chain(Stream.EVENT).record(payload))
            assert await odd.acknowledged(1) == {1}
        await other.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
        assert await other.acknowledged(1) == {1}
    assert held(place, Stream.EVENT) == [(1, payload)]
