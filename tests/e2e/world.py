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

PATIENCE_S = 90.0
"""For anything that a test waits for: a bound against hanging, never an expectation. A machine that
does other things beside it stalls for seconds."""
STOP_S = 50.0
"""For a stop: far above what one takes, below the 60 s that a unit allows (deploy/systemd)."""


def free_port() -> int:
    """A TCP port of the loopback that is free, and that stays so (tests/ports.py)."""
    return own_port()


def free_ports(count: int) -> list[int]:
    """So many of them."""
    return [own_port() for _ in range(count)]


def until(condition: Callable[[], T], *, what: str, limit_s: float = PATIENCE_S) -> T:
    """Poll a condition until it is true; AssertionError naming `what` after limit_s."""
    deadline = time.monotonic() + limit_s
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}"
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
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []

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
        """End every process that is still running; show how each ended if the test failed."""
        if error is not None:
            for process, log in self._running:
                print(f"---- {_end_of(process, log)}")
        for process, _ in self._running:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def plantgate(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one plantgate command to its end; check: AssertionError where it fails."""
        done = subprocess.run(
            [*PLANTGATE, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, (
            f"plantgate {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}"
        )
        return done

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start a process of its own; its output goes to NAME-<n>.log."""
        path = self.folder / f"{name}-{len(self._running) + 1}.log"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with path.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env=environment
            )
        self._running.append((process, path))
        return process

    def log_of(self, process: subprocess.Popen[bytes]) -> Path:
        """File with what a process has said."""
        return next(log for one, log in self._running if one is process)

    def until_ready(
        self, process: subprocess.Popen[bytes], ready: Callable[[], object], what: str
    ) -> None:
        """Wait until something that was started is ready; fails at once if it has ended."""

        def ready_or_ended() -> bool:
            if ready():
                return True
            assert process.poll() is None, (
                f"waiting until {what}: {_end_of(process, self.log_of(process))}"
            )
            return False

        until(ready_or_ended, what=what)

    def start_modbus(
        self, port: int, registers: int, *more: str, mode: str = "counter32"
    ) -> subprocess.Popen[bytes]:
        """A simulated Modbus device; by default its registers count how often they were read."""
        process = self.start(
            "modbus",
            [sys.executable, "-m", "tests.fakes.modbus_server", "--port", str(port),
             "--registers", str(registers), "--mode", mode, *more],
        )  # fmt: skip
        self.until_ready(process, lambda: listens(port), "the Modbus server listens")
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
            self.until_ready(process, lambda: listens(self.uplink_port), "the receiver listens")
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
    return process.wait(timeout=STOP_S)


def _end_of(process: subprocess.Popen[bytes], log: Path) -> str:
    """How a process is, and its last words."""
    code = process.poll()
    state = "runs" if code is None else f"ended with exit code {code}"
    return f"{log.name}: {state}\n{log.read_text(errors='replace')[-3000:]}"


def by_point(rows: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Group rows by point, keeping their order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.point, []).append(row)
    yield from groups.items()
