"""Uplink session of one lane over one connection: what to send next, and what answers mean. Pure.

Guarantees:

- The receiver owns the cursor: Welcome replaces what the gateway believed to be acknowledged,
  unless what the receiver holds came from another log (gateway/uplink/lineage.py).
- Everything held is offered until it is acknowledged, refused or reported as a gap.
- Nothing is sent twice within a session unless the receiver asks (NeedCatalogue, Request).
- Unacknowledged bytes stay within the window; a single larger record goes when nothing else is
  in flight. Alarms may exceed a full window by alarm_extra_bytes.
- Live data goes before the past; the past is marked historical.
- Silence of the receiver ends the session; so do records that make no progress.

    WAITING ──Welcome──▶ OPEN ──silence, stall, LogForked, protocol error──▶ CLOSED
       └───────────── silence, anything but Welcome ─────────────────────────▲

A session never goes back: the shell makes a new one for each connection. Its parts are the Sender
(what goes next), a Ledger per stream (what is where) and the Window (how much at once).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence

from buffer.contract import Bounds, Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.encode import from_wire
from gateway.uplink.file_policy import FilePolicy
from gateway.uplink.ledger import Ledger
from gateway.uplink.lineage import OwnPast, compare, lost
from gateway.uplink.outputs import (
    NOTICE,
    CatalogueDelivered,
    Close,
    Counters,
    Fetch,
    FetchPart,
    FindCatalogue,
    FindEvidence,
    FindPeriod,
    Lane,
    LogForked,
    Opened,
    Output,
    PersistCursor,
    Region,
    Relay,
    Report,
    RequestKey,
    SendHello,
    SendResult,
    SendStatus,
    SessionSettings,
)
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.requests import REQUESTS_PER_MINUTE, RequestLimit, asked_for, plain_answer
from gateway.uplink.sender import Sender
from gateway.wire.v1 import uplink_pb2 as wire

_MILLISECOND_NS = 1_000_000
_CATALOGUE_ATTEMPTS = 5  # a receiver that never stores a catalogue must not make us loop


class State(enum.Enum):
    """Where a session stands."""

    WAITING = "waiting"
    OPEN = "open"
    CLOSED = "closed"


class LaneSession:
    """One lane of one connection.

    boot_id: 16 bytes naming this boot.  bounds: of the lane's streams, cursors: of all, from the
    log at connecting time; from then on every commit must be told.  quarantine: survives sessions.
    """

    def __init__(
        self,
        lane: Lane,
        *,
        settings: SessionSettings,
        boot_id: bytes,
        bounds: Mapping[Stream, Bounds],
        cursors: Mapping[Stream, RangeSet],
        quarantine: Quarantine,
        counters: Counters,
        policy: FilePolicy | None = None,
    ) -> None:
        self._policy = policy or FilePolicy()
        self._settings = settings
        self._cursors = cursors
        self._own: OwnPast | None = None
        self._quarantine = quarantine
        self._counters = counters
        self._sender = Sender(lane, settings, boot_id, bounds, counters, self._policy)
        self._sender.set_aside = self._set_aside
        self.state = State.WAITING
        self._watched: dict[int, bytes] = {}  # event sequence -> catalogue hash
        self._barriers: dict[bytes, int] = {}  # catalogue hash -> ping sent at its release
        self._attempts: Counter[bytes] = Counter()
        self._requests = RequestLimit()
        self._heard_ns = 0
        self._status_ns = 0
        self._last_ns = 0

    # ---- what the shell tells ------------------------------------------------------------

    def start(self, *, now_ns: int) -> list[Output]:
        """Begin: the connection is being made."""
        self._heard_ns = self._status_ns = now_ns
        self._sender.sent_ns = self._sender.progress_ns = now_ns
        return [SendHello()]

    def feed(self, message: wire.ReceiverMessage, *, now_ns: int) -> list[Output]:
        """Take one message of the receiver."""
        if self.state is State.CLOSED:
            return []
        self._heard_ns = now_ns
        kind = message.WhichOneof("body")
        if (self.state is State.WAITING) != (kind == "welcome"):
            return self._close(f"The receiver sent {kind} where the protocol has no place for it.")
        out = self._understand(kind, message, now_ns)
        return out + self._pump(now_ns)

    def know(self, own: OwnPast) -> None:
        """Take what this log is, all streams of it, just before a Welcome is fed."""
        self._own = own

    def committed(self, stream: Stream, records: Sequence[Record], *, now_ns: int) -> list[Output]:
        """Take records that have just become durable."""
        ledger = self._sender.ledgers.get(stream)
        if ledger is None or not records or stream not in self._settings.streams:
            return []
        ledger.committed(records[-1].sequence + 1)
        if self.state is not State.OPEN:
            return []
        self._sender.stage(stream, records)
        return self._pump(now_ns)

    def extended(self, stream: Stream, bounds: Bounds, *, now_ns: int) -> list[Output]:
        """Take what the log holds now; for records that came without a commit (a renewed log)."""
        ledger = self._sender.ledgers[stream]
        if bounds.next <= ledger.next or stream not in self._settings.streams:
            return []
        ledger.committed(bounds.next)
        return self._pump(now_ns)

    def fetched(self, fetch: Fetch, records: Sequence[Record], *, now_ns: int) -> list[Output]:
        """Take the answer to a Fetch: the records of its range that are held, in order."""
        if self.state is not State.OPEN:
            return []
        return self._sender.fetched(fetch, records) + self._pump(now_ns)

    def unread(self, fetch: Fetch, stop: int, *, now_ns: int) -> list[Output]:
        """Take that a Fetch failed: the records from its first to `stop` cannot be read now."""
        if self.state is not State.OPEN:
            return []
        self._sender.unread(fetch, stop, now_ns)
        return self._pump(now_ns)

    def part_read(self, request: FetchPart, content: bytes | None, *, now_ns: int) -> list[Output]:
        """Take the answer to a FetchPart; None where the file is not held any more."""
        if self.state is not State.OPEN:
            return []
        return self._sender.part_read(request, content, now_ns) + self._pump(now_ns)

    def part_unread(self, request: FetchPart, why: str, *, now_ns: int) -> list[Output]:
        """Take that a FetchPart failed, though the file is held."""
        if self.state is not State.OPEN:
            return []
        return self._sender.part_unread(request, why, now_ns) + self._pump(now_ns)

    def thumbnail_made(self, sequence: int, picture: bytes, *, now_ns: int) -> list[Output]:
        """Take the answer to a FetchThumbnail; empty where there can be none."""
        self._sender.thumbnail_made(sequence, picture)
        return self._pump(now_ns)

    def evidence_found(
        self, found: FindEvidence, sequence: int | None, *, now_ns: int
    ) -> list[Output]:
        """Take the answer to a FindEvidence: the newest record that names the file, if any."""
        if sequence is None:
            return [SendResult(found.request_id, False, "no record of this file is held here")]
        self._policy.grant(sequence)
        span = RangeSet([(sequence, sequence + 1)])
        return self.resend(found.request_id, Stream.EVIDENCE, span, now_ns=now_ns)

    def deliver_catalogue(self, catalogue: bytes, sequence: int) -> list[Output]:
        """Send the event record that announces a catalogue ahead of all, sent before or not."""
        if self.state is not State.OPEN:
            return []
        self._watched[sequence] = catalogue
        flights = self._sender.ledgers[Stream.EVENT].flights
        if any(flight.first <= sequence < flight.stop for flight in flights):
            return []
        return [Fetch(Stream.EVENT, sequence, sequence, 1, Region.URGENT)]

    def catalogue_delivered(self, catalogue: bytes, *, now_ns: int) -> list[Output]:
        """Send what was held back for a catalogue: the receiver has it now."""
        ledger = self._sender.ledgers[Stream.TELEMETRY]
        if self.state is not State.OPEN or catalogue not in ledger.held:
            return []
        if self._attempts[catalogue] > _CATALOGUE_ATTEMPTS:
            return []
        ledger.unhold(catalogue)
        status = self._status(now_ns)
        self._barriers[catalogue] = status.ping
        return [status, *self._pump(now_ns)]

    def resend(
        self, request_id: int, stream: Stream, ranges: RangeSet, *, now_ns: int
    ) -> list[Output]:
        """Send acknowledged records again, marked historical, on the receiver's request."""
        if self.state is not State.OPEN:
            return []
        count = self._sender.resend(stream, ranges)
        done = SendResult(request_id, True, f"{count} records will be sent again")
        return [done, *self._pump(now_ns)]

    def tick(self, now_ns: int) -> list[Output]:
        """Do what is due by time."""
        if self.state is State.CLOSED:
            return []
        settings = self._settings
        if now_ns - self._heard_ns >= settings.silence_ms * _MILLISECOND_NS:
            return self._close(f"The receiver was silent for {settings.silence_ms / 1000:g} s.")
        if self.state is State.WAITING:
            return []
        if self._sender.busy() and now_ns >= self._stalled_ns():
            span = f"{settings.stall_ms / 1000:g} s"
            return self._close(f"The receiver answers, but acknowledged nothing for {span}.")
        out: list[Output] = []
        if now_ns >= self._heartbeat_ns():
            out.append(self._status(now_ns))
            out += self._quarantine.overdue(now_ns)
        return out + self._pump(now_ns)

    def next_deadline_ns(self) -> int | None:
        """When `tick` is due next (monotonic ns); None when closed."""
        if self.state is State.CLOSED:
            return None
        due = self._heard_ns + self._settings.silence_ms * _MILLISECOND_NS
        if self.state is State.WAITING:
            return due
        due = min(due, self._heartbeat_ns())
        if self._sender.busy():
            due = min(due, self._stalled_ns())
        sending_ns = self._sender.due_ns(self._last_ns)
        return due if sending_ns is None else min(due, sending_ns)

    def backlog_records(self) -> dict[Stream, int]:
        """Held records that are not acknowledged, by stream."""
        return {stream: ledger.backlog() for stream, ledger in self._sender.ledgers.items()}

    # ---- what the receiver says ----------------------------------------------------------

    def _understand(
        self, kind: str | None, message: wire.ReceiverMessage, now_ns: int
    ) -> list[Output]:
        match kind:
            case "ack":
                return self._ack(message, now_ns)
            case "welcome":
                return self._welcome(message.welcome, now_ns)
            case "need_catalogue":
                return self._need_catalogue(message, now_ns)
            case "reject":
                return self._reject(message, now_ns)
            case "request":
                return self._request(message, now_ns)
            case _:
                return self._understand_rare(kind, message, now_ns)

    def _understand_rare(
        self, kind: str | None, message: wire.ReceiverMessage, now_ns: int
    ) -> list[Output]:
        match kind:
            case "throttle":
                return self._throttle(message, now_ns)
            case "evidence_need":
                return self._evidence_need(message)
            case "notice":
                text = f"The receiver says: {message.notice.text}"
                return [Report(NOTICE, text, {"notice": message.notice.kind})]
            case _:
                return []  # the schema grows; an older gateway ignores what it does not know

    def _welcome(self, welcome: wire.Welcome, now_ns: int) -> list[Output]:
        said = {stream: RangeSet() for stream in Stream}
        for one in welcome.acknowledged:
            if _known(one.stream):
                said[Stream(one.stream)].update(from_wire(one.ranges))
        if forked := self._forked(welcome, said):
            return forked
        self.state = State.OPEN
        self._sender.opened(now_ns)
        self._sender.largest_bytes = welcome.max_message_bytes
        self._sender.window.cap(welcome.window_bytes, welcome.max_message_bytes)
        out: list[Output] = [Opened(), self._status(now_ns)]
        for stream, ledger in self._sender.ledgers.items():
            if stream in self._settings.streams:
                out += self._take_cursor(ledger, said[stream])
        return out

    def _forked(self, welcome: wire.Welcome, said: Mapping[Stream, RangeSet]) -> list[Output]:
        """Adopt what certainly was delivered, in all streams, and ask for a new log id."""
        ledgers = self._sender.ledgers
        own = self._own or OwnPast({stream: one.next for stream, one in ledgers.items()})
        verdicts = compare(welcome, said, own, self._cursors)
        fork = next(((stream, one.fork) for stream, one in verdicts.items() if one.fork), None)
        if fork is None:
            return []
        self.state = State.CLOSED
        out: list[Output] = [
            PersistCursor(stream, one.agreed, replace=True) for stream, one in verdicts.items()
        ]
        return [*out, LogForked(*fork)]

    def _take_cursor(self, ledger: Ledger, ranges: RangeSet) -> list[Output]:
        stream = ledger.stream
        gone = lost(self._cursors[stream], ranges, (ledger.first, ledger.next))
        ranges.update(self._quarantine.ranges(stream))
        for start, stop in self._policy.granted() if stream is Stream.EVIDENCE else ():
            ranges.discard(start, stop)  # the record is there, the file that was asked for is not
        ledger.welcome(ranges)
        out: list[Output] = [PersistCursor(stream, ranges.copy(), replace=True)]
        out += self._sender.gaps(stream, RangeSet([(1, ledger.first)]))
        if gone:
            text = (
                f"The receiver no longer has {gone} records of stream {stream.name.lower()} "
                "that it had acknowledged; they are sent again."
            )
            out.append(Report("uplink.receiver_lost", text, {"records": gone}))
        run = ledger.missing(ledger.first, ledger.next)
        ledger.live_from = ledger.next
        small = ledger.backlog() <= self._settings.small_backlog_records
        if run is not None and (small or stream is Stream.EVIDENCE):
            ledger.live_from = run[0]
        elif run is not None and stream is Stream.TELEMETRY:
            out.append(RequestKey())
        return out

    def _ack(self, message: wire.ReceiverMessage, now_ns: int) -> list[Output]:
        ack = message.ack
        out: list[Output] = []
        if ack.pong:
            self._sender.pong(ack.pong, now_ns)
            for catalogue in [one for one, ping in self._barriers.items() if ping <= ack.pong]:
                del self._barriers[catalogue]
        if not ack.ranges:
            return out
        ledger = self._ledger(ack.stream)
        if ledger is None:
            return [Relay(message)]
        ranges = from_wire(ack.ranges)
        if ahead := self._ahead(ledger, ranges):
            return ahead
        self._sender.land(ledger.stream, ranges, now_ns)
        out.append(PersistCursor(ledger.stream, ranges))
        return out + self._watch(ledger.stream, ranges)

    def _watch(self, stream: Stream, ranges: RangeSet) -> list[Output]:
        if stream is not Stream.EVENT or not self._watched:
            return []
        landed = [sequence for sequence in self._watched if sequence in ranges]
        return [CatalogueDelivered(self._watched.pop(sequence)) for sequence in landed]

    def _reject(self, message: wire.ReceiverMessage, now_ns: int) -> list[Output]:
        reject = message.reject
        ledger = self._ledger(reject.stream)
        if ledger is None:
            return [Relay(message)]
        if not ledger.first <= reject.sequence < ledger.next:  # a complaint about no record of ours
            return [*self._quarantine.add(ledger.stream, reject.sequence, reject.reason, now_ns)]
        if reject.conflict:
            self.state = State.CLOSED
            name = ledger.stream.name.lower()
            return [LogForked(ledger.stream, f"has another {name} record {reject.sequence}")]
        return self._set_aside(ledger.stream, reject.sequence, reject.reason, now_ns)

    def _set_aside(self, stream: Stream, sequence: int, reason: str, now_ns: int) -> list[Output]:
        ranges = self._sender.ledgers[stream].span(sequence)
        self._counters.rejected_records += 1
        self._sender.land(stream, ranges, now_ns)
        self._quarantine.keep(stream, ranges)
        return [
            PersistCursor(stream, ranges),
            *self._quarantine.add(stream, sequence, reason, now_ns),
        ]

    def _need_catalogue(self, message: wire.ReceiverMessage, now_ns: int) -> list[Output]:
        ledger = self._sender.ledgers.get(Stream.TELEMETRY)
        if ledger is None:
            return [Relay(message)]
        out: list[Output] = []
        for catalogue in message.need_catalogue.hashes:
            if catalogue in self._barriers:
                continue  # said before the receiver saw that catalogue
            known = catalogue in ledger.held
            ledger.held.setdefault(catalogue, RangeSet())
            ledger.recall(catalogue, lambda one: self._sender.window.recalled(one.ticket))
            self._sender.progress_ns = now_ns
            if known:
                continue
            self._attempts[catalogue] += 1
            if self._attempts[catalogue] <= _CATALOGUE_ATTEMPTS:
                out.append(FindCatalogue(catalogue))
                continue
            name = catalogue.hex()[:16]
            text = f"Catalogue {name} is asked for again and again; telemetry waits for a new link."
            out.append(Report("uplink.catalogue_refused", text))
        return out

    def _throttle(self, message: wire.ReceiverMessage, now_ns: int) -> list[Output]:
        if Stream.TELEMETRY not in self._sender.ledgers:
            return [Relay(message)]
        said = message.throttle
        self._sender.pace.throttle(said.bytes_per_s, said.pause_ms, now_ns)
        return []

    def _evidence_need(self, message: wire.ReceiverMessage) -> list[Output]:
        if Stream.EVIDENCE not in self._sender.ledgers:
            return [Relay(message)]
        self._sender.evidence.need(message.evidence_need.sha256, message.evidence_need.offset)
        return []

    def _request(self, message: wire.ReceiverMessage, now_ns: int) -> list[Output]:
        request = message.request
        what = request.WhichOneof("what")
        number = request.request_id
        if what in ("resend", "resend_period"):
            named = request.resend.stream if what == "resend" else request.resend_period.stream
            ledger = self._ledger(named)
            if ledger is None and _known(named):
                return [Relay(message)]
        lane_of = {"catalogue": Stream.EVENT, "evidence": Stream.EVIDENCE}.get(what or "")
        if lane_of is not None and lane_of not in self._sender.ledgers:
            return [Relay(message)]
        if not self._requests.takes(now_ns):
            return [SendResult(number, False, f"more than {REQUESTS_PER_MINUTE} requests a minute")]
        audit = Report("uplink.request", f"The receiver requested {what}.", asked_for(request))
        return [audit, *self._answer(what, request, now_ns)]

    def _answer(self, what: str | None, request: wire.Request, now_ns: int) -> list[Output]:
        number = request.request_id
        match what:
            case "resend" if (ledger := self._ledger(request.resend.stream)) is not None:
                ranges = from_wire(request.resend.ranges)
                return self.resend(number, ledger.stream, ranges, now_ns=now_ns)
            case "resend_period" if ledger := self._ledger(request.resend_period.stream):
                period = request.resend_period
                return [FindPeriod(number, ledger.stream, period.from_ns, period.to_ns)]
            case "status":
                return [self._status(now_ns), SendResult(number, True, "status sent")]
            case _:
                return plain_answer(request)

    # ---- the rest ------------------------------------------------------------------------

    def _pump(self, now_ns: int) -> list[Output]:
        self._last_ns = now_ns
        return self._sender.pump(now_ns) if self.state is State.OPEN else []

    def _ledger(self, stream: int) -> Ledger | None:
        return self._sender.ledgers.get(Stream(stream)) if _known(stream) else None

    def _ahead(self, ledger: Ledger, ranges: RangeSet) -> list[Output]:
        top = max((stop for _, stop in ranges), default=0)
        if top <= ledger.next:
            return []
        self.state = State.CLOSED
        name = ledger.stream.name.lower()
        why = f"acknowledges {name} up to {top - 1}, this log only holds up to {ledger.next - 1}"
        return [LogForked(ledger.stream, why)]

    def _status(self, now_ns: int) -> SendStatus:
        self._status_ns = now_ns
        return self._sender.ping(now_ns)

    def _heartbeat_ns(self) -> int:
        quiet_ns = max(self._status_ns, min(self._sender.sent_ns, self._heard_ns))
        return quiet_ns + self._settings.heartbeat_ms * _MILLISECOND_NS

    def _stalled_ns(self) -> int:
        return self._sender.progress_ns + self._settings.stall_ms * _MILLISECOND_NS

    def _close(self, reason: str) -> list[Output]:
        self.state = State.CLOSED
        return [Close(reason)]


def _known(stream: int) -> bool:
    return Stream.ALARM <= stream <= Stream.EVIDENCE
