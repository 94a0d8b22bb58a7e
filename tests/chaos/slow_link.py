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
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.uplink.outputs import SessionSettings
from gateway.wire.v1 import uplink_pb2 as wire
from tests.bench.signals import seconds
from tests.fakes.certificates import Authority, Pair
from tests.fakes.slow_link import ADDRESSES, Line, SlowLink
from tests.gateway.uplink.test_client import mutual

ROOT = Path(__file__).resolve().parents[2]
POINTS = 2_000
BACKLOG_PER_S = 15
"""Records of three seconds of the same points each, for each second of the run: some 37 kB, more
than the line carries."""
BAR_S = 0.5
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own in it
"""Both ends store in memory: what a busy disk adds is measured elsewhere (tests/bench)."""
ALARMS_PER_S = 2.0
SETTLE_S = 5
PORT = 50_051
BARE_PORT = 50_052
BARE_BYTES = 300
"""About what one alarm's Push takes: TLS record, HTTP/2 and gRPC frames, record with its hashes."""
SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Figures:
    """One round. Lateness in s: receiver's commit less gateway's commit."""

    loss: float
    alarms: int
    alarms_missing: int
    alarms_copied: int
    alarm_p50_s: float
    alarm_p99_s: float
    alarm_most_s: float
    alarms_over_bar: int
    bare_p50_s: float
    bare_p99_s: float
    bare_over_bar: int
    live_records: int
    live_p99_s: float
    history_records: int
    backlog_left: int
    packets: int
    packets_dropped: int


async def gateway(folder: Path, options: argparse.Namespace) -> None:
    """The gateway's side; prints how many alarms it made and copied, once all are there."""
    seconds_long: int = options.seconds
    backlog = BACKLOG_PER_S * seconds_long
    clock, boot = SystemClock(), os.urandom(16)
    points, good = np.arange(POINTS, dtype=np.int32), np.zeros(POINTS, np.uint16)
    hasty = BufferConfig(commit_ms=1)
    async with Buffer.open(
        folder / "disk", hasty, clock=clock, boot_id=boot, encode_gap=gap_event
    ) as log:
        event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=[wire.Point(id=1)]))
        encoded = event.catalogue.SerializeToString(deterministic=True)
        name = hashlib.sha256(encoded).digest()
        await log.add_record(Stream.EVENT, event.SerializeToString(), keep=name)
        log.set_catalogue(name)
        now_ns, past = clock.wall_ns(), seconds(POINTS, seed=2)
        for number in range(backlog):
            for second in range(3):
                at_ns = now_ns - (3 * (backlog - number) - second) * SECOND_NS
                stored = log.add_batch(points, next(past), good, at_ns, at_ns)
            await stored
    async with Buffer.open(
        folder / "disk", BufferConfig(), clock=clock, boot_id=boot, encode_gap=gap_event
    ) as log:
        log.set_catalogue(name)
        own = Pair(folder / "SD-1.pem", folder / "SD-1.key")
        uplink = Uplink(
            mutual(f"{ADDRESSES[1]}:{PORT}", folder / "test-ca.pem", own,
                   copy_alarms=not options.no_copies),
            settings=SessionSettings(window_round_trips=options.window_round_trips),
            log=log, clock=clock, rng=random.Random(1),
            identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", boot),
            events=lambda kind, text, _: print(kind, text, file=sys.stderr),
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(uplink.run())
            while not uplink.health()[0]:  # noqa: ASYNC110 - polls as a person would
                await asyncio.sleep(0.05)
            bare = group.create_task(_send_bare(clock, seconds_long))
            made = group.create_task(_make_alarms(log, clock, seconds_long))
            due_ns, rng = clock.monotonic_ns(), random.Random(3)
            for _, values in zip(range(seconds_long), seconds(POINTS), strict=False):
                log.add_batch(points, values, good, clock.wall_ns(), clock.wall_ns())
                due_ns += SECOND_NS
                await clock.sleep_until(due_ns + rng.randrange(SECOND_NS // 2))
            deadline_ns = clock.monotonic_ns() + 150 * SECOND_NS
            while clock.monotonic_ns() < deadline_ns and not _alarms_gone(log):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.1)
            await bare
            print(await made, int(uplink.statistics()["copied_alarm_records"]))
            sending.cancel()


async def _make_alarms(log: Buffer, clock: SystemClock, seconds_long: int) -> int:
    """Alarms at random moments, ALARMS_PER_S of them a second, once the window has its size."""
    made = 0
    async for _ in _moments(clock, seconds_long, seed=4):
        text = wire.Alarm(text=str(made), value=made, source="gds-1/AT-101").SerializeToString()
        await log.add_record(Stream.ALARM, text)
        made += 1
    return made


async def _send_bare(clock: SystemClock, seconds_long: int) -> None:
    """As many bytes as an alarm takes, at moments of their own, on a bare TCP connection."""
    _, writer = await asyncio.open_connection(ADDRESSES[1], BARE_PORT)
    async for _ in _moments(clock, seconds_long, seed=5):
        writer.write(struct.pack("<q", clock.wall_ns()).ljust(BARE_BYTES))
    await asyncio.sleep(4)  # what was lost last is sent again meanwhile
    writer.close()
    await writer.wait_closed()


async def _moments(clock: SystemClock, seconds_long: int, seed: int) -> AsyncIterator[None]:
    rng = random.Random(seed)
    start_ns = clock.monotonic_ns()
    span_ns = (seconds_long - SETTLE_S) * SECOND_NS
    count = int(ALARMS_PER_S * (seconds_long - SETTLE_S))
    for at_ns in sorted(rng.randrange(span_ns) for _ in range(count)):
        await clock.sleep_until(start_ns + SETTLE_S * SECOND_NS + at_ns)
        yield


async def bare_sink() -> list[float]:
    """Take bare TCP's messages until SIGTERM; how late each came, in s."""
    late: list[float] = []
    stop = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                (sent_ns,) = struct.unpack_from("<q", await reader.readexactly(BARE_BYTES))
                late.append((time.time_ns() - sent_ns) / 1e9)
        writer.close()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await asyncio.start_server(take, ADDRESSES[1], BARE_PORT):
        await stop.wait()
    return late


def _alarms_gone(log: Buffer) -> bool:
    bounds = log.bounds(Stream.ALARM)
    return log.cursor("province", Stream.ALARM).contiguous_stop(bounds.first) >= bounds.next


def one_round(folder: Path, line: Line, options: argparse.Namespace) -> Figures:
    """Run one round in namespaces of its own."""
    seconds_long: int = options.seconds
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
        sink = subprocess.Popen(
            ["ip", "netns", "exec", right, sys.executable, "-m", "tests.chaos.slow_link",
             "--bare-sink", str(folder / "bare.json")],
            cwd=ROOT, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            done = subprocess.run(
                ["ip", "netns", "exec", left, sys.executable, "-m", "tests.chaos.slow_link",
                 "--gateway", str(folder), "--seconds", str(seconds_long),
                 "--window-round-trips", str(options.window_round_trips),
                 *(["--no-copies"] if options.no_copies else [])],
                cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
                timeout=seconds_long + 240,
            )  # fmt: skip
        finally:
            for process in (receiver, sink):
                process.send_signal(signal.SIGTERM)
                process.wait(60)
        backlog = BACKLOG_PER_S * seconds_long
        alarms, copied = map(int, done.stdout.split())
        return _figures(folder, line, (alarms, copied, backlog), link)


def _figures(folder: Path, line: Line, made: tuple[int, int, int], link: SlowLink) -> Figures:
    database, (alarms, copied, backlog) = folder / "store/receiver.db", made
    bare = sorted(json.loads((folder / "bare.json").read_text(encoding="ascii")))
    with contextlib.closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT (id >> 40) % 4 + 1, (received_ns - time_ns) / 1e9, historical FROM records"
        ).fetchall()
    late = sorted(one for stream, one, _ in rows if stream == Stream.ALARM)
    telemetry = [(one, past) for stream, one, past in rows if stream == Stream.TELEMETRY]
    live = sorted(one for one, past in telemetry if not past)
    return Figures(
        line.loss, alarms, alarms - len(late), copied,
        _rank(late, 0.5), _rank(late, 0.99), late[-1],
        sum(one > BAR_S for one in late), _rank(bare, 0.5), _rank(bare, 0.99),
        sum(one > BAR_S for one in bare),
        len(live), _rank(live, 0.99), len(telemetry) - len(live),
        backlog - (len(telemetry) - len(live)), link.packets, link.dropped,
    )  # fmt: skip


def _rank(ordered: list[float], share: float) -> float:
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 3) if ordered else math.nan


def main() -> int:
    """Run the rounds, or (--gateway) one side of one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=100)
    parser.add_argument("--gateway", type=Path)
    parser.add_argument("--bare-sink", type=Path)
    parser.add_argument("--loss", type=float, action="append", help="ratio; default 0 and 0.02")
    parser.add_argument("--no-copies", action="store_true", help="alarms go once, as before")
    parser.add_argument("--window-round-trips", type=float,
                        default=SessionSettings().window_round_trips)  # fmt: skip
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.bare_sink:
        late = asyncio.run(bare_sink())
        options.bare_sink.write_text(json.dumps(late), encoding="ascii")
        return 0
    if options.gateway:
        asyncio.run(gateway(options.gateway, options))
        return 0
    failed = False
    for loss in options.loss or (0.0, 0.02):
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            line = Line(bits_per_s=256_000, delay_ms=150, loss=loss)
            found = one_round(Path(folder), line, options)
        print(json.dumps(asdict(found)) if options.json else found, flush=True)
        failed |= found.alarms_missing > 0 or (not loss and found.alarm_p99_s > BAR_S)
    print(time.strftime("%Y-%m-%d"), "failed" if failed else "held")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
