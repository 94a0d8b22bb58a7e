"""The driver against node-opcua: encrypted, with user and password, value by value."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_certificates import Application, make_application
from tests.fakes.opcua_collector import Collector, points, running, until

HERE = Path(__file__).resolve().parent
POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
TYPES = {
    "Double": "float", "Float": "float", "Int16": "int", "UInt32": "uint", "Int64": "int",
    "UInt64": "uint", "Boolean": "bool", "String": "text",
}  # fmt: skip

pytestmark = [pytest.mark.peer, pytest.mark.timeout(180)]


@pytest.fixture(scope="module", autouse=True)
def node_opcua() -> None:
    """Install node-opcua; without npm that is a failure in CI and a skip elsewhere."""
    why = "npm is missing" if shutil.which("npm") is None else ""
    if not why:
        done = subprocess.run([HERE.parent / "install_opcua.sh"], check=False, capture_output=True)
        why = "" if done.returncode == 0 else f"npm failed: {done.stderr.decode()[-500:]}"
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"node-opcua cannot be installed: {why}")
    if why:
        pytest.skip(f"node-opcua cannot be installed: {why}")


@dataclass
class Peer:
    """A node-opcua server in a process of its own."""

    folder: Path
    server: Application
    client: Application
    port: int = 0
    endpoint: str = ""
    process: asyncio.subprocess.Process | None = None

    async def start(self, items: int = 0) -> None:
        options = {
            "port": self.port,
            "folder": str(self.folder),
            "certificate": str(self.folder / "server.crt"),
            "key": str(self.server.key),
            "uri": "urn:plantgate:peer:server",
            "period": 100,
            "items": items,
            "user": "reader",
            "password": "secret",
            "perCall": 100,
        }
        self.process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "server.js"), json.dumps(options),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            if line.startswith("{"):
                self.endpoint = json.loads(line)["endpoint"]
                self.port = int(self.endpoint.split(":")[2].split("/")[0])
                return
        raise AssertionError("node-opcua did not start; its words are above")

    async def stop(self) -> None:
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def trust_client(self) -> None:
        trusted = self.folder / "pki" / "trusted" / "certs"
        trusted.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.client.certificate, trusted)

    def held(self) -> dict[tuple[str, int], tuple[str, int]]:
        """(name, source time in ms) → (value as text, StatusCode) of every value ever held."""
        lines = (self.folder / "held.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return {(r["name"], r["source_ms"]): (r["value"], r["status"]) for r in rows}

    def config(self, **more: Any) -> OpcUaConfig:
        return OpcUaConfig.model_validate(
            {
                "endpoint": self.endpoint,
                "certificate": self.client.certificate,
                "key": self.client.key,
                "server_certificate": self.server.certificate,
                "user": "reader",
                "password_file": self.folder / "password",
                "publish_ms": 200,
                "sampling_ms": 0,
                "timeout_ms": 3000,
            }
            | more
        )


@asynccontextmanager
async def serving(folder: Path, *, trusted: bool = True, items: int = 0) -> AsyncIterator[Peer]:
    server = make_application(folder, "server", uri="urn:plantgate:peer:server")
    peer = Peer(folder, server, make_application(folder, "client"))
    _write_pem(server.certificate, folder / "server.crt")
    (folder / "password").write_text("secret\n", encoding="utf-8")
    if trusted:
        peer.trust_client()
    try:
        await peer.start(items)
        yield peer
    finally:
        await peer.stop()


def _write_pem(der: Path, pem: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = x509.load_der_x509_certificate(der.read_bytes())
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))


def table() -> list[Any]:
    return points(*[(f"nsu=urn:plantgate:peer;s={name}", kind) for name, kind in TYPES.items()])


def as_text(name: str, value: Any) -> str:
    """A received value as the server wrote it into its own log."""
    if name == "Boolean":
        return "true" if value else "false"
    if name in ("Double", "Float"):
        return str(int(value)) if value == int(value) else str(value)
    return str(value)


@pytest.mark.parametrize("policy", POLICIES)
async def test_every_value_received_is_a_value_held(tmp_path: Path, policy: str) -> None:
    async with serving(tmp_path) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(security=policy), table(), SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: task.done() or len(emit.samples(107)) >= 25)
            if task.done():
                await task
        held = peer.held()
    for place, name in enumerate(TYPES):
        samples = emit.samples(100 + place)
        assert len(samples) >= 25
        seen = []
        for value, quality, time_ns in samples:
            text, status = held[name, time_ns // 10**6]
            assert quality == status >> 16
            if not quality & 0x8000:
                assert as_text(name, value) == text
            seen.append(time_ns // 10**6)
        assert seen == sorted(seen)
        all_held = sorted(ms for (held_name, ms) in held if held_name == name)
        between = [ms for ms in all_held if seen[0] <= ms <= seen[-1]]
        assert seen == between, f"{name}: values missing between the first and the last received"


async def test_wrong_password(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        (tmp_path / "password").write_text("wrong", encoding="utf-8")
        driver = DRIVER.open("dcs", peer.config(), table(), SystemClock())
        with pytest.raises(DeviceError, match="refused user and password"):
            await driver.run(Collector())


async def test_untrusted_client_certificate(tmp_path: Path) -> None:
    async with serving(tmp_path, trusted=False) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(), table(), SystemClock())
        with pytest.raises(DeviceError, match=r"does not trust our certificate yet: put .*client"):
            await driver.run(emit)
        assert [s[1] for s in emit.samples(100)] == [Quality.BAD_NOT_CONNECTED]


async def test_a_server_we_do_not_trust_gets_no_password(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        other = make_application(tmp_path, "other")
        strange = peer.config(server_certificate=other.certificate)
        driver = DRIVER.open("dcs", strange, table(), SystemClock())
        with pytest.raises(DeviceError, match=r"not trusted: SHA-256 [0-9a-f]{64}, subject CN=ser"):
            await driver.run(Collector())


async def test_all_items_come_back_after_a_restart_and_a_bad_node_stops_nothing(
    tmp_path: Path,
) -> None:
    items = 250  # above the server's 100 per call
    nodes = [(f"nsu=urn:plantgate:peer;s=D{i}", "float") for i in range(items)]
    rows = points(*nodes, ("nsu=urn:plantgate:peer;s=NoSuch", "float"))
    async with serving(tmp_path, items=items) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(), rows, SystemClock())

        def back() -> bool:
            return all(emit.samples(100 + i)[-1:][0][1] == 0 for i in range(items))

        async with running(driver, emit) as task:
            await until(
                lambda: task.done() or len({int(p) for b in emit.batches for p in b.points}) > items
            )
            assert emit.samples(100 + items)[0][1] == Quality.BAD_ILLEGAL_ADDRESS
            await peer.stop()
            await asyncio.wait([task], timeout=30)
            assert isinstance(task.exception(), DeviceError)
        assert all(
            emit.samples(100 + i)[-1][1] == Quality.BAD_NOT_CONNECTED for i in range(items + 1)
        )
        await peer.start(items)
        async with running(driver, emit):
            await until(back, seconds=30)
        assert emit.samples(100 + items)[-1][1] == Quality.BAD_ILLEGAL_ADDRESS
        assert "opcua.gap" in emit.kinds()


async def test_a_frozen_server_is_left(tmp_path: Path) -> None:
    async with serving(tmp_path) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(), table(), SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: bool(emit.samples(100)))
            assert peer.process is not None
            peer.process.send_signal(signal.SIGSTOP)
            await asyncio.wait([task], timeout=30)
            assert isinstance(task.exception(), DeviceError)


async def test_a_node_that_vanishes_and_returns_is_watched_again(tmp_path: Path) -> None:
    rows = points(*[(f"nsu=urn:plantgate:peer;s=D{i}", "float") for i in range(2)])
    async with serving(tmp_path, items=2) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(retry_s=1), rows, SystemClock())
        async with running(driver, emit):
            await until(lambda: len(emit.samples(100)) > 1 and len(emit.samples(101)) > 1)
            assert peer.process is not None
            peer.process.send_signal(signal.SIGUSR2)
            await until(lambda: emit.samples(100)[-1][1] in (0x8033, 0x8034))
            peer.process.send_signal(signal.SIGUSR2)
            await until(lambda: emit.samples(100)[-1][1] == 0)
            count = len(emit.samples(100))
            await until(lambda: len(emit.samples(100)) > count + 5)
        times = [sample[2] for sample in emit.samples(100) if sample[1] == 0]
        assert len(times) == len(set(times)), "a value came twice"
        assert {sample[1] for sample in emit.samples(101)} == {0}
