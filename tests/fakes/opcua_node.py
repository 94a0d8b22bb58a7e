"""node-opcua as a real server: installs it once, runs tests/peers/opcua/server.js in a process.

A test module shares one server where it can: a start takes two seconds. Not where a test leaves it
another than it was: a subscription that stays (`state_dir`), a node or an alarm that has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
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
from tests.ports import own_port
from tests.waiting import LONGEST_S

PEERS = Path(__file__).resolve().parents[1] / "peers"
NAMESPACE = "urn:plantgate:peer"
_STALLS = {"timeout_ms": 20_000, "queue_size": 1000}


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
    """A node-opcua server in a process of its own; `options` as server.js reads them.

    port: one that it gets again when it is started again, and nobody else meanwhile.
    """

    folder: Path
    server: Application
    client: Application
    options: dict[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=own_port)
    endpoint: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self, **more: Any) -> None:
        """Start, and wait until it listens."""
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
        before = len(self._said())
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LONGEST_S
        while True:
            lines = self._said()[before:].split("\n")[:-1]
            told = [line for line in lines if line.startswith("{")]
            if told:
                self.endpoint = json.loads(told[0])["endpoint"]
                return
            assert self.process.poll() is None, f"node-opcua did not start: {self.words()}"
            assert time.monotonic() < deadline, f"node-opcua does not listen: {self.words()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Kill it."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def words(self) -> str:
        """How it is, and what it said last."""
        code = None if self.process is None else self.process.poll()
        state = "it runs or was stopped" if code is None else f"it ended with exit code {code}"
        return f"{state}; {self._said()[-3000:]}"

    @property
    def _log(self) -> Path:
        return self.folder / "server.log"

    def _said(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

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
        text = (self.folder / "held.jsonl").read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]  # it may be writing just now
        rows = [json.loads(line) for line in whole.splitlines()]
        return {(r["name"], r["source_ms"]): (r["value"], r["status"]) for r in rows}

    def config(self, **more: Any) -> OpcUaConfig:
        """Encrypted; so patient, and with queues so long, that no stall of the machine shows."""
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
            }
            | _STALLS
            | more
        )

    def plain(self, **more: Any) -> OpcUaConfig:
        """Without encryption, anonymous: quick; the server must be started with anonymous."""
        return OpcUaConfig.model_validate(
            {"endpoint": self.endpoint, "security": "None", "insecure": True}
            | {"publish_ms": 100, "sampling_ms": 0}
            | _STALLS
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
        ended = peer.process is not None and peer.process.poll() is not None
        if ended:
            print(f"node-opcua has ended: {peer.words()}")
        peer.stop()
