"""A gateway whose disk is full, and then takes nothing at all, while its receiver listens.

Run as `python -m tests.chaos.disk_full_sent [--seconds S] [--mib M]` (root). A log on a small disk
(disk_full.py) and an uplink with mutual TLS to a receiver that stores elsewhere, under load: a
batch every PAUSE_S, an alarm every tenth. A file beside the log takes all but half of what
telemetry must leave free, then all, then again and again whatever the reserve or anything else
gave back, then everything is freed. Checked:

- every alarm was at the receiver while the disk was still full, durable or marked volatile;
- in the end every alarm is there as a record once, in order, and none is volatile any more;
- telemetry at the receiver is what the log took, and gap records count exactly what it refused;
- storing came back without a hand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from buffer.contract import NotStoredError, Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.wire.v1 import uplink_pb2 as wire
from tests.chaos.disk_full import MIN_FREE_BYTES, RESERVE_BYTES, Ballast, small_disk
from tests.e2e.world import free_port
from tests.fakes.certificates import Authority
from tests.gateway.uplink.test_client import mutual
from tests.gateway.uplink.test_with_receiver import receiving
from tests.waiting import until

PHASES = ("room", "nearly full", "full", "nothing at all", "room again")
POINTS = np.arange(500, dtype=np.int32)
GOOD = np.zeros(len(POINTS), np.uint16)
PAUSE_S = 0.01
ALARM_EVERY = 10
LOOK_S = 0.1
LEAST, MOST = 3 * ALARM_EVERY, 100 * ALARM_EVERY
"""Batches of a phase that is longer than its time."""


@dataclass
class Told:
    """By phase: batches and alarms that the log took and refused, and when alarms were seen."""

    batches: Counter[str] = field(default_factory=Counter)
    shed: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    not_durable: Counter[str] = field(default_factory=Counter)
    volatile: set[int] = field(default_factory=set)
    given_s: dict[int, float] = field(default_factory=dict)
    seen_s: dict[int, float] = field(default_factory=dict)
    phase_of: dict[int, str] = field(default_factory=dict)

    def unseen(self) -> list[int]:
        """Alarms that the receiver has shown in no form."""
        return sorted(set(self.given_s) - set(self.seen_s))

    def too_little(self, phase: str, made: int) -> bool:
        """Tell whether what a phase is about has not happened, by so many batches made in it."""
        unfilled = phase == "nothing at all" and not self.not_durable[phase]
        return made < LEAST or (unfilled and made < MOST)

    def latest_s(self, phase: str) -> float:
        """How long the slowest alarm of a phase took to show, up to LOOK_S more than true."""
        late = [
            self.seen_s[number] - self.given_s[number]
            for number, its in self.phase_of.items()
            if its == phase and number in self.seen_s
        ]
        return max(late, default=0.0)


class Store:
    """The receiver's database, looked at beside it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "receiver.db"
        self._last = 0

    def rows(self, question: str, *values: int) -> list[tuple[Any, ...]]:
        """Ask, on a connection of its own."""
        with contextlib.closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as db:
            return db.execute(question, values).fetchall()

    def look(self, told: Told, now_s: float) -> None:
        """Note which alarms have come, durable or volatile."""
        fresh = self.rows(
            "SELECT payload, id FROM records WHERE (id >> 40) % 4 = 0 AND id > ?", self._last
        )
        for payload, number in fresh:
            told.seen_s.setdefault(int(wire.Alarm.FromString(payload).text), now_s)
            self._last = max(self._last, int(number))
        for (payload,) in self.rows("SELECT payload FROM volatile_alarms"):
            number = int(wire.Alarm.FromString(payload).text)
            told.volatile.add(number)
            told.seen_s.setdefault(number, now_s)


@contextlib.asynccontextmanager
async def gateway(mount: Path, authority: Authority, target: str) -> AsyncIterator[Buffer]:
    """A log on the small disk, with telemetry's catalogue, and its uplink."""
    own, clock, boot = authority.issue_gateway("SD-1"), SystemClock(), os.urandom(16)
    config = BufferConfig(
        commit_ms=5, reserve_bytes=RESERVE_BYTES, min_free_bytes=MIN_FREE_BYTES, key_every_s=2
    )
    async with (
        Buffer.open(mount / "data", config, clock=clock, boot_id=boot, encode_gap=gap_event) as log,
        asyncio.TaskGroup() as group,
    ):
        event = wire.Event(kind="catalogue", catalogue=wire.Catalogue(points=[wire.Point(id=1)]))
        encoded = event.catalogue.SerializeToString(deterministic=True)
        name = hashlib.sha256(encoded).digest()
        await log.add_record(Stream.EVENT, event.SerializeToString(), keep=name)
        log.set_catalogue(name)
        uplink = Uplink(
            mutual(target, authority.ca, own),
            log=log, clock=clock, rng=random.Random(1), volatile=log,
            identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", boot),
            events=lambda kind, text, attributes: None,
        )  # fmt: skip
        task = group.create_task(uplink.run())
        try:
            await until(lambda: uplink.health()[0])
            yield log
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(60):
                    await uplink.drained()
            task.cancel()


async def load(log: Buffer, store: Store, told: Told, ballast: Ballast, part_s: float) -> None:
    """All phases: part_s each, or longer until what a phase is about has happened."""
    clock, number = SystemClock(), 0
    chance = np.random.default_rng(1)
    for phase in PHASES:
        match phase:
            case "nearly full":
                ballast.leave(MIN_FREE_BYTES * 3 // 4)
            case "full" | "nothing at all":
                ballast.leave(0)
            case "room again":
                await until(lambda: _seen(store, told))
                ballast.give_back()
            case _:
                pass
        end_ns = clock.monotonic_ns() + int(part_s * 1e9)
        look_ns, begun = 0, number
        while (now_ns := clock.monotonic_ns()) < end_ns or told.too_little(phase, number - begun):
            number += 1
            values = chance.random(len(POINTS))
            values[0] = number
            try:
                await log.add_batch(POINTS, values, GOOD, clock.wall_ns(), clock.wall_ns())
                told.batches[phase] += 1
            except NotStoredError:
                told.shed[phase] += 1
            if number % ALARM_EVERY == 0:
                await _alarm(log, told, phase, number)
            if now_ns >= look_ns:
                look_ns = now_ns + int(LOOK_S * 1e9)
                await asyncio.to_thread(store.look, told, now_ns / 1e9)
                if phase == "nothing at all":
                    ballast.leave(0)
            await asyncio.sleep(PAUSE_S)
    await until(lambda: _seen(store, told) and log.health()[0] and not log.volatile())


def _seen(store: Store, told: Told) -> bool:
    store.look(told, SystemClock().monotonic_ns() / 1e9)
    return not told.unseen()


async def _alarm(log: Buffer, told: Told, phase: str, number: int) -> None:
    told.given_s[number] = SystemClock().monotonic_ns() / 1e9
    told.phase_of[number] = phase
    payload = wire.Alarm(text=str(number), reason="x" * 1_500).SerializeToString()
    try:
        await log.add_record(Stream.ALARM, payload)
        told.alarms[phase] += 1
    except NotStoredError:
        told.not_durable[phase] += 1


def judge(store: Store, told: Told) -> list[str]:
    """What is not as promised."""
    wrong = []
    alarms = [
        int(wire.Alarm.FromString(payload).text)
        for (payload,) in store.rows(
            "SELECT payload FROM records WHERE (id >> 40) % 4 = 0 ORDER BY id"
        )
    ]
    if alarms != sorted(told.given_s):
        missing = sorted(set(told.given_s) - set(alarms))
        wrong.append(f"{len(alarms)} alarm records of {len(told.given_s)}: missing {missing[:9]}")
    left = store.rows("SELECT payload FROM volatile_alarms")
    if left:
        wrong.append(f"{len(left)} alarms are volatile still")
    [(batches,)] = store.rows(
        "SELECT coalesce(sum(samples), 0) FROM records WHERE (id >> 40) % 4 = 2"
    )
    if int(batches) != len(POINTS) * told.batches.total():
        wrong.append(f"{batches} samples of {len(POINTS) * told.batches.total()} at the receiver")
    counted = 0
    for (payload,) in store.rows("SELECT payload FROM records WHERE (id >> 40) % 4 = 1"):
        gap = wire.Event.FromString(payload).gap
        # One that names a sequence is of what was acknowledged and made room.
        if gap.stream == int(Stream.TELEMETRY) and not gap.first_sequence:
            counted += gap.count
        if gap.stream == int(Stream.ALARM):
            wrong.append(f"a gap record says that {gap.count} alarms are lost: {gap.cause}")
    if counted != len(POINTS) * told.shed.total():
        wrong.append(f"{len(POINTS) * told.shed.total()} were shed, gap records say {counted}")
    if not told.batches["room again"]:
        wrong.append("storing did not come back")
    wrong += [
        f"telemetry was shed with {phase}" for phase in ("room", "room again") if told.shed[phase]
    ]
    if not told.volatile:
        wrong.append("no alarm was volatile: the disk was never quite full")
    return wrong


async def campaign(folder: Path, mount: Path, seconds: float) -> tuple[Told, list[str]]:
    """Run everything; gives what was said and what is wrong."""
    authority, port, told = Authority(folder), free_port(), Told()
    store, ballast = Store(folder / "store"), Ballast(mount / "ballast")
    target = f"127.0.0.1:{port}"
    async with receiving(folder / "store", authority, target):
        async with gateway(mount, authority, target) as log:
            await load(log, store, told, ballast, seconds / len(PHASES))
        async with gateway(mount, authority, target):
            pass  # a close reports what was not yet reported; this sends it
    return told, judge(store, told)


def main() -> None:
    """Run the campaign and print what happened; exit 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="plantgate-sent-") as folder,
        small_disk(options.mib) as (mount, kind),
    ):
        told, wrong = asyncio.run(campaign(Path(folder), mount, options.seconds))
    print(f"{options.mib} MiB, {kind}, {options.seconds:.0f} s")
    print("| phase | batches stored | shed | alarms stored | first volatile | latest shown |")
    print("|---|---|---|---|---|---|")
    for phase in PHASES:
        row = (told.batches[phase], told.shed[phase], told.alarms[phase], told.not_durable[phase])
        print(f"| {phase} | {' | '.join(map(str, row))} | {told.latest_s(phase):.2f} s |")
    print(f"{len(told.volatile)} alarms were seen volatile")
    print("\n".join(wrong) or "as promised")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
