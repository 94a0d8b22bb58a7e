"""Which recordings must go: pure decision, and the folder it is carried out in.

Guarantees: the oldest go first, whatever camera they are of; a file that is being written never
goes; what goes before its time (by quota) is told apart from what was kept long enough. A file left
unfinished by a crash is given its name, since it can be played.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PART = ".part"


@dataclass(frozen=True, slots=True)
class Kept:
    """One recording. ended_ns: wall-clock time of its last picture (the file's mtime)."""

    path: Path
    ended_ns: int
    size: int


@dataclass(frozen=True, slots=True)
class Evicted:
    """What had to go before its time. first_ns, last_ns: ends of the oldest and newest of it."""

    files: int
    bytes: int
    first_ns: int
    last_ns: int


def what_goes(
    kept: Sequence[Kept], quota_bytes: int, retention_ns: int, now_ns: int
) -> tuple[list[Kept], list[Kept]]:
    """(kept long enough, must go by quota), oldest first. Pure."""
    aged = sorted(kept, key=lambda one: (one.ended_ns, str(one.path)))
    old = [one for one in aged if now_ns - one.ended_ns > retention_ns]
    young = aged[len(old) :]
    over = sum(one.size for one in young) - quota_bytes
    early: list[Kept] = []
    for one in young:
        if over <= 0:
            break
        early.append(one)
        over -= one.size
    return old, early


class Shelf:
    """The folder of all recordings: folder/CAMERA/DATE/TIME.mp4. Blocking: call it in a thread."""

    def __init__(self, folder: Path, quota_bytes: int, retention_ns: int) -> None:
        self.folder = folder
        self._quota_bytes = quota_bytes
        self._retention_ns = retention_ns

    def of(self, camera: str) -> Path:
        """Folder of one camera."""
        return self.folder / camera

    def adopt(self, camera: str) -> int:
        """Name what a crash left unfinished; the wall-clock end of the newest of it, 0 if none."""
        newest_ns = 0
        for part in sorted(self.of(camera).glob(f"*/*.mp4{PART}")):
            newest_ns = max(newest_ns, part.stat().st_mtime_ns)
            part.rename(part.with_suffix(""))
        return newest_ns

    def tidy(self, now_ns: int) -> Evicted | None:
        """Delete what must go; what went before its time. OSError if the disk refuses."""
        old, early = what_goes(self._list(), self._quota_bytes, self._retention_ns, now_ns)
        for one in (*old, *early):
            one.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                one.path.parent.rmdir()  # only where it is empty now
        if not early:
            return None
        size = sum(one.size for one in early)
        return Evicted(len(early), size, early[0].ended_ns, early[-1].ended_ns)

    def _list(self) -> list[Kept]:
        found = []
        for path in self.folder.glob("*/*/*.mp4"):
            with contextlib.suppress(FileNotFoundError):  # another camera's turn deleted it
                state = path.stat()
                found.append(Kept(path, state.st_mtime_ns, state.st_size))
        return found
