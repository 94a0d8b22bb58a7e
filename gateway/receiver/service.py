"""The receiving service: gRPC in, store behind.

Guarantees: the first message of an Exchange is a Hello, answered by a Welcome that holds the
acknowledged ranges of that log as the store has them; with mTLS a Hello with another id than the
client certificate's is refused (PERMISSION_DENIED). A Hello on trial is judged alike, answered by a
Welcome, and leaves no trace but a line of the log. One Exchange per (gateway, lane, log): a newer
one ends the older (ABORTED), because a half-open line must not lock its gateway out. Two boxes with
one id have two logs: both are served, so that neither loses anything, and it is an alarm at both
ends. `run` returns, once `stop` is called, when everything received is committed.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from buffer.contract import Stream
from drivers.contract import Clock
from gateway.observe.listen import reason
from gateway.observe.log import logger
from gateway.receiver.boxes import Boxes
from gateway.receiver.check import (
    MAX_MESSAGE_BYTES,
    Fault,
    ProtocolError,
    check_states,
    plain_text,
)
from gateway.receiver.commit import Committer, Speaker, Turn
from gateway.receiver.contract import (
    Away,
    Derived,
    Entries,
    Greeting,
    Known,
    Outcome,
    Store,
    StoreFailedError,
    Work,
)
from gateway.receiver.enrolment import Enrolment
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.exchange import Exchange, Read, broken
from gateway.receiver.forwarded import ForwardedError, forwarded_identity, names_of_peer
from gateway.receiver.gate import Gate
from gateway.receiver.heads import forged
from gateway.receiver.health import Health
from gateway.receiver.identity import certificate, identities, refusal
from gateway.receiver.lineage import doubts
from gateway.receiver.replies import DeafError, EndedError, to_wire
from gateway.receiver.requests import Requests
from gateway.wire.v1 import uplink_pb2 as wire

Context = grpc.aio.ServicerContext[bytes, wire.ReceiverMessage]
_untyped: Any = grpc  # these helpers of grpcio have no annotations

SERVICE = "plantgate.wire.v1.Uplink"
METHOD = "Exchange"
HELLO_SECONDS = 20.0
"""A connection that says nothing for this long is closed; two round trips of a satellite line."""
STOP_SECONDS = 1.0
MAX_CATALOGUES = 1_000
"""Catalogues that a Hello may ask for, the newest; one a day for the time that a log is kept."""
WINDOW_BYTES = 1024 * 1024
"""Most unacknowledged bytes of one gateway: 250 ms (design) of 32 Mbit/s."""

# so_reuseport: else a second receiver would silently share the port. Pings: a gateway looks for a
# dead line by itself and may do so often; the server's own drop what has died within 30 s.
# Age: a day, so that gateways spread over receivers that were added, and a call that is stuck in a
# gateway that does not read does not stay for ever.
MAX_AGE_MS = 86_400_000
_AGE_GRACE_MS = 5_000
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)


class AddressError(Exception):
    """The address cannot be listened on; the text says why."""


def _why_not(address: str) -> str:
    """Ask the system why an address cannot be had: gRPC does not say."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind((host, int(port)))
    except OSError as error:
        return reason(error)
    return "the system refuses it"


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM contents: the CA that signs gateways, and the receiver's own certificate and key.

    proxies: names in certificates of peers whose word on their client's certificate is taken.
    """

    ca: bytes
    certificate: bytes
    key: bytes
    proxies: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Open:
    """An Exchange that is running, the boot that speaks on it, and by what it was let in."""

    exchange: Exchange
    log: int
    boot_id: bytes
    enterprise: str
    certificate: bytes | None


class Receiver:
    """One listening receiver over one store. `run` in a TaskGroup, after `start`."""

    def __init__(
        self,
        store: Store,
        files: EvidenceFiles,
        clock: Clock,
        tls: Tls | None,
        gate: Gate | None = None,
        greetings: Store | None = None,
    ) -> None:
        """greetings: answers Hellos in place of `store`, apart from what is stored meanwhile."""
        self._store_changed = asyncio.Event()
        changed = self._store_changed.set
        self._committer = Committer(store, clock, self._store_failed, changed)
        self._greeter = self._committer
        if greetings is not None:
            self._greeter = Committer(greetings, clock, on_change=changed)
        self._files = files
        self._clock = clock
        self._tls = tls
        self._gate = gate or Gate()
        self._open: dict[tuple[str, str, int], dict[bytes, _Open]] = {}  # by log id
        self._boxes = Boxes()
        self.requests = Requests(clock, self._lines)
        self._stopping = asyncio.Event()
        self._software = f"plantgate/{version('plantgate')}"
        self._server: Any = None
        self._health = Health(SERVICE)

    async def start(self, address: str) -> int:
        """Listen; returns the port (0 in the address lets the system choose).

        Raises AddressError if the address cannot be had.
        """
        handler = _untyped.stream_stream_rpc_method_handler(
            self._exchange, response_serializer=wire.ReceiverMessage.SerializeToString
        )
        self._server = grpc.aio.server(
            options=(*_OPTIONS, ("grpc.max_connection_age_ms", MAX_AGE_MS))
        )
        self._server.add_generic_rpc_handlers(
            (_untyped.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        try:
            if self._tls is None:
                port = self._server.add_insecure_port(address)
            else:
                pair = (self._tls.key, self._tls.certificate)
                credentials = _untyped.ssl_server_credentials(
                    [pair], root_certificates=self._tls.ca, require_client_auth=True
                )
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            raise AddressError(f"cannot listen on {address}: {_why_not(address)}") from None
        await self._health.begin(self._server)
        await self._server.start()
        return int(port)

    async def run(self) -> None:
        """Serve until `stop`; then end every Exchange, commit what is queued and return."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._committer.run())
            if self._greeter is not self._committer:
                group.create_task(self._greeter.run())
            health = group.create_task(self._tell_health())
            try:
                await self._stopping.wait()
            finally:
                health.cancel()
                await self._health.end()
                for item in self._exchanges():
                    item.exchange.end(grpc.StatusCode.UNAVAILABLE, "the receiver is stopping")
                await self._server.stop(STOP_SECONDS)
                self._committer.stop()
                self._greeter.stop()

    async def _tell_health(self) -> None:
        while True:
            await self._store_changed.wait()
            self._store_changed.clear()
            await self._health.say(serving=self._committer.well and self._greeter.well)

    def stop(self) -> None:
        """Let `run` return soon. Safe to call from a signal handler of the loop."""
        self._stopping.set()

    def enrol(self, enrolment: Enrolment) -> None:
        """Take a new enrolment list: whom it would not let in is ended, quotas hold from now on."""
        self._gate.replace(enrolment)
        for (gateway, _, _), logs in self._open.items():
            for item in logs.values():
                text = self._gate.refusal(gateway, item.enterprise, item.certificate)
                if text:
                    item.exchange.end(grpc.StatusCode.PERMISSION_DENIED, text)
                else:
                    item.exchange.measure(self._gate.meter(gateway))

    def statistics(self) -> dict[str, float]:
        """Counters for metrics: commits, bytes of records, Exchanges open now."""
        return {
            "commits": self._committer.commits,
            "record_bytes": self._committer.records_bytes,
            "exchanges": len(self._exchanges()),
        }

    def _lines(self, gateway: str, destination: str) -> list[Exchange]:
        """Connections that a gateway can be asked on, priority lane first, newest log first."""
        return [
            item.exchange
            for lane in (wire.LANE_PRIORITY, wire.LANE_BULK)
            for item in reversed(self._open.get((gateway, destination, int(lane)), {}).values())
        ]

    def _exchanges(self) -> list[_Open]:
        return [item for logs in self._open.values() for item in logs.values()]

    def _store_failed(self, reason: str) -> None:
        logger("receiver").error("store.failed", reason=reason, exchanges=len(self._exchanges()))
        for item in self._exchanges():
            item.exchange.end(grpc.StatusCode.UNAVAILABLE, reason)

    async def _exchange(self, _requests: object, context: Context) -> None:
        async def read() -> bytes | None:
            message: Any = await context.read()
            return None if message is grpc.aio.EOF else message

        log = logger("receiver").bind(peer=context.peer())
        try:
            hello = await self._hello(read, context)
            log = log.bind(
                gateway=hello.gateway_id, lane=wire.Lane.Name(hello.lane), log_id=hello.log_id.hex()
            )
            if hello.trial:
                log.info("gateway.tried", software=plain_text(hello.software))
                await context.write(self._welcome(None))
                return
            log.info("gateway.connected", software=plain_text(hello.software))
            await self._serve(hello, read, context)
            log.info("gateway.left")
        except EndedError as error:
            log.warning("gateway.ended", code=error.code.name, reason=error.text)
            if isinstance(error, DeafError):
                # A status would wait behind the answer that is stuck. gRPC offers no reset: what is
                # left is one call that nobody reads or writes, until its connection ends.
                raise asyncio.CancelledError from None
            await context.abort(error.code, error.text)
        except asyncio.CancelledError:
            log.info("gateway.lost")
            raise

    async def _hello(self, read: Read, context: Context) -> wire.Hello:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                encoded = await read()
            message = wire.GatewayMessage.FromString(encoded or b"")
        except TimeoutError:
            text = f"no Hello within {HELLO_SECONDS:.0f} s"
            raise EndedError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None
        except DecodeError:
            raise broken("a message that is none of plantgate.wire.v1") from None
        if message.WhichOneof("body") != "hello":
            raise broken("the first message of an Exchange is a Hello")
        hello = message.hello
        certified, der = self._certified(context)
        if reason := (
            refusal(hello.gateway_id, certified)
            or self._gate.refusal(hello.gateway_id, hello.enterprise, der)
        ):
            raise EndedError(grpc.StatusCode.PERMISSION_DENIED, reason)
        if hello.trial:
            return hello
        if len(hello.log_id) != 16 or len(hello.boot_id) != 16:
            raise broken("a log id and a boot id have 16 bytes each")
        if hello.lane not in {wire.LANE_PRIORITY, wire.LANE_BULK, wire.LANE_COPY}:
            raise broken("a Hello names the priority, the bulk or the copy lane")
        try:
            check_states(hello.streams)
        except ProtocolError as error:
            raise broken(str(error)) from None
        return hello

    def _certified(self, context: Context) -> tuple[frozenset[str] | None, bytes | None]:
        """Gateway ids that the connection may speak for, and the certificate; None without TLS."""
        if self._tls is None:
            return None, None
        peer = context.auth_context()
        proxies = names_of_peer(peer) & self._tls.proxies
        if not proxies:
            return identities(peer), certificate(peer)
        try:
            return forwarded_identity(context.invocation_metadata() or ())
        except ForwardedError as error:
            text = f"proxy {min(proxies)}: {error}"
            raise EndedError(grpc.StatusCode.UNAUTHENTICATED, text) from None

    async def _serve(self, hello: wire.Hello, read: Read, context: Context) -> None:
        speaker = self._committer.speaker()
        known = await self._greet(hello)
        der = self._certified(context)[1]
        if text := self._gate.refusal(hello.gateway_id, hello.enterprise, der):
            raise EndedError(grpc.StatusCode.PERMISSION_DENIED, text)  # the list changed meanwhile
        exchange = Exchange(
            known.log,
            hello.boot_id,
            speaker,
            self._files,
            self._clock,
            self._gate.meter(hello.gateway_id),
            partial(self.requests.answered, hello.gateway_id),
        )
        opened = _Open(exchange, known.log, hello.boot_id, hello.enterprise, der)
        place = (hello.gateway_id, hello.destination, int(hello.lane))
        logs = self._open.setdefault(place, {})
        self._make_way(hello, logs)
        logs[hello.log_id] = opened

        async def heard() -> bytes | None:
            encoded = await read()
            now_ns = self._clock.monotonic_ns()
            if proof := self._boxes.spoke(_box(hello), hello.log_id, now_ns):
                await self._two_boxes(hello, proof)
            return encoded

        try:
            await context.write(self._welcome(known))
            if proof := self._boxes.greeted(_box(hello), hello.boot_id):
                await self._two_boxes(hello, proof)
            unproven = forged(hello, der)
            for stream, faults in (*doubts(hello, known).items(), *unproven.items()):
                await self._commit(Entries(known.log, stream, (), faults=faults), speaker)
                for fault in faults:
                    await exchange.notice(fault.kind, fault.reason)
            await exchange.run(heard, context.write)
        finally:
            if logs.get(hello.log_id) is opened:
                del logs[hello.log_id]
                self._boxes.left(_box(hello), hello.log_id)

    def _make_way(self, hello: wire.Hello, logs: dict[bytes, _Open]) -> None:
        """End what this connection replaces; remember what it may be a rival of."""
        for log_id, older in logs.items():
            if log_id == hello.log_id or older.boot_id == hello.boot_id:
                text = "replaced by a newer connection of this gateway"
                older.exchange.end(grpc.StatusCode.ABORTED, text)
            else:
                self._boxes.outdone(_box(hello), log_id, self._clock.monotonic_ns())

    async def _two_boxes(self, hello: wire.Hello, proof: str) -> None:
        text = f"two boxes use the gateway id {hello.gateway_id}: {proof}"
        for lane in (wire.LANE_PRIORITY, wire.LANE_BULK):
            place = (hello.gateway_id, hello.destination, int(lane))
            for item in list(self._open.get(place, {}).values()):
                fault = Fault(0, "second_box", b"", text)
                await self._commit(Entries(item.log, Stream.EVENT, (), faults=[fault]))
                await item.exchange.notice("second_box", text)

    async def _greet(self, hello: wire.Hello) -> Known:
        greeting = Greeting(
            hello.gateway_id,
            plain_text(hello.enterprise),
            plain_text(hello.software),
            hello.log_id,
            tuple(hello.catalogue_hashes[-MAX_CATALOGUES:]),
            Derived(
                plain_text(hello.destination), hello.source_log_id[:16], plain_text(hello.filter)
            ),
        )
        known = await self._commit(greeting, self._greeter)
        if isinstance(known, Away):
            raise EndedError(grpc.StatusCode.UNAVAILABLE, known.reason)
        if not isinstance(known, Known):
            raise TypeError("a Greeting's outcome is a Known")
        return known

    async def _commit(self, work: Work, committer: Committer | Speaker | None = None) -> Outcome:
        try:
            return await (await (committer or self._committer).submit(work, 0, Turn.URGENT))
        except StoreFailedError as error:
            raise EndedError(grpc.StatusCode.UNAVAILABLE, str(error)) from None

    def _welcome(self, known: Known | None) -> wire.ReceiverMessage:
        """Answer to a Hello; to one on trial, of a log that nobody named."""
        welcome = wire.Welcome(
            acknowledged=[
                wire.Acknowledged(
                    stream=wire.Stream.ValueType(int(stream)),
                    ranges=to_wire(ranges),
                    checkpoints=[
                        wire.Checkpoint(sequence=sequence, hash=hashed)
                        for sequence, hashed in (known.checkpoints.get(stream, ()) if known else ())
                    ],
                )
                for stream, ranges in (known.acknowledged.items() if known else ())
            ],
            catalogues_held=known.catalogues if known else (),
            window_bytes=WINDOW_BYTES,
            server_time_ns=self._clock.wall_ns(),
            max_message_bytes=MAX_MESSAGE_BYTES,
            receiver=self._software,
        )
        return wire.ReceiverMessage(welcome=welcome)


def _box(hello: wire.Hello) -> str:
    """Whom a Hello could be the rival of: a derived stream lives beside the log it is made of."""
    return f"{hello.gateway_id}\0{hello.destination}"
