"""Connections that dawdle: each limit of bounded.py, with limits short enough to wait for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from gateway.console.bounded import BoundedProtocol, BoundedServer
from tests.waiting import until

Send = Callable[[object], Awaitable[None]]
Receive = Callable[[], Coroutine[None, None, object]]


class Quick(BoundedProtocol):
    """Limits of a test."""

    head_s = 0.3
    stall_s = 0.3
    most_of_one_address = 3


async def endless(scope: dict[str, object], receive: Receive, send: Send) -> None:
    """Answers `/` with "ok", anything else until the browser has gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/":
        await send({"type": "http.response.body", "body": b"ok"})
        return
    await receive()  # the body, which is empty
    async with asyncio.TaskGroup() as group:
        gone = group.create_task(receive())
        while not gone.done():
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)


@asynccontextmanager
async def served(
    protocol: type[BoundedProtocol] = Quick,
) -> AsyncIterator[tuple[BoundedServer, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = BoundedServer(endless, [listener], None, protocol)
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve())
        yield server, listener.getsockname()[1]
        server.should_exit = True


async def ends(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the connection ends; a cut is an end."""
    taken = b""
    async with asyncio.timeout(60):
        while True:
            try:
                piece = await reader.read(65536)
            except ConnectionError:
                return taken
            if not piece:
                return taken
            taken += piece


async def test_a_head_that_does_not_come_ends_the_connection() -> None:
    async with served() as (_, port):
        for begin in (b"", b"GET / HTTP/1.1\r\nHost: a\r\nX: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begin)
            assert await ends(reader) == b""
            writer.close()


async def test_the_second_head_of_a_connection_has_its_limit_too() -> None:
    async with served() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(60):
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        await asyncio.sleep(Quick.head_s * 2)  # a connection that rests is kept
        writer.write(b"GET")
        assert b"ok" in await ends(reader)
        writer.close()


async def test_a_head_beyond_its_size_is_refused() -> None:
    async with served() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000)
        assert (await ends(reader)).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_who_takes_nothing_is_cut_off_and_its_task_ends() -> None:
    async with served() as (server, port):
        with socket.create_connection(("127.0.0.1", port)) as stalled:
            stalled.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: server.server_state.tasks)
            await until(lambda: not server.server_state.connections)
            await until(lambda: not server.server_state.tasks)


async def test_who_takes_little_is_kept() -> None:
    with socket.socket() as slow:
        taken: list[int] = []

        class Looked(Quick):
            """Its peer takes a little after each look, however long it is until the next one."""

            def _look(self, before: int) -> None:
                super()._look(before)
                taken.append(len(slow.recv(60_000, socket.MSG_DONTWAIT)))

        async with served(Looked) as (server, port):
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", port))
            slow.sendall(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
            await until(lambda: len(taken) >= 6)
            assert server.server_state.connections


class Held(Quick):
    """Only too many connections are cut."""

    head_s = 120.0
    stall_s = 120.0


async def test_one_address_has_so_many_connections() -> None:
    async with served(Held) as (server, port):
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for _, writer in held:
            writer.write(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: len(server.server_state.connections) == 3)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await ends(reader) == b""
        for _, one in (*held, (reader, writer)):
            one.transport.abort()
