"""One gateway id, and a disk, a backup, a store or a box that is not what it was: nothing is lost.

Real buffers on disk, real gRPC with mutual TLS, the real receiver and its store. Each danger must
be seen at both ends: as a fault in the receiver's store and as an event of the gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buffer.contract import Stream
from buffer.policy import BufferConfig
from buffer.store import Buffer
from gateway.model.event import gap_event
from gateway.runtime.clock import SystemClock
from gateway.uplink.client import GatewayIdentity, Uplink
from gateway.uplink.outputs import SessionSettings
from gateway.wire.v1 import uplink_pb2 as wire
from tests.e2e.world import free_port
from tests.fakes.certificates import Authority
from tests.gateway.uplink.test_client import PATIENT, QUICK, Running, mutual
from tests.gateway.uplink.test_with_receiver import receiving
from tests.waiting import until


@dataclass
class Box(Running):
    """A gateway that only makes alarms, each with a text of its own."""

    log: Buffer

    async def alarms(self, *texts: str) -> None:
        for text in texts:
            await self.log.add_record(Stream.ALARM, wire.Alarm(text=text).SerializeToString())

    async def delivered(self) -> None:
        await until(lambda: not self.left())

    def left(self) -> int:
        bounds = self.log.bounds(Stream.ALARM)
        cursor = self.log.cursor("province", Stream.ALARM)
        return len(cursor.missing(bounds.first, bounds.next))


class Site:
    """Folders and certificates of one gateway id, and of its receiver."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.own = self.authority.issue_gateway("SD-1")
        self.store = folder / "store"
        self.port = free_port()
        self._boots = 0

    @contextlib.asynccontextmanager
    async def receiver(self) -> AsyncIterator[None]:
        address = f"127.0.0.1:{self.port}"
        async with receiving(self.store, self.authority, address):
            yield

    @contextlib.asynccontextmanager
    async def box(self, disk: str, settings: SessionSettings = QUICK) -> AsyncIterator[Box]:
        self._boots += 1
        boot = self._boots.to_bytes(16, "big")
        clock = SystemClock()
        opened = Buffer.open(
            self.folder / disk, BufferConfig(), clock=clock, boot_id=boot, encode_gap=gap_event
        )
        async with opened as log, asyncio.TaskGroup() as group:
            box = Box(None, [], log)  # type: ignore[arg-type]  # made two lines below
            box.uplink = Uplink(
                mutual(f"127.0.0.1:{self.port}", self.authority.ca, self.own),
                log=log,
                clock=clock,
                identity=GatewayIdentity("SD-1", "91370800XXXXXXXXXX", "plantgate/0", boot),
                events=lambda *event: box.events.append(event),
                rng=random.Random(self._boots),
                settings=settings,
            )
            task = group.create_task(box.uplink.run())
            try:
                yield box
            finally:
                task.cancel()

    def copy(self, source: str, target: str) -> None:
        shutil.copytree(self.folder / source, self.folder / target)

    def restore(self, target: str, backup: str) -> None:
        shutil.rmtree(self.folder / target)
        self.copy(backup, target)

    def stored(self) -> list[str]:
        """Texts of the alarms in the store, over all logs."""
        rows = self._rows("SELECT payload FROM records WHERE (id >> 40) % 4 = 0")
        return [wire.Alarm.FromString(payload).text for (payload,) in rows]

    def faults(self) -> set[str]:
        return {kind for (kind,) in self._rows("SELECT kind FROM faults")}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.store / "receiver.db")) as db:
            return db.execute(query).fetchall()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def texts(prefix: str, count: int = 40) -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def noticed(box: Box, kind: str) -> Callable[[], bool]:
    """Tell whether the receiver's notice became an event of this gateway."""
    return lambda: any(
        one == "uplink.notice" and attributes["notice"] == kind for one, _, attributes in box.events
    )


async def test_a_swapped_disk_is_a_new_log(site: Site) -> None:
    async with site.receiver():
        async with site.box("disk") as box:
            await box.alarms(*texts("old"))
            await box.delivered()
        shutil.rmtree(site.folder / "disk")
        async with site.box("disk") as box:
            await box.alarms(*texts("new"))
            await box.delivered()
            await until(noticed(box, "new_log"))
    assert sorted(site.stored()) == sorted(texts("old") + texts("new"))
    assert site.faults() == {"new_log"}


@pytest.mark.parametrize("goes_on_alone", [0, 10, 100])
async def test_a_restored_backup_takes_a_new_log_id(site: Site, goes_on_alone: int) -> None:
    """The backup holds 40 of 80 alarms; restored, it may make others before it connects."""
    async with site.receiver():
        async with site.box("disk") as box:
            await box.alarms(*texts("before"))
            await box.delivered()
        site.copy("disk", "backup")
        async with site.box("disk") as box:
            await box.alarms(*texts("lost with the disk"))
            await box.delivered()
    site.restore("disk", "backup")
    alone = texts("alone", goes_on_alone)
    async with site.box("disk") as box:
        await box.alarms(*alone)
        async with site.receiver():
            await until(lambda: "uplink.log_forked" in box.kinds())
            await box.alarms("live")
            await box.delivered()
    expected = texts("before") + texts("lost with the disk") + alone + ["live"]
    assert sorted(site.stored()) == sorted(expected), "nothing lost, nothing twice"
    # That a log has gone on past what was received of another, only the gateway can see.
    assert site.faults() == {"new_log", "log_behind"} - {"log_behind" * (goes_on_alone > 40)}


async def test_a_restored_store_is_sent_what_it_lost(site: Site) -> None:
    async with site.box("disk") as box:
        async with site.receiver():
            await box.alarms(*texts("before"))
            await box.delivered()
        site.copy("store", "backup")
        async with site.receiver():
            await box.alarms(*texts("after"))
            await box.delivered()
        site.restore("store", "backup")
        assert sorted(site.stored()) == sorted(texts("before"))
        async with site.receiver():
            await until(lambda: "uplink.receiver_lost" in box.kinds())
            await box.delivered()
            await until(noticed(box, "restored_store"))
    assert sorted(site.stored()) == sorted(texts("before") + texts("after"))
    assert site.faults() == {"restored_store"}


async def test_a_second_box_with_the_same_id_is_served_and_reported_to_both(site: Site) -> None:
    async with site.receiver(), site.box("disk", PATIENT) as one:
        await until(lambda: "link.up" in one.kinds())
        async with site.box("other", PATIENT) as two:
            for turn in range(5):
                await one.alarms(f"one-{turn}")
                await two.alarms(f"two-{turn}")
            await one.delivered()
            await two.delivered()
            await until(noticed(one, "second_box"))
            await until(noticed(two, "second_box"))
            assert "link.down" not in one.kinds()
    expected = [f"{name}-{turn}" for name in ("one", "two") for turn in range(5)]
    assert sorted(site.stored()) == sorted(expected)
    assert site.faults() == {"new_log", "second_box"}


async def test_a_copied_disk_in_two_boxes_parts_them(site: Site) -> None:
    async with site.receiver(), site.box("disk") as one:
        await one.alarms(*texts("common"))
        await one.delivered()
    site.copy("disk", "copy")
    async with site.box("disk") as one, site.box("copy") as two:
        assert one.log.log_id == two.log.log_id
        await one.alarms(*texts("one", 10))
        await two.alarms(*texts("two", 10))
        async with site.receiver():
            await until(lambda: one.log.log_id != two.log.log_id)
            await one.delivered()
            await two.delivered()
            for turn in range(10, 15):
                await one.alarms(f"one-{turn}")
                await two.alarms(f"two-{turn}")
            await one.delivered()
            await two.delivered()
    stored = site.stored()
    assert set(stored) == {*texts("common"), *texts("one", 15), *texts("two", 15)}
    assert len(stored) == len(set(stored)), "nothing twice"
    assert "new_log" in site.faults()
