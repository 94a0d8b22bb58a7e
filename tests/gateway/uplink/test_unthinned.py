"""What a thinned destination is sent in full on request: its points, every sample, once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from buffer.contract import Stream
from buffer.memory import MemoryLog
from gateway.receiver.query import Query, print_telemetry
from gateway.receiver.stores import open_reader
from gateway.runtime.clock import SystemClock
from gateway.uplink.thin import Choice
from tests.fakes.small_log import BOOT_ID
from tests.gateway.receiver.conftest import Running, RunReceiver, run_receiver
from tests.gateway.uplink.test_client import PATIENT, Destination, running
from tests.gateway.uplink.test_derived import CHOICE, announce, measure
from tests.waiting import until

__all__ = ["run_receiver"]
EVER = {"what": "unthinned", "gateway": "SD-1", "from_ns": 0, "to_ns": 1 << 62}


class Thinned:
    """A gateway whose county sees changes of hazard h1 alone, and its receiver."""

    def __init__(self, folder: Path, run: RunReceiver) -> None:
        self.folder = folder
        self._run = run
        self.log = MemoryLog(clock=SystemClock(), boot_id=BOOT_ID)
        self.kinds: list[str] = []

    async def begin(self) -> None:
        """Three groups, the last of which grows: 7 samples of each point."""
        await announce(self.log)
        for values in ((1.0, 1.5, 5.0), (5.5, 6.0), (6.5, 7.0)):
            self.log.request_key()
            await measure(self.log, *values)

    @contextlib.asynccontextmanager
    async def connected(self, choice: Choice | None = CHOICE) -> AsyncIterator[Running]:
        async with contextlib.AsyncExitStack() as stack:
            receiving = await stack.enter_async_context(self._run(self.folder))
            there = Destination(receiving.target, name="county")
            gateway = await stack.enter_async_context(running(there, self.log, PATIENT, choice))
            await until(lambda: "link.up" in gateway.kinds())
            await until(lambda: not gateway.uplink.statistics()["backlog_records"])
            yield receiving
            self.kinds = gateway.kinds()

    async def ask(self, receiving: Running, **changes: Any) -> dict[str, Any]:
        destination = changes.pop("destination", "county")
        return await receiving.receiver.requests.ask(
            {**EVER, "destination": destination, **changes}
        )

    def values(self) -> list[str]:
        """Values that `plantgate query` prints, as point=value."""
        lines: list[str] = []
        with contextlib.closing(open_reader(str(self.folder))) as reader:
            print_telemetry(reader, Query(), lines.append)
        rows = [line.split(",") for line in "".join(lines).splitlines()[1:]]
        return [f"{row[1]}={row[3]}" for row in rows]

    def in_full(self) -> int:
        """Records held of unthinned streams."""
        with contextlib.closing(open_reader(str(self.folder))) as reader:
            return sum(
                len(list(reader.records(log, Stream.TELEMETRY)))
                for log in reader.logs()
                if "/raw/" in log.derived.destination
            )


@pytest.fixture
async def thinned(tmp_path: Path, run_receiver: RunReceiver) -> Thinned:
    made = Thinned(tmp_path / "store", run_receiver)
    await made.begin()
    return made


async def test_every_sample_of_its_points_comes_once_and_of_no_other(thinned: Thinned) -> None:
    async with thinned.connected() as receiving:
        assert thinned.values() == [f"gds-1/A={value}" for value in (1.0, 5.0, 5.5, 6.5)]
        said = await thinned.ask(receiving)
        assert said == {"accepted": True, "message": "5 records will be sent with every sample"}
        await until(lambda: thinned.in_full() == 5)
        again = await thinned.ask(receiving)
        assert again["accepted"]
    full = [f"gds-1/A={value}" for value in (1.0, 1.5, 5.0, 5.5, 6.0)]
    assert sorted(thinned.values()) == sorted([*full, "gds-1/A=6.5"]), "the last group grows"
    assert thinned.in_full() == 5, "asked for twice, stored once"
    with contextlib.closing(open_reader(str(thinned.folder))) as reader:
        assert [fault for log in reader.logs() for fault in reader.faults(log)] == []
        raw = next(log for log in reader.logs() if "/raw/" in log.derived.destination)
        assert raw.derived.destination == "county/raw/1-5"
        assert raw.derived.filter == "only hazards h1"
        assert all(one.historical for one in reader.records(raw, Stream.TELEMETRY))


async def test_a_larger_range_prints_nothing_twice(thinned: Thinned) -> None:
    async with thinned.connected() as receiving:
        await thinned.ask(receiving)
        await until(lambda: thinned.in_full() == 5)
        thinned.log.request_key()
        await measure(thinned.log, 7.5)
        said = await thinned.ask(receiving)
        assert said["message"] == "7 records will be sent with every sample"
        await until(lambda: thinned.in_full() == 5 + 7)
        await until(lambda: "gds-1/A=7.5" in thinned.values())
    full = [f"gds-1/A={value}" for value in (1.0, 1.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5)]
    assert sorted(thinned.values()) == sorted(full)


async def test_a_cut_in_the_middle_costs_nothing(thinned: Thinned) -> None:
    async with thinned.connected() as receiving:
        await thinned.ask(receiving)
    async with thinned.connected() as receiving:
        await thinned.ask(receiving)
        await until(lambda: thinned.in_full() == 5)
    assert len(thinned.values()) == 6


async def test_what_cannot_be_is_said(thinned: Thinned) -> None:
    async with thinned.connected() as receiving:
        said = await thinned.ask(receiving, from_ns=0, to_ns=1)
        assert said == {
            "accepted": False, "message": "no finished group of that period is held here"
        }  # fmt: skip
        with pytest.raises(ValueError, match="ends before it begins"):
            await thinned.ask(receiving, from_ns=2, to_ns=1)
    for choice in (None, Choice(hazards=("h1",))):
        async with thinned.connected(choice) as receiving:
            destination = "county" if choice else ""
            said = await thinned.ask(receiving, destination=destination)
            assert said["message"] == (
                "this destination is sent every sample of its points: ask for the period"
            )
    await asyncio.sleep(0)
