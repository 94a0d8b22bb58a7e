"""Recording of a real RTSP camera: killed, interrupted, on a full disk; the files play."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from drivers.contract import Batch, DeviceError, Receipt, SourceEvent
from gateway.runtime.clock import SystemClock
from gateway.sources.recording import RecordingRules, RecordingSource
from tests.background import background
from tests.chaos.rtsp_lane import LOGIN, Server
from vision.config import CameraConfig
from vision.recording import GAP_NS
from vision.shelf import Shelf

pytestmark = pytest.mark.peer
LONGEST_S = 90.0  # a bound against hanging, never an expectation
DAY_NS = 86_400_000_000_000


@dataclass
class Seen:
    """What a recording emits."""

    values: list[float] = field(default_factory=list)
    events: list[SourceEvent] = field(default_factory=list)
    error: DeviceError | None = None

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        if isinstance(item, Batch):
            self.values.append(float(np.asarray(item.values, np.float64)[0]))
        else:
            self.events.append(item)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    async def until(self, condition: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(LONGEST_S):
                while not condition():  # noqa: ASYNC110 - what is waited for is a file or a list
                    await asyncio.sleep(0.05)
        except TimeoutError:
            texts = " ".join(event.text for event in self.events[-5:])
            seen = f"recording {self.values[-5:]}, error {self.error}, events {texts}"
            raise AssertionError(f"not within {LONGEST_S:g} s: {seen}") from None


@asynccontextmanager
async def live(codec: str, *, digest: bool = False) -> AsyncIterator[Server]:
    """A live camera."""
    server = Server(codec, digest)
    await server.start()
    try:
        yield server
    finally:
        await server.end()


@asynccontextmanager
async def recording(source: RecordingSource) -> AsyncIterator[Seen]:
    """Run it as the supervisor does: again when its recorder is lost."""
    seen = Seen()

    async def run() -> None:
        while True:
            try:
                await source.run(seen)
            except DeviceError as error:
                seen.error = error

    async with background(run()):
        yield seen


def source_of(
    server: Server, folder: Path, wanted: list[bool], *, reserve_bytes: int = 0, **more: object
) -> RecordingSource:
    """Recording of a live camera; wanted[-1] says whether it is."""
    config = CameraConfig.model_validate(
        {"name": "cam", "source": f"rtsp://127.0.0.1:{server.port}/live", "record": "work", **more}
    )
    shelf = Shelf(folder, 1 << 30, 30 * DAY_NS)
    rules = RecordingRules(segment_s=300.0, reserve_bytes=reserve_bytes)
    return RecordingSource(config, 7, SystemClock(), shelf, rules, lambda: wanted[-1])


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("cam/*/*.mp4*"))


def pictures(path: Path) -> int:
    """Pictures of a file that decode."""
    asked = subprocess.run(
        ["ffprobe", "-v", "quiet", "-count_frames", "-show_entries", "stream=nb_read_frames",
         "-of", "csv=p=0", "-f", "mp4", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(asked.stdout.strip() or 0)


def _gaps(seen: Seen) -> list[SourceEvent]:
    """All gaps told: a camera that is slow to deliver at first makes one of its own."""
    return [event for event in seen.events if event.kind == "vision.recording_gap"]


def _seconds(gap: SourceEvent) -> float:
    since, until = gap.attributes["from_ns"], gap.attributes["to_ns"]
    assert isinstance(since, int)
    assert isinstance(until, int)
    return (until - since) / 1e9


async def test_a_permit_is_recorded_from_start_to_end_and_a_kill_leaves_a_file_that_plays(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "password"
    secret.write_text(LOGIN[1], encoding="utf-8")
    folder = tmp_path / "recordings"
    wanted = [False]
    async with live("h264", digest=True) as server:
        source = source_of(server, folder, wanted, user=LOGIN[0], password_file=str(secret))
        async with recording(source) as seen:
            await seen.until(lambda: len(seen.values) >= 2)
            assert set(seen.values) == {0.0}
            assert not parts(folder)
            wanted.append(True)
            await seen.until(lambda: seen.values[-1] == 1.0)
            server.send(signal.SIGSTOP)  # so that it is not back within what is no gap
            os.kill(source.pid or 0, signal.SIGKILL)
            await seen.until(lambda: seen.error is not None)
            await asyncio.sleep(GAP_NS / 1e9 + 1.0)
            server.send(signal.SIGCONT)
            await seen.until(
                lambda: any("the recorder was lost" in str(gap.attributes) for gap in _gaps(seen))
            )
            await seen.until(lambda: seen.values[-1] == 1.0)
            torn, *_ = parts(folder)
            assert torn.suffix == ".mp4", "what the kill left has its name"
            assert pictures(torn) >= 10
            wanted.append(False)
            await seen.until(lambda: "vision.recording_ended" in seen.kinds())
            await seen.until(lambda: seen.values[-1] == 0.0)
    assert seen.kinds().count("vision.recording_started") == 1
    assert "vision.recorder_lost" in seen.kinds()
    assert [path.suffix for path in parts(folder)] == [".mp4"] * len(parts(folder))
    assert all(pictures(path) >= 10 for path in parts(folder))
    assert LOGIN[1] not in repr(seen.events)


async def test_a_camera_that_is_gone_for_a_while_is_a_gap(tmp_path: Path) -> None:
    async with live("mjpeg") as server, recording(source_of(server, tmp_path, [True])) as seen:
        await seen.until(lambda: 1.0 in seen.values)
        await server.end()
        await seen.until(lambda: seen.values[-1] == 0.0)
        await server.start()
        await seen.until(lambda: seen.values[-1] == 1.0)
        await seen.until(lambda: any(_seconds(gap) > 3.0 for gap in _gaps(seen)))
    assert all("录像中断" in gap.text for gap in _gaps(seen))
    assert seen.error is None
    assert all(pictures(path) >= 5 for path in parts(tmp_path))


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path) -> None:
    """Write until nothing more goes in."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root")
async def test_a_full_disk_stops_the_recording_only_and_it_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    with disk(tmp_path / "disk") as folder:
        async with live("h264") as server, recording(source_of(server, folder, [True])) as seen:
            await seen.until(lambda: 1.0 in seen.values)
            fill(folder / "ballast")
            await seen.until(lambda: seen.values[-1] == 0.0)
            assert seen.error is None, "the recorder lives"
            (folder / "ballast").unlink()
            await seen.until(lambda: seen.values[-1] == 1.0)
            await seen.until(lambda: "No space left" in repr(seen.events))
        assert "vision.recording_gap" in seen.kinds()
        assert sum(pictures(path) for path in parts(folder)) > 0


async def test_with_too_little_room_nothing_is_recorded(tmp_path: Path) -> None:
    async with live("mjpeg") as server:
        source = source_of(server, tmp_path, [True], reserve_bytes=1 << 60)
        async with recording(source) as seen:
            await seen.until(lambda: len(seen.values) >= 8)
    assert set(seen.values) == {0.0}
    assert not [path for path in parts(tmp_path) if path.stat().st_size]
