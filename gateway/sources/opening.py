"""Which log a site runs on: its own, or one in memory while its disk takes none; and the way back.

Guarantees: a data directory that a disk keeps from being opened (full, read-only, failing) keeps no
gateway from starting: everything runs on a log in memory (`buffer/stand_in.py`), health is red with
one sentence, and the disk is tried again every RETRY_NS. Once it is well the parts end in order,
what memory held is stored (alarms as records, with their states), and everything starts anew on
disk, in this process. What a person must change is raised as before. Nothing is written to the disk
before it can be opened.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from buffer.contract import BufferPathError, NotStoredError, Stream
from buffer.memory_folder import Folder, forget, known_states
from buffer.recover import open_data_dir
from buffer.stand_in import HandOver, StandIn, in_memory
from buffer.store import Buffer
from gateway.config.load import ConfigError
from gateway.config.site import Site, with_state_dir, without_state_dir
from gateway.model.event import event, gap_event
from gateway.observe.failures import Note
from gateway.observe.log import configure, logger
from gateway.rules.judge import DESK_STATE
from gateway.runtime.clock import SystemClock, boot_id
from gateway.sources.build import POINT_IDS_STATE, make_signer
from gateway.sources.keep import Part

RETRY_NS = 10_000_000_000
LOOK_S = 0.2
NO_RECORDINGS = " No camera is recorded."
OF_ONE_LOG = (POINT_IDS_STATE, "derived/", "uplink.files.")
"""Names of states that speak of a log's own sequences and ids."""
OF_ALARMS = (DESK_STATE, "notify/")
"""Names of states each of which is of one alarm, so that they can be added to others."""
_LOG = logger("app")
Load = Callable[[], Site]


class Opening:
    """A site and the log it runs on, until `stop`. load: gives the site anew, for that log."""

    def __init__(self, site: Site, buffer: Buffer, load: Load, stop: asyncio.Event) -> None:
        self._site: Site | None = site
        self._stop = stop
        self.buffer = buffer
        self.load = load
        self.disk: Disk | None = None

    def taken(self) -> Site:
        """The site; it is forgotten here."""
        site, self._site = self._site, None
        assert site is not None  # noqa: S101 - asked once
        return site

    async def used(self, run: Callable[[Opening], Awaitable[Opening | None]]) -> Opening | None:
        """Run on it; where the disk takes not even a first record, go on in memory."""
        try:
            return await run(self)
        except NotStoredError as error:
            if self.disk is not None or self._stop.is_set():
                raise
            why = HandOver(why=str(error))
            return opening(self.load(), self.load, SystemClock(), self._stop, why)

    async def begin(self, site: Site) -> None:
        """Name the destinations; put into the log what another before it held."""
        self.buffer.set_destinations({uplink.name: tuple(Stream) for uplink in site.uplinks})
        if self.disk is not None:
            for payload in self.disk.before.events:
                self.buffer.add_record(Stream.EVENT, payload)
            for payload in self.disk.before.alarms:
                self.buffer.add_record(Stream.ALARM, payload)

    def attend(self, note: Note, beside: dict[str, Part]) -> None:
        """Put what tries the disk again beside the other parts, if there is anything to try."""
        if self.disk is not None:
            self.disk.note, beside["disk"] = note, self.disk

    async def until(self) -> None:
        """Wait until the gateway is to stop, or its disk is well again."""
        stop = self._stop
        while not stop.is_set() and not (self.disk and self.disk.is_back):
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self.disk else None):
                    await stop.wait()

    async def ending(self) -> None:
        """Take out what is to be on disk; everything else has ended."""
        if self.disk is not None and isinstance(self.buffer, StandIn):
            self.disk.held = await self.buffer.hand_over()

    async def following(self) -> Opening | None:
        """What to run on now, None to stop; the log is closed. NotStoredError if memory is lost."""
        disk = self.disk
        if disk is None:
            return None
        disk.leave()
        try:
            await disk.store()
        except (BufferPathError, ConfigError, NotStoredError, OSError) as error:
            disk.held.why = str(error)
            if not self._stop.is_set():
                return opening(disk.load(), disk.load, disk.clock, self._stop, disk.held)
            raise NotStoredError(f"{error} Stopped: {disk.lost_words()} lost here.") from error
        if self._stop.is_set():
            return None
        return opening(disk.load(), disk.load, disk.clock, self._stop)


def opening(
    site: Site, load: Load, clock: SystemClock, stop: asyncio.Event, before: HandOver | None = None
) -> Opening:
    """Open the log of a site, or one in memory; raises BufferPathError where neither helps.

    before: what an earlier log in memory held and could not hand over.
    """
    configure(site.log.level, site.log.format)
    try:
        if before is None:
            found = Opening(site, _on_disk(site, clock), load, stop)
            forget(site.gateway.data_dir)
            return found
        text = f"Data directory {site.gateway.data_dir} takes nothing: {before.why.rstrip('.')}."
        why = BufferPathError(text, passes=True)
    except BufferPathError as error:
        why = error
    if not why.passes:
        raise why
    folder = Folder(site.gateway.data_dir)
    try:
        folder.put(before.files if before is not None else {})
        moved = _moved(site, folder.path)
        buffer = _in_memory(moved, folder.path, clock)
    except BaseException:
        folder.remove()
        raise
    found = Opening(moved, buffer, lambda: _moved(load(), folder.path), stop)
    found.disk = Disk(site.gateway.data_dir, folder, load, clock)
    found.disk.begin(buffer, why, before or HandOver(), records=_records_there(site))
    return found


def _on_disk(site: Site, clock: SystemClock) -> Buffer:
    return Buffer.open(
        site.gateway.data_dir,
        site.buffer.to_config(),
        clock=clock,
        boot_id=boot_id(),
        encode_gap=gap_event,
        signer=make_signer(site),
    )


def _in_memory(moved: Site, folder: Path, clock: SystemClock) -> StandIn:
    return StandIn.open(
        folder,
        in_memory(moved.buffer.to_config()),
        clock=clock,
        boot_id=boot_id(),
        encode_gap=gap_event,
        signer=make_signer(moved),
    )


def _moved(site: Site, folder: Path) -> Site:
    """The site with its data directory in memory; recordings, which are large, stay on disk."""
    old = site.gateway.data_dir
    recording = site.recording
    if not recording.folder:
        recording = recording.model_copy(update={"folder": str(old.absolute() / "recordings")})
    return replace(
        site,
        gateway=site.gateway.model_copy(update={"data_dir": folder}),
        recording=recording,
        devices=tuple(
            with_state_dir(without_state_dir(device, old), folder) for device in site.devices
        ),
    )


def _records_there(site: Site) -> bool:
    """Tell whether any camera is to be recorded on the disk of the data directory."""
    return not site.recording.folder and any(one.record != "never" for one in site.cameras)


class Disk:
    """Tries the disk again; a part of the gateway that runs on a log in memory."""

    def __init__(self, data_dir: Path, folder: Folder, load: Load, clock: SystemClock) -> None:
        self.before, self.held = HandOver(), HandOver()
        self.folder, self.load, self.clock = folder, load, clock
        self.is_back = False
        self.note: Note | None = None
        self._data_dir = data_dir
        self._whole = True
        self._said: list[str] = []
        self._notes: list[str] = []
        self._changes: list[str] = []
        self._tries, self._why = 0, ""

    def begin(
        self, buffer: StandIn, why: BufferPathError, before: HandOver, *, records: bool
    ) -> None:
        """Have the log in memory go on from what the disk can still be asked.

        records: cameras are to be recorded in the data directory.
        """
        known, unknown = known_states(self._data_dir)
        text = (
            f"{why} Everything is in memory only, and lost if this process ends: alarms go out at"
            f" once, marked volatile.{NO_RECORDINGS if records else ''} Make the disk writable"
            f" (space, fsck, remount); it is tried again every {RETRY_NS // 10**9} s."
            f" 磁盘不可写, 数据仅在内存中{', 摄像机无录像' if records else ''}。"
        )
        known = {key: value for key, value in known.items() if not key.startswith(OF_ONE_LOG[1:])}
        buffer.begin(text, known, before)
        if unknown:
            self._said.append(f"What was known of alarms and permits cannot be read: {unknown}.")
        self._said += [text, *(f"Of the data directory, {note}." for note in self.folder.notes)]
        self.before, self._whole = before, not unknown
        _LOG.error(text, notes="; ".join(self.folder.notes), states=len(known), unread=unknown)

    async def run(self) -> None:
        """Try until it is well, then until cancelled."""
        for text in self._said:
            if self.note is not None:
                self.note("buffer.in_memory", "buffer", text, {})
        self._said = []
        while True:
            await self.clock.sleep_until(self.clock.monotonic_ns() + RETRY_NS)
            self._tries += 1
            self._why = "" if self.is_back else await asyncio.to_thread(self._tried)
            self.is_back = not self._why

    def statistics(self) -> Mapping[str, float]:
        """How often it was tried."""
        return {"tries": float(self._tries)}

    def health(self) -> tuple[bool, str]:
        """Not well; why the last try failed."""
        said = self._why or ("the disk is well again" if self.is_back else "not tried yet")
        return False, f"tried {self._tries} times: {said}"

    def _tried(self) -> str:
        """Open the data directory as a start would; gives why that fails, or nothing.

        It is held before and after, so that no second gateway begins on it meanwhile.
        """
        try:
            site = _probed(self.load, self._data_dir)
            self.folder.release()
            try:
                config = site.buffer.to_config()
                make_signer(site)
                now_ns = self.clock.wall_ns()
                opened = open_data_dir(self._data_dir, now_ns, config.verify_whole_bytes)
                opened.try_out(self._data_dir, now_ns)
                opened.close()
            finally:
                self.folder.hold()
        except (BufferPathError, ConfigError, OSError) as error:
            return str(error)
        self._notes += opened.notes
        return ""

    def leave(self) -> None:
        """Leave memory: what people changed there goes to the disk, whose directory is let go."""
        notes, self.held.files = self.folder.give_back()
        self._changes += notes
        self.folder.remove()

    def lost_words(self) -> str:
        """What is lost where the disk did not take it before the end, in a clause."""
        held = self.held
        files = f" and changes of {', '.join(held.files)}" if held.files else ""
        return (
            f"{len(held.alarms)} alarm records and {len(held.events)} events{files} in memory are"
        )

    async def store(self) -> None:
        """Put what memory held into the log on disk, which is closed again; see `HandOver`."""
        held = self.held
        buffer = _on_disk(self.load(), self.clock)
        async with buffer:
            put = partial(buffer.add_record, Stream.EVENT)
            now_ns = self.clock.wall_ns()
            prefixes = ("",) if self._whole else OF_ALARMS
            state = {
                key: value
                for key, value in held.state.items()
                if key.startswith(prefixes) and not key.startswith(OF_ONE_LOG)
            }
            text = (
                f"The disk takes records again: {len(held.alarms)} alarm records and"
                f" {len(held.events)} events of the time before, in memory only, are stored now."
                " Values of that time are not in this log."
            )
            said = event("buffer.on_disk", "buffer", now_ns, text, {"alarms": len(held.alarms)})
            await put(said, state=state)
            for note in self._notes:
                await put(event("buffer.repaired", "buffer", now_ns, note))
            for note in self._changes:
                await put(event("buffer.given_back", "buffer", now_ns, f"{note}."))
            await _all(held.events, put)
            while held.lost:
                await put(gap_event(held.lost[0], now_ns))
                del held.lost[0]
            await _all(held.alarms, partial(buffer.add_record, Stream.ALARM))


async def _all(payloads: list[bytes], put: Callable[[bytes], Awaitable[int]]) -> None:
    """Store all; those that are stored are taken out of the list. Raises NotStoredError."""
    receipts = [put(payload) for payload in payloads]
    try:
        for receipt in receipts:
            await receipt
            del payloads[0]
    except NotStoredError:
        for receipt in receipts:
            with suppress(NotStoredError):
                await receipt
        raise


def _probed(load: Load, data_dir: Path) -> Site:
    """The site, once a file can be written, synced and deleted in its data directory; OSError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=data_dir, prefix=".plantgate-probe-") as probe:
        probe.write(b"plantgate")
        probe.flush()
        os.fsync(probe.fileno())
    return load()
