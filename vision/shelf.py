"""Which recordings must go: pure decision, and the folder it is carried out in.

Guarantees: the oldest go first, whatever camera they are of; a file that is being written never
goes; what goes before its time (by quota) is told apart from what was kept long enough. Of what was
kept long enough only MOST_AGED go at a time, which keeps up with what is recorded: a clock that is
wrong by a year costs an hour of recordings an hour and not all of them. A file left unfinished by a
crash is given its name, since it can be played. A recording that was ended while it was wanted is
remembered, so that what is missing until the next one is known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PART = ".part"
_INTERRUPTED = "interrupted"
MOST_AGED = 12
"""Files of 300 s that a camera makes in an hour; old ones are looked for once an hour at least."""


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
    old = [one for one in aged if now_ns - one.ended_ns > retention_ns][:MOST_AGED]
    rest = aged[len(old) :]
    over = sum(one.size for one in rest) - quota_bytes
    early: list[Kept] = []
    for one in rest:
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
        """Name what a crash left unfinished; the wall-clock end of the newest of it, 0 if none.

        Likewise of a recording that was ended while it was wanted (`interrupt`).
        """
        newest_ns, mark = 0, self.of(camera) / _INTERRUPTED
        with contextlib.suppress(OSError, ValueError):
            newest_ns = int(mark.read_text(encoding="ascii"))
        with contextlib.suppress(OSError):
            mark.unlink(missing_ok=True)
        for part in sorted(self.of(camera).glob(f"*/*.mp4{PART}")):
            with contextlib.suppress(OSError):  # of another user, say: recording begins anyway
                newest_ns = max(newest_ns, part.stat().st_mtime_ns)
                part.rename(part.with_suffix(""))
        return newest_ns

    def interrupt(self, camera: str, written_ns: int) -> None:
        """Remember until when there are pictures of a recording that ends while it is wanted."""
        with contextlib.suppress(OSError):
            self.of(camera).mkdir(parents=True, exist_ok=True)
            (self.of(camera) / _INTERRUPTED).write_text(str(written_ns), encoding="ascii")

    def tidy(self, now_ns: int) -> tuple[Evicted | None, str]:
        """Delete what must go: what went before its time, and what could not be deleted, or "".

        What cannot be deleted keeps nothing else, and the quota is that of what can.
        """
        kept, before, refused = self._list(), [], ""
        while True:
            old, early = what_goes(kept, self._quota_bytes, self._retention_ns, now_ns)
            whys = [_deleted(one.path) for one in (*old, *early)]
            refused = next((why for why in whys if why), refused)
            for one, why in zip((*old, *early), whys, strict=True):
                if not why and one not in old and now_ns - one.ended_ns <= self._retention_ns:
                    before.append(one)
            if not old or not all(whys[: len(old)]):
                break
            tried = {one.path for one in (*old, *early)}  # none of the old went: those behind them
            kept = [one for one in kept if one.path not in tried]
        if not before:
            return None, refused
        size = sum(one.size for one in before)
        return Evicted(len(before), size, before[0].ended_ns, before[-1].ended_ns), refused

    def _list(self) -> list[Kept]:
        found = []
        for path in self.folder.glob("*/*/*.mp4"):
            with contextlib.suppress(OSError):  # another camera's turn deleted it; a bad sector
                state = path.stat()
                found.append(Kept(path, state.st_mtime_ns, state.st_size))
        return found


def _deleted(path: Path) -> str:
    """Delete a recording, and its folder with the last of it; why it cannot be, or nothing."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        return f"{path}: {error.strerror}"
    with contextlib.suppress(OSError):
        path.parent.rmdir()  # only where it is empty now
    return ""
