"""StandIn: the log in memory that a gateway runs on while its data directory cannot be opened.

Guarantees: a `Buffer` in a folder of a file system in memory, so everything is as it is on disk but
for this: it has a log id of its own and small quotas; alarms are no records: each is told at once
as volatile and kept, `HELD_BYTES` of them (beyond that: counted lost); it is never well.
`hand_over` gives what the log on disk does not know yet. What lies on the disk is read at most.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from buffer.contract import BufferPathError, Gap, NotStoredError, Record, Stream
from buffer.database import ROW_OVERHEAD_BYTES
from buffer.kept import HELD_BYTES
from buffer.policy import MIB, BufferConfig
from buffer.ranges import RangeSet
from buffer.store import Buffer

IN_MEMORY = (Path("/dev/shm"), Path("/run"))  # noqa: S108 - file systems in memory, shm_overview(7)
QUOTAS = {
    Stream.ALARM: 4 * MIB, Stream.EVENT: 8 * MIB, Stream.TELEMETRY: 20 * MIB,
    Stream.EVIDENCE: 8 * MIB,
}  # fmt: skip
"""With their WALs less than the 64 MiB that a container has in /dev/shm."""
COPIED_BYTES = 4 * MIB
NOT_COPIED = frozenset({"evidence", "recordings", "config", "reserve", "lock", "control.sock"})
READ_BYTES = MIB


@dataclass(slots=True)
class HandOver:
    """What a log in memory held that is to be on disk: payloads, states, and what is lost.

    why: what kept it from being stored.
    """

    alarms: list[bytes] = field(default_factory=list)
    events: list[bytes] = field(default_factory=list)
    state: dict[str, bytes] = field(default_factory=dict)
    lost: list[Gap] = field(default_factory=list)
    why: str = ""


class StandIn(Buffer):
    """See above; `begin` comes first. why: what is wrong with the disk, in one sentence."""

    why: str
    _carried: HandOver
    _held_bytes: int
    _names: Mapping[str, Collection[Stream]]

    def begin(self, why: str, known: Mapping[str, bytes], before: HandOver) -> None:
        """Go on from states that were read from the disk, and from what one before this held."""
        self.why, self._names = why, {}
        self._held_bytes = 0
        self._carried = HandOver(state=dict(before.state), lost=list(before.lost))
        self._state.update({**known, **before.state})

    def add_record(
        self,
        stream: Stream,
        payload: bytes,
        *,
        state: Mapping[str, bytes] | None = None,
        keep: bytes | None = None,
    ) -> asyncio.Future[int]:
        """As `Buffer`; but an alarm is told and kept, and its receipt fails."""
        self._carried.state.update(state or {})
        if stream is not Stream.ALARM:
            return super().add_record(stream, payload, state=state, keep=keep)
        receipt: asyncio.Future[int] = self._running().create_future()
        if state:
            super().save_state(state)
        self._held_bytes += len(payload) + ROW_OVERHEAD_BYTES
        if self._held_bytes <= HELD_BYTES:
            self._carried.alarms.append(payload)
        else:
            now_ns = self._clock.wall_ns()
            self._carried.lost.append(Gap(stream, "io_error", 0, 0, now_ns, now_ns, 1))
        self._alarms.follow(receipt, payload, failing=True)
        receipt.set_exception(NotStoredError(self.why))
        receipt.exception()  # asyncio does not complain where nobody asks
        return receipt

    def save_state(self, state: Mapping[str, bytes]) -> None:
        """Set named values."""
        self._carried.state.update(state)
        super().save_state(state)

    def health(self) -> tuple[bool, str]:
        """Never well: nothing is on disk."""
        well, text = super().health()
        return False, self.why if well else f"{self.why} {text}"

    def set_destinations(self, destinations: Mapping[str, Collection[Stream]]) -> None:
        """Name all destinations and the streams that each is sent."""
        self._names = destinations
        super().set_destinations(destinations)

    async def hand_over(self) -> HandOver:
        """What the log on disk is to hold of this one; asked once everything else has ended."""
        found = self._carried
        kept = set(self.catalogue_records().values())
        events = [one for one in await self._unsent(Stream.EVENT) if one.sequence not in kept]
        lost = list(found.lost)
        for stream in (Stream.TELEMETRY, Stream.EVIDENCE):
            if unsent := await self._unsent(stream):
                first_ns = min(one.first_ns for one in unsent)
                last_ns = max(one.last_ns for one in unsent)
                count = sum(one.samples for one in unsent)
                lost.append(Gap(stream, "io_error", 0, 0, first_ns, last_ns, count))
        payloads = [one.payload for one in events]
        return HandOver(list(found.alarms), payloads, dict(found.state), lost)

    async def _unsent(self, stream: Stream) -> list[Record]:
        """Records that some destination has not acknowledged; all where there is no destination."""
        held = self.bounds(stream)
        wanted = RangeSet() if self._names else RangeSet([(held.first, held.next)])
        for name, streams in self._names.items():
            if stream in streams:
                wanted.update(self.cursor(name, stream).missing(held.first, held.next))
        found: list[Record] = []
        for start, stop in wanted:
            at = start
            while at < stop:
                some = await self.read(stream, at, last=stop - 1, max_bytes=READ_BYTES)
                found += [replace(one, payload=b"") for one in some] if stream > 2 else some
                at = some[-1].sequence + 1 if some else stop
        return found


def in_memory(config: BufferConfig) -> BufferConfig:
    """The settings of a log, with the little room there is in memory."""
    return replace(
        config, quota_bytes=QUOTAS, quota_hours={}, rollup_quota_bytes=0, reserve_bytes=0,
        min_free_bytes=4 * MIB,
    )  # fmt: skip


class Folder:
    """The folder in memory that stands for a data directory, and the hold on both.

    Raises BufferPathError where another process holds either, or no memory can be had.
    """

    def __init__(self, data_dir: Path) -> None:
        self._lock = _held(data_dir)
        try:
            self.path = _made(data_dir)
        except BaseException:
            self.release()
            raise
        self.notes = _copied(data_dir, self.path)

    def release(self) -> None:
        """Let go of the data directory, so that it can be opened."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Let go, and give the memory back."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)


def places(data_dir: Path) -> list[Path]:
    """Where the folder in memory of a data directory may be."""
    name = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    return [root / f"plantgate-{name}" for root in IN_MEMORY]


def forget(data_dir: Path) -> None:
    """Give back the memory of a gateway that was killed; the data directory is open, and held."""
    for path in places(data_dir):
        try:
            is_own = not path.is_symlink() and path.stat().st_uid == os.geteuid()
            lock = _held(path)
        except (OSError, BufferPathError):
            continue  # there is none, or it is in use
        if is_own:
            shutil.rmtree(path, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def known_states(data_dir: Path) -> tuple[dict[str, bytes], str]:
    """States that records.db holds, and why they cannot be read, or nothing.

    Read without writing a byte: the VFS `unix-none` takes no locks, and an exclusive connection
    keeps the WAL's index in its own memory (sqlite.org/wal.html, sections 6 and 7). Only for
    a data directory that no process writes to.
    """
    path = data_dir / "records.db"
    try:
        if not path.exists():
            return {}, ""
        uri = f"{path.absolute().as_uri()}?mode=ro&vfs=unix-none"
        with closing(sqlite3.connect(uri, uri=True)) as source:
            source.execute("PRAGMA locking_mode = EXCLUSIVE")
            rows = source.execute("SELECT key, value FROM state").fetchall()
    except (OSError, sqlite3.Error) as failure:
        return {}, str(failure)
    return {str(key): bytes(value) for key, value in rows}, ""


def _held(data_dir: Path) -> int | None:
    try:
        handle = os.open(data_dir / "lock", os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as failure:
        os.close(handle)
        text = f"Data directory {data_dir} is in use by another process."
        raise BufferPathError(text) from failure
    except OSError:
        os.close(handle)
        return None
    return handle


def _made(data_dir: Path) -> Path:
    """Make the folder anew, for this user only; one for each data directory, so none piles up."""
    why = ""
    for path in places(data_dir):
        try:
            if path.exists() and (lock := _held(path)) is not None:
                os.close(lock)
            if path.is_symlink() or (path.exists() and path.stat().st_uid != os.geteuid()):
                why = f"{path} is not this user's"
                continue
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o700)
        except OSError as failure:
            why = str(failure)
            continue
        return path
    raise BufferPathError(f"Data directory {data_dir} cannot be used, nor memory instead: {why}.")


def _copied(data_dir: Path, folder: Path) -> list[str]:
    """Copy what is small beside the log (keys, people, views); gives what cannot be read."""
    notes: list[str] = []
    try:
        entries = sorted(data_dir.iterdir())
    except OSError as failure:
        return [f"{data_dir} cannot be read: {failure.strerror}"]
    for entry in entries:
        if entry.name in NOT_COPIED or ".db" in entry.name or entry.name.startswith("."):
            continue
        try:
            files = [entry] if entry.is_file() else [f for f in entry.rglob("*") if f.is_file()]
            if sum(file.stat().st_size for file in files) > COPIED_BYTES:
                notes.append(f"{entry.name} is too large to be copied")
                continue
            for file in files:
                target = folder / file.relative_to(data_dir)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                shutil.copy2(file, target)
        except OSError as failure:
            notes.append(f"{entry.name} cannot be read: {failure.strerror}")
    return notes
