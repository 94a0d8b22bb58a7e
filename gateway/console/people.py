"""Everybody who may sign in, as new as the file, and the door: who asks, and may they.

Guarantees: a change of the file counts from the next `refresh` on; who was removed, or got another
password, is signed out; a file that cannot be read leaves everybody as they were, which is said
once. Passwords are tried one at a time in a thread and at most MOST_TRIES wait; a name that does
not exist takes as long as one that does.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from drivers.contract import Clock
from gateway.config import users
from gateway.config.users import NOBODY, People, Role, UsersError
from gateway.console.sessions import Sessions
from gateway.console.throttle import Throttle

MOST_TRIES = 16
Record = Callable[[str, Mapping[str, str]], None]
"""(text, attributes): puts something on record at the gateway."""


class TooManyError(Exception):
    """Try again later; a sentence. wait_s: after how long."""

    def __init__(self, text: str, wait_s: int) -> None:
        self.wait_s = wait_s
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. token: of the session or the display."""

    name: str
    role: Role
    token: str = field(repr=False)


class Door:
    """Signs people in and out, and knows who asks."""

    def __init__(self, data_dir: Path, sessions: Sessions, clock: Clock, record: Record) -> None:
        self._data_dir = data_dir
        self._sessions = sessions
        self._clock = clock
        self._record = record
        self._throttle = Throttle()
        self._people = People()
        self._seen: tuple[int, ...] | None = (0,)
        self._one = asyncio.Semaphore(1)
        self._tries = 0
        self.refused = 0

    @property
    def anybody(self) -> bool:
        """Whether there is somebody who could sign in."""
        return bool(self._people.users)

    @property
    def signed_in(self) -> int:
        """How many sessions there are."""
        return len(self._sessions)

    def refresh(self) -> None:
        """Read the file if it is another one by now, and forget sessions that have ended."""
        self._sessions.tick(self._clock.monotonic_ns())
        seen = _state_of(users.path_of(self._data_dir))
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._people = users.read(self._data_dir)
        except UsersError as error:
            self._record(f"{error}. Everybody is as before.", {})
            return
        self._sessions.keep({one.name: one.changed_ns for one in self._people.users.values()})

    async def sign_in(self, name: str, password: str, address: str) -> str | None:
        """Give the token of a new session, None for a wrong password. Raises TooManyError."""
        wait_s = self._throttle.wait_s(name, address, now_ns=self._clock.monotonic_ns())
        if wait_s:
            said = f"too many wrong passwords: wait {wait_s} s"
            raise TooManyError(said, wait_s)
        if self._tries >= MOST_TRIES:
            raise TooManyError("too many people sign in just now: try again", 5)
        self._tries += 1
        try:
            async with self._one:
                user = self._people.users.get(name)
                kept = user.password if user is not None else NOBODY
                good = await asyncio.to_thread(users.fits, kept, password)
        finally:
            self._tries -= 1
        now_ns = self._clock.monotonic_ns()
        if user is None or not good or self._people.users.get(name) != user:
            self.refused += 1
            count = self._throttle.failed(name, address, now_ns=now_ns)
            shown = name if name in self._people.users else "somebody unknown"
            text = (
                f"A wrong password for the console, {shown}, from {address} ({count} from there)."
            )
            self._record(text, {"operator": shown, "address": address, "failures": str(count)})
            return None
        self._throttle.succeeded(name, address)
        token = secrets.token_urlsafe(32)
        self._sessions.begin(token, name, user.changed_ns, now_ns=now_ns)
        text = f"{name} signed in to the console from {address}."
        self._record(text, {"operator": name, "address": address})
        return token

    def sign_out(self, caller: Caller) -> None:
        """End a session."""
        self._sessions.end(caller.token)
        if caller.role is not Role.WALL:
            self._record(f"{caller.name} signed out of the console.", {"operator": caller.name})

    def caller(self, token: str, wall_token: str = "", *, touch: bool = True) -> Caller | None:
        """Tell whose session or display a token is; None for nobody's."""
        now_ns = self._clock.monotonic_ns()
        session = self._sessions.find(token, now_ns=now_ns, touch=touch) if token else None
        if session is not None:
            user = self._people.users.get(session.user)
            if user is not None and user.changed_ns == session.stamp:
                return Caller(user.name, user.role, token)
        wall = self._people.wall_of(wall_token) if wall_token else None
        return None if wall is None else Caller(wall.name, Role.WALL, wall_token)

    def still(self, caller: Caller) -> bool:
        """Tell whether somebody may still do what they did when they came."""
        if caller.role is Role.WALL:
            found = self.caller("", caller.token, touch=False)
        else:
            found = self.caller(caller.token, touch=False)
        return found == caller

    def wall(self, token: str, address: str) -> Caller | None:
        """Tell which display's a token is. Raises TooManyError after wrong ones."""
        now_ns = self._clock.monotonic_ns()
        nobody = f"a display at {address}"
        wait_s = self._throttle.wait_s(nobody, address, now_ns=now_ns)
        if wait_s:
            raise TooManyError(f"too many wrong tokens: wait {wait_s} s", wait_s)
        found = self.caller("", token, touch=False)
        if found is None:
            self._throttle.failed(nobody, address, now_ns=now_ns)
            self._record(f"A wrong token of a wall display from {address}.", {"address": address})
        return found


def _state_of(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
