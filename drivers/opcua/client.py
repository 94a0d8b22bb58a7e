"""One connection to an OPC UA server: socket, channel and session; services.py speaks over it.

Guarantees: no request leaves that could change anything at the server (guard.py); every failure is
a DeviceError of one sentence; nothing of asyncua runs in the background; `close` takes bounded time
and leaves no socket.

asyncua is pinned, 2.1.0. Of its internals this module uses, each with a test in
tests/drivers/opcua/test_client_internals.py (guard.py names its own):

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
from asyncua.client.ua_client import UASocketProtocol
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.ua_binary import nodeid_from_binary, nodeid_to_binary, struct_from_binary
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.contract import DeviceError
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.expiry import OURS, SERVERS, USERS
from drivers.opcua.faults import REFUSED_LOGIN, NoAnswerError, StatusError, status_sentence
from drivers.opcua.guard import (
    ALLOWED_REQUESTS,
    MAX_MESSAGE_BYTES,
    ForbiddenRequestError,
    ReadOnlyProtocol,
    ReadOnlyUaClient,
    allowed,
)
from drivers.opcua.publish import ServiceFaultError
from drivers.opcua.traffic import Traffic
from drivers.opcua.trust import (
    Identity,
    Presented,
    TrustError,
    check_server,
    check_validity,
    end_ns_of,
    load_certificate,
    load_identity,
    load_user,
    read_password,
    split_chain,
)
from drivers.opcua.wire import CodecError

T = TypeVar("T")
ua: Any = asyncua.ua  # its generated names and annotations are beyond a type checker

_SESSION_TIMEOUT_MS = 20_000  # a server forgets us so soon after a crash; read every 2 s
_CHANNEL_LIFETIME_MS = 3_600_000  # asyncua's own; renewed at three quarters (OPC 10000-4, 5.5.2)
_CLOSE_SECONDS = 2.0
_SLOW = 8  # times `timeout_ms`, for what servers need seconds for
_REQUEST_NUMBERS = 2**31  # half of what a RequestId holds, so that counting on never wraps
_POLICIES: dict[str, Any] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256,
    "Aes128_Sha256_RsaOaep": SecurityPolicyAes128Sha256RsaOaep,
    "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
}


class ReadOnlyClient(Client):
    """asyncua's client over ReadOnlyUaClient, used step by step: `connect` is never called."""

    def __init__(self, url: str, timeout: float) -> None:
        super().__init__(url, timeout)
        self.requests = self.uaclient = ReadOnlyUaClient(timeout)
        self.max_messagesize = MAX_MESSAGE_BYTES
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


class _LateError(TimeoutError):
    """No answer in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


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
        self.ends_ns: dict[str, int] = {}
        """When certificates of this connection end, ns since 1970: OURS, USERS, SERVERS."""

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
            self.ends_ns[USERS] = end_ns_of(certificate)
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
        self.ends_ns[OURS] = end_ns_of(identity.certificate)
        self.ends_ns[SERVERS] = end_ns_of(presented.certificate)
        self._use(identity, presented.certificate)

    def look_again(self) -> None:
        """Read our own certificates' files anew: they may have been renewed meanwhile."""
        config = self._config
        for whose, file in ((OURS, config.certificate), (USERS, config.user_certificate)):
            if whose in self.ends_ns and file is not None:
                with contextlib.suppress(TrustError):
                    self.ends_ns[whose] = end_ns_of(load_certificate(file))

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
    def slow_seconds(self) -> float:
        """How long to wait for what a server may be slow at: 1,000 new items, history, alarms."""
        return _SLOW * self._seconds

    @property
    def session_timeout_ms(self) -> float:
        """Time without requests after which the server forgets us, as it revised it."""
        return float(self._client.session_timeout)

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
        try:
            with _plainly_cancelled():
                answer = await self._protocol().send_request(request, timeout=seconds)
        except TimeoutError as error:
            raise _LateError(self._seconds if seconds is None else seconds) from error
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
        except Exception as error:  # asyncua raises whatever a hostile answer makes it meet
            raise self._spoken(error, doing) from error

    @contextlib.contextmanager
    def understanding(self, doing: str) -> Iterator[None]:
        """Turn a raw answer that is a fault, or makes no sense, into a DeviceError of one sentence.

        For answers whose loss costs the session; what can go on without one catches both itself.
        """
        try:
            yield
        except ServiceFaultError as fault:
            self._traffic.faults[fault.status] += 1
            sentence = status_sentence(fault.status, "a service fault", doing, None)
            raise StatusError(f"{self.endpoint}: {sentence}", fault.status) from fault
        except CodecError as error:
            what = f"{self.endpoint}: an answer that makes no sense while {doing} ({error})"
            raise DeviceError(what) from error

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
            seconds = error.seconds if isinstance(error, _LateError) else self._seconds
            return NoAnswerError(f"{where}: no answer in {seconds * 1000:.0f} ms while {doing}")
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
    "allowed",
    "quiet_library",
]
