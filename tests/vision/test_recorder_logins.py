"""How often a wrong password reaches a recorder that many real processes read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from drivers.contract import Batch, Driver, Receipt, SourceEvent
from gateway.runtime.clock import SystemClock
from gateway.sources.camera import CameraSource
from gateway.sources.camera_groups import CameraGroups
from gateway.sources.recording import RecordingRules, RecordingSource
from tests.fakes.rtsp_camera import RtspCamera
from tests.vision.recorder import camera, points_of
from tests.waiting import until
from vision.config import CameraConfig
from vision.shelf import Shelf

CHANNELS, GROUPS, RECORDED = 16, 3, 2
LONGEST_S = 200.0  # five processes that begin on a busy machine; a bound, no expectation


def busy(answer: bytes) -> bytes:
    """A recorder that takes the login and has no room for another stream."""
    full = b"453 Not Enough Bandwidth"
    return answer.replace(b"200 OK", full) if b"interleaved" in answer else answer


class Told:
    """What all sources emit."""

    def __init__(self) -> None:
        self.events: list[SourceEvent] = []

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        """Keep events."""
        if isinstance(item, SourceEvent):
            self.events.append(item)
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    def refused(self) -> dict[str, str]:
        """What was told of each camera that is lost because of its login."""
        lost = [event for event in self.events if event.kind == "vision.camera_lost"]
        return {
            event.source: event.text for event in lost if "refuses the login of admin" in event.text
        }

    def all_refused(self) -> bool:
        """Was that told of every channel."""
        return len(self.refused()) == CHANNELS


class Channels:
    """A recorder's cameras in several groups, two of them recorded, too."""

    def __init__(self, folder: Path, port: int) -> None:
        self.secret = folder / "password"
        self._folder = folder
        self._configs = [
            camera(
                f"rtsp://127.0.0.1:{port}/ch{number}",
                name=f"ch{number}",
                group=f"group{number % GROUPS}",
                user="admin",
                password_file=str(self.secret),
                record="always" if number < RECORDED else "never",
            )
            for number in range(CHANNELS)
        ]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Told]:
        """All of them, as a gateway begins them: in processes of their own."""
        told = Told()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(source.run(told)) for source in self._sources()]
            try:
                yield told
            finally:
                for task in tasks:
                    task.cancel()

    def _sources(self) -> Sequence[Driver]:
        clock = SystemClock()
        groups, logins = CameraGroups(clock), self._folder / "logins"
        recorded = [one for one in self._configs if one.record == "always"]
        return [
            *(
                CameraSource(
                    one, points_of(one), clock, logins=logins, silence_s=120.0,
                    start=groups.of(one.group).member,
                )
                for one in self._configs
            ),
            *(self._recording(one, clock, logins) for one in recorded),
        ]  # fmt: skip

    def _recording(self, config: CameraConfig, clock: SystemClock, logins: Path) -> RecordingSource:
        shelf = Shelf(self._folder / "recordings", 1 << 30, 86_400 * 10**9)
        rules = RecordingRules(segment_s=300.0, reserve_bytes=0)
        return RecordingSource(config, 7, clock, shelf, rules, lambda: True, logins)


async def test_sixteen_cameras_of_one_recorder_in_five_processes_try_one_wrong_password_once(
    tmp_path: Path,
) -> None:
    """It went out 18 times, and the recorder shut everybody out, people who look at it as well."""
    async with RtspCamera(busy, login=("admin", "right")) as recorder:
        channels = Channels(tmp_path, recorder.port)
        channels.secret.write_text("wrong-one", encoding="utf-8")
        for start in range(2):
            async with channels.running() as told:
                await until(told.all_refused, LONGEST_S)
            assert recorder.logins == [False], f"start {start}: once, also after a restart"
            other = "it refused it to another camera of this recorder, ch"
            by_others = [one for one in told.refused().values() if other in one]
            assert len(by_others) >= CHANNELS - 1
            assert "wrong-one" not in repr(told.events)
        async with channels.running() as told:
            await until(lambda: len(told.refused()) == CHANNELS, LONGEST_S)
            channels.secret.write_text("right", encoding="utf-8")
            await until(lambda: _shown(recorder) == set(range(CHANNELS)), LONGEST_S)
        assert recorder.logins.count(False) == 1
    notes = [path.read_bytes() for path in (tmp_path / "logins").iterdir()]
    assert not [note for note in notes if b"wrong-one" in note or b"right" in note]


def _shown(recorder: RtspCamera) -> set[int]:
    """Channels whose stream was asked for, which takes the right password."""
    found = [re.match(rb"SETUP \S*/ch(\d+)/", line) for line in recorder.lines]
    return {int(match[1]) for match in found if match is not None}
