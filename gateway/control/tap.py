"""Listens to what the log commits: that alarms changed, and how the sources stand.

Guarantees: an event that says nothing of a link or of handling 消警 costs the reading of its first
bytes; nothing is kept but one state a source, and the newest work record of MOST_RECORDS permits.
"""

from __future__ import annotations

from collections.abc import Sequence

from buffer.contract import Record, Stream
from gateway.control.links import KINDS, Links
from gateway.wire.v1 import uplink_pb2 as wire

HANDLING, WORK_RECORD = "work.handling", "work.record"
MOST_RECORDS = 200
_WANTED = tuple(
    b"\x0a" + bytes([len(kind)]) + kind.encode() for kind in (*KINDS, HANDLING, WORK_RECORD)
)
"""How such events begin: field 1 is their kind."""


class Tap:
    """`heard` is a CommitListener of the log."""

    def __init__(self) -> None:
        self.links = Links()
        self.work_records: dict[str, str] = {}  # SHA-256 of the page, by ticket
        self.changes = 0  # of alarms and of their handling, since start

    def heard(self, stream: Stream, records: Sequence[Record]) -> None:
        """Take what was committed."""
        if stream is Stream.ALARM:
            self.changes += len(records)
        elif stream is Stream.EVENT:
            for record in records:
                if record.payload.startswith(_WANTED):
                    self._event(wire.Event.FromString(record.payload))

    def _event(self, event: wire.Event) -> None:
        if event.kind == HANDLING:
            self.changes += 1
        elif event.kind == WORK_RECORD:
            ticket = event.attributes.get("ticket_no", "")
            self.work_records.pop(ticket, None)
            self.work_records[ticket] = event.attributes.get("html_sha256", "")
            if len(self.work_records) > MOST_RECORDS:
                del self.work_records[next(iter(self.work_records))]
        else:
            self.links.feed(
                event.kind, event.source, event.time_ns, event.text, dict(event.attributes)
            )
