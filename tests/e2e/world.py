"""Runs gateway, receiver and simulated devices as separate processes, for end-to-end tests.

`World` owns a folder and every process it started; leaving it ends them all, by their own id.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.ports import own_port

ROOT = Path(__file__).resolve().parents[2]
PLANTGATE = [sys.executable, "-m", "gateway.cli.main"]
GATEWAY_ID = "SD-370800-000123-01"
T = TypeVar("T")


def free_port() -> int:
    """A TCP port of the loopback that is free, and that stays so (tests/ports.py)."""
    return own_port()


def free_ports(count: int) -> range:
    """`count` free ports in a row, below the range the kernel gives to clients (ip(7): 32768)."""
    for first in range(20000 + os.getpid() % 1000, 32768 - count, count):
        ports = range(first, first + count)
        if all(_can_bind(port) for port in ports):
            return ports
    raise AssertionError(f"no {count} free ports in a row")


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def until(condition: Callable[[], T], *, limit_s: float, what: str) -> T:
    """Poll a condition until it is true; AssertionError naming `what` after limit_s."""
    deadline = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `plantgate query`."""

    point: str
    time: str
    value: float
    quality: str
    historical: bool


class World:
    """One test's folder and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.data = folder / "data"
        self.site = folder / "site.toml"
        self.uplink_port = free_port()
        self.metrics_port = free_port()
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs = 0

    def __enter__(self) -> World:
        """Make the certificates."""
        self.folder.mkdir(parents=True, exist_ok=True)
        certs = str(self.folder / "certs")
        self.plantgate("cert", "demo", certs, "--gateway", GATEWAY_ID)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process that is still running; show the logs if the test failed."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
        if error is not None:
            for log in sorted(self.folder.glob("*.log")):
                print(f"---- {log.name}\n{log.read_text(errors='replace')[-3000:]}")

    def plantgate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one plantgate command to its end."""
        return subprocess.run(
            [*PLANTGATE, *arguments], cwd=ROOT, capture_output=True, text=True, check=check
        )

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process of its own; its output goes to NAME-<n>.log."""
        self._logs += 1
        log = (self.folder / f"{name}-{self._logs}.log").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        log.close()
        self._running.append(process)
        return process

    def start_modbus(
        self, port: int, registers: int, *more: str, mode: str = "counter32"
    ) -> subprocess.Popen[bytes]:
        """A simulated Modbus device; by default its registers count how often they were read."""
        process = self.start(
            "modbus",
            [sys.executable, "-m", "tests.fakes.modbus_server", "--port", str(port),
             "--registers", str(registers), "--mode", mode, *more],
        )  # fmt: skip
        until(lambda: listens(port), limit_s=20, what="the Modbus server listens")
        return process

    def start_receiver(self, *, wait: bool = True) -> subprocess.Popen[bytes]:
        """`plantgate receive` with mutual TLS; listening on return, unless `wait` is False."""
        certs = self.folder / "certs"
        process = self.start(
            "receiver",
            [*PLANTGATE, "receive", "--listen", f"127.0.0.1:{self.uplink_port}",
             "--store", str(self.store), "--ca", str(certs / "ca.pem"),
             "--certificate", str(certs / "receiver.pem"), "--key", str(certs / "receiver.key")],
        )  # fmt: skip
        if wait:
            until(lambda: listens(self.uplink_port), limit_s=20, what="the receiver listens")
        return process

    def start_gateway(self) -> subprocess.Popen[bytes]:
        """`plantgate run site.toml`."""
        return self.start("gateway", [*PLANTGATE, "run", str(self.site)])

    def write_site(self, parts: str) -> None:
        """Write site.toml: gateway, metrics and one uplink with mutual TLS, then `parts`."""
        self.site.write_text(
            f"""
[gateway]
id = "{GATEWAY_ID}"
enterprise = "91370800MA3C000000"
data_dir = "{self.data}"

[metrics]
listen = "127.0.0.1:{self.metrics_port}"

[[uplink]]
name = "province"
target = "localhost:{self.uplink_port}"
ca = "certs/ca.pem"
certificate = "certs/gateway.pem"
key = "certs/gateway.key"
{parts}
""",
            encoding="utf-8",
        )

    def query(self, *arguments: str) -> list[Row]:
        """Rows of `plantgate query --format csv`."""
        return [
            Row(
                line["point"],
                line["time"],
                float(line["value"] or "nan"),
                line["quality"],
                line["historical"] == "true",
            )
            for line in self.lines(*arguments)
        ]

    def lines(self, *arguments: str) -> list[dict[str, str]]:
        """Rows of `plantgate query --format csv`, every field as the text that was printed."""
        result = self.plantgate("query", "--store", str(self.store), "--format", "csv", *arguments)
        return list(csv.DictReader(io.StringIO(result.stdout)))

    def alarms(self) -> list[dict[str, str]]:
        """Rows of `plantgate query --alarms`."""
        return self.lines("--alarms")


def listens(port: int) -> bool:
    """Tell whether something accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def stop(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM) -> int:
    """Signal a process and wait for its end; gives its exit code."""
    process.send_signal(number)
    return process.wait(timeout=30)


def by_point(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Group rows by point, keeping their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.point, []).append(row)
    yield from groups.items()
