"""`plantgate load`: simulate many gateways against a receiver, and say how it took them.

Exit 0, 1 if anything was refused or no gateway got through, 2 for a mistake in the options.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.output import AS_JSON

if TYPE_CHECKING:
    from gateway.cli.load_fleet import Counted, LoadGateway

EXAMPLE = """\b
Example:
  plantgate receive --listen 127.0.0.1:50051 --store /tmp/load --insecure &
  plantgate load --target 127.0.0.1:50051 --gateways 200 --points 1000 --seconds 60
  plantgate load --target 127.0.0.1:50051 --gateways 100 --backlog-hours 8 --herd --pid $!
  plantgate cert fleet certs --gateways 200
  plantgate load --target receiver1:50051 --target receiver2:50051 --certificates certs
"""


@click.command("load", epilog=EXAMPLE)
@click.option(
    "--target", "targets", required=True, multiple=True, metavar="HOST:PORT",
    help="A receiver; several: gateways are spread, and take the next one when they reconnect.",
)  # fmt: skip
@click.option("--certificates", metavar="DIR", type=click.Path(path_type=Path),
              help="Folder of `plantgate cert fleet`: mutual TLS.")  # fmt: skip
@click.option("--ledger", metavar="FILE", type=click.Path(path_type=Path),
              help="Write what was acknowledged of each gateway, a JSON line each.")  # fmt: skip
@click.option("--gateways", default=100, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--points", default=500, show_default=True, type=click.IntRange(1, 100_000),
              help="Points of each gateway, one value a second each.")  # fmt: skip
@click.option("--seconds", default=60, show_default=True, type=click.IntRange(1, 86_400))
@click.option("--backlog-hours", default=0.0, show_default=True, type=click.FloatRange(0, 72),
              help="History that each gateway brings.")  # fmt: skip
@click.option("--herd", is_flag=True, help="All connect within 1 s, instead of 50 a second.")
@click.option("--idle", is_flag=True, help="Connect and send heartbeats, nothing else.")
@click.option(
    "--pid", type=int, help="Process of the receiver on this machine: its CPU and memory."
)
@click.option(
    "--prefix", default="LOAD", show_default=True, help="Gateway ids are PREFIX-00000 ..."
)
@AS_JSON
def command(
    targets: tuple[str, ...],
    certificates: Path | None,
    ledger: Path | None,
    gateways: int,
    points: int,
    seconds: int,
    backlog_hours: float,
    pid: int | None,
    prefix: str,
    *,
    herd: bool,
    idle: bool,
    as_json: bool,
) -> None:
    """Simulate many gateways: real sessions, telemetry encoded once, an alarm a minute each.

    Lateness is from the moment a live record is due to its acknowledgement, this process included.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from gateway.cli.load_fleet import Counted, Fleet, drive
    from gateway.cli.load_records import SECOND_NS, Plan, Telemetry
    from gateway.runtime.clock import SystemClock
    from gateway.runtime.loop import loop_factory

    _allow_files(gateways * 4 + 200)
    clock = SystemClock()
    backlog = int(backlog_hours * 3600)
    ramp_s = 1.0 if herd else max(1.0, gateways / 50)
    start_ns = clock.wall_ns() - backlog * SECOND_NS
    telemetry = Telemetry(Plan(points, backlog + seconds + 5, start_ns))
    fleet = Fleet(targets, gateways, ramp_s, backlog, idle, prefix, certificates)
    counted = Counted()
    watch = Watch(pid)
    begin_s = clock.monotonic_ns() / SECOND_NS
    own_cpu_s = process_cpu_s()
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            driving = drive(fleet, telemetry, counted, clock, ramp_s + seconds)
            driven = runner.run(_drive_watched(driving, watch))
        if ledger is not None:
            ledger.write_text("".join(map(ledger_line, driven)), encoding="utf-8")
    except OSError as error:
        print(f"plantgate load: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    result = summary(counted, begin_s, points, telemetry.payload_bytes, telemetry.plan.records)
    result |= watch.result()
    result["simulator_cpu_s"] = round(process_cpu_s() - own_cpu_s, 2)
    result |= {"gateways": gateways, "points": points, "seconds": seconds, "ramp_s": ramp_s,
               "backlog_hours": backlog_hours}  # fmt: skip
    print(json.dumps(result) if as_json else "\n".join(f"{k:28} {v}" for k, v in result.items()))
    if counted.refused or not (counted.live or idle):
        sys.exit(1)


def process_cpu_s() -> float:
    """CPU that this process has used, s."""
    times = os.times()
    return times.user + times.system


def ledger_line(gateway: LoadGateway) -> str:
    """One gateway's line: id, log id, acknowledged ranges [start, stop) by stream."""
    promised = {stream.name.lower(): list(held) for stream, held in gateway.promised.items()}
    return json.dumps({"gateway": gateway.id, "log_id": gateway.log_id.hex(), **promised}) + "\n"


class Watch:
    """CPU and memory of a process of this machine, from /proc; nothing where there is no pid."""

    def __init__(self, pid: int | None) -> None:
        self._folder = None if pid is None else Path("/proc") / str(pid)
        self._ticks = self._cpu()
        self._peak = self._first = self.resident_mb()
        self._samples: list[float] = []

    def resident_mb(self) -> float:
        """Resident memory now, MB (10^6 bytes)."""
        if self._folder is None:
            return 0.0
        pages = int((self._folder / "statm").read_text().split()[1])
        return pages * resource.getpagesize() / 1e6

    def look(self) -> None:
        """Take a sample; call it about once a second."""
        now = self.resident_mb()
        self._samples.append(now)
        self._peak = max(self._peak, now)

    def result(self) -> dict[str, float]:
        """CPU seconds since the start, memory before, at its highest and at the end."""
        if self._folder is None:
            return {}
        seconds = (self._cpu() - self._ticks) / os.sysconf("SC_CLK_TCK")
        return {
            "receiver_cpu_s": round(seconds, 2),
            "receiver_mb_before": round(self._first, 1),
            "receiver_mb_peak": round(self._peak, 1),
            "receiver_mb_end": round(self._samples[-1] if self._samples else self._first, 1),
        }

    def _cpu(self) -> int:
        if self._folder is None:
            return 0
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


async def _drive_watched(
    driving: Coroutine[Any, Any, list[LoadGateway]], watch: Watch
) -> list[LoadGateway]:
    async def look() -> None:
        while True:
            watch.look()
            await asyncio.sleep(1)

    async with asyncio.TaskGroup() as group:
        looking = group.create_task(look())
        driven = await group.create_task(driving)
        watch.look()
        looking.cancel()
    return driven


def summary(
    counted: Counted, begin_s: float, points: int, payload_bytes: int, records: int
) -> dict[str, object]:
    """Figures of a run. Lateness after 60 s stands apart: the herd is judged by it."""
    late = [ms for _, ms in counted.late]
    after = [ms for at_s, ms in counted.late if at_s - begin_s >= 60]
    return {
        "live_records": counted.live,
        "live_values": counted.live * points,
        "history_records": counted.history,
        "history_values": counted.history * points,
        "bytes_a_value": round(payload_bytes / (records * points), 3),
        "live_late_ms_p50": _quantile(late, 0.5),
        "live_late_ms_p99": _quantile(late, 0.99),
        "live_late_ms_max": _quantile(late, 1.0),
        "live_late_after_60s_ms_p99": _quantile(after, 0.99),
        "live_late_after_60s_ms_max": _quantile(after, 1.0),
        "alarms": len(counted.alarms_late),
        "alarm_late_ms_p50": _quantile(counted.alarms_late, 0.5),
        "alarm_late_ms_p99": _quantile(counted.alarms_late, 0.99),
        "drained_gateways": len(counted.drained_at_s),
        "drained_after_s": round(max(counted.drained_at_s, default=begin_s) - begin_s, 1),
        "reconnects": counted.reconnects,
        "endings": dict(counted.endings.most_common(3)),
        "refused": counted.refused,
        "forgotten": counted.forgotten,
        "simulator_late_ms_p99": _quantile(counted.waits_ms, 0.99),
        "simulator_late_ms_max": _quantile(counted.waits_ms, 1.0),
    }


def _quantile(values: list[float], part: float) -> float:
    """Value that so large a part of them does not exceed; 0 where there are none."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1) if ordered else 0.0


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
