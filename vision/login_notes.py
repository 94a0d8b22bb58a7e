"""Shares between processes which logins were refused, and whose turn it is to try one, by files.

Guarantees:

- Of one host, port and user one camera tries at a time, whichever process and thread it is in,
  until the login was taken; who waits for that goes without a turn after TURN_S.
- What is known of a login outlives processes and the gateway. It names neither host nor user, and
  holds of the password a salted scrypt digest, which is dear to guess at.
- It never keeps a camera from being watched: a note that is damaged counts as empty, and where
  files cannot be read, written or locked each camera tries for itself. Nothing here raises OSError.

What holds a login back is said in vision/refusals.py. Nothing is synced: a power cut costs a note.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vision.refusals import (
    NOTE_BYTES,
    Note,
    Place,
    Step,
    after_refusal,
    after_taking,
    decide,
    decoded,
    encoded,
    is_over,
)

TURN_S = 10.0
"""A recorder that hangs takes as long (SILENCE_S of ffmpeg.py): no reason to be blind longer."""
LOOK_S = 0.1
SALT_BYTES = 16
_COST, _BLOCK, _LANES = 1 << 12, 8, 1
"""Of scrypt (RFC 7914, section 2): 4 MiB and 12 to 19 ms, once for each camera and password. With
1 << 14 it left 17 MB resident in the process (measured)."""
_SALT = "salt"
_NO_WAIT = os.O_NONBLOCK | os.O_CLOEXEC


class SharedLogin:
    """One login at one place, as one camera sees it."""

    def __init__(self, folder: Path, names: tuple[str, str], wall_ns: Callable[[], int]) -> None:
        self._folder, self._wall_ns = folder, wall_ns
        self._place = names[0]
        self._path = folder / f"{names[0]}-{names[1]}.json"

    @contextlib.contextmanager
    def turn(
        self, stop: threading.Event, lives: Callable[[], None], *, known: bool = False
    ) -> Iterator[Held | None]:
        """Try the login within the block, unless it is held back. known: see `decide`."""
        lock, held = self._wait(stop, lives, known)
        try:
            yield held
        finally:
            if lock is not None:
                os.close(lock)

    def held(self, *, known: bool) -> Held | None:
        """Say whether it is held back now, by what is on the disk."""
        note = self._note()
        decision = decide(note, self._wall_ns(), known=known)
        return Held(self, note, decision.left_ns) if decision.step is Step.HOLD else None

    def refused(self, camera: str, answer: str, *, known: bool) -> Held | None:
        """Note that a camera was refused; None where that holds no other one back."""
        self._put(after_refusal(self._note(), self._wall_ns(), camera, answer))
        return self.held(known=known)

    def taken(self) -> None:
        """Note that a camera was let in; what nobody uses any more of this place is forgotten."""
        now_ns = self._wall_ns()
        self._put(after_taking(now_ns))
        with contextlib.suppress(OSError):
            for path in self._folder.glob(f"{self._place}-*.json"):
                if path != self._path and is_over(decoded(_content(path)), now_ns):
                    path.unlink(missing_ok=True)

    def _wait(
        self, stop: threading.Event, lives: Callable[[], None], known: bool
    ) -> tuple[int | None, Held | None]:
        for _ in range(round(TURN_S / LOOK_S)):
            try:
                lock = self._locked()
            except OSError:
                return None, None
            note = self._note()
            decision = decide(note, self._wall_ns(), known=known)
            if decision.step is Step.HOLD:
                return lock, Held(self, note, decision.left_ns)
            if lock is not None or decision.step is Step.GO or stop.wait(LOOK_S):
                return lock, None
            lives()
        return None, None

    def _locked(self) -> int | None:
        """The lock of the place; None while another has it. Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | _NO_WAIT
        lock = os.open(self._folder / f"{self._place}.lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        except OSError:
            os.close(lock)
            raise
        return lock

    def _note(self) -> Note:
        try:
            return decoded(_content(self._path))
        except OSError:
            return Note()

    def _put(self, note: Note) -> None:
        """Write in place, in one call: that goes on a full disk, too."""
        with contextlib.suppress(OSError):
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | _NO_WAIT, 0o600)
            try:
                os.truncate(file, NOTE_BYTES)
                os.pwrite(file, encoded(note), 0)
            finally:
                os.close(file)


@dataclass(frozen=True, slots=True)
class Held:
    """A login that is not to be tried for another left_ns, and why."""

    login: SharedLogin
    note: Note
    left_ns: int

    def holds(self, *, known: bool) -> bool:
        """Tell whether it is still so, by what is on the disk now."""
        return self.login.held(known=known) is not None


class LoginNotes:
    """The notes in one folder."""

    def __init__(self, folder: Path, wall_ns: Callable[[], int]) -> None:
        self._folder, self._wall_ns = folder, wall_ns
        self._known: tuple[Place, str, SharedLogin] | None = None

    def of(self, place: Place, password: str) -> SharedLogin | None:
        """Give what is shared of a login; None where nothing can be shared."""
        if self._known is not None and self._known[:2] == (place, password):
            return self._known[2]
        try:
            salt = _salt(self._folder)
            names = _names(salt, place, password)
        except (OSError, ValueError):  # ValueError: an OpenSSL that does not do this
            return None
        shared = SharedLogin(self._folder, names, self._wall_ns)
        self._known = (place, password, shared)
        return shared


def _names(salt: bytes, place: Place, password: str) -> tuple[str, str]:
    """Names of a place, and of a login there."""
    where = hashlib.sha256(salt + repr((place.host, place.port, place.user)).encode()).digest()
    secret = hashlib.scrypt(
        password.encode(), salt=salt + where, n=_COST, r=_BLOCK, p=_LANES, dklen=16
    )
    return where.hex()[:32], secret.hex()


def _salt(folder: Path) -> bytes:
    """The salt of a folder, made where there is none. Raises OSError."""
    path = folder / _SALT
    with contextlib.suppress(FileNotFoundError):
        found = _content(path)
        if len(found) == SALT_BYTES:
            return found
        path.unlink()  # damaged, and with it what all names here were made of
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f"{_SALT}.{secrets.token_hex(4)}.partial"
    try:
        made = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(secrets.token_bytes(SALT_BYTES))
        with contextlib.suppress(FileExistsError):  # another was quicker
            path.hardlink_to(fresh)
    finally:
        fresh.unlink(missing_ok=True)
    found = _content(path)
    if len(found) != SALT_BYTES:
        raise OSError(f"{path} is damaged")
    return found


def _content(path: Path) -> bytes:
    """Read a small file, whatever it is: a pipe holds nobody up. Raises OSError."""
    file = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        return os.read(file, NOTE_BYTES + 1)
    finally:
        os.close(file)


__all__ = ["LOOK_S", "SALT_BYTES", "TURN_S", "Held", "LoginNotes", "SharedLogin"]
