"""Reads along on an RTU line that has a master already, and transmits nothing.

Guarantees: the link keeps no means to write: of what carries its bytes it takes the reading and
the closing, nothing else. Values are emitted each poll_ms, as the last answers told them; what the
master does not read never comes and stays bad.

Limits: between two polls the last value counts; the moment of a value is the poll's. On two-wire
RS-485 a converter that switches direction by itself stays silent as long as nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from drivers.contract import Clock, DriverPoint
from drivers.modbus.client import ModbusDriver
from drivers.modbus.config import ModbusAddress, ModbusConfig
from drivers.modbus.exchange import Exchanging
from drivers.modbus.link import Link, LinkLostError, Pipe
from drivers.modbus.sniff import Seen, Sniffer
from drivers.modbus.tap import Tap


class ListeningLink(Link):
    """A link that hands over what it hears and has nothing to write with."""

    def __init__(
        self, exchange: Exchanging, clock: Clock, take: Callable[[bytes, int], None]
    ) -> None:
        super().__init__(exchange, clock)
        self._take = take
        self._abort: Callable[[], None] | None = None

    def attach(self, pipe: Pipe) -> None:
        """Keep of the pipe only how to close it."""
        self._abort = pipe.abort

    def data_received(self, data: bytes) -> None:
        """Take what passes."""
        self._take(data, self._clock.monotonic_ns())

    def close(self) -> None:
        """Close at once."""
        if self._abort is not None:
            self._abort()


class ListeningDriver(ModbusDriver):
    """Units on a line whose master is another."""

    def __init__(
        self,
        name: str,
        config: ModbusConfig,
        points: Sequence[DriverPoint[ModbusAddress]],
        clock: Clock,
    ) -> None:
        super().__init__(name, config, points, clock)
        self._sniffer = Sniffer()
        stale_ns = config.stale_ms * 10**6
        self._stale_ns = stale_ns
        self._taps = {unit.number: Tap(unit.layout, stale_ns) for unit in self._units}
        self._heard_ns = 0

    def statistics(self) -> Mapping[str, float]:
        """Counters since start, of what passed on the line."""
        sniffer = self._sniffer
        return {
            "requests": 0,
            "requests_seen": sniffer.requests,
            "answers_seen": sniffer.answers,
            "skipped_bytes": sniffer.skipped_bytes,
            "polls": self._pace.polls,
            "late_polls": self._pace.late,
            "achieved_period_ms": self._pace.achieved_ns / 1e6,
        }

    def _make_link(self) -> Link:
        return ListeningLink(self._exchange, self._clock, self._hear)

    def _hear(self, chunk: bytes, now_ns: int) -> None:
        for seen in self._sniffer.feed(chunk, now_ns):
            self._take(seen, now_ns)

    def _take(self, seen: Seen, now_ns: int) -> None:
        self._heard_ns = now_ns
        tap = self._taps.get(seen.unit)
        if tap is not None:
            tap.take(seen, now_ns)

    async def _poll_for_ever(self, link: Link) -> None:
        clock, pace = self._clock, self._pace
        begun_ns = clock.monotonic_ns()
        self._heard_ns = 0
        for tap in self._taps.values():
            tap.forget()
        pace.start(begun_ns)
        while True:
            pace.begin(clock.monotonic_ns())
            if link.reason:
                raise LinkLostError(link.reason)
            await self._tell(clock.monotonic_ns(), begun_ns)
            await clock.sleep_until(pace.following(clock.monotonic_ns()))

    async def _tell(self, now_ns: int, begun_ns: int) -> None:
        """Emit what is known, and whether anything passes at all."""
        if self._heard_ns and not self._up:
            self._up = True
            text = f"{self._where} is read along; nothing is transmitted."
            await self._outlet.say("link.up", text)
        for unit in self._units:
            tap = self._taps[unit.number]
            await unit.emit(tap.decoder, tap.failed(now_ns))
        if now_ns - max(self._heard_ns, begun_ns) > self._stale_ns:
            self._silent = True
            raise LinkLostError(f"no answer of any device passed for {self._stale_ns / 1e9:g} s")


def open_driver(
    name: str,
    config: ModbusConfig,
    points: Sequence[DriverPoint[ModbusAddress]],
    clock: Clock,
) -> ModbusDriver:
    """Make the driver that the configuration asks for."""
    make = ListeningDriver if config.listen_only else ModbusDriver
    return make(name, config, points, clock)
