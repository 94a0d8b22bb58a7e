"""A small real receiver on loopback: grpc.aio, the wire of proto/, records in dicts.

State is what it has stored; verbs say what goes wrong:

    async with FakeReceiver() as receiver:
        receiver.freeze()                # reads and answers nothing, connections stay
    receiver.freeze(1)               # those of one lane only
    receiver.lanes = {1, 2}          # it knows no others
        receiver.acknowledging = False   # stores and answers pings, but acknowledges nothing
        receiver.refuse(Stream.EVENT, 3) # Reject instead of storing
        await receiver.stop(); await receiver.start()     # same port, same store
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio

from buffer.contract import Stream, chain_hash
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.certificates import GATEWAY_URI, Authority, Pair
from tests.ports import own_port

_untyped: Any = grpc


@dataclass(frozen=True, slots=True)
class Arrival:
    """One Push as it came."""

    log_id: bytes
    stream: Stream
    first: int
    last: int
    historical: bool
    size_bytes: int


@dataclass(slots=True)
class Held:
    """What is stored of one log."""

    records: dict[Stream, dict[int, wire.Record]] = field(
        default_factory=lambda: {stream: {} for stream in Stream}
    )
    gaps: dict[Stream, RangeSet] = field(
        default_factory=lambda: {stream: RangeSet() for stream in Stream}
    )
    catalogues: set[bytes] = field(default_factory=set)
    claimed: dict[Stream, RangeSet] = field(default_factory=dict)  # said in Welcome, never held

    def acknowledged(self, stream: Stream) -> RangeSet:
        """Ranges of a stream that are stored or known not to exist."""
        ranges = RangeSet((one, one + 1) for one in sorted(self.records[stream]))
        ranges.update(self.gaps[stream])
        ranges.update(self.claimed.get(stream, RangeSet()))
        return ranges


class FakeReceiver:
    """See the module's text. Reads of state are safe at any time on the same loop."""

    def __init__(
        self,
        *,
        authority: Authority | None = None,
        pair: Pair | None = None,
        window_bytes: int = 0,
        needs_catalogues: bool = False,
    ) -> None:
        self._authority = authority
        self._pair = pair
        self._window_bytes = window_bytes
        self._needs_catalogues = needs_catalogues
        self._server: Any = None
        self._thawed = asyncio.Event()
        self._writing = asyncio.Lock()
        self._thawed.set()
        self._contexts: dict[int, tuple[Any, wire.Hello]] = {}
        self.port = own_port()  # its own also while it is stopped
        self.logs: dict[bytes, Held] = {}
        self.parts: dict[bytes, bytearray] = {}
        self.files: dict[bytes, bytes] = {}
        self.arrivals: list[Arrival] = []
        self.hellos: list[wire.Hello] = []
        self.statuses: list[wire.Status] = []
        self.results: list[wire.RequestResult] = []
        self.duplicates: Counter[tuple[Stream, int]] = Counter()
        self.certificates: set[bytes] = set()  # PEM, of clients that were welcomed
        self.acknowledging = True
        self.refused: dict[tuple[Stream, int], str] = {}
        self.cut_after_parts: int | None = None
        self.lanes = {1, 2, 3}
        self._frozen: set[int] = set()

    @property
    def target(self) -> str:
        """Its address."""
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.thaw()
        await self.stop()

    # ---- verbs ---------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; on the same port as before, if there was one."""
        handler = _untyped.stream_stream_rpc_method_handler(
            self._exchange,
            request_deserializer=wire.GatewayMessage.FromString,
            response_serializer=wire.ReceiverMessage.SerializeToString,
        )
        options = (
            ("grpc.so_reuseport", 0),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
        )
        self._server = grpc.aio.server(options=options)
        self._server.add_generic_rpc_handlers(
            (
                _untyped.method_handlers_generic_handler(
                    "plantgate.wire.v1.Uplink", {"Exchange": handler}
                ),
            )
        )
        address = f"127.0.0.1:{self.port}"
        if self._authority is None or self._pair is None:
            self.port = self._server.add_insecure_port(address)
        else:
            credentials = _untyped.ssl_server_credentials(
                [(self._pair.key.read_bytes(), self._pair.certificate.read_bytes())],
                root_certificates=self._authority.ca.read_bytes(),
                require_client_auth=True,
            )
            self.port = self._server.add_secure_port(address, credentials)
        await self._server.start()

    async def stop(self) -> None:
        """Drop all connections and stop listening; what is stored stays."""
        await self._server.stop(None)
        async with asyncio.timeout(60):
            while any(_serves(one) for one in asyncio.all_tasks()):  # noqa: ASYNC110  # gRPC's own
                await asyncio.sleep(0)  # gRPC ends its own tasks a few turns later

    async def drop_connections(self) -> None:
        """End every Exchange at once."""
        await self.stop()
        await self.start()

    def freeze(self, *lanes: int) -> None:
        """Read and answer nothing from now on, on these lanes or all."""
        self._frozen.update(lanes or self.lanes)
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on."""
        self._frozen.clear()
        self._thawed.set()

    async def _free(self, lane: int) -> None:
        if lane in self._frozen:
            await self._thawed.wait()

    def refuse(self, stream: Stream, sequence: int, reason: str = "not for us") -> None:
        """Reject one record."""
        self.refused[stream, sequence] = reason

    def forget(self, stream: Stream, *sequences: int) -> None:
        """Lose stored records, as a restored database does."""
        for held in self.logs.values():
            for sequence in sequences:
                held.records[stream].pop(sequence, None)

    async def say(self, lane: int, **body: Any) -> None:
        """Send a message on the newest connection of a lane, once the gateway has opened it."""
        async with asyncio.timeout(60):
            while not (open_ := self._open_on(lane)):  # noqa: ASYNC110 - the gateway opens it
                await asyncio.sleep(0.01)
        await self._write(open_[-1], wire.ReceiverMessage(**body))

    async def _write(self, context: Any, message: wire.ReceiverMessage) -> None:
        async with self._writing:  # gRPC takes one at a time
            await context.write(message)

    def _open_on(self, lane: int) -> list[Any]:
        return [context for context, hello in self._contexts.values() if hello.lane == lane]

    def stored(self, stream: Stream, log_id: bytes | None = None) -> dict[int, wire.Record]:
        """Records of a stream; of the only log, or the one named."""
        if log_id is None:
            (held,) = self.logs.values() or (Held(),)
        else:
            held = self.logs.setdefault(log_id, Held())
        return held.records[stream]

    # ---- service -------------------------------------------------------------------------

    async def _exchange(self, requests: AsyncIterator[wire.GatewayMessage], context: Any) -> None:
        hello = (await anext(requests)).hello
        await self._free(hello.lane)
        await self._check_identity(hello, context)
        if len(hello.log_id) != 16:  # as the real one, before it knew trials
            text = "a log id and a boot id have 16 bytes each"
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
        self.hellos.append(hello)
        if hello.lane not in self.lanes:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such lane")
        held = self.logs.setdefault(hello.log_id, Held())
        place = id(context)
        try:
            await context.write(self._welcome(held))
            self._contexts[place] = (context, hello)
            async for message in requests:
                await self._free(hello.lane)
                for answer in self._take(held, hello, message):
                    await self._write(context, answer)
                if self.cut_after_parts == 0:
                    self.cut_after_parts = None
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
        finally:
            self._contexts.pop(place, None)

    async def _check_identity(self, hello: wire.Hello, context: Any) -> None:
        if self._authority is None:
            return
        self.certificates.update(context.auth_context().get("x509_pem_cert", ()))
        uris = context.auth_context().get("peer_uri", ())
        if GATEWAY_URI.encode() + hello.gateway_id.encode() not in uris:
            text = f"the certificate is not for {hello.gateway_id}"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)

    def _welcome(self, held: Held) -> wire.ReceiverMessage:
        return wire.ReceiverMessage(
            welcome=wire.Welcome(
                acknowledged=[
                    wire.Acknowledged(
                        stream=wire.Stream.ValueType(int(stream)),
                        ranges=_wire(held.acknowledged(stream)),
                    )
                    for stream in Stream
                ],
                window_bytes=self._window_bytes,
                catalogues_held=sorted(held.catalogues),
            )
        )

    def _take(
        self, held: Held, hello: wire.Hello, message: wire.GatewayMessage
    ) -> list[wire.ReceiverMessage]:
        match message.WhichOneof("body"):
            case "push":
                return self._push(held, hello, message.push)
            case "gaps":
                stream = Stream(message.gaps.stream)
                ranges = RangeSet((one.start, one.stop) for one in message.gaps.ranges)
                held.gaps[stream].update(ranges)
                return self._ack(stream, ranges)
            case "status":
                self.statuses.append(message.status)
                return [wire.ReceiverMessage(ack=wire.Ack(pong=message.status.ping))]
            case "evidence":
                return self._part(held, message.evidence)
            case "result":
                self.results.append(message.result)
            case _:
                pass
        return []

    def _push(self, held: Held, hello: wire.Hello, push: wire.Push) -> list[wire.ReceiverMessage]:
        stream = Stream(push.stream)
        first, last = push.records[0], push.records[-1]
        size = sum(len(record.payload) for record in push.records)
        self.arrivals.append(
            Arrival(hello.log_id, stream, first.sequence, last.sequence, first.historical, size)
        )
        answers: list[wire.ReceiverMessage] = []
        stored = RangeSet()
        needed: set[bytes] = set()
        previous = first.previous_hash
        for record in push.records:
            assert zlib.crc32(record.payload) == record.crc32
            assert chain_hash(previous, stream, record.sequence, record.payload) == record.hash
            previous = record.hash
            if (stream, record.sequence) in self.refused:
                reject = wire.Reject(
                    stream=push.stream,
                    sequence=record.sequence,
                    reason=self.refused[stream, record.sequence],
                )
                answers.append(wire.ReceiverMessage(reject=reject))
            elif missing := self._missing_catalogue(held, stream, record):
                needed.add(missing)
            elif stream is Stream.EVIDENCE and (need := self._needed_file(record)) is not None:
                held.records[stream].setdefault(-record.sequence, record)
                answers.append(need)
            else:
                if record.sequence in held.records[stream]:
                    self.duplicates[stream, record.sequence] += 1
                held.records[stream][record.sequence] = record
                stored.add(record.sequence)
        if stream is Stream.EVENT:
            self._learn(held, push)
        if needed:
            need_catalogue = wire.NeedCatalogue(hashes=sorted(needed))
            answers.append(wire.ReceiverMessage(need_catalogue=need_catalogue))
        return answers + self._ack(stream, stored)

    def _missing_catalogue(self, held: Held, stream: Stream, record: wire.Record) -> bytes:
        if stream is not Stream.TELEMETRY or not self._needs_catalogues:
            return b""
        key = record if record.group == record.sequence else held.records[stream].get(record.group)
        name = key.catalogue if key is not None else self._last_missing
        if name in held.catalogues:
            return b""
        self._last_missing = name
        return name

    _last_missing = b"?"

    def _learn(self, held: Held, push: wire.Push) -> None:
        for record in push.records:
            event = wire.Event.FromString(record.payload)
            if event.HasField("catalogue"):
                encoded = event.catalogue.SerializeToString(deterministic=True)
                held.catalogues.add(hashlib.sha256(encoded).digest())

    def _needed_file(self, record: wire.Record) -> wire.ReceiverMessage | None:
        file = wire.EvidenceFile.FromString(record.payload)
        if file.sha256 in self.files:
            return None
        offset = len(self.parts.setdefault(file.sha256, bytearray()))
        need = wire.EvidenceNeed(sha256=file.sha256, offset=offset)
        return wire.ReceiverMessage(evidence_need=need)

    def _part(self, held: Held, part: wire.EvidencePart) -> list[wire.ReceiverMessage]:
        content = self.parts.setdefault(part.sha256, bytearray())
        assert part.offset == len(content), "parts come in order, from the offset asked for"
        content += part.content
        if self.cut_after_parts:
            self.cut_after_parts -= 1
        if len(content) < part.total_bytes:
            return []
        assert hashlib.sha256(content).digest() == part.sha256
        self.files[part.sha256] = bytes(content)
        ranges = RangeSet()
        for sequence, record in list(held.records[Stream.EVIDENCE].items()):
            if sequence < 0 and self._needed_file(record) is None:
                held.records[Stream.EVIDENCE][-sequence] = record
                del held.records[Stream.EVIDENCE][sequence]
                ranges.add(-sequence)
        return self._ack(Stream.EVIDENCE, ranges)

    def _ack(self, stream: Stream, ranges: RangeSet) -> list[wire.ReceiverMessage]:
        if not ranges or not self.acknowledging:
            return []
        ack = wire.Ack(stream=wire.Stream.ValueType(int(stream)), ranges=_wire(ranges))
        return [wire.ReceiverMessage(ack=ack)]


def _serves(task: asyncio.Task[Any]) -> bool:
    return task.get_name().startswith(("HandleExceptions", "rpc_task"))


def _wire(ranges: RangeSet) -> list[wire.Range]:
    return [wire.Range(start=start, stop=stop) for start, stop in ranges if start > 0]
