"""Sender: decides what one lane sends next, within window, pace and shares. Pure.

Order on the priority lane: catalogue events the receiver waits for, alarms, events; on the bulk
lane: live telemetry, then evidence and history by their shares of what is left. In each stream
live records go before the past, oldest first within each.

A blocked higher class is never overtaken by a lower one that happens to fit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from buffer.contract import Bounds, Record, Stream
from buffer.ranges import RangeSet
from gateway.uplink.chasers import Chasers
from gateway.uplink.copies import Copies
from gateway.uplink.evidence import EvidenceSender
from gateway.uplink.file_policy import FilePolicy, file_of
from gateway.uplink.ledger import Flight, Ledger, wire_bytes
from gateway.uplink.outputs import (
    STREAMS,
    Counters,
    Fetch,
    FetchPart,
    FetchThumbnail,
    Lane,
    Output,
    PersistCursor,
    Region,
    Report,
    SendGaps,
    SendPart,
    SendRecords,
    SendStatus,
    SessionSettings,
)
from gateway.uplink.pacing import Pace, Shares, Ticket, Window
from gateway.uplink.queues import Queue
from gateway.uplink.unread import Unread

_MILLISECOND_NS = 1_000_000
_FETCH_MESSAGES = 4  # messages a read brings, so that reads are few and memory stays small


class Sender:
    """Ledgers, queues and limits of one lane in one session."""

    def __init__(
        self,
        lane: Lane,
        settings: SessionSettings,
        boot_id: bytes,
        bounds: Mapping[Stream, Bounds],
        counters: Counters,
        policy: FilePolicy,
    ) -> None:
        self._policy = policy
        self._thumbnail: tuple[int, bytes | None] = (0, None)  # None: being made
        self._lane = lane
        self._settings = settings
        self._boot_id = boot_id
        self._counters = counters
        self.ledgers = {
            stream: Ledger(stream, _wanted(bounds[stream], stream in settings.streams))
            for stream in STREAMS[lane]
        }
        self.live = {stream: Queue(one, Region.LIVE) for stream, one in self.ledgers.items()}
        self._past = {stream: Queue(one, Region.HISTORY) for stream, one in self.ledgers.items()}
        self.window = Window(settings)
        self.pace = Pace(settings.rate_bytes_per_s)
        self._shares = Shares(settings.history_share)
        self.evidence = EvidenceSender()
        self.urgent: deque[Record] = deque()
        self.requested = RangeSet()  # telemetry to be marked historical because it was asked for
        self.largest_bytes = 0  # most the receiver takes in one message, 0 for no limit
        self.set_aside: Callable[[Stream, int, str, int], list[Output]] | None = None
        self._opened_ns = 0
        self._pings: deque[tuple[int, int, Ticket | None]] = deque()
        self.last_ping = 0
        self.sent_ns = 0
        self.progress_ns = 0
        self._chasers = Chasers()
        self._unread = Unread()
        copies = settings.copy_alarms and Stream.ALARM in settings.streams
        self._copies = Copies(settings.long_line_ms) if copies and self._is_priority() else None
        self._live_due_ns = 0  # until then few live records may wait for more

    def opened(self, now_ns: int) -> None:
        """Note when the session opened: what was committed well before is historical."""
        self._opened_ns = now_ns

    def busy(self) -> bool:
        """Tell whether anything waits for an acknowledgement."""
        return self.window.in_flight_bytes > 0 or any(
            ledger.flights for ledger in self.ledgers.values()
        )

    def due_ns(self, now_ns: int) -> int | None:
        """When something at hand may go that may not go yet; None if nothing waits for time."""
        unread = self._unread.next_ns()
        if self._lane is not Lane.BULK:
            copies = self._copies.next_ns() if self._copies else None
            waiting = (self._chasers.next_ns(), copies, unread)
            return min((one for one in waiting if one), default=None)
        ready_ns = self.pace.ready_ns
        due: list[int] = [] if unread is None else [unread]
        if self.live[Stream.TELEMETRY].head() is not None:
            due.append(max(ready_ns, self._live_due_ns))
        files = self.live[Stream.EVIDENCE]
        if self._past[Stream.TELEMETRY].head() or self.evidence.staged or files.head():
            due.append(ready_ns)
        return min((one for one in due if one > now_ns), default=None)

    def ping(self, now_ns: int, ticket: Ticket | None = None) -> SendStatus:
        """Make a Status whose pong confirms what was sent before it."""
        self.last_ping += 1
        self._pings.append((self.last_ping, now_ns, ticket))
        self.sent_ns = now_ns
        return SendStatus(self.last_ping)

    def pong(self, pong: int, now_ns: int) -> None:
        """Take the echo of a ping: everything sent before it has arrived."""
        while self._pings and self._pings[0][0] <= pong:
            ping, sent_ns, ticket = self._pings.popleft()
            if ticket is not None:
                self.window.landed(ticket, now_ns)
                self.progress_ns = now_ns
            elif ping == pong:
                self.window.round_trip(now_ns - sent_ns)

    def stage(self, stream: Stream, records: Sequence[Record]) -> None:
        """Keep new records at hand, as far as memory allows; the rest is read back later."""
        queue = self.live[stream]
        for record in records:
            if queue.staged_bytes + wire_bytes(record) <= self._settings.staged_bytes:
                queue.stage(record)

    def fetched(self, fetch: Fetch, records: Sequence[Record]) -> list[Output]:
        """Take what was read; sequences that turned out not to exist become gaps."""
        if fetch.region is Region.URGENT:
            flights = self.ledgers[fetch.stream].flights
            if not any(one.first <= fetch.first < one.stop for one in flights):
                self.urgent.extend(records)
            return []
        queues = self.live if fetch.region is Region.LIVE else self._past
        return self.gaps(fetch.stream, queues[fetch.stream].fetched(fetch, records))

    def unread(self, fetch: Fetch, stop: int, now_ns: int) -> None:
        """Take that a read failed up to `stop`: it is made again later, nothing is written off."""
        if fetch.region is Region.URGENT:
            self._unread.ask_again(fetch, now_ns)
            return
        queues = self.live if fetch.region is Region.LIVE else self._past
        start, stop = queues[fetch.stream].unread(fetch, stop)
        self._unread.keep_back(self.ledgers[fetch.stream], start, stop, now_ns)

    def part_read(self, request: FetchPart, content: bytes | None, now_ns: int) -> list[Output]:
        """Take part of a file; None where it is not held any more."""
        sequence = self.evidence.sequence
        if sequence is None or self.evidence.sha256 != request.sha256:
            return []  # of a file that is done with: it says nothing of the one that is sent now
        if content is not None and self.evidence.part_read(request, content):
            return []
        gone = RangeSet([(sequence, sequence + 1)])
        self.land(Stream.EVIDENCE, gone, now_ns)
        self._counters.gap_records += 1
        self._policy.arrived(sequence)
        text = f"Evidence {request.sha256.hex()[:16]} is not held any more; it was not sent."
        return [
            SendGaps(Stream.EVIDENCE, gone),
            PersistCursor(Stream.EVIDENCE, gone),
            Report("uplink.evidence_missing", text, {"sequence": sequence}),
        ]

    def part_unread(self, request: FetchPart, why: str, now_ns: int) -> list[Output]:
        """Take that a file is held and cannot be read: others go first, it is tried again later."""
        sequence = self.evidence.sequence
        if sequence is None or self.evidence.sha256 != request.sha256:
            return []
        self.evidence.end()
        if not self._unread.take_back(self.ledgers[Stream.EVIDENCE], sequence, now_ns):
            return []
        name = request.sha256.hex()[:16]
        text = f"Evidence {name} cannot be read ({why}); it waits, and is tried again."
        return [Report("uplink.evidence_unreadable", text, {"sequence": sequence})]

    def gaps(self, stream: Stream, ranges: RangeSet) -> list[Output]:
        """Write off what no longer exists and tell the receiver."""
        gone = RangeSet()
        for start, stop in ranges:
            gone.update(self.ledgers[stream].write_off(start, stop))
        if not gone:
            return []
        self._counters.gap_records += len(gone)
        return [SendGaps(stream, gone), PersistCursor(stream, gone)]

    def land(self, stream: Stream, ranges: RangeSet, now_ns: int) -> None:
        """Take acknowledged (or refused) ranges."""
        self.progress_ns = now_ns
        counters = self._counters
        ledger = self.ledgers[stream]
        for flight in ledger.acknowledge(ranges):
            counters.acknowledged_records += flight.stop - flight.first
            if flight.ticket.size_bytes:
                self.window.landed(flight.ticket, now_ns)
            if stream is Stream.TELEMETRY and not flight.historical:
                counters.live_lag_ms = (now_ns - flight.newest_ns) / _MILLISECOND_NS
        if stream is Stream.EVIDENCE and (self.evidence.sequence or 0) in ledger.acknowledged:
            self._policy.arrived(self.evidence.sequence or 0)
            self.evidence.end()

    def resend(self, stream: Stream, ranges: RangeSet) -> int:
        """Offer acknowledged records again, as history; says how many."""
        ledger = self.ledgers[stream]
        waiting = self.live[stream].run()
        ledger.live_from = waiting[0] if waiting else ledger.next
        reopened = ledger.reopen(ranges)
        if stream is Stream.TELEMETRY:
            self.requested.update(reopened)
        if stream is Stream.EVIDENCE:
            ledger.live_from = ledger.first
        return len(reopened)

    def thumbnail_made(self, sequence: int, thumbnail: bytes) -> None:
        """Take the small picture of a withheld file; empty where there can be none."""
        self._thumbnail = sequence, thumbnail

    def pump(self, now_ns: int) -> list[Output]:
        """Send what may be sent now, and ask for what comes next."""
        out: list[Output] = [*self._unread.take(self.ledgers.values(), now_ns)]
        while now_ns >= self.pace.ready_ns or self._is_priority():
            step = self._step(now_ns)
            if not step:
                break
            out += step
        if self._chasers.take(now_ns):
            out.append(self.ping(now_ns))
        if self._copies is not None:
            acknowledged = self.ledgers[Stream.ALARM].acknowledged
            out += self._copies.due(now_ns, self.window, acknowledged)
        most = _FETCH_MESSAGES * self.window.message_bytes
        for stream in self.ledgers:
            for queue in (self.live[stream], self._past[stream]):
                if stream is Stream.EVIDENCE and self.evidence.sequence is not None:
                    continue
                if (fetch := queue.want(most)) is not None:
                    out.append(fetch)
        if self._lane is Lane.BULK and (part := self._want_part()) is not None:
            out.append(part)
        self._counters.window_bytes = self.window.limit_bytes
        self._counters.in_flight_bytes = self.window.in_flight_bytes
        return out

    def _step(self, now_ns: int) -> list[Output]:
        if self.urgent:
            record = self.urgent.popleft()
            historical = self._is_historical(record)
            return self._launch(Stream.EVENT, [record], wire_bytes(record), historical, now_ns)
        if self._lane is Lane.BULK:
            return self._bulk_step(now_ns)
        for stream in self.ledgers:
            for queue in (self.live[stream], self._past[stream]):
                if self._ready(queue):
                    return self._push(queue, now_ns)
        return []

    def _bulk_step(self, now_ns: int) -> list[Output]:
        live = self.live[Stream.TELEMETRY]
        if self._ready(live) and not (now_ns < self._live_due_ns and self._few(live)):
            out = self._push(live, now_ns)
            if out:
                self._live_due_ns = now_ns + self._settings.linger_ms * _MILLISECOND_NS
            return out
        past = self._past[Stream.TELEMETRY]
        files = self.live[Stream.EVIDENCE]
        idle = self.evidence.sequence is None
        history = self._ready(past)
        evidence = self.evidence.staged is not None or (idle and self._ready(files))
        before = self.window.in_flight_bytes
        if history and (not evidence or self._shares.history_first()):
            out = self._push(past, now_ns)
        elif evidence:
            history = False
            out = self._send_part(now_ns) if self.evidence.staged else self._push(files, now_ns)
        else:
            return []
        used = self.window.in_flight_bytes - before
        alone = not (evidence if history else self._ready(past))
        self._shares.used(history=history, size_bytes=used, alone=alone)
        return out

    def _is_priority(self) -> bool:
        return self._lane is Lane.PRIORITY

    def _few(self, live: Queue) -> bool:
        """Tell whether all live records are at hand and make less than a message."""
        return live.staged_bytes < self.window.message_bytes and live.complete()

    def _ready(self, queue: Queue) -> bool:
        """Tell whether the head of a queue is at hand, after setting aside what must wait."""
        while (record := queue.head()) is not None:
            if record.catalogue in queue.ledger.held:
                queue.ledger.hold(record.catalogue, *queue.drop_head())
                continue
            return True
        return False

    def _push(self, queue: Queue, now_ns: int) -> list[Output]:
        head = queue.head()
        room = self.window.room_bytes
        stream = queue.ledger.stream
        if head is None:
            return []
        if self.largest_bytes and wire_bytes(head) > self.largest_bytes and self.set_aside:
            queue.drop_head()
            reason = f"{len(head.payload)} bytes, the receiver takes {self.largest_bytes}"
            return self.set_aside(stream, head.sequence, reason, now_ns)
        if stream is Stream.ALARM:
            room += self._settings.alarm_extra_bytes
        least = wire_bytes(head)
        if queue.region is Region.HISTORY:  # worth a message of its own
            least = max(least, min(self.window.message_bytes, self.window.limit_bytes))
        if least > room and self.window.in_flight_bytes > 0:
            return []
        limit = min(self.window.message_bytes, max(room, 0))
        if stream is Stream.EVIDENCE:
            limit = 0  # one record, because one file at a time
            if self._policy.withholds(head, now_ns):
                return self._withhold(queue, head, now_ns)
        past = queue.region is Region.HISTORY
        records, size = queue.take(limit, lambda record: past or self._is_historical(record))
        historical = past or self._is_historical(records[0])
        return self._launch(stream, records, size, historical, now_ns)

    def _withhold(self, queue: Queue, head: Record, now_ns: int) -> list[Output]:
        """Send an evidence record without its file, with a small picture where that is wanted."""
        thumbnail: bytes | None = b""
        if self._policy.wants_thumbnail(head):
            at, thumbnail = self._thumbnail
            if at != head.sequence:
                self._thumbnail = head.sequence, None
                file = file_of(head)
                return [FetchThumbnail(head.sequence, file.sha256 if file else b"")]
        if thumbnail is None:
            return []
        queue.drop_head()
        size = wire_bytes(head) + len(thumbnail)
        self._count(1, size, False, now_ns)
        ticket = self.window.sent(size, now_ns)
        flight = Flight(head.first, head.sequence + 1, ticket, b"", head.monotonic_ns, False)
        self.ledgers[Stream.EVIDENCE].launch(flight)
        past = queue.region is Region.HISTORY or self._is_historical(head)
        return [SendRecords(Stream.EVIDENCE, (head,), past, True, thumbnail)]

    def _launch(
        self, stream: Stream, records: Sequence[Record], size: int, historical: bool, now_ns: int
    ) -> list[Output]:
        self._count(len(records), size, historical, now_ns)
        ticket = self.window.sent(size, now_ns)
        newest = records[-1]
        # An evidence record is acknowledged when its file is complete, which may take minutes:
        # its bytes leave the window with the pong that follows it instead.
        landing = Ticket(0, now_ns, 0) if stream is Stream.EVIDENCE else ticket
        self.ledgers[stream].launch(
            Flight(
                records[0].first,
                newest.sequence + 1,
                landing,
                newest.catalogue,
                newest.monotonic_ns,
                historical,
                {one.sequence: one.source_first for one in records if one.source_first},
            )
        )
        if stream is Stream.ALARM:
            self._chasers.alarm_sent(now_ns, self.window.shortest_ns)
            if self._copies is not None and not historical:
                self._copies.alarms_sent(records, now_ns, self.window)
        out: list[Output] = [SendRecords(stream, tuple(records), historical)]
        if stream is Stream.EVIDENCE:
            self.evidence.begin(newest)
            out.append(self.ping(now_ns, ticket))
        return out

    def _send_part(self, now_ns: int) -> list[Output]:
        staged = self.evidence.staged
        if staged is None:
            return []
        size = len(staged.content)
        if size > self.window.room_bytes and self.window.in_flight_bytes > 0:
            return []
        part = self.evidence.take()
        assert part is not None  # noqa: S101 - staged above; mypy cannot see it
        self._count(0, size, False, now_ns)
        ticket = self.window.sent(size, now_ns)
        out: list[Output] = [
            SendPart(part.sha256, part.offset, part.total_bytes, part.content),
            self.ping(now_ns, ticket),
        ]
        if (request := self._want_part()) is not None:
            out.append(request)
        return out

    def _want_part(self) -> FetchPart | None:
        return self.evidence.want(min(self._settings.part_bytes, self.window.message_bytes))

    def _count(self, records: int, size: int, historical: bool, now_ns: int) -> None:
        if not self.busy():
            self.progress_ns = now_ns  # nothing could have made progress before
        self.sent_ns = now_ns
        self.pace.sent(size, now_ns)
        self._counters.sent_records += records
        self._counters.sent_historical_records += records if historical else 0

    def _is_historical(self, record: Record) -> bool:
        """Tell whether a record is past though it goes with live data; history always is."""
        asked = self.requested and record.stream is Stream.TELEMETRY
        if asked and record.sequence in self.requested:
            return True
        fresh_ns = self._opened_ns - self._settings.recent_ms * _MILLISECOND_NS
        return record.boot_id != self._boot_id or record.monotonic_ns < fresh_ns


def _wanted(bounds: Bounds, wanted: bool) -> Bounds:
    """Bounds of a stream, or those of an empty one where the destination does not take it."""
    return bounds if wanted else Bounds(bounds.next, bounds.next)
