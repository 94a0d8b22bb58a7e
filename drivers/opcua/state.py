"""What must survive a lost link, and our own end, so that nothing falls between server and disk.

Guarantees: `position` and `source_ns` move only after the buffer has committed; they are kept in
`state_dir` if there is one, else in memory, which is enough for a lost link but not for our own
end. Kill the process at any moment: what the files say is never ahead of the disk; at most the
notifications committed since the last write come twice (one write follows every commit).
A power cut may lose the last writes; by then the server has forgotten the subscription.

    <device>.session.json   session token and nonce (a secret, mode 0600), subscriptions, item ids
    <device>.position       "subscription sequence" lines, last sequence number stored
    <device>.TAGS.times     int64[points], last source time stored of each point, ns since 1970
    <device>.TAGS.gaps.npz  outages whose history has not been read back yet
    <device>.NODES.namespaces.json  what namespace indexes meant when these nodes were first read

A file that cannot be read is taken as absent: then history and the gap event say what is missing.
A disk that takes nothing costs only what would have to survive, and says so (`trouble`): the server
goes on being read. `times` is mapped, so its blocks are written before: a store into a page that a
full disk cannot back would end the process (SIGBUS).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from drivers.contract import DriverPoint, Int64Array
from drivers.opcua.address import OpcUaAddress

_VERSION = 1


@dataclass(slots=True)
class SavedSubscription:
    """A subscription with its monitored items by client handle."""

    id: int
    publishing_ms: float
    keep_alive_count: int
    lifetime_count: int
    items: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class SavedLink:
    """A session at one endpoint: authentication token, the server's nonce, its subscriptions."""

    endpoint: str
    token: bytes
    nonce: bytes
    subscriptions: list[SavedSubscription] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Gap:
    """Values that may be missing, until history has been read back.

    since: int64[n], last source time we have, 0 for points that miss nothing.
    until: int64[n], first source time we have again, 0 while unknown.
    from_ns: gateway time of the last values.  count: notifications lost, 0 where unknown.
    """

    since: Int64Array
    until: Int64Array
    from_ns: int
    cause: str
    count: int = 0


class State:
    """State of one device.

    link: the session to go on with, or None.  position: last sequence stored by subscription id.
    source_ns: int64[n], last source time stored of each point, 0 before the first.
    namespaces: URIs by index as the server had them at first, for points of a bare index.
    """

    def __init__(
        self,
        folder: Path | None,
        device: str,
        points: Sequence[DriverPoint[OpcUaAddress]],
        rates: str = "",
    ) -> None:
        self._folder = folder
        self._name = device
        addresses = "\n".join(f"{p.tag} {p.address!r}" for p in points)
        self._print = hashlib.sha256(f"{rates}\n{addresses}".encode()).hexdigest()
        self._tags = hashlib.sha256("\n".join(p.tag for p in points).encode()).hexdigest()[:16]
        self._loaded = folder is None
        self.link: SavedLink | None = None
        self.stale: SavedLink | None = None
        """A session whose subscriptions no longer fit the point table: to be closed."""
        self.position: dict[int, int] = {}
        self.source_ns: Int64Array = np.zeros(len(points), np.int64)
        self.gaps: list[Gap] = []
        self._addresses = hashlib.sha256(addresses.encode()).hexdigest()[:16]
        self.namespaces: list[str] = []
        self._troubles: dict[str, str] = {}
        self._mapped = False

    @property
    def durable(self) -> bool:
        """Tell whether it outlives this process."""
        return self._mapped and not self.trouble

    def load(self) -> None:
        """Read the files, once."""
        if self._loaded or self._folder is None:
            return
        self._loaded = True
        with self._writing("times"):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._map_times(self._path(f"{self._tags}.times"))
            self._mapped = True
        if not self._mapped:
            self._read_times(self._path(f"{self._tags}.times"))
        self._read_gaps()
        self._read_namespaces()
        try:
            found = json.loads(self._path("session.json").read_bytes())
            link = _read_link(found)
            fits = found["version"] == _VERSION and found["points"] == self._print
        except (OSError, ValueError, KeyError, TypeError):
            return
        if not fits:
            self.stale = link
            return
        self.link = link
        self._read_positions()

    @property
    def trouble(self) -> str:
        """Why the folder does not take all of it, or empty."""
        return next(iter(self._troubles.values()), "")

    @contextlib.contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        """Note what keeps the disk from taking a file, and that it takes it again."""
        try:
            yield
        except OSError as error:
            self._troubles[what] = f"{error.filename or self._folder}: {error.strerror or error}"
        else:
            self._troubles.pop(what, None)

    def _map_times(self, path: Path) -> None:
        count = max(1, len(self.source_ns))
        size = 8 * count
        content = path.read_bytes() if path.exists() else b""
        if len(content) != size or path.stat().st_blocks * 512 < size:
            _replace(path, content if len(content) == size else bytes(size), synced=True)
        mapped = np.memmap(path, np.int64, "r+", shape=(count,))
        self.source_ns = mapped[: len(self.source_ns)]

    def _read_times(self, path: Path) -> None:
        """Take the times of before into memory, from a disk that can be read at most."""
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            if len(content) == 8 * len(self.source_ns):
                self.source_ns = np.frombuffer(content, np.int64).copy()

    def save_gaps(self) -> None:
        """Write the outages still to be filled, after a change."""
        if self._folder is None:
            return
        with self._writing("gaps"):
            self._write_gaps()

    def _write_gaps(self) -> None:
        path = self._path(f"{self._tags}.gaps.npz")
        if not self.gaps:
            path.unlink(missing_ok=True)
            return
        arrays: dict[str, npt.NDArray[Any]] = {}
        for place, gap in enumerate(self.gaps):
            arrays[f"since{place}"], arrays[f"until{place}"] = gap.since, gap.until
        words = [[gap.from_ns, gap.cause, gap.count] for gap in self.gaps]
        arrays["words"] = np.frombuffer(json.dumps(words).encode(), np.uint8)
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its keyword allow_pickle
        fresh.replace(path)

    def _read_gaps(self) -> None:
        try:
            with np.load(self._path(f"{self._tags}.gaps.npz")) as found:
                words = json.loads(found["words"].tobytes())
                self.gaps = [
                    Gap(
                        found[f"since{i}"], found[f"until{i}"], int(from_ns), str(cause), int(count)
                    )
                    for i, (from_ns, cause, count) in enumerate(words)
                ]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            self.gaps = []

    def remember(self, namespaces: Sequence[str]) -> None:
        """Note what the server's namespace indexes meant when the point table was first read."""
        self.namespaces = list(namespaces)
        if self._folder is not None:
            path = self._path(f"{self._addresses}.namespaces.json")
            with self._writing("namespaces"):
                _replace(path, json.dumps(self.namespaces).encode())

    def _read_namespaces(self) -> None:
        try:
            path = self._path(f"{self._addresses}.namespaces.json")
            self.namespaces = [str(uri) for uri in json.loads(path.read_bytes())]
        except (OSError, ValueError, TypeError):
            self.namespaces = []

    def _read_positions(self) -> None:
        try:
            lines = self._path("position").read_text(encoding="ascii").splitlines()
            self.position = {int(a): int(b) for a, b in (line.split() for line in lines)}
        except (OSError, ValueError):
            self.link = None  # without a position, nothing says what is stored

    def save_link(self) -> None:
        """Write the session and its subscriptions, after a change."""
        if self._folder is None:
            return
        path = self._path("session.json")
        with self._writing("session"):
            if self.link is None:
                path.unlink(missing_ok=True)
                return
            content = {"version": _VERSION, "points": self._print} | _write_link(self.link)
            _replace(path, json.dumps(content).encode())

    def stored(self, subscription: int, sequence: int) -> None:
        """Note that a notification is on disk."""
        self.position[subscription] = sequence
        if self._folder is None:
            return
        text = "".join(f"{a} {b}\n" for a, b in self.position.items())
        with self._writing("position"):
            _replace(self._path("position"), text.encode("ascii"))

    def forget(self, subscription: int) -> None:
        """Drop a subscription that the server has no more."""
        self.position.pop(subscription, None)
        if self.link is not None:
            kept = [s for s in self.link.subscriptions if s.id != subscription]
            self.link.subscriptions = kept

    def _path(self, suffix: str) -> Path:
        if self._folder is None:
            raise ValueError("a state in memory has no files")
        return self._folder / f"{self._name}.{suffix}"


def _replace(path: Path, content: bytes, *, synced: bool = False) -> None:
    """Replace a file whole, readable by its owner only. Raises OSError; then the old one stays.

    synced: its blocks are on the disk, and nothing later can want for them.
    """
    fresh = path.with_name(f"{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        if synced:
            file.flush()
            os.fsync(handle)
    fresh.replace(path)


def _write_link(link: SavedLink) -> dict[str, Any]:
    return {
        "endpoint": link.endpoint,
        "token": link.token.hex(),
        "nonce": link.nonce.hex(),
        "subscriptions": [
            [s.id, s.publishing_ms, s.keep_alive_count, s.lifetime_count, sorted(s.items.items())]
            for s in link.subscriptions
        ],
    }


def _read_link(found: dict[str, Any]) -> SavedLink:
    return SavedLink(
        str(found["endpoint"]),
        bytes.fromhex(found["token"]),
        bytes.fromhex(found["nonce"]),
        [
            SavedSubscription(
                int(i), float(ms), int(keep), int(life), {int(a): int(b) for a, b in items}
            )
            for i, ms, keep, life, items in found["subscriptions"]
        ],
    )


__all__ = ["Gap", "SavedLink", "SavedSubscription", "State"]
