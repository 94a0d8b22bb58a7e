"""ObserveServer over a real socket: pages, wrong requests, limits."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from gateway.observe.health import Health
from gateway.observe.http import MOST_CONNECTIONS, MOST_REQUEST_BYTES, ObserveServer
from gateway.observe.metrics import Metrics


def server(*, well: bool = True, host: str = "127.0.0.1", timeout_s: float = 60.0) -> ObserveServer:
    metrics, health = Metrics(), Health()
    metrics.register("flow", lambda: {"values": 12})
    health.register("buffer", lambda: (well, "as it is"), vital=True)
    return ObserveServer(host, 0, metrics, health, timeout_s=timeout_s)


async def ask(server: ObserveServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    host, _, port = server.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return int(status.split(" ")[1]), headers, body


async def test_metrics() -> None:
    async with server() as listening:
        status, headers, body = await ask(listening, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert b"plantgate_flow_values 12.0" in body
    assert int(headers["Content-Length"]) == len(body)


@pytest.mark.parametrize(("well", "status", "state"), [(True, 200, "ok"), (False, 503, "failed")])
async def test_health(well: bool, status: int, state: str) -> None:
    async with server(well=well) as listening:
        got, headers, body = await ask(listening, b"GET /healthz?x=1 HTTP/1.1\r\n\r\n")
    assert (got, headers["Content-Type"], json.loads(body)["state"]) == (
        status, "application/json", state,
    )  # fmt: skip


async def test_head_has_no_body() -> None:
    async with server() as listening:
        status, headers, body = await ask(listening, b"HEAD /metrics HTTP/1.0\r\n\r\n")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/1.1", 404),
        (b"GET /metricsx HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"DELETE /healthz HTTP/1.1", 405),
        (b"GET /metrics", 400),
        (b"GET  /metrics HTTP/1.1", 400),
        (b"GET /metrics HTTP/2.0", 400),
        (b"\x16\x03\x01\xff\x00", 400),
        (b"", 400),
    ],
)
async def test_other_requests(request_line: bytes, status: int) -> None:
    async with server() as listening:
        got, _, _ = await ask(listening, request_line + b"\r\n\r\n")
    assert got == status


async def test_a_request_that_is_too_long_is_refused() -> None:
    async with server() as listening:
        got, _, _ = await ask(listening, b"GET /" + b"x" * MOST_REQUEST_BYTES)
    assert got == 400


async def test_a_request_in_pieces_is_answered_once() -> None:
    async with server() as listening:
        host, _, port = listening.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for piece in (b"GET /healthz HT", b"TP/1.1\r\n\r", b"\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        await writer.wait_closed()
    assert answer.count(b"HTTP/1.1 200 OK") == 1


async def test_a_second_request_on_one_connection_is_not_answered() -> None:
    request = b"GET /healthz HTTP/1.1\r\n\r\n"
    async with server() as listening:
        host, _, port = listening.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request * 2)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
    assert answer.count(b"HTTP/1.1") == 1


async def test_too_many_connections_are_closed_unanswered_and_the_rest_still_served() -> None:
    async with server() as listening:
        host, _, port = listening.address.rpartition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(MOST_CONNECTIONS)]
        reader, writer = await asyncio.open_connection(host, int(port))
        assert await asyncio.wait_for(reader.read(), 60) == b""
        first_reader, first_writer = idle[0]
        first_writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert b"200 OK" in await asyncio.wait_for(first_reader.read(), 60)
        for _, open_writer in [*idle, (reader, writer)]:
            open_writer.close()
            await open_writer.wait_closed()


async def test_leaving_cuts_what_is_open_and_frees_the_port() -> None:
    async with server() as listening:
        host, _, port = listening.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        status, _, _ = await ask(listening, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert status == 200
    with contextlib.suppress(ConnectionResetError):  # cut is cut
        assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, int(port))


async def test_a_client_that_says_nothing_is_cut_off() -> None:
    async with server(timeout_s=0.01) as listening:
        host, _, port = listening.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 60) == b""
        writer.close()


def test_only_loopback_is_served() -> None:
    for host in ("0.0.0.0", "192.168.1.1", "::"):  # noqa: S104  # refused, not bound
        with pytest.raises(ValueError, match="loopback only"):
            server(host=host)


def test_no_address_before_listening() -> None:
    with pytest.raises(RuntimeError, match="not listening"):
        _ = server().address
