"""What client.py relies on inside asyncua 2.1.0, and that nothing but reading can be sent."""

from __future__ import annotations

import inspect
from typing import Any

import asyncua.common.connection
import asyncua.ua
import asyncua.ua.ua_binary
import pytest
from asyncua.client.client import Client
from asyncua.client.ua_client import UaClient, UASocketProtocol
from asyncua.common.utils import Buffer

from drivers.opcua.client import (
    ALLOWED_REQUESTS,
    ForbiddenRequestError,
    ReadOnlyClient,
    ReadOnlyProtocol,
    allowed,
)
from drivers.opcua.publish import read_publish_response
from tests.fakes.opcua_server import OpcUaServer

ua: Any = asyncua.ua
REQUESTS = sorted(
    (kind for name, kind in vars(ua).items() if name.endswith("Request") and inspect.isclass(kind)),
    key=lambda kind: str(kind.__name__),
)
CHANGING = [
    "WriteRequest", "CallRequest", "HistoryUpdateRequest", "AddNodesRequest", "DeleteNodesRequest",
    "AddReferencesRequest", "DeleteReferencesRequest", "SetTriggeringRequest",
]  # fmt: skip


def test_the_list_of_allowed_requests_is_exactly_this() -> None:
    assert {kind.__name__ for kind in ALLOWED_REQUESTS} == {
        "OpenSecureChannelRequest", "CloseSecureChannelRequest", "GetEndpointsRequest",
        "CreateSessionRequest", "ActivateSessionRequest", "CloseSessionRequest", "ReadRequest",
        "CreateSubscriptionRequest", "CreateMonitoredItemsRequest", "DeleteMonitoredItemsRequest",
        "PublishRequest", "RepublishRequest", "TransferSubscriptionsRequest", "HistoryReadRequest",
        "BrowseRequest", "BrowseNextRequest", "TranslateBrowsePathsToNodeIdsRequest",
    }  # fmt: skip
    names = {kind.__name__ for kind in REQUESTS}
    assert names.issuperset(CHANGING)


class _Sink:
    """A transport that remembers what was written to it."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, content: bytes) -> None:
        self.written.append(content)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: str(kind.__name__))
async def test_any_other_request_is_refused_and_writes_no_byte(kind: type) -> None:
    client = ReadOnlyClient("opc.tcp://127.0.0.1:1", 1)
    protocol = client.uaclient._make_protocol()
    sink: Any = _Sink()
    protocol.connection_made(sink)
    if kind in ALLOWED_REQUESTS:
        return
    with pytest.raises(ForbiddenRequestError, match=kind.__name__):
        await protocol.send_request(kind())
    assert sink.written == []


def test_of_all_methods_only_condition_refresh_may_be_called() -> None:
    def call(*methods: tuple[Any, Any]) -> Any:
        request = ua.CallRequest()
        for node, method in methods:
            one = ua.CallMethodRequest()
            one.ObjectId, one.MethodId = node, method
            request.Parameters.MethodsToCall.append(one)
        return request

    condition_type, refresh = ua.NodeId(2782), ua.NodeId(3875)
    assert allowed(call((condition_type, refresh)))
    assert not allowed(call())
    assert not allowed(call((condition_type, ua.NodeId(9111))))  # Acknowledge
    assert not allowed(call((ua.NodeId(7, 2), refresh)))
    assert not allowed(call((condition_type, refresh), (ua.NodeId(7, 2), ua.NodeId(8, 2))))
    assert not allowed(call((condition_type, ua.NodeId(3875, 2))))


async def test_high_level_writes_of_asyncua_are_refused_on_a_live_session() -> None:
    async with OpcUaServer(1) as server:
        client: Any = ReadOnlyClient(server.endpoint, 60)
        await client.connect_socket()
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        await client.activate_session()
        try:
            node = client.get_node("ns=2;s=D0")
            assert await node.read_value() == 0.0
            with pytest.raises(ForbiddenRequestError):
                await node.write_value(5.0)
            with pytest.raises(ForbiddenRequestError):
                await node.call_method(ua.NodeId(3875), ua.NodeId(0))
            assert await node.read_value() == 0.0
        finally:
            await client.uaclient.close_session(True)
            await client.close_secure_channel()
            client.disconnect_socket()


async def test_the_protocol_is_made_where_we_think_and_answers_with_bytes() -> None:
    assert "_make_protocol" in vars(UaClient)
    assert "self._make_protocol" in inspect.getsource(UaClient.connect_socket)
    writes = inspect.getsource(UASocketProtocol).count("transport.write(")
    assert writes == 2, "Hello, and _send_request; a third place would pass the guard by"
    async with OpcUaServer(1) as server:
        client: Any = ReadOnlyClient(server.endpoint, 60)
        await client.connect_socket()
        protocol = client.uaclient.protocol
        try:
            assert type(protocol) is ReadOnlyProtocol
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            await client.activate_session()
            request = ua.CreateSubscriptionRequest()
            request.Parameters.RequestedPublishingInterval = 50.0
            request.Parameters.PublishingEnabled = True
            await protocol.send_request(request)
            body = await protocol.send_request(ua.PublishRequest(), timeout=0)
            assert isinstance(body, Buffer)
            assert read_publish_response(bytes(body)).keep_alive
            await client.open_secure_channel(renew=True)
            client.uaclient.revolve_security_token()
            assert await client.get_node("i=2259").read_value() == 0
        finally:
            await client.uaclient.close_session(True)
            await client.close_secure_channel()
            client.disconnect_socket()
            await protocol.closed.wait()


async def test_nothing_of_asyncua_runs_in_the_background() -> None:
    steps = (Client.connect_socket, Client.open_secure_channel, Client.create_session)
    for step in (*steps, Client.activate_session):
        assert "create_task" not in inspect.getsource(step)


async def test_a_refused_channel_is_read_as_its_fault() -> None:
    client = ReadOnlyClient("opc.tcp://127.0.0.1:1", 1)
    protocol: Any = client.uaclient._make_protocol()
    fault = ua.ServiceFault()
    fault.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadCertificateUntrusted)
    chunk = asyncua.common.connection.MessageChunk(
        protocol._connection.security_policy.symmetric_cryptography,
        asyncua.ua.ua_binary.struct_to_binary(fault),
    )
    protocol._open_secure_channel_exchange = ua.OpenSecureChannelParameters()
    with pytest.raises(ua.uaerrors.BadCertificateUntrusted):
        protocol._process_received_message(asyncua.ua.Message([chunk]))  # type: ignore[no-untyped-call]  # asyncua annotates it not


async def test_an_answer_that_nobody_waits_for_is_dropped_and_the_channel_goes_on() -> None:
    """As asyncua's server gives one to a request of the channel before, after a resumed session."""
    async with OpcUaServer(1) as server:
        client: Any = ReadOnlyClient(server.endpoint, 60)
        client.uaclient.last_request = 7_000
        await client.connect_socket()
        protocol = client.uaclient.protocol
        try:
            await client.send_hello()
            await client.open_secure_channel()
            await client.create_session()
            await client.activate_session()
            assert protocol._request_id > 7_000
            assert set(protocol._callbackmap) == set()
            stale: Any = asyncua.common.connection.MessageChunk(
                protocol._connection.security_policy.symmetric_cryptography,
                asyncua.ua.ua_binary.struct_to_binary(ua.PublishResponse()),
            )
            stale.SequenceHeader.RequestId = 3
            protocol._process_received_message(asyncua.ua.Message([stale]))  # type: ignore[no-untyped-call]  # asyncua annotates it not
            assert protocol.stale == 1
            assert await client.get_node("ns=2;s=D0").read_value() == 0.0
            with pytest.raises(ua.UaError, match="No request found for request id: 3"):
                UASocketProtocol._process_received_message(
                    protocol,
                    asyncua.ua.Message([stale]),  # type: ignore[no-untyped-call]  # asyncua annotates it not
                )
        finally:
            await client.uaclient.close_session(True)
            await client.close_secure_channel()
            client.disconnect_socket()
            await protocol.closed.wait()
