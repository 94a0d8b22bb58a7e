"""What the folder intake does to files: look, read, remember, move. Blocking; called in a thread.

Guarantees:

- A file leaves the folder by `os.replace` within it only: it is in the folder, in done/ or in
  rejected/, never in two places and never nowhere. A name that is taken there gets a number.
- `remember` is durable on return. The ledger .plantgate-seen (one SHA-256 a line, with the word
  rejected behind it if there was something wrong; newest REMEMBERED) is rewritten by a rename; a
  torn last line, as a power cut leaves it, is ignored.
- Nothing is followed out of the folder: links and whatever is no plain file are not looked at.
- It writes nothing but the ledger, the folders done/ and rejected/ and reasons: no plant, no gate.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from drivers.intake_folder.watch import Seen

LEDGER = ".plantgate-seen"
DONE, REJECTED = "done", "rejected"
REMEMBERED = 10_000
MAX_LOOK = 10_000
"""Files looked at in one go; the rest waits for the next."""
_LINE = re.compile(r"([0-9a-f]{64})( rejected)?")


class Folder:
    """A watched folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[bytes, bool] = {}  # SHA-256 in order of age; whether it was rejected
        self._lines = 0

    def open(self) -> None:
        """Make what is missing and read the ledger; raises OSError."""
        for name in (DONE, REJECTED):
            (self._path / name).mkdir(exist_ok=True)
        ledger = self._path / LEDGER
        text = ledger.read_text(encoding="ascii", errors="replace") if ledger.exists() else ""
        known = [found for line in text.splitlines() if (found := _LINE.fullmatch(line))]
        newest = known[-REMEMBERED:]
        self._seen = {bytes.fromhex(found[1]): bool(found[2]) for found in newest}
        self._rewrite()

    def look(self) -> list[Seen]:
        """Plain files of the folder; raises OSError."""
        found: list[Seen] = []
        with os.scandir(self._path) as entries:
            for entry in entries:
                if len(found) == MAX_LOOK:
                    break
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # taken away between listing and looking
                if stat.S_ISREG(status.st_mode):
                    found.append(Seen(entry.name, status.st_size, status.st_mtime_ns))
        return found

    def read(self, name: str) -> bytes:
        """Content of a file; raises OSError, also for a link that took its place."""
        descriptor = os.open(self._path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read()

    def knows(self, digest: str) -> bool:
        """Tell whether a file was stored before."""
        return bytes.fromhex(digest) in self._seen

    def was_rejected(self, digest: str) -> bool:
        """Tell whether something was wrong with a file that is known."""
        return self._seen.get(bytes.fromhex(digest), False)

    def remember(self, digest: str, *, rejected: bool) -> None:
        """Note that a file is stored; durable on return. Raises OSError."""
        self._seen.pop(bytes.fromhex(digest), None)
        self._seen[bytes.fromhex(digest)] = rejected  # the newest
        while len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]
        if self._lines >= 2 * REMEMBERED:
            self._rewrite()
            return
        with (self._path / LEDGER).open("a", encoding="ascii") as file:
            file.write(_line(digest, rejected))
            file.flush()
            os.fsync(file.fileno())
        self._lines += 1

    def finish(self, name: str, reasons: str) -> None:
        """Move a file to done/, or with reasons to rejected/; raises OSError."""
        folder = self._path / (REJECTED if reasons else DONE)
        target = folder / name
        number = 1
        while target.exists():
            target = folder / f"{Path(name).stem}.{number}{Path(name).suffix}"
            number += 1
        if reasons:
            target.with_name(target.name + ".reason").write_text(reasons, encoding="utf-8")
        (self._path / name).replace(target)

    def prune(self, before_ns: int) -> int:
        """Delete files of done/ that came there before a time; gives how many."""
        gone = 0
        with os.scandir(self._path / DONE) as entries:
            for entry in entries:
                if entry.stat(follow_symlinks=False).st_mtime_ns < before_ns:
                    Path(entry.path).unlink(missing_ok=True)
                    gone += 1
        return gone

    def _rewrite(self) -> None:
        draft = self._path / f"{LEDGER}.tmp"
        with draft.open("w", encoding="ascii") as file:
            file.writelines(_line(digest.hex(), wrong) for digest, wrong in self._seen.items())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path / LEDGER)
        self._lines = len(self._seen)


def _line(digest: str, rejected: bool) -> str:
    return f"{digest}{' rejected' if rejected else ''}\n"


__all__ = ["DONE", "LEDGER", "REJECTED", "REMEMBERED", "Folder"]
