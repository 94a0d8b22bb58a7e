"""Real NATS servers with JetStream on loopback: one, or a cluster of three.

`tests/peers/install_nats.sh` brings the program. Every server syncs before it answers.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.world import PATIENCE_S, free_port
from tests.fakes.split_net import SplitNet

_PROGRAM = Path(__file__).resolve().parents[2] / ".cache/nats/bin/nats-server"


def require() -> None:
    """Skip, or fail where CI=true, if nats-server is missing; says what to run."""
    if not _PROGRAM.is_file():
        message = f"{_PROGRAM} missing; run tests/peers/install_nats.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


class JetStream:
    """Servers with folders of their own; stop and start each as often as needed.

    net: each server in the namespace of its number; else all on the loopback.
    """

    def __init__(self, servers: int = 1, net: SplitNet | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="plantgate-nats-"))
        self._within = [net.within(number) if net else [] for number in range(servers)]
        self._hosts = [net.address(number) if net else "127.0.0.1" for number in range(servers)]
        self.ports = [free_port() for _ in range(servers)]
        self._monitors = [free_port() for _ in range(servers)]
        routes = [free_port() for _ in range(servers)]
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * servers
        for number in range(servers):
            lines = [
                f"server_name: n{number}",
                f"listen: {self._hosts[number]}:{self.ports[number]}",
                f"http: {self._hosts[number]}:{self._monitors[number]}",
                f'jetstream {{ store_dir: "{self.folder}/js{number}", max_file: 4G,'
                " sync_interval: always }",
            ]
            if servers > 1:
                places = zip(self._hosts, routes, strict=True)
                others = ", ".join(f"nats://{host}:{port}" for host, port in places)
                lines.append(
                    f"cluster {{ name: province, listen: {self._hosts[number]}:{routes[number]},"
                    f" routes: [{others}] }}"
                )
            (self.folder / f"n{number}.conf").write_text("\n".join(lines), encoding="utf-8")

    @property
    def address(self) -> str:
        """All servers, for `--journal`."""
        places = zip(self._hosts, self.ports, strict=True)
        return f"nats://{','.join(f'{host}:{port}' for host, port in places)}/PLANTGATE"

    def start(self, number: int | None = None) -> None:
        """Start one server, or all, and wait until JetStream answers."""
        wanted = range(len(self.ports)) if number is None else [number]
        for one in wanted:
            with (self.folder / f"n{one}.log").open("ab") as log:
                self.processes[one] = subprocess.Popen(
                    [*self._within[one], str(_PROGRAM), "-c", str(self.folder / f"n{one}.conf")],
                    stdout=log, stderr=log,
                )  # fmt: skip
        for one in wanted:
            self._await(one)

    def kill(self, number: int = 0, how: signal.Signals = signal.SIGKILL) -> None:
        """End one server."""
        process = self.processes[number]
        if process is not None:
            process.send_signal(how)
            process.wait(timeout=60)
            self.processes[number] = None

    def freeze(self, number: int) -> None:
        """Stop one server's process where it is, connections open."""
        self._signal(number, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let it go on."""
        self._signal(number, signal.SIGCONT)

    def _signal(self, number: int, how: signal.Signals) -> None:
        process = self.processes[number]
        assert process is not None
        process.send_signal(how)

    def leader(self, stream: str = "PLANTGATE") -> int | None:
        """Number of the server that leads a stream; None while there is none."""
        for number, process in enumerate(self.processes):
            if process is None:
                continue
            page = self._get(number, "jsz?streams=true")
            for at in range(len(self.ports)):
                if (
                    f'"name": "{stream}"' in page
                    and f'"leader": "n{at}"' in page.partition(f'"name": "{stream}"')[2]
                ):
                    return at
        return None

    def close(self) -> None:
        """Stop and remove everything."""
        for number in range(len(self.ports)):
            self.kill(number)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _await(self, number: int) -> None:
        process = self.processes[number]
        assert process is not None
        log, deadline = self.folder / f"n{number}.log", time.monotonic() + PATIENCE_S
        while '"status":"ok"' not in self._get(number, "healthz?js-enabled-only=true"):
            code = process.poll()
            assert code is None, (
                f"nats-server ended with exit code {code}: {log.read_text()[-3000:]}"
            )
            assert time.monotonic() < deadline, f"no JetStream: {log.read_text()[-3000:]}"
            time.sleep(0.05)

    def _get(self, number: int, path: str) -> str:
        try:
            url = f"http://{self._hosts[number]}:{self._monitors[number]}/{path}"
            with urllib.request.urlopen(url, timeout=5) as answer:  # loopback
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""
