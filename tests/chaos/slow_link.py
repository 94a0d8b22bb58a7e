"""Live data and alarms over 256 kbit/s with a 300 ms round trip, behind a full backlog.

    python -m tests.chaos.slow_link [--seconds N] [--json]          (root; `make slow-link`)

A gateway (buffer and uplink, mutual TLS) with 2,000 points at 1 s, an alarm a second and a backlog
that no line of this kind could carry away meanwhile, in one network namespace; `plantgate receive`
in another; between them tests/fakes/slow_link.py. One clock for both ends, so lateness is the
receiver's own commit time less the time of the gateway's commit.

Every alarm made, and every live telemetry record, must be there in the end; the round without any
loss also has to hold the bar of 0.5 s for alarms (exit code 1 if not).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.wire.v1 import uplink_pb2 as wire
from tests.bench.signals import seconds
from tests.fakes.certificates import Authority, Pair
from tests.fakes.slow_link import ADDRESSES, Line, SlowLink
from tests.gateway.uplink.test_client import Destination

ROOT = Path(__file__).resolve().parents[2]
POINTS = 2_000
BACKLOG = 3_000
"""Records of three seconds of the same points each: 2.5 hours."""
BAR_S = 0.5
PORT = 50_051
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Figures:
    """One round. Lateness in s: receiver's commit less gateway's commit."""

    loss: float
    alarms: int
    alarms_missing: int
    alarm_p50_s: float
    alarm_p99_s: float
    alarm_most_s: float
    live_records: int
    live_p99_s: float
    history_records: int
    backlog_left: int
    packets: int
    packets_dropped: int


async def gateway(folder: Path, seconds_long: int) -> None:
    """The gateway's side; prints how many alarms it made once they are acknowledged."""
    clock, boot = SystemClock(), os.urandom(16)
    opened = Buffer.open(
        folder / "disk", BufferConfig(), clock=clock, boot_id=boot, encode_gap=gap_event
    )
    points, good = np.arange(POINTS, dtype=np.int32), np.zeros(POINTS, np.uint16)
    async with opened as log:
        event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=[wire.Point(id=1)]))
        encoded = event.catalogue.SerializeToString(deterministic=True)
        name = hashlib.sha256(encoded).digest()
        await log.add_record(Stream.EVENT, event.SerializeToString(), keep=name)
        log.set_catalogue(name)
        now_ns, past = clock.wall_ns(), seconds(POINTS, seed=2)
        for number in range(BACKLOG):
            for second in range(3):
                at_ns = now_ns - (3 * (BACKLOG - number) - second) * SECOND_NS
                stored = log.add_batch(points, next(past), good, at_ns, at_ns)
            await stored
        own = Pair(folder / "SD-1.pem", folder / "SD-1.key")
        uplink = Uplink(
            Destination(f"{ADDRESSES[1]}:{PORT}", ca=folder / "test-ca.pem",
                        certificate=own.certificate, key=own.key, insecure=False),
            log=log, clock=clock, rng=random.Random(1),
            identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", boot),
            events=lambda kind, text, _: print(kind, text, file=sys.stderr),
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(uplink.run())
            while not uplink.health()[0]:  # noqa: ASYNC110 - polls as a person would
                await asyncio.sleep(0.05)
            due_ns, made = clock.monotonic_ns(), 0
            for values in seconds(POINTS):
                log.add_batch(points, values, good, clock.wall_ns(), clock.wall_ns())
                if made >= 5:  # the window has found its size
                    text = wire.Alarm(text=str(made)).SerializeToString()
                    await log.add_record(Stream.ALARM, text)
                made += 1
                if made == seconds_long:
                    break
                due_ns += SECOND_NS
                await clock.sleep_until(due_ns + random.randrange(SECOND_NS // 2))
            deadline_ns = clock.monotonic_ns() + 60 * SECOND_NS
            while clock.monotonic_ns() < deadline_ns and not _alarms_gone(log):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            print(made - 5)
            sending.cancel()


def _alarms_gone(log: Buffer) -> bool:
    bounds = log.bounds(Stream.ALARM)
    return log.cursor("province", Stream.ALARM).contiguous_stop(bounds.first) >= bounds.next


def one_round(folder: Path, line: Line, seconds_long: int) -> Figures:
    """Run one round in namespaces of its own."""
    authority = Authority(folder)
    pair = authority.issue("receiver", address=ADDRESSES[1])
    authority.issue_gateway("SD-1")
    left, right = f"pg-{os.getpid()}-a", f"pg-{os.getpid()}-b"
    with SlowLink(left, right, line, seed=1) as link, contextlib.ExitStack() as stack:
        log = stack.enter_context((folder / "receiver.log").open("wb"))
        receiver = subprocess.Popen(
            ["ip", "netns", "exec", right, sys.executable, "-m", "gateway.cli.main", "receive",
             "--listen", f"{ADDRESSES[1]}:{PORT}", "--store", str(folder / "store"),
             "--ca", str(authority.ca), "--certificate", str(pair.certificate),
             "--key", str(pair.key)],
            cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            done = subprocess.run(
                ["ip", "netns", "exec", left, sys.executable, "-m", "tests.chaos.slow_link",
                 "--gateway", str(folder), "--seconds", str(seconds_long)],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
                timeout=seconds_long + 240,
            )  # fmt: skip
        finally:
            receiver.send_signal(signal.SIGTERM)
            receiver.wait(30)
        return _figures(folder / "store/receiver.db", line, int(done.stdout), link)


def _figures(database: Path, line: Line, alarms: int, link: SlowLink) -> Figures:
    with contextlib.closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT (id >> 40) % 4 + 1, (received_ns - time_ns) / 1e9, historical FROM records"
        ).fetchall()
    late = sorted(one for stream, one, _ in rows if stream == Stream.ALARM)
    telemetry = [(one, past) for stream, one, past in rows if stream == Stream.TELEMETRY]
    live = sorted(one for one, past in telemetry if not past)
    return Figures(
        line.loss, alarms, alarms - len(late), _rank(late, 0.5), _rank(late, 0.99), late[-1],
        len(live), _rank(live, 0.99), len(telemetry) - len(live),
        BACKLOG - (len(telemetry) - len(live)), link.packets, link.dropped,
    )  # fmt: skip


def _rank(ordered: list[float], share: float) -> float:
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else math.nan


def main() -> int:
    """Run the rounds, or (--gateway) one side of one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=100)
    parser.add_argument("--gateway", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.gateway:
        asyncio.run(gateway(options.gateway, options.seconds))
        return 0
    failed = False
    for loss in (0.0, 0.02):
        with tempfile.TemporaryDirectory() as folder:
            line = Line(bits_per_s=256_000, delay_ms=150, loss=loss)
            found = one_round(Path(folder), line, options.seconds)
        print(json.dumps(asdict(found)) if options.json else found, flush=True)
        failed |= found.alarms_missing > 0 or (not loss and found.alarm_p99_s > BAR_S)
    print(time.strftime("%Y-%m-%d"), "failed" if failed else "held")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
