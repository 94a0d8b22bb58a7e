"""Records one camera while it is wanted, and says so: a point, gaps and evictions as events.

Guarantees:

- `<camera>/recording` is 1 while pictures reach the disk, 0 while they do not, once a second. It is
  what the work monitor asks for special-grade hot work.
- The recorder is a child of its own (vision/recorder.py): it can crash, hang, or find the disk full
  without anything else noticing. It is started again, and what is missing becomes a gap event.
- A recording that the end of the gateway, or a changed site file, breaks off while the work goes on
  leaves word of it, so that the next one tells what is missing between them. What is missing up to
  the end of the work is told, too, also where its recorder was lost.
- Recordings have a quota and a retention of their own; what had to go early is an event.
- After the work is over it is recorded for AFTER_S more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.contract import Batch, Clock, DeviceError, Emit, Quality, SourceEvent
from gateway.sources.child import Child, DiedError, FrozenError, child
from vision.config import CameraConfig
from vision.events import AnyMessage, Happened, Recording, RecordOrder, Stop
from vision.recording import GAP_NS, Gap, gap_event
from vision.shelf import Evicted, Shelf

PERIOD_NS = 1_000_000_000
AFTER_NS = 10_000_000_000
SILENCE_S = 15.0
"""A recorder says something every second; a disk may hold it up for a while."""
TIDY_NS = 3_600_000_000_000
END_S = 6.0
"""A recorder waits 4 s for its thread."""
STOPPED = "the gateway ended, or its configuration changed"


@dataclass(frozen=True, slots=True)
class RecordingRules:
    """[recording] as the recorder needs it."""

    segment_s: float
    reserve_bytes: int


class RecordingSource:
    """Recording of one camera as a Driver. wanted: whether it is to be recorded now.

    logins: folder in which all cameras share which logins were refused.
    """

    def __init__(
        self,
        config: CameraConfig,
        point: int,
        clock: Clock,
        shelf: Shelf,
        rules: RecordingRules,
        wanted: Callable[[], bool],
        logins: Path | None = None,
    ) -> None:
        self._config = config
        self._logins = str(logins.absolute()) if logins is not None else ""
        self._point = np.array([point], np.int32)
        self._clock = clock
        self._shelf = shelf
        self._rules = rules
        self._wanted = wanted
        self._sequence = 0
        self._state: Recording | None = None
        self._interrupted, self._lost = "", False
        self._written_ns = 0
        self._files = 0
        self._tidied_ns: int | None = None
        self.pid: int | None = None

    def statistics(self) -> Mapping[str, float]:
        """Whether it runs, bytes and files since the recorder was started, events sent."""
        state = self._state
        return {
            "batches": float(self._sequence),
            "recording": float(state is not None and state.running),
            "recorded_bytes": float(state.written_bytes if state else 0),
            "recorded_files": float(state.files if state else 0),
        }

    async def run(self, emit: Emit) -> None:
        """Record while it is wanted, until cancelled; DeviceError if the recorder is lost."""
        left_ns = await asyncio.to_thread(self._shelf.adopt, self._config.name)
        if left_ns and not self._interrupted:
            self._written_ns, self._interrupted = left_ns, STOPPED
            self._lost = True
        due_ns = self._clock.monotonic_ns()
        while True:
            if self._wanted():
                await self._record(emit)
                due_ns = self._clock.monotonic_ns()
            elif self._lost:
                await self._say_missing(emit)
            self._interrupted, self._lost = "", False
            await self._tidy(emit, self._files)
            await emit(self._batch(running=False))
            due_ns += PERIOD_NS
            await self._clock.sleep_until(due_ns)

    async def _record(self, emit: Emit) -> None:
        now_ns = self._clock.wall_ns()
        since_ns = self._written_ns if self._interrupted else now_ns
        why = self._interrupted or "the camera had to be opened first"
        order = RecordOrder(
            camera=self._config.recorded,
            folder=str(self._shelf.of(self._config.name)),
            since_ns=since_ns,
            why=why,
            segment_s=self._rules.segment_s,
            reserve_bytes=self._rules.reserve_bytes,
            logins=self._logins,
        )
        if not self._interrupted:
            await self._say(emit, "vision.recording_started", "it is being recorded. 开始录像。")
        self._written_ns, self._files = since_ns, 0
        self._interrupted, self._lost = STOPPED, False
        try:
            async with child("vision.recorder", order) as running:
                self.pid = running.pid
                unwanted_ns: int | None = None
                while unwanted_ns is None or self._clock.monotonic_ns() - unwanted_ns < AFTER_NS:
                    for message in await running.receive(SILENCE_S):
                        await self._take(message, emit)
                    if self._wanted():
                        unwanted_ns = None
                    elif unwanted_ns is None:
                        unwanted_ns = self._clock.monotonic_ns()
                await self._hear_out(running, emit)
        except asyncio.CancelledError:
            if self._wanted():
                self._shelf.interrupt(self._config.name, self._written_ns)
            raise
        except DeviceError as error:
            self._state, self._interrupted = None, f"the recorder was lost: {error}".rstrip(".")
            self._lost = True
            await emit(self._batch(running=False))
            text = f"The recorder of camera {self._config.name} is lost: {error}"
            await emit(SourceEvent("vision.recorder_lost", self._config.name, now_ns, text))
            raise DeviceError(text) from error
        self._state = None
        await self._say(emit, "vision.recording_ended", "it is not recorded any more. 录像结束。")

    async def _hear_out(self, running: Child, emit: Emit) -> None:
        """Ask the recorder to end, and take its last words: what is missing up to the end."""
        running.send(Stop())
        with suppress(DiedError, FrozenError):
            while True:
                for message in await running.receive(END_S):
                    await self._take(message, emit)

    async def _say_missing(self, emit: Emit) -> None:
        now_ns = self._clock.wall_ns()
        if now_ns - self._written_ns <= GAP_NS:
            return
        gap = Gap(self._written_ns, now_ns, self._interrupted)
        said = gap_event(self._config.name, gap)
        await emit(SourceEvent(said.kind, self._config.name, now_ns, said.text, said.attributes))

    async def _take(self, message: AnyMessage, emit: Emit) -> None:
        match message:
            case Recording():
                self._state, self._written_ns = message, message.written_ns
                await emit(self._batch(running=message.running))
                await self._tidy(emit, message.files)
            case Happened():
                await emit(
                    SourceEvent(
                        message.kind, self._config.name, message.wall_ns, message.text,
                        message.attributes,
                    )
                )  # fmt: skip
            case _:
                raise DeviceError(f"it sent a {message.type} message.")

    async def _tidy(self, emit: Emit, files: int) -> None:
        """Let go what must go, after each file and once an hour."""
        now_ns = self._clock.monotonic_ns()
        recently = self._tidied_ns is not None and now_ns - self._tidied_ns < TIDY_NS
        if files == self._files and recently:
            return
        self._files, self._tidied_ns = files, now_ns
        gone, refused = await asyncio.to_thread(self._shelf.tidy, self._clock.wall_ns())
        if refused:
            text = f"Old recordings could not be deleted ({refused}). 旧录像无法删除。"
            await emit(SourceEvent("vision.recording_not_deleted", "recording",
                                   self._clock.wall_ns(), text))  # fmt: skip
        if gone is not None:
            await emit(self._evicted(gone))

    def _evicted(self, gone: Evicted) -> SourceEvent:
        text = (
            f"{gone.files} recordings ({gone.bytes / 1e6:.0f} MB) were deleted before their time:"
            " the quota of recordings is used up. 录像配额已满,提前删除。"
        )
        attributes: dict[str, str | int | float | bool] = {
            "files": gone.files, "bytes": gone.bytes,
            "from_ns": gone.first_ns, "to_ns": gone.last_ns, "reason": "quota",
        }  # fmt: skip
        now_ns = self._clock.wall_ns()
        return SourceEvent("vision.recording_evicted", "recording", now_ns, text, attributes)

    async def _say(self, emit: Emit, kind: str, what: str) -> None:
        text = f"Camera {self._config.name}: {what}"
        await emit(SourceEvent(kind, self._config.name, self._clock.wall_ns(), text))

    def _batch(self, *, running: bool) -> Batch:
        now_ns = self._clock.wall_ns()
        batch = Batch(
            points=self._point,
            values=np.array([float(running)], np.float64),
            quality=np.array([int(Quality.GOOD)], np.uint16),
            source_time_ns=now_ns,
            gateway_time_ns=now_ns,
            sequence=self._sequence,
        )
        self._sequence += 1
        return batch
