"""What an uplink session asks its shell to do, and the settings it works by. Pure vocabulary.

A session (gateway/uplink/session.py) returns these; the shell (gateway/uplink/link.py) carries them
out in order and gives answers back (`fetched`, `part_read`, `deliver_catalogue` ...).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from buffer.contract import Record, Stream
from buffer.ranges import RangeSet
from gateway.wire.v1 import uplink_pb2 as wire


class Lane(enum.IntEnum):
    """The connections to a destination; numbers are those of the wire."""

    PRIORITY = 1
    BULK = 2
    COPY = 3  # light; on long lines only


STREAMS: Mapping[Lane, tuple[Stream, ...]] = {
    Lane.PRIORITY: (Stream.ALARM, Stream.EVENT),
    Lane.BULK: (Stream.TELEMETRY, Stream.EVIDENCE),
    Lane.COPY: (),
}
"""Streams of each lane, in order of priority. Copies of alarms belong to the priority lane, and so
do their acknowledgements (Relay)."""
MAIN_LANES = (Lane.PRIORITY, Lane.BULK)
"""Those without which a destination is not up."""


NOTICE = "uplink.notice"
"""Kind of the event that says what the receiver noticed about this gateway."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Numbers a session works by. Sources: the design's uplink section unless said otherwise.

    heartbeat_ms: a Status with a ping goes out when nothing was sent, or nothing heard, for that
    long.  silence_ms: with nothing heard for that long the link counts as half-open.
    stall_ms: records unacknowledged without any progress for that long, on a link that answers
    pings: the receiver is stuck, so reconnect.  window_ms: unacknowledged bytes are at most this
    much of the measured throughput, between window_floor_bytes and window_ceiling_bytes.
    window_round_trips: where that is longer than window_ms, this many round trips instead.
    message_floor_bytes: half the smallest window, so that two messages keep a slow line busy.
    message_ceiling_bytes: larger ones gain nothing (1 MB messages are slower, measured).
    alarm_extra_bytes: by so much alarms may exceed a window that is full of events.
    staged_bytes: new records kept in memory for sending; beyond it they are read back from disk.
    small_backlog_records: up to so many are simply sent in order before live data.
    recent_ms: of a small backlog, records younger than that when the session opens are not
    historical; what goes as history is, however young.
    linger_ms: live telemetry goes at once after a pause, and else at most so often, unless a whole
    message is at hand: a Push and its Ack cost 0.8 ms of CPU in grpc.aio on an idle loop
    (measured); ten a second would take 1 % of a core. Alarms and events never linger.
    history_share: share of history in what live telemetry leaves; evidence has the rest.
    rate_bytes_per_s: limit on bulk, 0 for none.
    streams: what the destination takes; nothing is said of the others.
    copy_alarms: whether live alarms go a second time on long lines (gateway/uplink/copies.py).
    long_line_ms: shortest round trip of such a line; below it even two lost packets in a row cost
    less than 0.5 s.
    """

    heartbeat_ms: int = 3_000
    silence_ms: int = 10_000
    stall_ms: int = 60_000
    window_ms: int = 250
    window_round_trips: float = 1.5
    window_floor_bytes: int = 8 * 1024
    window_ceiling_bytes: int = 4 * 1024 * 1024
    message_floor_bytes: int = 4 * 1024
    message_ceiling_bytes: int = 128 * 1024
    part_bytes: int = 64 * 1024
    alarm_extra_bytes: int = 64 * 1024
    staged_bytes: int = 1024 * 1024
    small_backlog_records: int = 20
    recent_ms: int = 2_000
    linger_ms: int = 250
    history_share: float = 0.5
    rate_bytes_per_s: int = 0
    streams: frozenset[Stream] = frozenset(Stream)
    copy_alarms: bool = True
    long_line_ms: int = 50


@dataclass(slots=True)
class Counters:
    """Totals of one lane over all its sessions; owned by the shell, counted by the session."""

    sent_bytes: int = 0
    sent_records: int = 0
    sent_historical_records: int = 0
    acknowledged_records: int = 0
    copied_records: int = 0
    rejected_records: int = 0
    gap_records: int = 0
    live_lag_ms: float = 0.0
    window_bytes: int = 0
    in_flight_bytes: int = 0


class Region(enum.Enum):
    """Which part of a stream a read serves."""

    LIVE = "live"
    HISTORY = "history"
    URGENT = "urgent"


@dataclass(frozen=True, slots=True)
class SendHello:
    """Introduce the gateway; the shell fills in identity, bounds and head hashes."""


@dataclass(frozen=True, slots=True)
class SendRecords:
    """One Push of consecutive records."""

    stream: Stream
    records: tuple[Record, ...]
    historical: bool
    withheld: bool = False
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class SendCopies:
    """Alarms once more, on the copy lane if that is open; not in any ledger."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class LongLine:
    """The line is long enough for a copy lane to be worth its connection; said once."""


@dataclass(frozen=True, slots=True)
class SendGaps:
    """Sequences that no longer exist here."""

    stream: Stream
    ranges: RangeSet


@dataclass(frozen=True, slots=True)
class SendStatus:
    """Heartbeat; `ping` comes back as Ack.pong."""

    ping: int


@dataclass(frozen=True, slots=True)
class SendPart:
    """Part of an evidence file."""

    sha256: bytes
    offset: int
    total_bytes: int
    content: bytes


@dataclass(frozen=True, slots=True)
class SendResult:
    """Answer to a Request."""

    request_id: int
    accepted: bool
    message: str
    sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read records first..last (inclusive), about max_bytes; answer with `fetched`."""

    stream: Stream
    first: int
    last: int
    max_bytes: int
    region: Region


@dataclass(frozen=True, slots=True)
class FetchPart:
    """Read part of an evidence file; answer with `part_read`."""

    sha256: bytes
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PersistCursor:
    """Acknowledged ranges to add to the log's cursor, or to replace it with."""

    stream: Stream
    ranges: RangeSet
    replace: bool = False


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Make the next telemetry record a key: live data must decode without the missed past."""


@dataclass(frozen=True, slots=True)
class FindCatalogue:
    """Find the event record that announces this catalogue; have the priority lane send it."""

    catalogue: bytes


@dataclass(frozen=True, slots=True)
class CatalogueDelivered:
    """The receiver acknowledged this catalogue's event; tell the bulk lane."""

    catalogue: bytes


@dataclass(frozen=True, slots=True)
class FindPeriod:
    """Find the sequences of a time range (wall clock, ns) and answer with `resend`."""

    request_id: int
    stream: Stream
    from_ns: int
    to_ns: int


@dataclass(frozen=True, slots=True)
class FindEvidence:
    """Find the evidence record of a file and answer with `evidence_found`."""

    request_id: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TakePicture:
    """Have a camera's picture taken, stored and sent; the shell answers the request itself."""

    request_id: int
    camera: str


@dataclass(frozen=True, slots=True)
class SendUnthinned:
    """Have a period of a thinned stream sent in full; the shell answers the request itself."""

    request_id: int
    period: wire.ResendPeriod


@dataclass(frozen=True, slots=True)
class FetchThumbnail:
    """Make a small picture of a record's file; answer with `thumbnail_made`."""

    sequence: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class LogForked:
    """What the receiver holds under this log id is not this log's: it needs a new log id.

    why: end of a sentence that says how that was found.
    """

    stream: Stream
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """An event for people: dotted kind, one clear sentence, flat attributes."""

    kind: str
    text: str
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Relay:
    """A message that concerns the streams of the other lane."""

    message: wire.ReceiverMessage


@dataclass(frozen=True, slots=True)
class Opened:
    """The receiver's Welcome came: the lane is up."""


@dataclass(frozen=True, slots=True)
class Close:
    """End this connection and make a new one; the reason is one clear sentence."""

    reason: str


Output = (
    SendHello
    | SendRecords
    | SendCopies
    | LongLine
    | SendGaps
    | SendStatus
    | SendPart
    | SendResult
    | Fetch
    | FetchPart
    | PersistCursor
    | RequestKey
    | FindCatalogue
    | CatalogueDelivered
    | FindPeriod
    | FindEvidence
    | FetchThumbnail
    | TakePicture
    | SendUnthinned
    | LogForked
    | Report
    | Relay
    | Opened
    | Close
)
