"""Refuses every request that could change anything at a server, where requests leave.

Guarantees: a request that is not in ALLOWED_REQUESTS, nor the one call of ConditionRefresh, raises
ForbiddenRequestError and not one byte of it is sent.

Of asyncua's internals (pinned, 2.1.0) this module uses, each with a test in
tests/drivers/opcua/test_client_internals.py:

    UaClient._make_protocol               where the socket's protocol object is made
    UASocketProtocol._send_request        through which every request passes
    UASocketProtocol._process_received_message   to read the fault of a refused channel
    UASocketProtocol._callbackmap, ._request_id   to drop an answer that nobody waits for
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncua.ua
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.connection import TransportLimits
from asyncua.crypto.security_policies import SecurityPolicy
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

ua: Any = asyncua.ua  # its generated names and annotations are beyond a type checker

MAX_MESSAGE_BYTES = 16 * 1024 * 1024  # 10,000 values of 34 bytes are 0.34 MB

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


class ForbiddenRequestError(Exception):
    """A request that is not on the list was about to be sent. This is a bug, not a device fault."""


class ReadOnlyProtocol(UASocketProtocol):
    """asyncua's protocol, which refuses to send anything but ALLOWED_REQUESTS.

    stale: answers to requests of an earlier channel of a resumed session, dropped; asyncua would
    close the channel. Nothing is lost by that: what such an answer carried is republished.
    """

    def __init__(self, timeout: float, security_policy: SecurityPolicy) -> None:
        limits = TransportLimits(max_chunk_count=0, max_message_size=MAX_MESSAGE_BYTES)
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


__all__ = [
    "ALLOWED_REQUESTS",
    "MAX_MESSAGE_BYTES",
    "ForbiddenRequestError",
    "ReadOnlyProtocol",
    "ReadOnlyUaClient",
    "allowed",
]
