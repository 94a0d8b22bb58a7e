"""Several cameras in one process: shared networks, separate fates as far as that goes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import Quality
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from gateway.sources.camera_groups import CameraGroups
from gateway.sources.child import Child
from tests.clips import drawn_clip
from tests.vision.recorder import Recorder, camera, points_of
from tests.waiting import ended
from vision.events import AnyMessage, Configure, MessageDecoder, ProtocolError, Started, encode
from vision.group import Group
from vision.link import Link
from vision.sharing import (
    EACH_MB,
    HangsError,
    OverBudgetError,
    Shared,
    Turns,
    allowed_mb,
)


def grouped(
    groups: CameraGroups, clip: Path, name: str, silence_s: float = 30.0, **changes: object
) -> Recorder:
    """A camera of group `g` that has not been started."""
    config = camera(str(clip), name=name, group="g", **changes)
    start = groups.of(config.group).member
    points = points_of(config)
    return Recorder(CameraSource(config, points, SystemClock(), silence_s=silence_s, start=start))


@asynccontextmanager
async def all_running(*cameras: Recorder) -> AsyncIterator[list[asyncio.Task[None]]]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in cameras]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()


async def good(*cameras: Recorder) -> None:
    for one in cameras:
        await one.until(lambda one=one: Quality.GOOD in one.qualities())  # type: ignore[misc]  # bound now


async def test_cameras_of_a_group_share_a_process_and_come_and_go_alone(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path / "yard.avi")
    groups = CameraGroups(SystemClock())
    first, second = grouped(groups, clip, "a"), grouped(groups, clip, "b")
    async with all_running(first, second) as tasks:
        await good(first, second)
        pid = first.source.pid
        assert pid is not None
        assert second.source.pid == pid
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        seen = len(second.batches)
        await second.until(lambda: len(second.batches) > seen + 2)
        third = grouped(groups, clip, "c")
        async with all_running(third):
            await good(third)
            assert third.source.pid == pid
        assert second.error is None
    assert await asyncio.to_thread(ended, pid, 120.0)


async def test_a_crash_takes_the_group_and_all_come_back_in_one_process(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path / "yard.avi")
    groups = CameraGroups(SystemClock())
    cameras = [grouped(groups, clip, name) for name in "ab"]
    async with all_running(*cameras):
        await good(*cameras)
        pid = cameras[0].source.pid or 0
        os.kill(pid, signal.SIGSEGV)
        for one in cameras:
            await one.until(lambda one=one: one.error is not None)  # type: ignore[misc]  # bound now
            assert one.qualities()[-1] == Quality.BAD_NOT_CONNECTED
    again = [Recorder(one.source) for one in cameras]
    async with all_running(*again):
        await good(*again)
        assert len({one.source.pid for one in again} - {pid}) == 1


async def test_a_process_that_freezes_is_killed_whole(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path / "yard.avi")
    groups = CameraGroups(SystemClock())
    first = grouped(groups, clip, "a", silence_s=8.0)
    second = grouped(groups, clip, "b", silence_s=300.0)
    async with all_running(first, second):
        await good(first, second)
        os.kill(first.source.pid or 0, signal.SIGSTOP)
        await first.until(lambda: first.error is not None)
        await second.until(lambda: second.error is not None)
    assert "silent for 8 s" in str(first.error)
    assert "ended without a word" in str(second.error)


async def test_a_reader_that_hangs_stops_no_other_camera(tmp_path: Path) -> None:
    clip, pipe = drawn_clip(tmp_path / "yard.avi"), tmp_path / "pipe.avi"
    os.mkfifo(pipe)  # opening it waits for ever, in native code
    groups = CameraGroups(SystemClock())
    hanging, other = grouped(groups, pipe, "a"), grouped(groups, clip, "b")
    async with all_running(hanging, other):
        await good(other)
        seen = len(other.batches)
        await hanging.until(lambda: len(hanging.batches) >= 3)
        await other.until(lambda: len(other.batches) > seen + 3)
        assert Quality.GOOD not in hanging.qualities()
        assert other.error is None
        assert hanging.source.pid == other.source.pid


async def test_a_camera_that_cannot_work_leaves_the_group_alone(tmp_path: Path) -> None:
    clip = drawn_clip(tmp_path / "yard.avi")
    groups = CameraGroups(SystemClock())
    sound, wrong = grouped(groups, clip, "a"), grouped(groups, clip, "b", model="/none.onnx")
    async with all_running(sound, wrong):
        await wrong.until(lambda: wrong.error is not None)
        await good(sound)
    assert "none.onnx cannot be read" in str(wrong.error)
    assert sound.error is None


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, order = Turns(1), []
    asked = threading.Semaphore(0)

    def work(number: int) -> None:
        asked.release()
        with turns:
            order.append(number)

    threads = []
    with turns:
        for number in range(5):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            asked.acquire()
            while len(turns._waiting) <= number:  # it has said so, and is about to wait
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(120)
    assert order == [0, 1, 2, 3, 4]


class _Network:
    def __init__(self) -> None:
        self.running = self.most = 0
        self.guard = threading.Lock()

    def run(self, _: object, __: object) -> Sequence[object]:
        with self.guard:
            self.running += 1
            self.most = max(self.most, self.running)
        threading.Event().wait(0.002)
        with self.guard:
            self.running -= 1
        return []

    def get_inputs(self) -> Sequence[object]:
        return []

    def get_outputs(self) -> Sequence[object]:
        return []


@pytest.mark.parametrize("places", [1, 2])
def test_a_network_is_loaded_once_and_runs_for_so_many_at_a_time(places: int) -> None:
    shared, loaded = Shared(places), []

    def load() -> _Network:
        loaded.append(_Network())
        return loaded[-1]

    def look() -> None:
        network = shared.network(("sha", 1, "cpu"), load)
        for _ in range(10):
            network.run(None, {})

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(loaded) == 1
    assert 1 <= loaded[0].most <= places


@given(st.lists(st.integers(200, 4000), max_size=8))
def test_the_budget_is_the_largest_and_a_little_for_each_further_camera(each: list[int]) -> None:
    shared = Shared()
    members = [shared.join(memory_mb) for memory_mb in each]
    assert shared.memory_mb() == max(each, default=0) + EACH_MB * max(0, len(each) - 1)
    assert shared.memory_mb() == allowed_mb(dict(enumerate(each)))
    for member in members:
        shared.leave(member)
    assert shared.memory_mb() == 0


@pytest.mark.parametrize(
    ("failures", "left"),
    [
        ([SystemExit(1), RuntimeError("x"), ProtocolError("y")], []),
        ([HangsError("a"), HangsError("b")], []),
        ([HangsError("a"), HangsError("b"), HangsError("c")], [1]),
        ([OverBudgetError("fat")], [1]),
    ],
)
def test_only_what_a_thread_cannot_cure_ends_the_process(
    failures: list[BaseException], left: list[int]
) -> None:
    codes: list[int] = []

    def work(_: Link, __: Shared) -> None:
        raise failures.pop()

    group = Group(work, codes.append)
    for _ in range(len(failures)):
        ours, theirs = socket.socketpair()
        with ours:
            group.attend(Link(theirs.detach()))
            assert ours.recv(1) == b"", "its socket is closed, so the gateway sees the end"
    assert codes == left


async def test_a_process_lost_over_a_decoder_decodes_in_software_from_then_on() -> None:
    """The fake child speaks the real wire: it starts, tries hardware, and is gone."""
    orders: list[Configure] = []

    @asynccontextmanager
    async def dying(order: AnyMessage) -> AsyncIterator[Child]:
        assert isinstance(order, Configure)
        orders.append(MessageDecoder().feed(encode(order))[0])  # type: ignore[arg-type]  # a Configure
        ours, theirs = socket.socketpair()
        theirs.sendall(encode(Started(model_sha256="0" * 64, onnxruntime="1", tries_hardware=True)))
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            yield Child(0, reader, writer)
        finally:
            writer.close()

    config = camera("clip.avi")
    seen = Recorder(CameraSource(config, points_of(config), SystemClock(), start=dying))
    await seen.run()
    assert seen.kinds() == ["vision.started", "vision.hardware_given_up", "vision.worker_lost"]
    again = Recorder(seen.source)
    await again.run()
    assert [one.camera.decode for one in orders] == ["auto", "software"]
