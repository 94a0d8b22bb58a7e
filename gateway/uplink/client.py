"""Uplink: keeps the connections to one destination, and hands each commit to its lane.

Guarantees:

- The lanes live and die apart: a dead bulk connection never holds up an alarm.
- While the receiver is away, attempts are at most 2 s apart for the first minutes and at most 5 s
  apart later, each after a random delay (full jitter); what only a human can change (a refused
  certificate) is tried again after up to 60 s, and `health` says why.
- link.up and link.down are reported on change only.
- Every commit costs at most one Push; nothing polls. On a long line a third, light connection takes
  copies of alarms (copies.py); nothing depends on it, and its state is nobody's alarm.

`run` until cancelled; cancelling closes all connections. What was sent and not acknowledged is
sent again by the next run; the receiver drops what it has.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from buffer.contract import Log, Record, Stream, VolatileRecord, VolatileSource
from buffer.ranges import RangeSet
from drivers.contract import Clock
from gateway.model.clock import ServerTime
from gateway.model.sight import Sight
from gateway.uplink import encode
from gateway.uplink.channel import Destination
from gateway.uplink.derived import DerivedLog
from gateway.uplink.encode import GatewayIdentity, Moment
from gateway.uplink.file_policy import FilePolicy
from gateway.uplink.hub import Surroundings
from gateway.uplink.link import RENEWED, LaneLink
from gateway.uplink.outputs import (
    MAIN_LANES,
    NOTICE,
    STREAMS,
    Counters,
    Lane,
    LogForked,
    SendRecords,
    SessionSettings,
)
from gateway.uplink.patience import Ended, Patience
from gateway.uplink.pictures import Answer, Pictures, PictureSource
from gateway.uplink.quarantine import Quarantine
from gateway.uplink.renewal import watch
from gateway.uplink.sent_log import SentLog
from gateway.uplink.site_score import SiteScore
from gateway.uplink.thin import Choice
from gateway.uplink.unthinned import Unthinned
from gateway.uplink.volatile import VolatileOutbox
from gateway.wire.v1 import uplink_pb2 as wire

Events = Callable[[str, str, dict[str, Any]], None]

FILES_STATE = "uplink.files."
"""Named value in the log, by destination: the day's bytes of files, see file_policy.py."""

_NOTICE_NS = 600_000_000_000  # the same words of the receiver are one event for so long
_COPY_HEARTBEAT_MS = 10_000
_COPY_SILENCE_MS = 30_000  # nothing is lost by a copy lane that is dead, so little is spent on it
_COPY_REFUSED_MS = 600_000.0  # a receiver that knows no such lane will not learn it soon
_RATE_NS = 1_000_000_000  # shortest span over which values per second are measured


class Uplink:
    """All lanes to one destination.

    events: called on the loop with kind, one clear sentence and flat attributes; it must not block.
    health: first word ok, degraded or failed, as sent in each heartbeat.
    choice: what of the log this destination is sent, by a stream of its own; None for all of it.
    times: called with what the receiver says the time is.
    pictures: the gateway's cameras; None where it has none.
    volatile: tells of alarms that the disk does not take; None where nothing does.
    """

    def __init__(
        self,
        config: Destination,
        *,
        log: Log,
        clock: Clock,
        identity: GatewayIdentity,
        events: Events,
        rng: random.Random,
        settings: SessionSettings | None = None,
        health: Callable[[], str] = lambda: "ok",
        times: Callable[[ServerTime], None] = lambda _: None,
        volatile: VolatileSource | None = None,
        choice: Choice | None = None,
        pictures: PictureSource | None = None,
    ) -> None:
        settings = replace(
            settings or SessionSettings(),
            history_share=config.history_share,
            rate_bytes_per_s=config.rate_bytes_per_s,
            copy_alarms=config.copy_alarms,
            streams=frozenset(Stream[name.upper()] for name in config.streams),
        )
        state = FILES_STATE + config.name
        policy = FilePolicy(
            config.evidence,
            config.evidence_bytes_per_day,
            wall_less_monotonic_ns=clock.wall_ns() - clock.monotonic_ns(),
            saved=log.state(state),
            save=lambda counted: log.save_state({state: counted}),
        )
        self._derived = DerivedLog(log, config.name, choice, clock) if choice else None
        self._log: SentLog = self._derived or log
        self._around = Surroundings(config, identity, self._log, clock, settings, policy)
        light = replace(
            settings,
            heartbeat_ms=_COPY_HEARTBEAT_MS,
            silence_ms=_COPY_SILENCE_MS,
            copy_alarms=False,
        )
        self._around_copies = replace(self._around, settings=light)
        self._long_line = asyncio.Event()
        self._score = SiteScore(log, clock, config.name, settings.streams)
        self._pictures = Pictures(pictures, policy, clock, self._no_files_of, self._picture_taken)
        self._unthinned = Unthinned(log, choice, self._around, self.report, self.catalogue_wanted)
        self._config = config
        self._streams = settings.streams
        self._clock = clock
        self._events = events
        self._rng = rng
        self._site_health = health
        self._times = times
        self._volatile_source = volatile
        self._volatile = VolatileOutbox()
        self._quarantine = Quarantine()
        self._counters = {lane: Counters() for lane in Lane}
        self._links: dict[Lane, LaneLink] = {}
        self._opened_ns: dict[Lane, int] = {}
        self._wanted: dict[bytes, int] = {}  # catalogue -> sequence of its event
        self._state: tuple[bool, bool] | None = None  # up, permanently refused
        self._reason = "not connected yet"
        self._reconnects = 0
        self._samples = 0
        self._rate_from: tuple[int, int] = (0, 0)
        self._values_per_s = 0.0
        self._noticed: dict[str, int] = {}
        self._moved = asyncio.Event()  # an acknowledgement came
        self._known_id = self._log.log_id  # that of the sequences kept here

    async def run(self) -> None:
        """Keep both lanes connected until cancelled."""
        stops = [self._log.add_listener(self._committed)]
        if self._volatile_source is not None and Stream.ALARM in self._streams:
            self._volatile.add(self._sent_here(self._volatile_source.volatile()))
            stops.append(self._volatile_source.add_volatile_listener(self._volatile_told))
        try:
            async with asyncio.TaskGroup() as group:
                if self._derived is not None:
                    group.create_task(self._derived.run())
                for lane in MAIN_LANES:
                    group.create_task(self._keep(lane))
                group.create_task(self._keep_copies())
                group.create_task(self._pictures.run())
                group.create_task(self._unthinned.look())
                group.create_task(self._unthinned.run())
                group.create_task(self._score.run())
                group.create_task(watch(self._config, self._clock, self._reconnect, self.report))
        finally:
            for stop in stops:
                stop()

    def _reconnect(self) -> None:
        for link in self._links.values():
            link.end("The certificate was renewed.")

    def choose(self, choice: Choice, why: str, *, raised: bool) -> None:
        """Send by another choice from now on, and put that on record. Only where there is one."""
        if self._derived is None:
            raise ValueError(f"uplink {self._config.name} has no filter")
        self._derived.choose(choice)
        often = "more closely 加密上报" if raised else "as usual again 恢复正常上报"
        text = f"Uplink {self._config.name} reports {often}: {why}; left out now: {choice.words()}."
        self.report("uplink.reporting", text, {"raised": raised, "why": why})
        self._end_outdated()

    @property
    def name(self) -> str:
        """Name of the destination."""
        return self._config.name

    def health(self) -> tuple[bool, str]:
        """Tell whether both lanes are up, and if not, why, in one sentence."""
        if self._is_up():
            words = self._score.words(self._refused())
            of_it = f"; acknowledged of this hour: {words}" if words else ""
            return True, f"connected to {self._config.target}{of_it}"
        return False, self._reason

    async def drained(self) -> None:
        """Wait until everything held is acknowledged; for stopping, and not for ever."""
        while self._backlog_records():
            self._moved.clear()
            await self._moved.wait()

    def statistics(self) -> dict[str, float]:
        """Counters for metrics: flat names with units."""
        total = list(self._counters.values())
        bulk = self._counters[Lane.BULK]
        return {
            "connected": float(self._is_up()),
            "reconnects": self._reconnects,
            "sent_bytes": sum(one.sent_bytes for one in total),
            "sent_records": sum(one.sent_records for one in total),
            "sent_historical_records": sum(one.sent_historical_records for one in total),
            "acknowledged_records": sum(one.acknowledged_records for one in total),
            "rejected_records": sum(one.rejected_records for one in total),
            "gap_records": sum(one.gap_records for one in total),
            "copied_alarm_records": self._counters[Lane.COPY].copied_records,
            "backlog_records": self._backlog_records(),
            "live_lag_ms": bulk.live_lag_ms,
            "window_bytes": bulk.window_bytes,
            "in_flight_bytes": bulk.in_flight_bytes,
            **self._score.statistics(self._refused()),
        }

    def _refused(self) -> dict[Stream, RangeSet]:
        return {stream: self._quarantine.ranges(stream) for stream in Stream}

    # ---- Hub: what links tell ------------------------------------------------------------

    def acknowledged(self) -> None:
        """Wake who waits for the backlog to be gone."""
        self._moved.set()

    def opened(self, lane: Lane) -> None:
        """Note that a lane is up."""
        self._opened_ns[lane] = self._clock.monotonic_ns()
        if lane is Lane.PRIORITY:
            self._links[lane].send_now(self._volatile.all())
            for catalogue, sequence in self._wanted.items():
                self._links[lane].deliver_catalogue(catalogue, sequence)
        if self._is_up() and self._state != (True, False):
            self._state = (True, False)
            text = f"Uplink {self._config.name} to {self._config.target} is up."
            self.report("link.up", text, {"target": self._config.target})

    def relay(self, lane: Lane, message: wire.ReceiverMessage) -> None:
        """Give a message to the other lane, if that is open and speaks for the same log."""
        other = self._links.get(Lane.BULK if lane is Lane.PRIORITY else Lane.PRIORITY)
        if other is not None and other.is_open and other.log_id == self._links[lane].log_id:
            other.feed(message)

    def long_line(self) -> None:
        """Have the copy lane made."""
        self._long_line.set()

    def copy(self, records: Sequence[Record]) -> None:
        """Send alarms once more, if the copy lane is open and speaks for the same log."""
        link = self._links.get(Lane.COPY)
        if link is not None and link.is_open and link.log_id == self._links[Lane.PRIORITY].log_id:
            send = SendRecords(Stream.ALARM, tuple(records), historical=False)
            link.send_now([encode.push(send, self._around.identity.boot_id)])
            self._counters[Lane.COPY].copied_records += len(records)

    def catalogue_wanted(self, catalogue: bytes) -> None:
        """Have the priority lane deliver a catalogue's event, now or when it is open again."""
        sequence = self._log.catalogue_records().get(catalogue)
        if sequence is None:
            text = f"The receiver needs catalogue {catalogue.hex()[:16]}, which is not held here."
            self.report("uplink.catalogue_missing", text, {"catalogue": catalogue.hex()})
            return
        self._wanted[catalogue] = sequence
        link = self._links.get(Lane.PRIORITY)
        if link is not None:
            link.deliver_catalogue(catalogue, sequence)

    def catalogue_delivered(self, catalogue: bytes) -> None:
        """Tell the bulk lane."""
        self._wanted.pop(catalogue, None)
        self._unthinned.catalogue_delivered(catalogue)
        link = self._links.get(Lane.BULK)
        if link is not None:
            link.catalogue_delivered(catalogue)

    def log_forked(self, lane: Lane, found: LogForked) -> None:
        """Renew the log id: what the receiver has cannot have come from this log as it is now."""
        reason = (
            f"The receiver {self._config.name} {found.why}: a restored backup, a copied disk or a "
            "second box with this id. The log has a new id, and what it lacks is sent under that."
        )
        if self._links[lane].log_id == self._log.log_id:  # else the other lane said so first
            self._log.renew_log_id(reason)
            self.report("uplink.log_forked", reason, {"stream": found.stream.name.lower()})
        self._end_outdated()

    def report(self, kind: str, text: str, attributes: dict[str, Any]) -> None:
        """Record an event of this uplink; what both lanes are told is one event."""
        if kind == NOTICE:
            now_ns = self._clock.monotonic_ns()
            if now_ns - self._noticed.get(text, -_NOTICE_NS) < _NOTICE_NS:
                return
            self._noticed = {**self._noticed, text: now_ns} if len(self._noticed) < 100 else {}
        self._events(kind, text, {"uplink": self._config.name, **attributes})

    def picture_wanted(self, camera: str, answer: Answer) -> None:
        """Have a picture taken for this destination."""
        self._pictures.want(camera, answer)

    def unthinned_wanted(self, period: wire.ResendPeriod, answer: Answer) -> None:
        """Have a period sent to this destination with every sample."""
        self._unthinned.want(period, answer)

    def status(self, ping: int, moment: Moment) -> wire.GatewayMessage:
        """Make the heartbeat."""
        backlog = self._backlog_records()
        bulk = self._counters[Lane.BULK]
        mean_bytes = bulk.sent_bytes / bulk.sent_records if bulk.sent_records else 0.0
        self._measure_rate(moment.monotonic_ns)
        return encode.status(
            ping=ping,
            moment=moment,
            bounds={stream: self._log.bounds(stream) for stream in Stream},
            backlog_records=backlog,
            backlog_bytes=int(backlog * mean_bytes),  # the log does not count bytes: an estimate
            values_per_s=self._values_per_s,
            health=self._site_health(),
        )

    def heard_time(self, said: ServerTime) -> None:
        """Pass on what time the receiver says it is."""
        self._times(said)

    def volatile_stored(self, keys: Sequence[bytes]) -> None:
        """Take that the receiver has stored alarms that are in memory only here."""
        self._volatile.stored(keys)

    # ---- the rest ------------------------------------------------------------------------

    def _sent_here(self, records: Sequence[VolatileRecord]) -> list[VolatileRecord]:
        """Those that this destination takes: the record of another would never come after it."""
        derived = self._derived
        return [one for one in records if derived is None or derived.takes_alarm(one.payload)]

    def _no_files_of(self, camera: str) -> str:
        """Why this destination never gets a file of a camera, in a clause; or nothing."""
        if Stream.EVIDENCE not in self._streams:
            return "this destination does not take the stream of evidence"
        if self._derived is not None and not self._derived.takes_source(camera):
            return f"camera {camera} is not in what this destination is sent"
        return ""

    def _picture_taken(self, sight: Sight, sha256: bytes) -> None:
        text = f"A picture of camera {sight.camera} was taken for {self.name} and is sent there."
        self.report("uplink.snapshot", text, {"camera": sight.camera, "sha256": sha256.hex()})

    def _volatile_told(self, records: Sequence[VolatileRecord], volatile: bool) -> None:
        if not volatile:
            self._volatile.durable(records)
            return
        messages = self._volatile.add(self._sent_here(records))
        link = self._links.get(Lane.PRIORITY)
        if link is not None:
            link.send_now(messages)

    async def _keep(self, lane: Lane) -> None:
        patience = Patience(self._rng)
        while True:
            if self._derived is not None:
                await self._derived.ready()
            for stream in STREAMS[lane]:
                self._pass_over(stream)
            ended = await self._connect(lane, self._around)
            now_ns = self._clock.monotonic_ns()
            self._down(ended)
            self._reconnects += 1
            open_ns = now_ns - self._opened_ns.pop(lane, now_ns)
            delay_ms = patience.delay_ms(ended, open_ns=open_ns, now_ns=now_ns)
            await self._clock.sleep_until(now_ns + int(delay_ms * 1e6))

    async def _keep_copies(self) -> None:
        await self._long_line.wait()
        patience = Patience(self._rng)
        while True:
            ended = await self._connect(Lane.COPY, self._around_copies)
            now_ns = self._clock.monotonic_ns()
            open_ns = now_ns - self._opened_ns.pop(Lane.COPY, now_ns)
            delay_ms = patience.delay_ms(ended, open_ns=open_ns, now_ns=now_ns)
            if ended.permanent:
                delay_ms = _COPY_REFUSED_MS
            await self._clock.sleep_until(now_ns + int(delay_ms * 1e6))

    async def _connect(self, lane: Lane, around: Surroundings) -> Ended:
        """Make one connection of a lane and serve it to its end."""
        self._end_outdated()
        link = LaneLink(lane, around, self, self._quarantine, self._counters[lane])
        self._links[lane] = link
        self._opened_ns.pop(lane, None)
        try:
            return await link.run()
        finally:
            del self._links[lane]

    def _down(self, ended: Ended) -> None:
        if ended.unclear and self._state != (True, False):
            return
        self._reason = ended.reason
        if self._state == (False, ended.permanent):
            return
        self._state = (False, ended.permanent)
        text = f"Uplink {self._config.name} is down: {ended.reason}"
        self.report("link.down", text, {"permanent": ended.permanent})

    def _committed(self, stream: Stream, records: Sequence[Record]) -> None:
        if stream not in self._streams:
            self._pass_over(stream)
            return
        if stream is Stream.TELEMETRY:
            self._samples += sum(record.samples for record in records)
        lane = Lane.PRIORITY if stream in STREAMS[Lane.PRIORITY] else Lane.BULK
        link = self._links.get(lane)
        if link is not None and link.log_id == self._log.log_id:
            link.committed(stream, records)
        else:
            self._end_outdated()

    def _pass_over(self, stream: Stream) -> None:
        """Count what this destination does not take as done with: nothing is kept for it."""
        if stream not in self._streams:
            done = RangeSet([(1, self._log.bounds(stream).next)])
            self._log.acknowledge(self._config.name, stream, done)

    def _end_outdated(self) -> None:
        """End connections that speak for a log id that is no more, and forget its sequences."""
        log_id = self._log.log_id
        if self._known_id == log_id:
            return
        self._known_id = log_id
        self._quarantine = Quarantine()
        self._around.policy.forget()
        self._wanted.clear()
        for link in self._links.values():
            if link.log_id != log_id:
                link.end(RENEWED)

    def _is_up(self) -> bool:
        links = [self._links.get(lane) for lane in MAIN_LANES]
        return all(link is not None and link.is_open for link in links)

    def _backlog_records(self) -> int:
        total = 0
        for stream in self._streams:
            bounds = self._log.bounds(stream)
            cursor = self._log.cursor(self._config.name, stream)
            if cursor.contiguous_stop(bounds.first) < bounds.next:
                total += len(cursor.missing(bounds.first, bounds.next))
        return total

    def _measure_rate(self, now_ns: int) -> None:
        since_ns, samples = self._rate_from
        if now_ns - since_ns >= _RATE_NS:
            self._values_per_s = (self._samples - samples) * 1e9 / (now_ns - since_ns)
            self._rate_from = (now_ns, self._samples)


__all__ = ["Destination", "GatewayIdentity", "Uplink"]
