"""Pictures that a receiver asks for: taken once allowed, sent whole, refused in one clause."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from buffer.contract import Stream
from gateway.model.sight import NoPictureError, Sight
from gateway.receiver.evidence import EvidenceFiles
from gateway.runtime.clock import SystemClock
from gateway.uplink.file_policy import FilePolicy
from gateway.uplink.pictures import MOST_WAITING
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.small_log import SmallLog
from tests.gateway.receiver.conftest import RunReceiver, run_receiver
from tests.gateway.uplink.test_client import PATIENT, Destination, running
from tests.waiting import until

HOUR_NS = 3_600 * 10**9
NOON_NS = 20_420 * 24 * HOUR_NS + 12 * HOUR_NS

__all__ = ["run_receiver"]


class Cameras:
    """One camera, east, whose pictures are bytes; it waits while `open` is not set."""

    def __init__(self, log: SmallLog, size: int = 90_000) -> None:
        self._log = log
        self._size = size
        self.looked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def look(self, camera: str) -> Sight:
        if camera != "east":
            raise NoPictureError(f"there is no camera {camera!r} here; there are east")
        self.looked += 1
        await self.open.wait()
        return Sight(camera, bytes([self.looked]) * self._size, 1)

    async def keep(self, sight: Sight) -> None:
        name = await self._log.put_file(sight.content)
        file = wire.EvidenceFile(
            sha256=name,
            total_bytes=len(sight.content),
            media_type="image/jpeg",
            source=sight.camera,
        )
        self._log.put(Stream.EVIDENCE, file.SerializeToString())


class Noon(SystemClock):
    """The machine's clock, on whose wall it is afternoon: no midnight comes in a test."""

    @staticmethod
    def wall_ns() -> int:
        """Within the hour after noon of 2025-11-28."""
        return NOON_NS + SystemClock.monotonic_ns() % HOUR_NS


class Asking:
    """A gateway with a camera, a receiver, and who asks there."""

    def __init__(self, folder: Path, run: RunReceiver) -> None:
        self._folder = folder
        self._run = run
        self.log = SmallLog()
        self.cameras = Cameras(self.log)
        self.files = EvidenceFiles(folder / "evidence")
        self.kinds: list[str] = []

    @contextlib.asynccontextmanager
    async def connected(self, **destination: object) -> AsyncIterator[Asking]:
        async with contextlib.AsyncExitStack() as stack:
            receiving = await stack.enter_async_context(self._run(self._folder))
            self._ask = receiving.receiver.requests.ask
            there = Destination(receiving.target, **destination)  # type: ignore[arg-type] # fields
            gateway = await stack.enter_async_context(
                running(there, self.log, PATIENT, pictures=self.cameras, clock=Noon())
            )
            await until(lambda: "link.up" in gateway.kinds())
            yield self
            self.kinds = gateway.kinds()

    async def ask(self, camera: str = "east") -> dict[str, object]:
        return await self._ask({"what": "snapshot", "camera": camera, "gateway": "SD-1"})


@pytest.fixture
def asking(tmp_path: Path, run_receiver: RunReceiver) -> Asking:
    return Asking(tmp_path / "store", run_receiver)


@pytest.mark.parametrize("kind", ["thumbnail", "picture", "clip"])
async def test_a_picture_comes_whole_whatever_else_is_withheld(asking: Asking, kind: str) -> None:
    async with asking.connected(evidence=kind):
        said = await asking.ask()
        content = bytes([1]) * 90_000
        digest = hashlib.sha256(content)
        assert said == {
            "accepted": True,
            "message": f"picture {digest.hexdigest()} of camera east (90000 bytes) is on its way",
            "sha256": digest.hexdigest(),
        }
        await until(lambda: asking.files.complete(digest.digest()))
        assert asking.files.path(digest.digest()).read_bytes() == content
        await until(lambda: not asking.log.cursor("province", Stream.EVIDENCE).missing(1, 2))
    assert asking.kinds.count("uplink.request") == 1
    assert asking.kinds.count("uplink.snapshot") == 1


async def test_what_forbids_a_picture_is_said_and_no_camera_is_asked(asking: Asking) -> None:
    async with asking.connected(evidence="none"):
        said = await asking.ask()
        assert said["message"] == (
            'this destination is sent no files (evidence = "none" at the gateway)'
        )
    async with asking.connected(streams=("alarm", "event", "telemetry")):
        said = await asking.ask()
        assert said["message"] == "this destination does not take the stream of evidence"
    async with asking.connected():
        said = await asking.ask("west")
        assert said["message"] == "there is no camera 'west' here; there are east"
        with pytest.raises(ValueError, match="names no camera"):
            await asking.ask(" ")
    assert asking.cameras.looked == 0


async def test_the_bytes_of_the_day_bound_pictures_too(asking: Asking) -> None:
    async with asking.connected(evidence_bytes_per_day=180_000):
        assert [(await asking.ask())["accepted"] for _ in range(2)] == [True, True]
        said = await asking.ask()
        assert said["message"] == "the 180000 bytes of files that a day may take are used up"
        assert asking.cameras.looked == 2
        await until(lambda: not asking.log.cursor("province", Stream.EVIDENCE).missing(1, 3))
    async with asking.connected(evidence_bytes_per_day=280_000):  # another run, the same day
        assert (await asking.ask())["accepted"]
        said = await asking.ask()
        assert said["message"] == (
            "the picture takes 90000 bytes, and 10000 of this day's are left"
        )
        await until(lambda: not asking.log.cursor("province", Stream.EVIDENCE).missing(1, 4))
    assert len(asking.log.records[Stream.EVIDENCE]) == 3, "a refused picture is not kept"


async def test_many_who_ask_at_once_are_told_to_come_back(asking: Asking) -> None:
    async with asking.connected(), asyncio.TaskGroup() as group:
        asking.cameras.open.clear()
        asked = [group.create_task(asking.ask()) for _ in range(MOST_WAITING + 1)]
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        assert [one.result()["message"] for one in done] == [
            f"{MOST_WAITING} pictures are being taken; ask again in a moment"
        ]
        asking.cameras.open.set()
    assert sum(bool(one.result()["accepted"]) for one in asked) == MOST_WAITING


def test_bytes_that_were_asked_for_count_for_the_day_and_once() -> None:
    policy = FilePolicy("thumbnail", 1000)
    assert policy.expect(b"a" * 32, 600, 0) == ""
    assert policy.expect(b"b" * 32, 600, 0) == (
        "the picture takes 600 bytes, and 400 of this day's are left"
    )
    assert policy.refuses_pictures(0) == ""
    assert policy.expect(b"b" * 32, 400, 0) == ""
    assert policy.refuses_pictures(0) == ("the 1000 bytes of files that a day may take are used up")
    assert policy.refuses_pictures(86_400 * 10**9) == ""
    assert FilePolicy("clip", 0).expect(b"c" * 32, 10**9, 0) == "", "no limit"
