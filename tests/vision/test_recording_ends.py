"""What is missing of a recording when it ends: told, by the real recorder, of a lost camera."""

from __future__ import annotations

import asyncio
from pathlib import Path

from drivers.contract import Batch, Receipt, SourceEvent
from gateway.runtime.clock import SystemClock
from gateway.sources.recording import AFTER_NS, STOPPED, RecordingRules, RecordingSource
from tests.ports import own_port
from vision.config import CameraConfig
from vision.recording import GAP_NS
from vision.shelf import Shelf

LONGEST_S = 120.0


class Skipping(SystemClock):
    """The machine's clock, that the test may let run ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_ns = 0

    def monotonic_ns(self) -> int:
        """Of the machine, and what was skipped."""
        return super().monotonic_ns() + self.skipped_ns


class Kept:
    """What a source emits."""

    def __init__(self) -> None:
        self.events: list[SourceEvent] = []
        self.values: list[float] = []
        self.changed = asyncio.Event()

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        """Keep it."""
        if isinstance(item, Batch):
            self.values.append(float(item.values[0]))
        else:
            self.events.append(item)
        self.changed.set()
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    async def until(self, count: int, kind: str = "") -> None:
        """Wait for so many values, or events of a kind."""
        async with asyncio.timeout(LONGEST_S):
            while len([e for e in self.events if e.kind == kind] if kind else self.values) < count:
                self.changed.clear()
                await self.changed.wait()


def source(folder: Path, wanted: list[bool], clock: SystemClock) -> tuple[RecordingSource, Shelf]:
    """Recording of a camera at an address at which nobody listens."""
    port = own_port()
    config = CameraConfig.model_validate(
        {"name": "cam", "source": f"rtsp://127.0.0.1:{port}/live", "record": "work"}
    )
    shelf = Shelf(folder, 1 << 30, 30 * 86_400 * 10**9)
    rules = RecordingRules(segment_s=300.0, reserve_bytes=0)
    return RecordingSource(config, 7, clock, shelf, rules, lambda: wanted[-1]), shelf


async def test_what_is_missing_up_to_the_end_of_the_work_is_told(tmp_path: Path) -> None:
    """The camera never came: the record of the work named no gap."""
    clock, wanted, kept = Skipping(), [True], Kept()
    recording, _ = source(tmp_path, wanted, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recording.run(kept))
        await kept.until(1 + GAP_NS // 10**9)
        wanted.append(False)
        clock.skipped_ns = 2 * AFTER_NS
        await kept.until(1, "vision.recording_ended")
        task.cancel()
    (gap,) = [event for event in kept.events if event.kind == "vision.recording_gap"]
    assert "had to be opened first; then rtsp://" in str(gap.attributes["reason"])
    assert float(gap.attributes["seconds"]) > GAP_NS / 1e9


async def test_a_recording_that_the_gateway_ends_while_the_work_goes_on_leaves_word(
    tmp_path: Path,
) -> None:
    """Ended in order, not killed: what was missing until the next start was told by nobody."""
    first, kept = source(tmp_path, [True], SystemClock())[0], Kept()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(first.run(kept))
        await kept.until(1)
        task.cancel()
    began_ns = kept.events[0].time_ns
    wanted, again, clock = [True], Kept(), Skipping()
    second, shelf = source(tmp_path, wanted, clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(second.run(again))
        await again.until(1 + GAP_NS // 10**9)
        wanted.append(False)
        clock.skipped_ns = 2 * AFTER_NS
        await again.until(1, "vision.recording_gap")
        await again.until(1, "vision.recording_ended")
        task.cancel()
    gap = next(event for event in again.events if event.kind == "vision.recording_gap")
    assert int(gap.attributes["from_ns"]) <= began_ns + 10**9
    assert str(gap.attributes["reason"]).startswith(STOPPED)
    assert "vision.recording_started" not in [event.kind for event in again.events]
    assert shelf.adopt("cam") == 0


async def test_what_a_stop_broke_off_is_told_though_the_work_is_over_by_the_next_start(
    tmp_path: Path,
) -> None:
    kept = Kept()
    recording, shelf = source(tmp_path, [False], SystemClock())
    shelf.interrupt("cam", SystemClock.wall_ns() - 3_600 * 10**9)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(recording.run(kept))
        await kept.until(1, "vision.recording_gap")
        task.cancel()
    assert float(kept.events[0].attributes["seconds"]) >= 3_600
