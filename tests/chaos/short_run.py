"""One short, whole run of a log, said line by line as it becomes durable; faults hit it.

Run as `python short_run.py DIR SCENARIO FIRST`, FIRST the number before the first batch. Scenario:
`append` (telemetry, alarms, catalogue, cursors, evictions, close), `renew` (the same with a new log
id in the middle), `mend-telemetry` and `mend-records` (the same with a record of that file damaged
in the middle, found, and repaired while the run goes on), `open` (open and close only).

Lines: `log HEX`, `t N` batch N is durable, `a N` alarm N is durable, `ft N`, `fa N` it was refused,
`ack N` all up to batch N is acknowledged, `refused WHY` the log does not open, `stuck` storing does
not come back after the faults, `end`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import sqlite3
import sys
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from buffer.contract import BufferPathError, Gap, NotStoredError, Signer, Stream
from buffer.policy import GIB, BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer

START_NS = 1_790_000_000 * 10**9
STEPS = 18
MORE_STEPS = 40
"""At most so many steps are added until storing works again; each failed one uses up faults."""
STEP_S = 4
POINTS = np.arange(20, dtype=np.int32)
GOOD = np.zeros(20, np.uint16)
QUOTA_BYTES = 3_000
BOOT_ID = bytes(16)
CATALOGUE = b"c" * 32
SIGNER = Signer(b"k" * 32, lambda message: hmac.digest(b"a key", message, "sha256"))


@dataclass
class StepClock:
    """Time that moves by steps, so that every run does the same."""

    step: int = 0

    def wall_ns(self) -> int:
        """START_NS and STEP_S a step."""
        return START_NS + self.step * STEP_S * 10**9

    def monotonic_ns(self) -> int:
        """Nanoseconds since the first step."""
        return self.step * STEP_S * 10**9


def encode_gap(gap: Gap, time_ns: int) -> bytes:
    """Gap as text: gap STREAM cause first last count."""
    del time_ns
    return f"gap {gap.stream.name} {gap.cause} {gap.first} {gap.last} {gap.count}".encode()


def opened(folder: Path, clock: StepClock) -> Buffer:
    """The log of a run: groups of three records, a quota of some six groups, no waiting."""
    quota = dict.fromkeys(Stream, GIB) | {Stream.TELEMETRY: QUOTA_BYTES}
    config = BufferConfig(
        commit_ms=0,
        key_every_s=3 * STEP_S,
        quota_bytes=quota,
        min_free_bytes=0,
        reserve_bytes=1 << 16,
        lock_wait_ms=200,
        rollup_quota_bytes=1 << 20,
        sign_every_s=5 * STEP_S,
    )
    return Buffer.open(
        folder, config, clock=clock, boot_id=BOOT_ID, encode_gap=encode_gap, signer=SIGNER
    )


def say(text: str) -> None:
    """One line, at once."""
    os.write(1, text.encode() + b"\n")


async def telemetry(log: Buffer, clock: StepClock, number: int) -> bool:
    """Store batch `number`; tells whether it was taken."""
    values = np.full(20, float(number))
    try:
        await log.add_batch(POINTS, values, GOOD, clock.wall_ns(), clock.wall_ns())
    except NotStoredError:
        say(f"ft {number}")
        return False
    say(f"t {number}")
    return True


async def alarm(log: Buffer, number: int) -> bool:
    """Store alarm `number` with a state that names it; tells whether it was taken."""
    payload = str(number).encode()
    try:
        await log.add_record(Stream.ALARM, payload, state={"alarm": payload})
    except NotStoredError:
        say(f"fa {number}")
        return False
    say(f"a {number}")
    return True


DAMAGED = {
    "mend-telemetry": (
        "telemetry.db",
        "UPDATE telemetry SET payload = x'00' WHERE id = (SELECT max(id) - 2 FROM telemetry)",
        Stream.TELEMETRY,
    ),
    "mend-records": (
        "records.db",
        "UPDATE alarm SET payload = x'00' WHERE id = (SELECT max(id) - 2 FROM alarm)",
        Stream.ALARM,
    ),
}
"""File, what is done to it, and a stream in it."""


def damaged(folder: Path, scenario: str) -> Stream:
    """Damage the record before the newest but one of a stream, as if it had been forged."""
    file, forgery, stream = DAMAGED[scenario]
    with closing(sqlite3.connect(folder / file, timeout=30)) as connection, connection:
        connection.execute(forgery)
    say(f"damaged {stream.name}")
    return stream


async def steps(folder: Path, log: Buffer, clock: StepClock, scenario: str) -> None:
    """Do the run."""
    first = clock.step + 1
    log.set_catalogue(CATALOGUE)
    try:
        await log.add_record(Stream.EVENT, b"catalogue", keep=CATALOGUE)
    except NotStoredError:
        say("fe 0")
    stored = False
    for number in range(first, first + STEPS + MORE_STEPS):
        if number >= first + STEPS and stored:
            break
        clock.step = number
        stored = await telemetry(log, clock, number)
        if number % 3 == 0 or number >= first + STEPS:
            stored = await alarm(log, number) and stored
        if number == first + 8:
            done = RangeSet([(1, log.bounds(Stream.TELEMETRY).next)])
            log.acknowledge("province", Stream.TELEMETRY, done)
            say(f"ack {number}")
        if number == first + 12 and scenario == "renew":
            log.renew_log_id("asked for")
        if number == first + 12 and scenario in DAMAGED:
            with suppress(sqlite3.Error):  # the fault may hit this, too
                log.suspect(damaged(folder, scenario), "asked for")
    if not stored:
        say("stuck")


async def main(folder: Path, scenario: str, start: int) -> None:
    """Open, run, close."""
    clock = StepClock(start)
    try:
        log = opened(folder, clock)
    except BufferPathError as failure:
        say(f"refused {failure}")
        return
    async with log:
        say(f"log {log.log_id.hex()}")
        if scenario != "open":
            await steps(folder, log, clock, scenario)
    say("end")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
