"""A gateway reduced to its wire: makes chained records, speaks Hello and Push, keeps nothing else.

For tests of the receiver. `Chain` makes the records of one stream; `WireGateway` is one Exchange.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio

from buffer.contract import NO_HASH, Stream, chain_hash
from gateway.wire.v1 import uplink_pb2 as wire

PATH = "/plantgate.wire.v1.Uplink/Exchange"
BOOT_ID = bytes(range(16))
ANSWER_SECONDS = 60.0
_untyped: Any = grpc  # grpcio's credentials have no annotations


class Chain:
    """Makes the records of one stream in order, as a gateway's log would."""

    def __init__(self, stream: Stream, *, start: int = 1) -> None:
        self.stream = stream
        self.sequence = start
        self.previous = NO_HASH if start == 1 else hashlib.sha256(b"before").digest()

    def record(
        self,
        payload: bytes,
        *,
        key: int | None = None,
        catalogue: bytes = b"",
        historical: bool = False,
        samples: int = 1,
    ) -> wire.Record:
        """Return the next record; `key` is the sequence of its group (itself by default)."""
        sequence, previous = self.sequence, self.previous
        digest = chain_hash(previous, self.stream, sequence, payload)
        self.sequence, self.previous = sequence + 1, digest
        return wire.Record(
            sequence=sequence,
            hash=digest,
            previous_hash=previous,
            crc32=zlib.crc32(payload),
            historical=historical,
            time_ns=1_700_000_000_000_000_000 + sequence,
            monotonic_ns=sequence,
            synchronised=True,
            group=sequence if key is None else key,
            catalogue=catalogue,
            payload=payload,
            samples=samples,
        )


def push(stream: Stream, records: Sequence[wire.Record]) -> wire.GatewayMessage:
    """Put records into one Push; all but the first leave out what the wire leaves out."""
    message = wire.Push(stream=wire.Stream.ValueType(int(stream)))
    last = None
    for record in records:
        copy = message.records.add()
        copy.CopyFrom(record)
        if last is not None and last + 1 == record.sequence:
            copy.ClearField("previous_hash")
        last = record.sequence
    return wire.GatewayMessage(push=message)


class WireGateway:
    """One Exchange with a receiver; `async with` opens it and closes it."""

    def __init__(
        self,
        target: str,
        *,
        gateway_id: str = "G-1",
        log_id: bytes = b"L" * 16,
        lane: int = wire.LANE_BULK,
        catalogues: Sequence[bytes] = (),
        certificates: Path | None = None,
        small_window: bool = False,
    ) -> None:
        """small_window: answers that are not read are held back after 64 KB already."""
        self._target = target
        self._hello = wire.Hello(
            gateway_id=gateway_id,
            enterprise="91370800TEST",
            log_id=log_id,
            boot_id=BOOT_ID,
            lane=wire.Lane.ValueType(lane),
            software="test/1",
            catalogue_hashes=catalogues,
        )
        self._certificates = certificates
        self._small_window = small_window
        self._channel: Any = None
        self._call: Any = None
        self.welcome = wire.Welcome()

    async def __aenter__(self) -> Self:
        await self.open()
        try:
            await self.send(wire.GatewayMessage(hello=self._hello))
            self.welcome = (await self.next()).welcome
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the stream and say nothing."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        if self._small_window:
            options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535)]
        if self._certificates is None:
            self._channel = grpc.aio.insecure_channel(self._target, options=options)
        else:
            folder = self._certificates
            credentials = _untyped.ssl_channel_credentials(
                (folder / "ca.pem").read_bytes(),
                (folder / "gateway.key").read_bytes(),
                (folder / "gateway.pem").read_bytes(),
            )
            self._channel = grpc.aio.secure_channel(self._target, credentials, options=options)
        method = self._channel.stream_stream(
            PATH,
            request_serializer=_serialise,
            response_deserializer=wire.ReceiverMessage.FromString,
        )
        self._call = method()

    async def close(self) -> None:
        """Drop the connection."""
        self._call.cancel()
        await self._channel.close()

    async def send(self, message: wire.GatewayMessage | bytes) -> None:
        """Send one message, or bytes that are none."""
        await self._call.write(message)

    async def push(self, stream: Stream, *records: wire.Record) -> None:
        """Send one Push."""
        await self.send(push(stream, records))

    async def next(self) -> wire.ReceiverMessage:
        """Return the next answer; raises AioRpcError if the receiver ended the Exchange."""
        async with asyncio.timeout(ANSWER_SECONDS):
            message: Any = await self._call.read()
        if message is grpc.aio.EOF:
            raise EOFError("the receiver ended the Exchange")
        answer: wire.ReceiverMessage = message
        return answer

    async def acknowledged(self, count: int) -> set[int]:
        """Collect Acks until `count` records are acknowledged; other answers are an error."""
        found: set[tuple[int, int]] = set()
        while len(found) < count:
            message = await self.next()
            assert message.WhichOneof("body") == "ack", message
            for item in message.ack.ranges:
                found.update((message.ack.stream, n) for n in range(item.start, item.stop))
        return {sequence for _, sequence in found}

    async def ended(self) -> grpc.aio.AioRpcError:
        """Read until the receiver ends the Exchange; returns how."""
        while True:
            try:
                await self.next()
            except grpc.aio.AioRpcError as error:
                return error


def _serialise(message: wire.GatewayMessage | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
