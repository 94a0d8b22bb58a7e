"""The log in memory that stands for a disk: alarms told and handed over, losses counted."""

from __future__ import annotations

import errno
import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from buffer.contract import BufferPathError, NotStoredError, Stream, VolatileRecord
from buffer.kept import HELD_BYTES
from buffer.memory_folder import Folder, forget, known_states
from buffer.policy import BufferConfig
from buffer.ranges import RangeSet
from buffer.stand_in import HandOver, StandIn, in_memory
from buffer.unusable import passes, unusable
from tests.buffer.conftest import BOOT_ID, HandClock, OpenBuffer, encode_gap

WHY = "The disk is read-only."


def opened(path: Path, clock: HandClock, before: HandOver | None = None) -> StandIn:
    """A log in memory; the folder of a test is as good."""
    log = StandIn.open(
        path, in_memory(BufferConfig(commit_ms=1)), clock=clock, boot_id=BOOT_ID,
        encode_gap=encode_gap,
    )  # fmt: skip
    log.begin(WHY, {"known": b"1"}, before or HandOver())
    return log


async def test_alarms_are_told_kept_and_handed_over(tmp_path: Path, clock: HandClock) -> None:
    told: list[tuple[bytes, bool]] = []

    def listen(records: Sequence[VolatileRecord], volatile: bool) -> None:
        told.extend((one.payload, volatile) for one in records)

    async with opened(tmp_path / "memory", clock) as log:
        log.set_destinations({"province": tuple(Stream), "city": (Stream.EVENT,)})
        log.add_volatile_listener(listen)
        with pytest.raises(NotStoredError, match="read-only"):
            await log.add_record(Stream.ALARM, b"gas", state={"desk/gas": b"standing"})
        assert told == [(b"gas", True)]
        assert [one.payload for one in log.volatile()] == [b"gas"]
        assert log.bounds(Stream.ALARM).next == 1, "no record, so none under another log id"
        for payload in (b"one", b"two", b"three"):
            await log.add_record(Stream.EVENT, payload)
        await log.add_record(Stream.EVENT, b"catalogue", keep=bytes(32))
        log.acknowledge("province", Stream.EVENT, RangeSet([(1, 3)]))
        log.acknowledge("city", Stream.EVENT, RangeSet([(2, 4)]))
        await log.add_batch(
            np.arange(3, dtype=np.int32), np.zeros(3), np.zeros(3, np.uint16), 5, clock.wall_ns()
        )
        assert log.health() == (False, WHY)
        held = await log.hand_over()
    assert held.alarms == [b"gas"]
    assert held.events == [b"one", b"three"], "what one of the destinations lacks"
    assert held.state == {"desk/gas": b"standing"}, "only what is new"
    assert [(gap.stream, gap.cause, gap.count) for gap in held.lost] == [
        (Stream.TELEMETRY, "io_error", 3)
    ]
    async with opened(tmp_path / "again", clock, held) as log:
        assert log.state("desk/gas") == b"standing"
        assert log.state("known") == b"1"
        assert (await log.hand_over()).lost == held.lost


async def test_what_memory_cannot_hold_is_counted(tmp_path: Path, clock: HandClock) -> None:
    async with opened(tmp_path / "memory", clock) as log:
        for _ in range(3):
            log.add_record(Stream.ALARM, bytes(HELD_BYTES // 2 - 1_000))
        held = await log.hand_over()
    assert len(held.alarms) == 2
    assert [(gap.stream, gap.count) for gap in held.lost] == [(Stream.ALARM, 1)]


async def test_states_are_read_without_writing(tmp_path: Path, open_buffer: OpenBuffer) -> None:
    async with open_buffer() as log:
        await log.add_record(Stream.EVENT, b"x", state={"point_ids": b"{}"})
        folder = log._path
        copy = tmp_path / "cut"
        copy.mkdir()
        for name in ("records.db", "records.db-wal"):  # as a power cut leaves it
            (copy / name).write_bytes((folder / name).read_bytes())
    assert known_states(copy) == ({"point_ids": b"{}"}, "")
    assert {one.name for one in copy.iterdir()} == {"records.db", "records.db-wal"}
    (copy / "records.db").write_bytes(b"no database")
    (copy / "records.db-wal").unlink()
    assert known_states(copy)[1] == "file is not a database"
    assert known_states(tmp_path / "nothing") == ({}, "")


def test_small_files_are_copied_and_the_data_directory_is_held(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "console").mkdir(parents=True)
    (data / "console" / "users.json").write_bytes(b"{}")
    (data / "records.db").write_bytes(b"log")
    (data / "lock").touch()
    folder = Folder(data)
    try:
        assert (folder.path / "console" / "users.json").read_bytes() == b"{}"
        assert not (folder.path / "records.db").exists()
        assert folder.path.stat().st_mode & 0o777 == 0o700
        with pytest.raises(BufferPathError, match="in use by another process"):
            Folder(data)
        (folder.path / "lock").touch()
        with (folder.path / "lock").open() as used:
            fcntl.flock(used, fcntl.LOCK_EX)
            forget(data)
            assert folder.path.exists(), "it is in use"
        forget(data)
        assert not folder.path.exists()
        forget(data)
    finally:
        folder.remove()


def test_what_people_changed_in_memory_goes_back_but_over_no_other_change(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in ("console/users.json", "views/unit1.npz", "devices/opcua.json", "views/gone.npz"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"before")
    folder = Folder(data)
    try:
        for name in (
            "console/users.json",
            "views/unit1.npz",
            "devices/opcua.json",
            "views/new.npz",
        ):
            (folder.path / name).write_bytes(b"in memory")
        (folder.path / "console" / "users.lock").touch()
        (data / "views" / "unit1.npz").write_bytes(b"on the disk")
        notes, left = folder.give_back()
        assert left == {}
        assert sorted(note.split()[0] for note in notes) == [
            "console/users.json", "views/new.npz", "views/unit1.npz"
        ]  # fmt: skip
        assert "which stays" in next(note for note in notes if "unit1" in note)
        there = {str(f.relative_to(data)): f.read_bytes() for f in data.rglob("*") if f.is_file()}
        assert there == {
            "console/users.json": b"in memory",
            "views/unit1.npz": b"on the disk",
            "views/new.npz": b"in memory",
            "views/gone.npz": b"before",
            "devices/opcua.json": b"before",
        }
        assert (data / "console" / "users.json").stat().st_mode & 0o777 == 0o600
    finally:
        folder.remove()


def test_what_the_disk_does_not_take_is_given_back_by_the_next_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "console").mkdir(parents=True)
    (data / "console" / "users.json").write_bytes(b"before")
    folder = Folder(data)
    (folder.path / "console" / "users.json").write_bytes(b"in memory")
    (data / "console" / "users.json.partial").mkdir()  # as a disk that takes nothing
    assert folder.give_back() == ([], {"console/users.json": b"in memory"})
    folder.remove()
    (data / "console" / "users.json.partial").rmdir()
    folder = Folder(data)
    try:
        folder.put({"console/users.json": b"in memory"})
        assert folder.give_back()[1] == {}
        assert (data / "console" / "users.json").read_bytes() == b"in memory"
    finally:
        folder.remove()


def test_what_passes_and_what_a_person_must_change() -> None:
    for number in (errno.EROFS, errno.ENOSPC, errno.EIO):
        assert passes(OSError(number, ""))
    for number in (errno.EACCES, errno.ENOTDIR, errno.EEXIST):
        assert not passes(OSError(number, ""))
    with pytest.raises(sqlite3.OperationalError) as failure:
        sqlite3.connect("file:/nowhere/at/all?mode=ro", uri=True).execute("SELECT 1")
    assert unusable(Path("data"), failure.value).passes
