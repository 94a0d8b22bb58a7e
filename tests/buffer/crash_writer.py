"""Writes to a buffer for ever and prints each durable receipt; the crash test kills it.

Run as `python crash_writer.py DIR`. Prints `log HEX`, then `t N` for batch N and `a N` for alarm N.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from buffer.contract import Gap, Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.runtime.clock import SystemClock, boot_id


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


def encode_gap(gap: Gap, time_ns: int) -> bytes:
    return f"{gap} {time_ns}".encode()


async def main(folder: Path, start: int) -> None:
    clock = SystemClock()
    config = BufferConfig(commit_ms=3, key_every_s=1, reserve_bytes=0)
    async with Buffer.open(
        folder, config, clock=clock, boot_id=boot_id(), encode_gap=encode_gap
    ) as log:
        say(f"log {log.log_id.hex()}")
        points = np.arange(50, dtype=np.int32)
        good = np.zeros(50, np.uint16)
        number = start
        while True:
            now = clock.wall_ns()
            values = np.full(50, float(number))
            receipt = log.add_batch(points, values, good, now, now)
            alarm = None
            if number % 5 == 0:
                log.save_state({"given": str(number).encode()})
                alarm = log.add_record(Stream.ALARM, str(number).encode())
            if number % 3 == 0:
                await receipt
                say(f"t {number}")
            if alarm is not None:
                await alarm
                say(f"a {number}")
            number += 1


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
