"""node-opcua as a real server: installs it once, runs tests/peers/opcua/server.js in a process.

A test module shares one server where it can: a start takes two seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua.config import OpcUaConfig
from tests.fakes.opcua_certificates import Application, Authority, make_application

PEERS = Path(__file__).resolve().parents[1] / "peers"
NAMESPACE = "urn:plantgate:peer"


def install_node_opcua() -> None:
    """Install node-opcua; where that fails it is a failure in CI and a skip elsewhere."""
    why = "npm is missing" if shutil.which("npm") is None else ""
    if not why:
        done = subprocess.run([PEERS / "install_opcua.sh"], check=False, capture_output=True)
        why = "" if done.returncode == 0 else f"npm failed: {done.stderr.decode()[-500:]}"
    if why and os.environ.get("CI") == "true":
        pytest.fail(f"node-opcua cannot be installed: {why}")
    if why:
        pytest.skip(f"node-opcua cannot be installed: {why}")


def node(name: str) -> str:
    """Node id of a variable of the server, as a point table writes it."""
    return f"nsu={NAMESPACE};s={name}"


@dataclass
class NodeServer:
    """A node-opcua server in a process of its own; `options` as server.js reads them."""

    folder: Path
    server: Application
    client: Application
    options: dict[str, Any] = field(default_factory=dict)
    port: int = 0
    endpoint: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self, **more: Any) -> None:
        """Start, on the port of last time if there was one."""
        options = {
            "port": self.port,
            "folder": str(self.folder),
            "certificate": str(self.folder / "server.crt"),
            "key": str(self.server.key),
            "uri": "urn:plantgate:peer:server",
            "period": 100,
            "items": 0,
            "user": "reader",
            "password": "secret",
            "perCall": 100,
        }
        options |= self.options | more
        command = ["node", str(PEERS / "opcua" / "server.js"), json.dumps(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        while line := self.process.stdout.readline().decode():
            if line.startswith("{"):
                self.endpoint = json.loads(line)["endpoint"]
                self.port = int(self.endpoint.split(":")[2].split("/")[0])
                return
        raise AssertionError("node-opcua did not start; its words are above")

    def stop(self) -> None:
        """Kill it."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None, "the server is not running"
        self.process.send_signal(number)

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

    def plain(self, **more: Any) -> OpcUaConfig:
        """Without encryption, anonymous: quick; the server must be started with anonymous."""
        return OpcUaConfig.model_validate(
            {"endpoint": self.endpoint, "security": "None", "insecure": True}
            | {"publish_ms": 100, "sampling_ms": 0, "timeout_ms": 2000}
            | more
        )


@contextmanager
def serving(
    folder: Path, *, trusted: bool = True, authority: Authority | None = None, **options: Any
) -> Iterator[NodeServer]:
    """A running server with certificates and a client that it trusts.

    authority: who has issued the server's certificate, sent along with it.
    """
    server = make_application(
        folder, "server", uri="urn:plantgate:peer:server", authority=authority
    )
    peer = NodeServer(folder, server, make_application(folder, "client"), options)
    chain = [server.certificate] + ([authority.certificate] if authority is not None else [])
    certificates = [x509.load_der_x509_certificate(path.read_bytes()) for path in chain]
    pem = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)
    (folder / "server.crt").write_bytes(pem)
    (folder / "password").write_text("secret\n", encoding="utf-8")
    if trusted:
        peer.trust_client()
    try:
        peer.start()
        yield peer
    finally:
        peer.stop()
