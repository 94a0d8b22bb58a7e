"""Serial line driver: asks the devices of a line in turn, or listens to those that talk.

Guarantees:

- an answer counts only for the device that was asked; what came before the request is dropped;
- a frame that is wrong in shape or check sum is counted and is never a value;
- a device that stops becomes bad once; when all are silent, or the line is gone, every point is bad
  and DeviceError leaves `run`. Nothing is asked but the one request of each device.

The shell: time and the order of things. Frames are splitter's and codec's, bytes are client's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from drivers.contract import (
    Batch,
    Clock,
    DeviceError,
    DriverPoint,
    Emit,
    Quality,
    SourceEvent,
)
from drivers.serial_line.client import Line, LineLostError, open_line
from drivers.serial_line.codec import ChecksumError, FieldValue, FrameError
from drivers.serial_line.columns import Column
from drivers.serial_line.config import SerialAddress, SerialLineConfig, read_description
from drivers.serial_line.description import DescriptionError
from drivers.serial_line.splitter import Splitter
from drivers.serial_line.station import Station, make_stations

_COUNTERS = (
    "requests", "timeouts", "frames", "checksum_errors", "malformed_frames", "echoes",
    "frames_passed_over", "overflows", "polls", "late_polls",
)  # fmt: skip
_SMOOTHING = 8  # the achieved period is a mean over about this many polls, as of Modbus


class SerialLine:
    """The devices of one line; drivers/contract.py says what `run` promises."""

    def __init__(
        self,
        name: str,
        config: SerialLineConfig,
        points: Sequence[DriverPoint[SerialAddress]],
        clock: Clock,
    ) -> None:
        try:
            description = read_description(config.frame)
        except DescriptionError as error:
            raise DeviceError(f"{name}: {config.frame}: {error}") from error
        self._name = name
        self._where = f"{name} ({config.place})"
        self._config = config
        self._clock = clock
        self._listens = description.listens
        self._splitter = Splitter(description)
        self._stations = make_stations(config, description, points)
        self._allowed = frozenset(one.request for one in self._stations if one.request)
        self._counts: Counter[str] = Counter()
        self._sequence = 0
        self._emit: Emit | None = None
        self._up: bool | None = None
        self._unread = 0  # wrong frames since the last good one
        self._polled_ns = 0
        self._achieved_ns = 0.0

    async def run(self, emit: Emit) -> None:
        """Read until cancelled; raises DeviceError when the line or its devices are lost."""
        self._emit = emit
        now_ns = self._clock.monotonic_ns()
        for station in self._stations:
            station.restart(now_ns)
        self._unread = self._polled_ns = 0
        line: Line | None = None
        try:
            line = await open_line(self._config, self._allowed)
            self._splitter.restart(mid_stream=self._listens)
            await (self._listen(line) if self._listens else self._ask_for_ever(line))
        except LineLostError as error:
            if line is not None:
                line.close()
            await self._report_lost(str(error))
            said = "check port, baud, parity, wiring, power and frame description"
            raise DeviceError(f"{self._where}: {error}; {said}") from error
        finally:
            if line is not None:
                line.close()

    def statistics(self) -> Mapping[str, float]:
        """Counters since start."""
        found = {name: float(self._counts[name]) for name in _COUNTERS}
        found["dropped_bytes"] = float(self._splitter.dropped_bytes)
        counts = self._counts
        mean_ns = counts["round_trip_total_ns"] / counts["answered"] if counts["answered"] else 0.0
        found["round_trip_ms"] = mean_ns / 1e6
        found["achieved_period_ms"] = self._achieved_ns / 1e6
        found["stations"] = float(len(self._stations))
        found["stations_down"] = float(sum(one.down for one in self._stations))
        return found

    # Asking.

    async def _ask_for_ever(self, line: Line) -> None:
        period_ns = self._config.poll_ms * 10**6
        due_ns = self._clock.monotonic_ns()
        while True:
            for station in self._stations:
                if station.turn():
                    await self._ask(line, station)
            if all(station.down for station in self._stations):
                raise LineLostError(self._silence("no answer to several requests in a row"))
            due_ns = self._following(due_ns, period_ns)
            await self._clock.sleep_until(due_ns)

    def _following(self, due_ns: int, period_ns: int) -> int:
        """Time of the next poll in the phase of the schedule; a poll that is late is counted."""
        self._counts["polls"] += 1
        now_ns = self._clock.monotonic_ns()
        if self._polled_ns:
            taken_ns = now_ns - self._polled_ns
            weight = _SMOOTHING if self._achieved_ns else 1
            self._achieved_ns += (taken_ns - self._achieved_ns) / weight
        self._polled_ns = now_ns
        late = (now_ns - due_ns) // period_ns
        self._counts["late_polls"] += late > 0
        return due_ns + (late + 1) * period_ns

    async def _ask(self, line: Line, station: Station) -> None:
        """Give a device its turn: the request, then frames until its answer or the time-out."""
        self._discard(line)
        line.send(station.request)
        self._counts["requests"] += 1
        asked_ns = self._clock.monotonic_ns()
        deadline_ns = asked_ns + self._config.timeout_ms * 10**6
        while (left_ns := deadline_ns - self._clock.monotonic_ns()) > 0:
            chunk = await line.read(left_ns / 1e9)
            self._mind_gap(line)
            for frame in self._splitter.feed(chunk):
                if frame == station.request:
                    self._counts["echoes"] += 1
                    continue
                found = self._parsed(frame, [station])
                if found is not None:
                    self._counts["answered"] += 1
                    self._counts["round_trip_total_ns"] += self._clock.monotonic_ns() - asked_ns
                    await self._good(*found)
                    return
        self._counts["timeouts"] += 1
        station.unheard()
        await self._silent(station)

    def _discard(self, line: Line) -> None:
        """Drop what came before a request: noise, or an answer that came too late."""
        self._splitter.dropped_bytes += len(line.take())
        line.gap = False
        self._splitter.restart(mid_stream=False)

    # Listening.

    async def _listen(self, line: Line) -> None:
        """Take the newest good frame of each device and period."""
        period_ns = self._config.poll_ms * 10**6
        due_ns = self._clock.monotonic_ns() + period_ns
        newest: dict[str, tuple[Station, dict[str, FieldValue], int]] = {}
        while True:
            wait_ns = min(due_ns, self._next_silence_ns()) - self._clock.monotonic_ns()
            chunk = await line.read(max(wait_ns, 0) / 1e9)
            self._mind_gap(line)
            for frame in self._splitter.feed(chunk):
                found = self._parsed(frame, self._stations)
                if found is not None:
                    self._counts["frames_passed_over"] += found[0].address in newest
                    found[0].heard(self._clock.monotonic_ns())
                    newest[found[0].address] = (*found, self._clock.wall_ns())
            now_ns = self._clock.monotonic_ns()
            due = now_ns >= due_ns
            if due:
                due_ns = self._following(due_ns, period_ns)
            if due or now_ns >= self._next_silence_ns():  # what was heard goes before bad
                for station, fields, heard_ns in newest.values():
                    await self._good(station, fields, heard_ns)
                newest.clear()
            await self._tell_silent()

    def _next_silence_ns(self) -> int:
        """When the next device that is still heard will have been silent for too long."""
        silence_ns = self._config.timeout_ms * 10**6
        return silence_ns + min(
            (one.heard_ns for one in self._stations if not one.told_bad), default=0
        )

    async def _tell_silent(self) -> None:
        """Make bad whoever has been silent for too long; raises LineLostError if all have."""
        now_ns = self._clock.monotonic_ns()
        for station in self._stations:
            if now_ns - station.heard_ns >= self._config.timeout_ms * 10**6:
                await self._silent(station)
        if all(station.told_bad for station in self._stations):
            raise LineLostError(self._silence(f"silent for {self._config.timeout_ms} ms"))

    # What both share.

    def _parsed(
        self, frame: bytes, stations: Sequence[Station]
    ) -> tuple[Station, dict[str, FieldValue]] | None:
        """Find whose frame it is; None, after counting it, where it is nobody's."""
        summed = False
        for station in stations:
            try:
                fields = station.format.parse(frame)
            except ChecksumError:
                summed = True
            except FrameError:
                continue
            else:
                self._counts["frames"] += 1
                self._unread = 0
                return station, fields
        self._counts["checksum_errors" if summed else "malformed_frames"] += 1
        self._unread += 1
        self._splitter.refuse()
        return None

    def _mind_gap(self, line: Line) -> None:
        """Begin anew where bytes were dropped, so that no frame is made of two."""
        if line.gap:
            line.gap = False
            self._counts["overflows"] += 1
            self._splitter.restart(mid_stream=True)

    def _silence(self, reason: str) -> str:
        if not self._unread:
            return reason
        return f"{reason}, but {self._unread} frames that are wrong or not of the description"

    async def _good(
        self, station: Station, fields: Mapping[str, FieldValue], heard_ns: int = 0
    ) -> None:
        """Emit a frame. heard_ns: wall-clock time at which it came; 0 is now."""
        if not heard_ns:
            station.heard(self._clock.monotonic_ns())
            heard_ns = self._clock.wall_ns()
        if not self._up:
            self._up = True
            await self._say("link.up", f"{self._where} is read.")
        if station.told_down:
            station.told_down = False
            await self._say_station("link.up", station, "answers again")
        await self._columns(station.columns.of(fields), heard_ns)

    async def _silent(self, station: Station) -> None:
        """Emit the points of a device as bad, once until it is heard again."""
        await self._bad(station, Quality.BAD_COMM_FAILURE)
        others = any(not one.told_bad for one in self._stations)
        if others and not station.told_down and (self._listens or station.down):
            station.told_down = True
            text = "is silent" if self._listens else "does not answer; it is asked more rarely"
            await self._say_station("link.down", station, text)

    async def _bad(self, station: Station, quality: Quality) -> None:
        if not station.told_bad:
            station.told_bad = True
            await self._columns(station.columns.bad(quality), self._clock.wall_ns())

    async def _report_lost(self, reason: str) -> None:
        for station in self._stations:
            await self._bad(station, Quality.BAD_NOT_CONNECTED)
        if self._up is not False:
            self._up = False
            await self._say("link.down", f"{self._where} is lost: {reason}.")

    async def _columns(self, columns: Sequence[Column], heard_ns: int) -> None:
        assert self._emit is not None  # noqa: S101  # set first in run()
        for points, values, quality in columns:
            batch = Batch(points, values, quality, heard_ns, heard_ns, self._sequence)
            self._sequence += 1
            await self._emit(batch)

    async def _say_station(self, kind: str, station: Station, text: str) -> None:
        said = f"{self._where} address {station.address} {text}."
        await self._say(kind, said, {"address": station.address})

    async def _say(self, kind: str, text: str, attributes: Mapping[str, str] | None = None) -> None:
        assert self._emit is not None  # noqa: S101  # set first in run()
        now_ns = self._clock.wall_ns()
        await self._emit(SourceEvent(kind, self._name, now_ns, text, dict(attributes or {})))


__all__ = ["SerialLine"]
