"""The folder in memory that stands for a data directory while its disk takes nothing.

Guarantees: the data directory is held meanwhile, so that no second gateway begins there. What is
small beside the log (keys, people, views) is copied, and what people and cameras change of that
goes back to the disk by `give_back`, unless it was changed there too. Until then what lies on the
disk is read at most.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from buffer.contract import BufferPathError
from buffer.policy import MIB

IN_MEMORY = (Path("/dev/shm"), Path("/run"))  # noqa: S108 - file systems in memory, shm_overview(7)
COPIED_BYTES = 4 * MIB
NOT_COPIED = frozenset({"evidence", "recordings", "config", "reserve", "lock", "control.sock"})
GIVEN_BACK = ("console", "views")
"""Not what drivers know of devices: by what the disk has of that they read back what it lacks."""
_PASSING = (".lock", ".partial")


class Folder:
    """The folder in memory that stands for a data directory, and the hold on both.

    Raises BufferPathError where another process holds either, or no memory can be had.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._lock = _held(data_dir)
        try:
            self.path = _made(data_dir)
        except BaseException:
            self.release()
            raise
        self.notes = _copied(data_dir, self.path)
        self._before = {name: _digest(content) for name, content in self._files().items()}

    def hold(self) -> None:
        """Hold the data directory again; BufferPathError where another process does."""
        if self._lock is None:
            self._lock = _held(self._data_dir)

    def release(self) -> None:
        """Let go of the data directory, so that it can be opened."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def remove(self) -> None:
        """Let go, and give the memory back."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Take what one before this one could not give back."""
        for name, content in files.items():
            _write(self.path / name, content)

    def give_back(self) -> tuple[list[str], dict[str, bytes]]:
        """Put what changed here on the disk: a note a file, and the files it does not take."""
        notes: list[str] = []
        left: dict[str, bytes] = {}
        for name, content in self._files().items():
            before, target = self._before.get(name), self._data_dir / name
            if before == _digest(content):
                continue
            try:
                there = _digest(target.read_bytes()) if target.exists() else None
                if there == before:
                    _write(target, content)
                    notes.append(f"{name} was changed in memory, and is on the disk now")
                else:
                    notes.append(f"{name} was changed in memory, but is another one on the disk,"
                                 " which stays")  # fmt: skip
            except OSError:
                left[name] = content
        return notes, left

    def _files(self) -> dict[str, bytes]:
        """What may be changed here and is given back, by path in the data directory."""
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for part in GIVEN_BACK
            for file in sorted((self.path / part).rglob("*"))
            if file.is_file() and file.suffix not in _PASSING
        }


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


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole, synced, readable by its owner only. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(handle)
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
