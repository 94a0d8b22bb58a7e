"""Who may use the web console: people with a password and a role, and wall displays with a token.

Guarantees: the file lies in the data directory, only its owner can read it (mode 0600), it is
replaced whole or not at all, and two commands at once do not lose each other's change; no password
and no token is in it, only what scrypt and SHA-256 made of them; whoever reads it while it is
replaced sees the old or the new one.

scrypt (RFC 7914) with N = 2^14, r = 8, p = 5, one of the equivalent settings of the OWASP Password
Storage Cheat Sheet: 16 MB and some 0.2 s a try. A password has MIN_PASSWORD characters or more
(NIST SP 800-63B, 5.1.1.2 asks for at least 8; length counts more than kinds of characters).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

FOLDER, FILE, LOCK = "console", "users.json", "users.lock"
MIN_PASSWORD, MAX_PASSWORD = 10, 256
NAME_COUNTS = 4  # shorter names are in many words by chance
MOST_BYTES = 1 << 20
_VERSION = 1
_N, _R, _P = 1 << 14, 8, 5
_MEMORY = 64 << 20
_NAME = re.compile(r"\w[\w .@-]{0,63}")
_TOKEN_BYTES = 32


class Role(Enum):
    """What somebody may do; each may do what those before it may."""

    WALL = "wall"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ISSUER = "issuer"

    @property
    def rank(self) -> int:
        """Place in the order."""
        return list(Role).index(self)

    @property
    def zh(self) -> str:
        """Chinese name."""
        return {"wall": "大屏", "viewer": "查看", "operator": "操作", "issuer": "签发"}[self.value]


class UsersError(Exception):
    """What was asked for cannot be done, or the file cannot be used; one sentence."""


@dataclass(frozen=True, slots=True)
class User:
    """A person. changed_ns: wall clock of the last password; sessions of before end."""

    name: str
    role: Role
    password: str = field(repr=False)
    changed_ns: int


@dataclass(frozen=True, slots=True)
class Wall:
    """A wall display. digest: SHA-256 of its token, hex."""

    name: str
    digest: str = field(repr=False)
    made_ns: int


@dataclass(frozen=True, slots=True)
class People:
    """Everybody, by name."""

    users: Mapping[str, User] = field(default_factory=dict)
    walls: Mapping[str, Wall] = field(default_factory=dict)

    def wall_of(self, token: str) -> Wall | None:
        """Find the display with a token."""
        digest = _digest(token)
        found = [w for w in self.walls.values() if hmac.compare_digest(w.digest, digest)]
        return found[0] if found else None


def path_of(data_dir: Path) -> Path:
    """Where the file is."""
    return data_dir / FOLDER / FILE


def read(data_dir: Path) -> People:
    """Read everybody; nobody where there is no file. Raises UsersError."""
    path = path_of(data_dir)
    try:
        with path.open("rb") as opened:
            content = opened.read(MOST_BYTES)
        return _decoded(json.loads(content))
    except FileNotFoundError:
        return People()
    except OSError as error:
        raise UsersError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsersError(f"{path} is no file of users; remove it and add them again") from error


def add_user(data_dir: Path, name: str, role: Role, password: str, now_ns: int) -> None:
    """Add a person. Raises UsersError for a name that is taken or no name, or a weak password."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise UsersError(
            "a name has 1 to 64 letters, digits, spaces, '.', '@', '-' or '_' and begins with a"
            f" letter or digit, not {name!r}"
        )
    hashed = hash_password(name, password)

    def added(people: People) -> People:
        if name in people.users:
            raise UsersError(f"{name} is there already: use `console user password` to change it")
        return replace(people, users={**people.users, name: User(name, role, hashed, now_ns)})

    _change(data_dir, added)


def set_password(data_dir: Path, name: str, password: str, now_ns: int) -> None:
    """Give a person another password; their sessions end. Raises UsersError."""
    hashed = hash_password(name, password)

    def changed(people: People) -> People:
        user = replace(_known(people.users, name), password=hashed, changed_ns=now_ns)
        return replace(people, users={**people.users, name: user})

    _change(data_dir, changed)


def remove_user(data_dir: Path, name: str) -> None:
    """Remove a person; their sessions end. Raises UsersError."""

    def removed(people: People) -> People:
        _known(people.users, name)
        return replace(people, users={k: v for k, v in people.users.items() if k != name})

    _change(data_dir, removed)


def add_wall(data_dir: Path, name: str, now_ns: int) -> str:
    """Add a wall display and give its token, which is kept nowhere. Raises UsersError."""
    if not _NAME.fullmatch(name) or name != name.strip():
        raise UsersError(f"a display needs a name as a person does, not {name!r}")
    token = secrets.token_urlsafe(_TOKEN_BYTES)

    def added(people: People) -> People:
        if name in people.walls:
            raise UsersError(f"there is a display {name} already: remove it first")
        return replace(people, walls={**people.walls, name: Wall(name, _digest(token), now_ns)})

    _change(data_dir, added)
    return token


def remove_wall(data_dir: Path, name: str) -> None:
    """Remove a wall display; its token is worth nothing any more. Raises UsersError."""

    def removed(people: People) -> People:
        if name not in people.walls:
            raise UsersError(f"there is no display {name}")
        return replace(people, walls={k: v for k, v in people.walls.items() if k != name})

    _change(data_dir, removed)


def hash_password(name: str, password: str) -> str:
    """Make what is kept of a password; raises UsersError where it is too easy to guess."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise UsersError(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
    named = len(name) >= NAME_COUNTS and name.lower() in password.lower()
    if named or len(set(password)) < MIN_PASSWORD // 2:
        raise UsersError("a password must not repeat few characters or hold the name")
    salt = secrets.token_bytes(16)
    return f"scrypt${_N}${_R}${_P}${salt.hex()}${_scrypt(password, salt, _N, _R, _P).hex()}"


def fits(kept: str, password: str) -> bool:
    """Tell whether a password is the one that was kept; takes some 0.2 s, wrong or right."""
    _, n, r, p, salt, wanted = kept.split("$")
    made = _scrypt(password[:MAX_PASSWORD], bytes.fromhex(salt), int(n), int(r), int(p))
    return hmac.compare_digest(made, bytes.fromhex(wanted))


NOBODY = f"scrypt${_N}${_R}${_P}${'00' * 16}${'00' * 32}"
"""Kept password of a name that does not exist: fits nothing, and takes as long."""


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _known(users: Mapping[str, User], name: str) -> User:
    if name not in users:
        there = ", ".join(users) or "nobody"
        raise UsersError(f"there is no user {name}; there is {there}")
    return users[name]


def _decoded(raw: Mapping[str, Any]) -> People:
    if raw["version"] != _VERSION:
        raise ValueError("another version")
    users = [
        User(str(one["name"]), Role(one["role"]), str(one["password"]), int(one["changed_ns"]))
        for one in raw["users"]
    ]
    walls = [Wall(str(w["name"]), str(w["digest"]), int(w["made_ns"])) for w in raw["walls"]]
    return People({user.name: user for user in users}, {wall.name: wall for wall in walls})


def _encoded(people: People) -> bytes:
    users = [
        {"name": u.name, "role": u.role.value, "password": u.password, "changed_ns": u.changed_ns}
        for u in people.users.values()
    ]
    walls = [
        {"name": w.name, "digest": w.digest, "made_ns": w.made_ns} for w in people.walls.values()
    ]
    content = {"version": _VERSION, "users": users, "walls": walls}
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def _change(data_dir: Path, change: Callable[[People], People]) -> None:
    path = path_of(data_dir)
    try:
        if not data_dir.is_dir():
            raise UsersError(
                f"{data_dir}: there is no such folder: give data_dir of the site file; before the"
                " gateway's first start (plantgate run) it is not there yet"
            )
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            _hand_over(path.parent, data_dir)
        with _locked(path.parent):
            write_private(path, _encoded(change(read(data_dir))))
    except OSError as error:
        raise UsersError(f"{path} cannot be written: {error.strerror}") from error


def write_private(path: Path, content: bytes) -> None:
    """Replace a file whole, synced, readable by its owner only, who stays whoever owns the folder.

    root may add a user to a gateway that runs as another. Raises OSError, and what was there stays.
    """
    partial = path.with_name(f"{path.name}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:  # writes all of it or raises: a full disk takes a part
        os.fchmod(handle, 0o600)
        _hand_over(handle, path.parent)
        file.write(content)
        file.flush()
        os.fsync(handle)
    partial.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _hand_over(what: Path | int, folder: Path) -> None:
    """Give what root has made to whom the folder above it belongs: the gateway's own user."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.chown(what, owner.st_uid, owner.st_gid)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        _hand_over(handle, folder)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
