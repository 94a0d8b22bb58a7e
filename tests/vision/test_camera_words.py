"""What a camera source says of itself, with a child that speaks the real wire."""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from drivers.contract import DeviceError
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import MOST_PAUSE_S, QUICK_STARTS, CameraSource
from gateway.sources.child import Child
from tests.vision.recorder import Recorder, camera, points_of
from vision.events import AnyMessage, Failed, Happened, Sample, Started, encode
from vision.zones import BAD_CANNOT_JUDGE, BAD_NOT_CONNECTED, BAD_WAITING, GOOD

STARTED = Started(model_sha256="0" * 64, onnxruntime="1")


def sample(count: int | None, quality: int) -> Sample:
    return Sample(counts=[count], quality=quality, frame_wall_ns=1, analysed_fps=4.0)


def speaking(
    speeches: Sequence[Sequence[AnyMessage]], clock: SystemClock | None = None, group: str = ""
) -> CameraSource:
    """A source whose children say one speech each, and end."""
    waiting = iter(speeches)

    @asynccontextmanager
    async def start(_: AnyMessage) -> AsyncIterator[Child]:
        speech = next(waiting, None)
        if speech is None:
            raise DeviceError("it cannot be started: no more processes.")
        ours, theirs = socket.socketpair()
        for message in speech:
            theirs.sendall(encode(message))
        theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            yield Child(0, reader, writer)
        finally:
            writer.close()

    config = camera("clip.avi", group=group)
    return CameraSource(config, points_of(config), clock or SystemClock(), start=start)


async def session(source: CameraSource) -> Recorder:
    seen = Recorder(source)
    await seen.run()
    return seen


async def test_delivering_is_said_once_a_session_and_not_before_a_picture_came() -> None:
    nothing: list[AnyMessage] = [
        STARTED,
        sample(None, BAD_WAITING),
        sample(None, BAD_NOT_CONNECTED),
    ]
    pictures: list[AnyMessage] = [*nothing, sample(None, BAD_CANNOT_JUDGE), sample(2, GOOD)]
    source = speaking([nothing, pictures, [STARTED, sample(2, GOOD), sample(2, GOOD)]])
    assert (await session(source)).kinds() == ["vision.started", "vision.worker_lost"]
    covered, clear = await session(source), await session(source)
    assert covered.kinds() == ["vision.started", "vision.delivering", "vision.worker_lost"]
    assert covered.event("vision.delivering").attributes == {"view": "doubtful"}
    assert clear.event("vision.delivering").attributes == {"view": "clear"}


async def test_the_count_of_a_process_that_is_lost_is_not_shown_on() -> None:
    """The console shows a camera by these numbers."""
    source = speaking([[STARTED, sample(5, GOOD)]])
    await session(source)
    assert math.isnan(source.statistics()["headcount_all"])


async def test_what_stands_is_named_when_a_process_starts() -> None:
    said: dict[str, str | int | float | bool] = {
        "zone": "all",
        "people": 1,
        "limit": 0,
        "active": True,
    }
    raised = Happened(kind="vision.no_helmet", wall_ns=1, text="", attributes=said)
    source = speaking([[STARTED, raised], [STARTED]])
    first, second = await session(source), await session(source)
    assert first.event("vision.started").attributes["standing"] == ""
    assert second.event("vision.started").attributes["standing"] == "all/no_helmet"


class Waited(SystemClock):
    """Time stands; sleeps are noted and not slept."""

    def __init__(self) -> None:
        super().__init__()
        self.pauses_s: list[float] = []

    def monotonic_ns(self) -> int:
        """Always the same."""
        return 10**15

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Note it."""
        self.pauses_s.append(max(0.0, (monotonic_ns - self.monotonic_ns()) / 1e9))


async def test_a_process_that_dies_at_once_again_and_again_floods_nothing() -> None:
    """A model that breaks every process: begun each second for a weekend, an event each."""
    clock = Waited()
    source = speaking([[STARTED, Failed(text="the model is broken")]] * 12, clock)
    kinds = [kind for _ in range(12) for kind in (await session(source)).kinds()]
    assert kinds.count("vision.worker_lost") == 1
    assert clock.pauses_s[: QUICK_STARTS + 1] == [0.0] * (QUICK_STARTS + 1)
    assert clock.pauses_s[QUICK_STARTS + 1 :] == [2.0, 4.0, 8.0, 16.0, MOST_PAUSE_S, MOST_PAUSE_S]


async def test_each_loss_of_a_process_that_had_delivered_is_told() -> None:
    source = speaking([[STARTED, sample(1, GOOD)]] * 3, Waited())
    kinds = [kind for _ in range(3) for kind in (await session(source)).kinds()]
    assert kinds.count("vision.worker_lost") == 3


async def test_a_camera_is_not_kept_waiting_for_what_another_of_its_group_does() -> None:
    """One freezes, and all of its process are killed with it, again and again."""
    clock = Waited()
    source = speaking([[STARTED, sample(1, GOOD)]] * 12, clock, group="yard")
    for _ in range(12):
        await session(source)
    assert clock.pauses_s == [0.0] * 12


async def test_a_process_that_cannot_be_started_any_more_floods_nothing() -> None:
    source = speaking([[STARTED, sample(1, GOOD)]], Waited())
    kinds = [kind for _ in range(9) for kind in (await session(source)).kinds()]
    assert kinds.count("vision.worker_lost") == 2, (
        "one that had delivered, and all that never began"
    )
