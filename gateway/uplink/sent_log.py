"""What an uplink needs of the log that it sends: the log itself, or one made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from buffer.contract import Bounds, CommitListener, Record, SignedHead, Stream
from buffer.ranges import RangeSet


class SentLog(Protocol):
    """What an uplink needs of the log that it sends; `buffer.contract.Log` is one."""

    @property
    def log_id(self) -> bytes:
        """16 bytes; they change when the past is uncertain."""
        ...

    def bounds(self, stream: Stream) -> Bounds:
        """Sequences that can be sent now."""
        ...

    async def read(self, stream: Stream, first: int, *, last: int, max_bytes: int) -> list[Record]:
        """Records of [first, last], about max_bytes of payload."""
        ...

    async def read_file(self, sha256: bytes, offset: int, length: int) -> bytes:
        """Part of an evidence file."""
        ...

    async def sequences_between(self, stream: Stream, from_ns: int, to_ns: int) -> tuple[int, int]:
        """First and last sequence of a time range."""
        ...

    def catalogue_records(self) -> Mapping[bytes, int]:
        """Sequence of the event that announces each catalogue."""
        ...

    def signed_head(self, stream: Stream) -> SignedHead | None:
        """Newest signed head."""
        ...

    def cursor(self, destination: str, stream: Stream) -> RangeSet:
        """Acknowledged ranges of a destination."""
        ...

    def acknowledge(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Add to them."""
        ...

    def replace_cursor(self, destination: str, stream: Stream, ranges: RangeSet) -> None:
        """Set them."""
        ...

    def renew_log_id(self, reason: str) -> bytes:
        """Go on under a new log id."""
        ...

    def request_key(self) -> None:
        """Make the next telemetry record a key."""
        ...

    def add_listener(self, listener: CommitListener) -> Callable[[], None]:
        """Be told of each commit; returns how to stop."""
        ...
