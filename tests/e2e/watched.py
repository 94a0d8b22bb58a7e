"""A World whose gateway can be asked how it is, and whose processes can be counted."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.cli.demo_view import parse_metrics
from tests.e2e.world import World, stop, until
from tests.waiting import ended

Gateway = subprocess.Popen[bytes]
BACKLOG_STAYS = "stopped with a backlog"
"""What a gateway says that could not send everything within its last 3 s, on a busy machine: what
it read last is on its disk and at no receiver yet."""
MOST_STOPS = 10
RESEND_S = 10.0


class Watched(World):
    """Adds health, metrics, logs and what the receiver holds; see World for the rest."""

    def __enter__(self) -> Watched:
        super().__enter__()
        return self

    def page(self, path: str) -> tuple[int, str]:
        """Status and text of a page of the gateway; (0, "") while it does not answer."""
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def running(self) -> bool:
        """Tell whether the gateway answers."""
        return self.page("/healthz")[0] != 0

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and content of /healthz; (0, {}) while it does not answer."""
        status, text = self.page("/healthz")
        return status, json.loads(text) if text else {}

    def metric(self, name: str, label: str = "") -> float:
        """A metric's value, without the prefix plantgate_; 0 while there is none."""
        return parse_metrics(self.page("/metrics")[1]).get((f"plantgate_{name}", label), 0.0)

    def log(self, name: str) -> str:
        """What all processes started under a name have said."""
        logs = sorted(self.folder.glob(f"{name}-*.log"))
        return "".join(log.read_text(encoding="utf-8", errors="replace") for log in logs)

    def newest_log(self, name: str) -> str:
        """What the process started last under a name has said."""
        logs = self.folder.glob(f"{name}-*.log")
        newest = max(logs, key=lambda one: int(one.stem.rpartition("-")[2]))
        return newest.read_text(encoding="utf-8", errors="replace")

    def wait_until_running(self) -> None:
        """Wait until the gateway answers."""
        until(self.running, what="the gateway answers")

    def write_device(
        self, port: int, *rows: str, poll_ms: int = 100, timeout_ms: int = 20_000, more: str = ""
    ) -> None:
        """A site with one Modbus device; rows under name,area,address,type,low,high.

        timeout_ms: so long, unless a test needs it, that no stall of the machine costs a read.
        """
        table = "\n".join(("name,area,address,type,low,high", *rows, ""))
        (self.folder / "points.csv").write_text(table, encoding="utf-8")
        self.write_site(
            f"""
[[device]]
name = "gds"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {poll_ms}
timeout_ms = {timeout_ms}
points = "points.csv"
{more}"""
        )

    def without_uplink(self) -> None:
        """Take the uplink out of the site file."""
        text = self.site.read_text(encoding="utf-8")
        head, _, rest = text.partition("[[uplink]]")
        _, _, parts = rest.partition('gateway.key"\n')
        self.site.write_text(head + parts, encoding="utf-8")

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """Lines of `plantgate query --alarms` or --events, as objects."""
        told = self.plantgate("query", "--store", str(self.store), f"--{kind}", "--json")
        return [json.loads(line) for line in told.stdout.splitlines()]


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """A process and all its descendants, by pid."""
    found = [process.pid]
    for pid in found:  # grows while it is walked
        with contextlib.suppress(FileNotFoundError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text(encoding="ascii").split())
    return found


def assert_gone(members: list[int]) -> None:
    """Fail if any of these processes is still alive; a zombie that nobody waits for is not."""
    left = [pid for pid in members if not ended(pid, 30.0)]
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
    assert not left, f"left running: {left} {commands}"


def stop_when_sent(
    world: Watched, gateway: Gateway, start: Callable[[], Gateway] | None = None
) -> int:
    """Stop a gateway with all that it read at the receiver; how many stops it took.

    It sends for 3 s at most before it ends (gateway/uplink/drain.py). Where the machine is so busy
    that this is too short, it says so, and is started again to send the rest.
    """
    for stops in range(1, MOST_STOPS + 1):
        stop_clean(world, gateway)
        if BACKLOG_STAYS not in world.log_of(gateway).read_text(errors="replace"):
            return stops
        gateway = (start or world.start_gateway)()
        time.sleep(RESEND_S)
    raise AssertionError(f"a backlog stays after {MOST_STOPS} stops")


def stop_clean(world: Watched, process: subprocess.Popen[bytes]) -> None:
    """SIGTERM: exit 0, nobody left, no traceback."""
    members = family(process)
    assert stop(process) == 0
    assert_gone(members)
    for log in Path(world.folder).glob("*.log"):
        assert "Traceback" not in log.read_text(encoding="utf-8", errors="replace"), log.name
