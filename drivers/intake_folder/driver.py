"""The folder intake as the gateway sees it: looks, takes complete files in order, moves them.

Guarantees:

- A file is moved only after everything of it is durable and its SHA-256 stands in the ledger. A
  crash in between leaves it where it was: it is read again, and not stored again if the ledger
  knows it; between commit and ledger it is stored twice, with the same ids and `content_sha256`.
- A file whose rows were all right goes to done/. Any other goes to rejected/ with a .reason beside
  it: the right rows of it are stored, the wrong ones are named one by one, also in an event
  `intake.rejected`.
- What cannot be stored moves nothing; the next look tries again.
- Files are read and moved in a thread: a folder on a share that hangs delays nobody else.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import partial

from drivers.contract import Clock, DeviceError, DriverPoint, Emit
from drivers.intake.aside import aside
from drivers.intake.desk import Desk, NotDurableError
from drivers.intake.document import DocumentError, read_csv, read_json
from drivers.intake.mapping import Table, load
from drivers.intake.rows import Rejected, RowReader
from drivers.intake.settings import ExternalAddress
from drivers.intake_folder.client import Folder
from drivers.intake_folder.config import FolderIntakeConfig
from drivers.intake_folder.watch import FileTables, Seen, Settled

DAY_NS = 86_400_000_000_000
PRUNE_NS = 3_600_000_000_000


class FolderIntake:
    """One watched folder."""

    def __init__(
        self,
        name: str,
        config: FolderIntakeConfig,
        points: Sequence[DriverPoint[ExternalAddress]],
        clock: Clock,
    ) -> None:
        self._name = name
        self._config = config
        self._clock = clock
        self._reader = RowReader(name, load(config.mapping, name))
        self._tables = FileTables(self._reader.mapping.tables, config.files)
        self._desk = Desk(name, points, clock, config.stale_after_s)
        self._folder = Folder(config.folder)
        self._counts = {"files": 0.0, "files_done": 0.0, "files_rejected": 0.0,
                        "files_known": 0.0, "files_pruned": 0.0, "looks": 0.0}  # fmt: skip

    def statistics(self) -> Mapping[str, float]:
        """Counts since start. files_known: read again and not stored again."""
        return {**self._desk.statistics(), **self._counts}

    async def run(self, emit: Emit) -> None:
        """Watch until cancelled; raises DeviceError when the folder or the buffer fails."""
        try:
            await asyncio.to_thread(self._folder.open)
            await self._desk.tell_up(emit, f"Watching {self._config.folder}.", {})
            async with asyncio.TaskGroup() as group:
                group.create_task(self._desk.watch(emit))
                await self._watch(emit)
        except* OSError as errors:
            failed = _first(errors)
            why = f"{self._config.folder}: {getattr(failed, 'strerror', None) or failed}"
        except* NotDurableError as errors:
            why = f"not stored ({_first(errors)}); the file stays and is read again"
        said = f"{self._name}: {why}"
        await self._desk.tell_down(emit, said)
        raise DeviceError(said)

    async def _watch(self, emit: Emit) -> None:
        settled, prune_at_ns = Settled(), 0
        while True:
            now_ns = self._clock.monotonic_ns()
            look = await asyncio.to_thread(self._folder.look)
            for seen in settled.feed(look):
                await self._take(seen, emit)
            self._counts["looks"] += 1
            if self._config.keep_days and now_ns >= prune_at_ns:
                prune_at_ns = now_ns + PRUNE_NS
                before_ns = self._clock.wall_ns() - round(self._config.keep_days * DAY_NS)
                self._counts["files_pruned"] += await asyncio.to_thread(
                    self._folder.prune, before_ns
                )
            await self._clock.sleep_until(now_ns + self._config.look_ms * 1_000_000)

    async def _take(self, seen: Seen, emit: Emit) -> None:
        """Store one file and move it."""
        self._counts["files"] += 1
        rejected: Sequence[Rejected] = []
        if seen.size > self._config.max_file_kb << 10:
            rejected = [Rejected("file", f"is larger than {self._config.max_file_kb} KB")]
        else:
            content = await asyncio.to_thread(self._folder.read, seen.name)
            digest = hashlib.sha256(os.fsencode(seen.name) + b"\0" + content).hexdigest()
            if self._folder.knows(digest):
                self._counts["files_known"] += 1
                if self._folder.was_rejected(digest):
                    rejected = [Rejected("file", "was read before; an event intake.rejected tells")]
            else:
                rejected = await self._read(seen.name, content, emit)
                await self._desk.tell_rejected(emit, _shown(seen.name), rejected, content)
                remember = partial(self._folder.remember, digest, rejected=bool(rejected))
                await asyncio.to_thread(remember)
        self._counts["files_rejected" if rejected else "files_done"] += 1
        reasons = "".join(f"{row.id}: {row.reason}\n" for row in rejected)
        await asyncio.to_thread(self._folder.finish, seen.name, reasons)

    async def _read(self, name: str, content: bytes, emit: Emit) -> Sequence[Rejected]:
        """Store the right rows of a file; gives the wrong ones."""
        try:
            table = self._reader.mapping.table(self._tables.table(name) or "")
            if table is None:
                raise DocumentError("begins with no table's name; see `files` in the site file")  # noqa: TRY301  # told like every unreadable file
            document = await aside(len(content), partial(_parsed, name, content))
            return await self._store(name, content, table, document, emit)
        except DocumentError as error:
            self._desk.counters.refused_documents += 1
            return [Rejected("file", str(error))]

    async def _store(
        self, name: str, content: bytes, table: Table, document: object, emit: Emit
    ) -> Sequence[Rejected]:
        if table.record is None:
            read = partial(self._desk.samples.read, table, document)
            samples = await aside(len(content), read)
            digest = hashlib.sha256(_shown(name).encode() + b"\0" + content).digest()
            await self._desk.hand_in_samples(emit, samples, digest)
            return samples.rejected
        shown = _shown(name)
        now_ns = self._clock.wall_ns()
        envelope = {"file": shown}
        rows = await aside(
            len(content),
            partial(self._reader.read, table, document, shown, now_ns, envelope=envelope),
        )
        await self._desk.hand_in(emit, rows)
        return [row for row in rows if isinstance(row, Rejected)]


def _parsed(name: str, content: bytes) -> object:
    return read_csv(content) if name.lower().endswith(".csv") else read_json(content)


def _shown(name: str) -> str:
    """File name as text; bytes that are no UTF-8 become question marks."""
    return os.fsencode(name).decode("utf-8", "replace")


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    error: BaseExceptionGroup[Exception] | Exception = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


__all__ = ["FolderIntake"]
