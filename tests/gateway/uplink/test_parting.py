"""How a stream ended: the receiver's own words, though grpcio writes over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from gateway.uplink.channel import METHOD, Parting

_untyped: Any = grpc
HIDDEN = "Internal error from Core"
TRIES = 300
_SERVICE, _NAME = METHOD.strip("/").split("/")


@asynccontextmanager
async def refusing() -> AsyncIterator[str]:
    """Serve streams that are refused at their first message."""

    async def refuse(_requests: object, context: Any) -> None:
        await context.read()
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not on the list")

    handler = _untyped.stream_stream_rpc_method_handler(refuse)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (_untyped.method_handlers_generic_handler(_SERVICE, {_NAME: handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def _write(call: Any) -> None:
    try:
        for _ in range(100):
            await call.write(b"x" * 65_536)
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass


async def test_a_refusal_is_heard_while_much_is_written() -> None:
    """Until grpcio hid one: an upstream that hides none any more needs no Parting, and fails."""
    async with refusing() as target:
        for _ in range(TRIES):
            async with grpc.aio.insecure_channel(target) as channel:
                method: Any = channel.stream_stream(METHOD)
                call = method()
                parting = Parting(call)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_write(call))
                    code, details = await call.code(), await call.details()
                code, details = await call.code(), await call.details()
                denied = (grpc.StatusCode.PERMISSION_DENIED, "not on the list")
                assert parting.words(code, details) == denied
                if details == HIDDEN:
                    return
    raise AssertionError(f"in {TRIES} streams grpcio hid no status")


def test_other_words_are_left_as_they_are() -> None:
    class Silent:
        def add_done_callback(self, _callback: object) -> None:
            pass

        async def code(self) -> grpc.StatusCode:
            raise AssertionError

        async def details(self) -> str:
            raise AssertionError

    parting = Parting(Silent())
    away = (grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert parting.words(*away) == away
    assert parting.words(grpc.StatusCode.INTERNAL, HIDDEN) == (grpc.StatusCode.INTERNAL, HIDDEN)
