"""One connection to an OPC UA server: channel, session, subscription, raw publish responses.

Guarantees: no request leaves that could change anything at the server (ALLOWED_REQUESTS, checked
at the one place where requests are sent); every failure is a DeviceError of one sentence; nothing
of asyncua runs in the background; `close` takes bounded time and leaves no socket.

This is the only module that imports asyncua (pinned, 2.1.0). Of its internals it uses, each with a
test in tests/drivers/opcua/test_client_internals.py:

    UaClient._make_protocol               where the socket's protocol object is made
    UASocketProtocol._send_request        through which every request passes
    UASocketProtocol._process_received_message   to read the fault of a refused channel
    UASocketProtocol.send_request         answers with the response body as a Buffer of bytes
    UaClient.protocol, .security_policy, .session.close_session, Client.open_secure_channel(renew)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncua.ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.contract import DeviceError
from drivers.opcua.config import Node, OpcUaConfig
from drivers.opcua.faults import StatusError, status_sentence
from drivers.opcua.trust import Identity, TrustError, check_server, load_identity, read_password

T = TypeVar("T")
ua: Any = asyncua.ua  # its generated names and annotations are beyond a type checker

ALLOWED_REQUESTS: frozenset[type] = frozenset(
    {
        ua.OpenSecureChannelRequest,
        ua.CloseSecureChannelRequest,
        ua.GetEndpointsRequest,
        ua.CreateSessionRequest,
        ua.ActivateSessionRequest,
        ua.CloseSessionRequest,
        ua.ReadRequest,
        ua.CreateSubscriptionRequest,
        ua.CreateMonitoredItemsRequest,
        ua.DeleteMonitoredItemsRequest,
        ua.PublishRequest,
        ua.RepublishRequest,
    }
)
"""Everything that may be sent. None of these changes a value or a node of the plant."""

_MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # 10,000 values of 34 bytes are 0.34 MB
_SESSION_TIMEOUT_MS = 60_000  # a server forgets us one minute after a crash
_CHANNEL_LIFETIME_MS = 3_600_000  # asyncua's own; renewed at three quarters (OPC 10000-4, 5.5.2)
_CLOSE_SECONDS = 2.0
_CREATE_SECONDS = 30.0  # slow servers take seconds for 1,000 items
_NAMESPACE_ARRAY, _SERVER_STATE, _MAX_ITEMS_PER_CALL = 2255, 2259, 11714
_POLICIES: dict[str, Any] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
}


class ForbiddenRequestError(Exception):
    """A request that is not on the list was about to be sent. This is a bug, not a device fault."""


class ReadOnlyProtocol(UASocketProtocol):
    """asyncua's protocol, which refuses to send anything but ALLOWED_REQUESTS."""

    def __init__(self, timeout: float, security_policy: SecurityPolicy) -> None:
        limits = TransportLimits(max_chunk_count=0, max_message_size=_MAX_MESSAGE_BYTES)
        super().__init__(timeout, security_policy, limits)
        self.closed = asyncio.Event()

    def _send_request(
        self,
        request: object,
        timeout: float = 1,
        message_type: asyncua.ua.MessageType = ua.MessageType.SecureMessage,
    ) -> asyncio.Future[Any]:
        if type(request) not in ALLOWED_REQUESTS:
            raise ForbiddenRequestError(f"{type(request).__name__} must not be sent to a plant")
        return super()._send_request(request, timeout, message_type)

    def _process_received_message(self, msg: object) -> None:
        """Raise the fault by which a server refuses a channel; asyncua would misread it."""
        if isinstance(msg, asyncua.ua.Message) and self._open_secure_channel_exchange is not None:
            body: Any = msg.body()  # type: ignore[no-untyped-call]  # asyncua annotates it not
            type_id = nodeid_from_binary(body)
            if type_id == ua.FourByteNodeId(ua.ObjectIds.ServiceFault_Encoding_DefaultBinary):
                struct_from_binary(ua.ResponseHeader, body).ServiceResult.check()
        super()._process_received_message(msg)  # type: ignore[arg-type]  # any message

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits, and tell `Link.close`."""
        super().connection_lost(exc)
        self.closed.set()


class ReadOnlyUaClient(UaClient):
    """asyncua's low-level client over ReadOnlyProtocol."""

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = ReadOnlyProtocol(self._timeout, self.security_policy)
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class ReadOnlyClient(Client):
    """asyncua's client over ReadOnlyUaClient, used step by step: `connect` is never called."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        self.uaclient = ReadOnlyUaClient(timeout)
        self.max_messagesize = _MAX_MESSAGE_BYTES
        self.session_timeout = _SESSION_TIMEOUT_MS
        self.secure_channel_timeout = _CHANNEL_LIFETIME_MS
        self.product_uri = "urn:plantgate"
        self.application_uri = "urn:plantgate"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as the server revised it."""

    id: int
    publishing_ms: float
    keep_alive_count: int
    lifetime_count: int


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What the server said to one monitored item: StatusCode, and its id where that is good."""

    status: int
    item_id: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session must know of its server: namespace URIs by index, items allowed per call."""

    namespaces: tuple[str, ...]
    max_items_per_call: int


class Link:
    """One connection, from `open` to `close`; never reused."""

    def __init__(self, config: OpcUaConfig, label: str) -> None:
        self._config = config
        self._seconds = config.timeout_ms / 1000
        self._client = ReadOnlyClient(config.endpoint, self._seconds)
        self._client.name = self._client.description = label

    async def open(self, now_ns: int) -> None:
        """Check the server's certificate, then open channel and session; raises DeviceError."""
        client, config = self._client, self._config
        password = None
        with self._speaking("connecting"):
            if config.security != "None":
                await self._secure(now_ns)
            if config.password_file is not None:
                password = read_password(config.password_file)
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            await client.activate_session(username=config.user, password=password)

    async def _secure(self, now_ns: int) -> None:
        """Ask for the server's certificate on a connection of its own, judge it, set the policy."""
        config = self._config
        if config.certificate is None or config.key is None:
            raise TrustError("certificate and key are required")
        identity = load_identity(config.certificate, config.key)
        asking = ReadOnlyClient(config.endpoint, self._seconds)
        try:
            endpoints = await asking.connect_and_get_server_endpoints()
        finally:
            await _closed(asking)
        certificate = _offered_certificate(endpoints, config)
        check_server(
            certificate, pinned=config.server_certificate, folder=config.trust, now_ns=now_ns
        )
        self._use(identity, certificate)

    def _use(self, identity: Identity, server: x509.Certificate) -> None:
        mode = ua.MessageSecurityMode[self._config.mode]
        policy = _POLICIES[self._config.security](server, identity.certificate, identity.key, mode)
        self._client.application_uri = identity.application_uri
        self._client.security_policy = policy
        self._client.uaclient.set_security(policy)

    @property
    def channel_lifetime_ms(self) -> int:
        """Lifetime of the channel as the server revised it."""
        return int(self._client.secure_channel_timeout)

    async def renew_channel(self) -> None:
        """Renew the channel's keys; due at three quarters of its lifetime."""
        with self._speaking("renewing the secure channel"):
            await self._client.open_secure_channel(renew=True)
            self._client.uaclient.revolve_security_token()

    async def surroundings(self) -> Surroundings:
        """Read the namespace array and the server's limit of items per call."""
        with self._speaking("reading the server's namespaces"):
            namespaces, limit = await self._read(_NAMESPACE_ARRAY, _MAX_ITEMS_PER_CALL)
        known = tuple(str(uri) for uri in namespaces) if isinstance(namespaces, list) else ()
        return Surroundings(known, limit if isinstance(limit, int) else 0)

    async def ping(self) -> int:
        """Read the server's state (0 is running): shows that it lives, and keeps the session."""
        with self._speaking("asking for the server's state"):
            (state,) = await self._read(_SERVER_STATE)
        return int(state) if isinstance(state, int) else -1

    async def create_subscription(self, publish_ms: int, keep_alive_count: int) -> Subscription:
        """Create the one subscription; its lifetime without publish requests is a minute."""
        request = ua.CreateSubscriptionRequest()
        parameters = request.Parameters
        parameters.RequestedPublishingInterval = float(publish_ms)
        parameters.RequestedMaxKeepAliveCount = keep_alive_count
        parameters.RequestedLifetimeCount = max(3 * keep_alive_count, 60_000 // publish_ms)
        parameters.MaxNotificationsPerPublish = 10_000
        parameters.PublishingEnabled = True
        with self._speaking("creating the subscription"):
            response = await self._call(request, ua.CreateSubscriptionResponse)
            result = response.Parameters
            return Subscription(
                int(result.SubscriptionId),
                float(result.RevisedPublishingInterval),
                int(result.RevisedMaxKeepAliveCount),
                int(result.RevisedLifetimeCount),
            )

    async def create_items(
        self, subscription: Subscription, items: Sequence[tuple[int, Node, int]]
    ) -> list[ItemResult]:
        """Create monitored items of (client handle, node, namespace index).

        The caller keeps to the server's limit of items per call.
        """
        request = ua.CreateMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.ItemsToCreate = [self._item(*item) for item in items]
        with self._speaking("creating monitored items"):
            response = await self._call(request, ua.CreateMonitoredItemsResponse, _CREATE_SECONDS)
            results = [
                ItemResult(int(result.StatusCode.value), int(result.MonitoredItemId))
                for result in response.Results
            ]
            if len(results) != len(items):
                raise ValueError(f"{len(results)} results for {len(items)} items")
            return results

    async def delete_items(self, subscription: Subscription, item_ids: Sequence[int]) -> None:
        """Stop watching items; their nodes are untouched."""
        request = ua.DeleteMonitoredItemsRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.MonitoredItemIds = list(item_ids)
        with self._speaking("removing monitored items"):
            await self._call(request, ua.DeleteMonitoredItemsResponse)

    def _item(self, handle: int, node: Node, namespace: int) -> object:
        item = ua.MonitoredItemCreateRequest()
        item.ItemToMonitor.NodeId = ua.NodeId(node.identifier, namespace)
        item.ItemToMonitor.AttributeId = ua.AttributeIds.Value
        item.MonitoringMode = ua.MonitoringMode.Reporting
        item.RequestedParameters.ClientHandle = handle
        item.RequestedParameters.SamplingInterval = float(self._config.sampling_interval_ms)
        item.RequestedParameters.QueueSize = self._config.item_queue_size
        item.RequestedParameters.DiscardOldest = True
        return item

    async def publish(self, subscription: Subscription, acknowledged: Sequence[int]) -> bytes:
        """Send one PublishRequest; returns the raw body of its response, whenever that comes."""
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(subscription.id, sequence) for sequence in acknowledged
        ]
        with self._speaking("waiting for values"):
            return bytes(await self._protocol().send_request(request, timeout=0))

    async def republish(self, subscription: Subscription, sequence: int) -> bytes:
        """Ask again for a notification that went missing; returns the raw response body."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription.id
        request.Parameters.RetransmitSequenceNumber = sequence
        with self._speaking("asking again for a notification"):
            return bytes(await self._protocol().send_request(request))

    async def close(self) -> None:
        """Close session, channel and socket, in at most about four seconds; never raises."""
        uaclient = self._client.uaclient
        with contextlib.suppress(TimeoutError, OSError, ua.UaError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await uaclient.close_session(True)
        with contextlib.suppress(TimeoutError, OSError, ua.UaError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await uaclient.close_secure_channel()
        await _closed(self._client)

    async def _read(self, *numbers: int) -> list[Any]:
        """Read values of nodes of namespace 0; None where the server has none."""
        request = ua.ReadRequest()
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=ua.NodeId(number), AttributeId=ua.AttributeIds.Value)
            for number in numbers
        ]
        response = await self._call(request, ua.ReadResponse)
        if len(response.Results) != len(numbers):
            raise ValueError(f"{len(response.Results)} results for {len(numbers)} nodes")
        return [result.Value.Value if result.Value else None for result in response.Results]

    async def _call(
        self, request: object, response_type: type[T], seconds: float | None = None
    ) -> T:
        body = await self._protocol().send_request(request, timeout=seconds)
        response: Any = struct_from_binary(response_type, body)
        response.ResponseHeader.ServiceResult.check()
        answer: T = response
        return answer

    def _protocol(self) -> UASocketProtocol:
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise ConnectionError("Connection is closed")
        return protocol

    @contextlib.contextmanager
    def _speaking(self, doing: str) -> Iterator[None]:
        """Turn every failure into a DeviceError of one sentence."""
        try:
            yield
        except (DeviceError, ForbiddenRequestError):
            raise
        except Exception as error:
            raise self._spoken(error, doing) from error

    def _spoken(self, error: Exception, doing: str) -> DeviceError:
        where, config = self._config.endpoint, self._config
        if isinstance(error, ua.UaStatusCodeError):
            name = type(error).__name__
            status = int(error.code)
            sentence = status_sentence(status, name, doing, config.certificate)
            return StatusError(f"{where}: {sentence}", status)
        if isinstance(error, TrustError):
            return DeviceError(f"{where}: {error}")
        if isinstance(error, TimeoutError):
            return DeviceError(f"{where}: no answer in {config.timeout_ms} ms while {doing}")
        if isinstance(error, ConnectionRefusedError):
            return DeviceError(f"{where}: nobody listens there; is the server running?")
        if isinstance(error, OSError) and error.strerror:
            return DeviceError(f"{where}: {error.strerror} while {doing}")
        if isinstance(error, OSError):
            return DeviceError(f"{where}: the connection was closed while {doing}")
        if isinstance(error, AssertionError):  # asyncua's, when a channel was refused without word
            sentence = status_sentence(0x8013_0000, "", doing, config.certificate)
            return DeviceError(f"{where}: {sentence}")
        what = str(error) or type(error).__name__
        return DeviceError(f"{where}: an answer that makes no sense while {doing}: {what}")


def _offered_certificate(
    endpoints: Sequence[asyncua.ua.EndpointDescription], config: OpcUaConfig
) -> x509.Certificate:
    """Give the server's certificate at the endpoint with our policy and mode; TrustError."""
    offers = []
    for endpoint in endpoints:
        policy = str(endpoint.SecurityPolicyUri).rpartition("#")[2]
        mode = endpoint.SecurityMode.name.rstrip("_")
        if (policy, mode) == (config.security, config.mode) and endpoint.ServerCertificate:
            return _first_certificate(bytes(endpoint.ServerCertificate))
        offers.append(f"{policy}/{mode}")
    raise TrustError(
        f"the server offers no {config.security}/{config.mode}; it offers"
        f" {', '.join(sorted(set(offers))) or 'nothing'}"
    )


def _first_certificate(chain: bytes) -> x509.Certificate:
    """Read the leading certificate of a DER chain: a SEQUENCE with a length of two bytes."""
    length = 4 + int.from_bytes(chain[2:4], "big")
    certificate = x509.load_der_x509_certificate(chain[:length])
    if certificate.public_bytes(Encoding.DER) != chain[:length]:
        raise TrustError("the server's certificate is no proper DER")
    return certificate


async def _closed(client: ReadOnlyClient) -> None:
    """Close a client's socket and wait until it is; one that cannot be flushed is aborted."""
    protocol = client.uaclient.protocol
    client.disconnect_socket()
    if not isinstance(protocol, ReadOnlyProtocol) or protocol.transport is None:
        return
    transport = protocol.transport
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await protocol.closed.wait()
    except TimeoutError:
        transport.abort()
        await protocol.closed.wait()


def quiet_library() -> None:
    """Keep asyncua from logging tracebacks of what this module says in one sentence."""
    logger = logging.getLogger("asyncua")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


__all__ = [
    "ALLOWED_REQUESTS",
    "ForbiddenRequestError",
    "ItemResult",
    "Link",
    "ReadOnlyProtocol",
    "Subscription",
    "Surroundings",
    "quiet_library",
]
