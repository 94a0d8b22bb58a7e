"""Remembers logins that a camera refused, so that a second try of this command does not lock it.

Recorders lock an address out after a few refusals, commonly for 30 min (vision/refusals.py). What
is kept: a digest of camera and user, when, and the time of the password file. No password. The file
lies in the user's cache, not in the data directory, which may be another user's.

Guarantees: a file that cannot be read or written costs the memory, nothing else. Several threads
may ask; of one login at one place they take `turn`s, so that what one learns keeps the next from
trying: a recorder that holds the streams of sixteen cameras is asked once.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from vision.config import CameraConfig
from vision.refusals import LOCKOUT_NS

_FILE = "refused-logins.json"
_PORTS = {"rtsp": 554, "http": 80, "https": 443}


class Lockout:
    """Logins refused within the last half hour."""

    def __init__(self, folder: Path, wall_ns: int) -> None:
        self._path = folder / _FILE
        self._now_ns = wall_ns
        self._refused: dict[str, list[int]] = {}
        self._guard = threading.Lock()
        self._turns: dict[str, threading.Lock] = {}
        with suppress(OSError, ValueError, TypeError, AttributeError):
            held = json.loads(self._path.read_text(encoding="utf-8"))
            self._refused = {str(k): [int(at), int(stamp)] for k, (at, stamp) in held.items()}

    @contextmanager
    def turn(self, camera: CameraConfig) -> Iterator[int]:
        """Have this login at this place to oneself; gives `left_ns`."""
        with self._guard:
            turn = self._turns.setdefault(_key(camera), threading.Lock())
        with turn:
            yield self.left_ns(camera)

    def left_ns(self, camera: CameraConfig) -> int:
        """How long the login must not be tried yet; 0 where it may."""
        at_ns, stamp = self._refused.get(_key(camera), (0, 0))
        age_ns = self._now_ns - at_ns
        if not at_ns or not 0 <= age_ns < LOCKOUT_NS or stamp != _stamp(camera):
            return 0
        return LOCKOUT_NS - age_ns

    def refused(self, camera: CameraConfig) -> None:
        """Note a refusal."""
        with self._guard, suppress(OSError):
            self._refused[_key(camera)] = [self._now_ns, _stamp(camera)]
            young = {
                key: held
                for key, held in self._refused.items()
                if self._now_ns - held[0] < LOCKOUT_NS
            }
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps(young), encoding="utf-8")


def _key(camera: CameraConfig) -> str:
    parts = urlsplit(camera.source)
    who = f"{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}\0{camera.user}"
    return hashlib.sha256(who.encode()).hexdigest()


def _stamp(camera: CameraConfig) -> int:
    """When the password file was last changed; another password may be tried at once."""
    with suppress(OSError):
        return Path(camera.password_file).stat().st_mtime_ns
    return 0


__all__ = ["Lockout"]
