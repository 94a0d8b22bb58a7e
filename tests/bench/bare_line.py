"""The limit of an uplink: the same bytes over a bare line, each message acknowledged.

Two lines, each between two processes on loopback: a plain TCP socket, and one bidirectional
grpc.aio stream with mutual TLS. Messages of 64 KiB, eight unacknowledged at most; nothing is
decoded, stored or checked, so no uplink can be faster.

As a process: `python -m tests.bench.bare_line tcp|grpc PORT CERTIFICATES` serves until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tests.e2e.world import ROOT, free_port, listens, until

MESSAGE_BYTES = 65_536
IN_FLIGHT = 8
METHOD = "/bare/Line"
_untyped: Any = grpc  # these functions of grpcio have no annotations


def bytes_per_s(kind: str, total_bytes: int, certificates: Path) -> float:
    """Send about `total_bytes` over a bare line of that kind and give the rate."""
    port, count = free_port(), max(1, total_bytes // MESSAGE_BYTES)
    command = [sys.executable, "-m", "tests.bench.bare_line", kind, str(port), str(certificates)]
    server = subprocess.Popen(command, cwd=ROOT)
    try:
        until(lambda: listens(port), limit_s=20, what="the bare line listens")
        began = time.perf_counter()
        if kind == "tcp":
            _send_tcp(port, count)
        else:
            asyncio.run(_send_grpc(port, count, certificates))
        return count * MESSAGE_BYTES / (time.perf_counter() - began)
    finally:
        server.terminate()
        server.wait(timeout=20)


def _send_tcp(port: int, count: int) -> None:
    message, free = bytes(MESSAGE_BYTES), threading.Semaphore(IN_FLIGHT)

    def acknowledged(line: socket.socket) -> None:
        left = count
        while left:
            got = len(line.recv(min(left, 4096)))
            left -= got
            free.release(got)

    with socket.create_connection(("127.0.0.1", port)) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = threading.Thread(target=acknowledged, args=(line,))
        reader.start()
        for _ in range(count):
            free.acquire()
            line.sendall(message)
        reader.join()


async def _send_grpc(port: int, count: int, certificates: Path) -> None:
    credentials = _untyped.ssl_channel_credentials(
        (certificates / "ca.pem").read_bytes(),
        (certificates / "gateway.key").read_bytes(),
        (certificates / "gateway.pem").read_bytes(),
    )
    message, free = bytes(MESSAGE_BYTES), asyncio.Semaphore(IN_FLIGHT)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        line: Any = channel.stream_stream(METHOD)()

        async def acknowledged() -> None:
            for _ in range(count):
                await line.read()
                free.release()

        async with asyncio.TaskGroup() as group:
            group.create_task(acknowledged())
            for _ in range(count):
                await free.acquire()
                await line.write(message)
        await line.done_writing()
        line.cancel()


def _serve_tcp(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            line, _ = server.accept()
            buffer, held = bytearray(MESSAGE_BYTES), 0
            with line:
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while got := line.recv_into(memoryview(buffer)[held:]):
                    held += got
                    if held == MESSAGE_BYTES:
                        line.sendall(b"a")
                        held = 0


class _Line(grpc.GenericRpcHandler):
    """Acknowledges every message of a stream by one byte."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Serve METHOD; its messages stay bytes."""
        if handler_call_details.method != METHOD:
            return None

        async def answer(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
            async for _message in messages:
                yield b"a"

        return _untyped.stream_stream_rpc_method_handler(answer)


async def _serve_grpc(port: int, certificates: Path) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Line(),))
    pair = ((certificates / "receiver.key").read_bytes(),
            (certificates / "receiver.pem").read_bytes())  # fmt: skip
    authority = (certificates / "ca.pem").read_bytes()
    credentials = _untyped.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=True
    )
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await server.start()
    await stopped.wait()
    await server.stop(None)


def main() -> None:
    """Serve until SIGTERM."""
    kind, port, certificates = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "tcp":
        _serve_tcp(port)
    else:
        asyncio.run(_serve_grpc(port, certificates))


if __name__ == "__main__":
    main()
