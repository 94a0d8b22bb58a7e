"""One connection to an OPC UA server: socket, channel and session; services.py speaks over it.

Guarantees: no request leaves that could change anything at the server (ALLOWED_REQUESTS, checked
at the one place where requests are sent); every failure is a DeviceError of one sentence; nothing
of asyncua runs in the background; `close` takes bounded time and leaves no socket.

This and services.py alone import asyncua (pinned, 2.1.0). Of its internals they use, each with a
test in tests/drivers/opcua/test_client_internals.py:

    UaClient._make_protocol               where the socket's protocol object is made
    UASocketProtocol._send_request        through which every request passes
    UASocketProtocol._process_received_message   to read the fault of a refused channel
    UASocketProtocol._callbackmap, ._request_id   to drop an answer that nobody waits for
    UASocketProtocol.send_request         answers with the response body as a Buffer of bytes
    UaClient.protocol, .security_policy, .session.close_session, Client.open_secure_channel(renew)
    UaSession.restore_authentication_token, Client._server_nonce, ._policy_ids   to resume a session
    Client.user_private_key, activate_session(certificate)   a user known by a certificate
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncua.ua
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.contract import DeviceError
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.faults import REFUSED_LOGIN, StatusError, status_sentence
from drivers.opcua.publish import ServiceFaultError
from drivers.opcua.traffic import Traffic
from drivers.opcua.trust import (
    Identity,
    Presented,
    TrustError,
    check_server,
    check_validity,
    load_identity,
    load_user,
    read_password,
    split_chain,
)
from drivers.opcua.wire import CodecError

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
        ua.TransferSubscriptionsRequest,
        ua.HistoryReadRequest,
        ua.BrowseRequest,
        ua.BrowseNextRequest,
        ua.TranslateBrowsePathsToNodeIdsRequest,
    }
)
"""Everything that may be sent. None of these changes a value or a node of the plant.

Beside them one method may be called, ConditionRefresh, and only exactly so: see `allowed`.
"""

_CONDITION_TYPE, _CONDITION_REFRESH = ua.NodeId(2782), ua.NodeId(3875)


def allowed(request: object) -> bool:
    """Tell whether a request may be sent to a plant."""
    if type(request) in ALLOWED_REQUESTS:
        return True
    if type(request) is not ua.CallRequest:
        return False
    methods: Any = request
    calls = methods.Parameters
    calls = calls if isinstance(calls, list) else calls.MethodsToCall
    return len(calls) == 1 and (calls[0].ObjectId, calls[0].MethodId) == (
        _CONDITION_TYPE,
        _CONDITION_REFRESH,
    )


_MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # 10,000 values of 34 bytes are 0.34 MB
_SESSION_TIMEOUT_MS = 20_000  # a server forgets us so soon after a crash; read every 2 s
_CHANNEL_LIFETIME_MS = 3_600_000  # asyncua's own; renewed at three quarters (OPC 10000-4, 5.5.2)
_CLOSE_SECONDS = 2.0
_REQUEST_NUMBERS = 2**31  # half of what a RequestId holds, so that counting on never wraps
_POLICIES: dict[str, Any] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
}


class ForbiddenRequestError(Exception):
    """A request that is not on the list was about to be sent. This is a bug, not a device fault."""


class ReadOnlyProtocol(UASocketProtocol):
    """asyncua's protocol, which refuses to send anything but ALLOWED_REQUESTS.

    stale: answers to requests of an earlier channel of a resumed session, dropped; asyncua would
    close the channel. Nothing is lost by that: what such an answer carried is republished.
    """

    def __init__(self, timeout: float, security_policy: SecurityPolicy) -> None:
        limits = TransportLimits(max_chunk_count=0, max_message_size=_MAX_MESSAGE_BYTES)
        super().__init__(timeout, security_policy, limits)
        self.closed = asyncio.Event()
        self.stale = 0

    def begin_requests_at(self, number: int) -> None:
        """Number requests from here on, so that those of an earlier channel are not taken for ours.

        number: of the last request that might have been.
        """
        self._request_id = number

    def _send_request(
        self,
        request: object,
        timeout: float = 1,
        message_type: asyncua.ua.MessageType = ua.MessageType.SecureMessage,
    ) -> asyncio.Future[Any]:
        if not allowed(request):
            raise ForbiddenRequestError(f"{type(request).__name__} must not be sent to a plant")
        return super()._send_request(request, timeout, message_type)

    def _process_received_message(self, msg: object) -> None:
        """Raise the fault by which a server refuses a channel; asyncua would misread it.

        Drop what answers no request of this channel.
        """
        if isinstance(msg, asyncua.ua.Message) and self._open_secure_channel_exchange is not None:
            body: Any = msg.body()  # type: ignore[no-untyped-call]  # asyncua annotates it not
            type_id = nodeid_from_binary(body)
            if type_id == ua.FourByteNodeId(ua.ObjectIds.ServiceFault_Encoding_DefaultBinary):
                struct_from_binary(ua.ResponseHeader, body).ServiceResult.check()
        if isinstance(msg, asyncua.ua.Message):
            request: int = msg.request_id()  # type: ignore[no-untyped-call]  # asyncua annotates it not
            if request not in self._callbackmap:
                self.stale += 1
                return
        super()._process_received_message(msg)  # type: ignore[arg-type]  # any message

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what waits, and tell `Link.close`."""
        super().connection_lost(exc)
        self.closed.set()


class ReadOnlyUaClient(UaClient):
    """asyncua's low-level client over ReadOnlyProtocol. last_request: see begin_requests_at."""

    last_request = 0

    def _make_protocol(self) -> UASocketProtocol:
        self.protocol = ReadOnlyProtocol(self._timeout, self.security_policy)
        self.protocol.begin_requests_at(self.last_request)
        self.protocol.on_connection_lost = self._on_transport_lost
        self.protocol.is_session_closing = self._is_session_closing
        return self.protocol


class ReadOnlyClient(Client):
    """asyncua's client over ReadOnlyUaClient, used step by step: `connect` is never called."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        self.requests = self.uaclient = ReadOnlyUaClient(timeout)
        self.max_messagesize = _MAX_MESSAGE_BYTES
        self.session_timeout = _SESSION_TIMEOUT_MS
        self.secure_channel_timeout = _CHANNEL_LIFETIME_MS
        self.product_uri = "urn:plantgate"
        self.application_uri = "urn:plantgate"

    def adopt(self, endpoint: asyncua.ua.EndpointDescription, nonce: bytes) -> None:
        """Know what create_session would have told, to activate a session made earlier."""
        self._policy_ids = endpoint.UserIdentityTokens
        self._server_nonce = nonce  # type: ignore[assignment]  # asyncua declares None

    def complete_logins(self) -> None:
        """Give kinds of login without a policy that of the channel (OPC 10000-4, 7.42).

        asyncua would send the password as it is, and sign nothing with a user's key.
        """
        for token in self._policy_ids:
            token.SecurityPolicyUri = token.SecurityPolicyUri or self.security_policy.URI

    @property
    def server_nonce(self) -> bytes:
        """Give the server's last nonce, which the next activation signs."""
        return bytes(self._server_nonce or b"")


@dataclass(frozen=True, slots=True)
class SavedSession:
    """What it takes to resume a session on a new channel (OPC 10000-4, 5.7.3).

    token: NodeId in binary.  nonce: the server's last.  A secret: it stands for a logged-in user,
    though for a secured channel only together with our key.
    """

    token: bytes
    nonce: bytes


class Link:
    """One connection, from `open` to `close`; never reused."""

    def __init__(
        self, config: OpcUaConfig, endpoint: str, label: str, traffic: Traffic | None = None
    ) -> None:
        self._config = config
        self._traffic = traffic or Traffic(lambda: 0)
        self.endpoint = endpoint
        self._seconds = config.timeout_ms / 1000
        self._client = ReadOnlyClient(endpoint, self._seconds)
        self._client.name = self._client.description = label
        self._open = False

    async def open(self, now_ns: int, saved: SavedSession | None = None) -> bool:
        """Check the server's certificate, open the channel, resume or create a session.

        Returns whether `saved` was resumed, so that its subscriptions are still ours. Raises
        DeviceError.
        """
        client, config = self._client, self._config
        with self.speaking("connecting"):
            if config.security != "None":
                await self._secure(now_ns)
            login = self._login()
            # by the clock, in ms: no channel sends a thousand requests a second for long
            client.requests.last_request = now_ns // 1_000_000 % _REQUEST_NUMBERS
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
            resumed = saved is not None and await self._resume(saved, login)
            if not resumed:
                await client.create_session()
                client.complete_logins()
                await client.activate_session(**login)
            self._open = True
            return resumed

    def _login(self) -> dict[str, Any]:
        """Give what activate_session takes: user and password, a certificate, or nothing."""
        client, config = self._client, self._config
        if config.user_certificate is not None and config.user_key is not None:
            certificate, client.user_private_key = load_user(
                config.user_certificate, config.user_key
            )
            return {"certificate": certificate}
        if config.password_file is not None:
            return {"username": config.user, "password": read_password(config.password_file)}
        return {}

    async def _resume(self, saved: SavedSession, login: dict[str, Any]) -> bool:
        """Activate an earlier session on this channel; False where the server has it no more."""
        client: Any = self._client
        offered = await client.get_endpoints()
        policy: Any = client.security_policy
        endpoint = Client.find_endpoint(offered, policy.Mode, policy.URI)
        if not policy.peer_certificate and endpoint.ServerCertificate:
            first = split_chain(endpoint.ServerCertificate)[0]
            policy.peer_certificate = first.public_bytes(Encoding.DER)
        self._client.adopt(endpoint, saved.nonce)
        self._client.complete_logins()
        session = client.uaclient.session
        session.restore_authentication_token(nodeid_from_binary(Buffer(saved.token)))
        try:
            await client.activate_session(**login)
        except ua.UaStatusCodeError:
            session.reset_authentication_token()
            return False
        return True

    def saved(self) -> SavedSession:
        """Give what a later connection needs to resume this session."""
        client: Any = self._client
        token = nodeid_to_binary(client.uaclient.session.authentication_token)
        return SavedSession(token, self._client.server_nonce)

    async def _secure(self, now_ns: int) -> None:
        """Ask for the server's certificate on a connection of its own, judge it, set the policy."""
        config = self._config
        if config.certificate is None or config.key is None:
            raise TrustError("certificate and key are required")
        identity = load_identity(config.certificate, config.key)
        check_validity(identity.certificate, f"our certificate {config.certificate}", now_ns)
        host = urlsplit(self.endpoint).hostname or ""
        presented = _presented(await self.endpoints(), config, host)
        check_server(
            presented, pinned=config.server_certificate, folder=config.trust, now_ns=now_ns
        )
        self._use(identity, presented.certificate)

    def _use(self, identity: Identity, server: x509.Certificate) -> None:
        mode = ua.MessageSecurityMode[self._config.mode]
        policy = _POLICIES[self._config.security](server, identity.certificate, identity.key, mode)
        self._client.application_uri = identity.application_uri
        self._client.security_policy = policy
        self._client.uaclient.set_security(policy)

    async def endpoints(self) -> list[asyncua.ua.EndpointDescription]:
        """Ask, on a connection of its own and without a session, how the server may be entered."""
        asking = ReadOnlyClient(self.endpoint, self._seconds)
        with self.speaking("asking for the server's endpoints"):
            try:
                found: list[Any] = await asking.connect_and_get_server_endpoints()
            finally:
                await _closed(asking)
            return found

    @property
    def channel_lifetime_ms(self) -> int:
        """Lifetime of the channel as the server revised it."""
        return int(self._client.secure_channel_timeout)

    async def renew_channel(self) -> None:
        """Renew the channel's keys; due at three quarters of its lifetime."""
        with self.speaking("renewing the secure channel"):
            await self._client.open_secure_channel(renew=True)
            self._client.uaclient.revolve_security_token()

    async def close(self, *, delete_subscriptions: bool = True) -> None:
        """Close session, channel and socket, in at most about four seconds; never raises.

        delete_subscriptions False lets the server keep and fill them for their lifetime.
        """
        uaclient = self._client.uaclient
        if self._open:
            with contextlib.suppress(TimeoutError, OSError, ua.UaError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await uaclient.close_session(delete_subscriptions)
            with contextlib.suppress(TimeoutError, OSError, ua.UaError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await uaclient.close_secure_channel()
        await _closed(self._client)

    async def abandon(self) -> None:
        """Close the socket only: the session stays at the server, to be resumed."""
        protocol = self._client.uaclient.protocol
        if isinstance(protocol, ReadOnlyProtocol) and protocol.transport is not None:
            protocol.transport.abort()
        await _closed(self._client)

    async def call(
        self, request: object, response_type: type[T], seconds: float | None = None
    ) -> T:
        """Send a request and decode its response; asyncua's exceptions, so within `speaking`."""
        response: Any = struct_from_binary(response_type, await self.ask(request, seconds))
        response.ResponseHeader.ServiceResult.check()
        answer: T = response
        return answer

    async def ask(self, request: object, seconds: float | None = None) -> Buffer:
        """Send a request; the raw body of its response. seconds: 0 waits for ever."""
        asked_ns = self._traffic.asked()
        with _plainly_cancelled():
            answer = await self._protocol().send_request(request, timeout=seconds)
        if seconds != 0:
            self._traffic.came(asked_ns)
        return answer

    def _protocol(self) -> UASocketProtocol:
        protocol = self._client.uaclient.protocol
        if protocol is None:
            raise ConnectionError("Connection is closed")
        return protocol

    @contextlib.contextmanager
    def speaking(self, doing: str) -> Iterator[None]:
        """Turn every failure into a DeviceError of one sentence that says what was being done."""
        try:
            with _plainly_cancelled():
                yield
        except (DeviceError, ForbiddenRequestError, CodecError, ServiceFaultError):
            raise
        except Exception as error:
            raise self._spoken(error, doing) from error

    def _spoken(self, error: Exception, doing: str) -> DeviceError:
        where, config = self.endpoint, self._config
        if isinstance(error, ua.UaStatusCodeError):
            name = type(error).__name__
            status = int(error.code)
            self._traffic.faults[status] += 1
            ours = config.user_certificate if status in REFUSED_LOGIN else config.certificate
            sentence = status_sentence(status, name, doing, ours)
            return StatusError(f"{where}: {sentence}", status)
        if isinstance(error, TrustError):
            return DeviceError(f"{where}: {error}")
        if isinstance(error, TimeoutError):
            self._traffic.timeouts += 1
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


def _presented(
    endpoints: Sequence[asyncua.ua.EndpointDescription], config: OpcUaConfig, host: str
) -> Presented:
    """Give what the server shows at the endpoint with our policy and mode; TrustError."""
    offers = []
    for endpoint in endpoints:
        policy = str(endpoint.SecurityPolicyUri).rpartition("#")[2]
        mode = endpoint.SecurityMode.name.rstrip("_")
        if (policy, mode) == (config.security, config.mode) and endpoint.ServerCertificate:
            first, *chain = split_chain(bytes(endpoint.ServerCertificate))
            return Presented(first, chain, str(endpoint.Server.ApplicationUri or ""), host)
        offers.append(f"{policy}/{mode}")
    raise TrustError(
        f"the server offers no {config.security}/{config.mode}; it offers"
        f" {', '.join(sorted(set(offers))) or 'nothing'}"
    )


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
        with contextlib.suppress(TimeoutError):  # a socket cut while it connected says no farewell
            async with asyncio.timeout(_CLOSE_SECONDS):
                await protocol.closed.wait()


@contextlib.contextmanager
def _plainly_cancelled() -> Iterator[None]:
    """Let a cancellation be one.

    asyncua's wait_for2 raises a subclass, which a TaskGroup takes for an error; and its connect
    uses asyncio.wait_for, which in Python 3.11 swallows a cancellation that comes with the result.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if type(error) is asyncio.CancelledError:
            raise
        raise asyncio.CancelledError from error
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError


def quiet_library() -> None:
    """Keep asyncua from logging tracebacks of what this module says in one sentence."""
    logger = logging.getLogger("asyncua")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


__all__ = [
    "ALLOWED_REQUESTS",
    "ForbiddenRequestError",
    "Link",
    "ReadOnlyProtocol",
    "SavedSession",
    "quiet_library",
]
