"""SIGKILL at random moments: what was acknowledged is there, once, in order, with its chain."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from buffer.block import BlockDecoder
from buffer.contract import Stream
from tests.buffer.test_store import check_chain, everything

if TYPE_CHECKING:
    from tests.buffer.conftest import OpenBuffer

ROUNDS = 20
WRITER = Path(__file__).with_name("crash_writer.py")


async def write_until_killed(folder: Path, start: int, chance: random.Random) -> list[str]:
    """Lines that a writer printed until it was killed after a random count of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(folder), str(start), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [
        (await process.stdout.readline()).decode().strip() for _ in range(chance.randint(1, 40))
    ]
    await asyncio.sleep(chance.random() / 200)
    process.send_signal(signal.SIGKILL)
    rest = await process.stdout.read()
    await process.wait()
    whole = rest[: rest.rfind(b"\n") + 1]
    return lines + whole.decode().splitlines()


async def test_nothing_acknowledged_is_lost(open_buffer: OpenBuffer, tmp_path: Path) -> None:
    chance = random.Random(20)
    acknowledged: dict[str, list[int]] = {"t": [], "a": []}
    names: set[str] = set()
    start = 0
    for _ in range(ROUNDS):
        for line in await write_until_killed(tmp_path / "data", start, chance):
            kind, _, rest = line.partition(" ")
            if kind == "log":
                names.add(rest)
            else:
                acknowledged[kind].append(int(rest))
        start = max(acknowledged["t"] + acknowledged["a"], default=0) + 1_000
    assert len(names) == 1
    async with open_buffer() as log:
        assert log.log_id.hex() in names
        assert not log.notes
        telemetry = await everything(log, Stream.TELEMETRY)
        check_chain(telemetry)
        assert [record.sequence for record in telemetry] == list(range(1, len(telemetry) + 1))
        decoder = BlockDecoder()
        numbers = [
            int(batch.values[0]) for record in telemetry for batch in decoder.feed(record.payload)
        ]
        assert numbers == sorted(set(numbers))
        assert set(acknowledged["t"]) <= set(numbers)
        alarms = await everything(log, Stream.ALARM)
        check_chain(alarms)
        stored = [int(record.payload) for record in alarms]
        assert stored == sorted(set(stored))
        assert set(acknowledged["a"]) <= set(stored)
        assert int(log.state("given")) >= max(stored), "set before the record, kept with it"
        assert not await everything(log, Stream.EVENT)
