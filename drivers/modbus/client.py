"""Modbus driver: polls the units behind one connection or line and emits columns.

Guarantees:

- polls never overlap and keep the phase of their schedule; a poll that is late is counted;
- every poll gives every unit one turn, in the order of their ids; a unit that does not answer
  costs the others one time-out per back-off period, and never the connection while any other
  answers;
- a lost link emits every point once as bad and raises DeviceError; `run` may be called again and
  remembers what it learned about the devices.

The shell: time and the order of things. What one unit does in its turn is unit's, bytes are link's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby

from drivers.contract import Clock, DeviceError, DriverPoint, Emit, Quality
from drivers.modbus.config import ModbusAddress, ModbusConfig
from drivers.modbus.link import Link, LinkLostError
from drivers.modbus.memory import Memory
from drivers.modbus.outlet import Outlet
from drivers.modbus.pace import Pace
from drivers.modbus.transport import attach, make_exchange, make_link
from drivers.modbus.unit import Unit


class ModbusDriver:
    """The units behind one connection; drivers/contract.py says what `run` promises."""

    def __init__(
        self,
        name: str,
        config: ModbusConfig,
        points: Sequence[DriverPoint[ModbusAddress]],
        clock: Clock,
    ) -> None:
        self._config = config
        self._clock = clock
        self._outlet = Outlet(name, clock)
        by_unit = _by_unit(config, points)
        shared = len(by_unit) > 1
        self._exchange = make_exchange(config, shared=shared)
        self._endpoints = config.endpoints()
        self._endpoint = 0  # of the next attempt
        self._switched = 0
        self._link: Link | None = None
        place = config.place
        self._where = f"{name} ({place})" if shared else f"{name} ({place} unit {min(by_unit)})"
        collaborators = (clock, self._exchange, self._outlet)
        self._units = [
            Unit(
                number, f"{name} ({place} unit {number})", config, of_unit, collaborators,
                shared=shared,
            )
            for number, of_unit in by_unit.items()
        ]  # fmt: skip
        self._shared = shared
        self._lessons = {unit.number: unit.lessons for unit in self._units}
        self._memory = Memory(config.state_dir, name)
        self._memory.recall(self._lessons, clock.monotonic_ns())
        self._remembered = self._news()
        if self._remembered:
            for unit in self._units:
                unit.replan()
        # So many silences in a row, and no unit that answers, are a lost link.
        self._patience = max(config.lost_after, len(by_unit)) if shared else config.lost_after
        self._pace = Pace(config.poll_ms * 10**6)
        self._silent = False
        self._up: bool | None = None

    async def run(self, emit: Emit) -> None:
        """Poll until cancelled; raises DeviceError when the device is lost."""
        self._outlet.open(emit)
        self._exchange.restart()
        self._silent = False
        answered = self._exchange.answered
        for unit in self._units:
            unit.restart()
        try:
            await self._poll_for_ever(await self._open())
        except LinkLostError as error:
            opened = self._link is not None
            self._close()
            self._next_endpoint()
            reason = str(error)
            if self._config.transport == "tls" and opened and answered == self._exchange.answered:
                reason += ", before any answer: perhaps it does not accept our certificate"
            await self._report_lost(reason)
            raise DeviceError(f"{self._where}: {reason}; {self._advice()}") from error
        finally:
            self._close()

    def statistics(self) -> Mapping[str, float]:
        """Counters since start; achieved period and mean round trip in ms."""
        exchange, pace, units = self._exchange, self._pace, self._units
        mean_ns = exchange.round_trip_total_ns / exchange.answered if exchange.answered else 0.0
        counters: dict[str, float] = {
            "requests": exchange.requests,
            "timeouts": exchange.timeouts,
            "exceptions": exchange.exceptions,
            "malformed_answers": exchange.malformed,
            "unmatched_answers": exchange.unmatched,
            "round_trip_ms": mean_ns / 1e6,
            "polls": pace.polls,
            "late_polls": pace.late,
            "skipped_polls": pace.skipped,
            "achieved_period_ms": pace.achieved_ns / 1e6,
            "requests_per_poll": sum(len(unit.blocks) for unit in units),
            "registers_per_poll": sum(_registers(unit) for unit in units),
            "endpoint_switches": self._switched,
            "illegal_values": sum(len(unit.lessons.illegal) for unit in units),
            "cuts": sum(len(unit.lessons.pauses_ns) for unit in units),
        }
        for code, count in sorted(exchange.codes.items()):
            counters[f"exceptions_by_code{{code={code}}}"] = count
        if self._shared:
            counters["units"] = len(units)
            counters["units_down"] = sum(unit.silence.down for unit in units)
            for unit in units:
                counters.update(unit.statistics())
        return counters

    # The link.

    async def _open(self) -> Link:
        """Connect to the present endpoint, or where that fails to the other one."""
        for attempt in reversed(range(len(self._endpoints))):
            endpoint, link = self._endpoints[self._endpoint], self._make_link()
            try:
                await attach(self._config, endpoint, link, self._clock)
            except LinkLostError:
                if not attempt:
                    raise
                self._next_endpoint()
            else:
                self._link = link
                return link
        raise AssertionError("there is at least one endpoint")

    def _make_link(self) -> Link:
        return make_link(self._config, self._exchange, self._clock)

    def _next_endpoint(self) -> None:
        if len(self._endpoints) > 1:
            self._endpoint = (self._endpoint + 1) % len(self._endpoints)
            self._switched += 1

    def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _advice(self) -> str:
        if self._config.serial:
            return "check port, baud, parity, unit id, wiring and power"
        if self._config.transport == "tls":
            return "check address, port, certificates, server_name and power"
        return "check address, port, unit id, cable and power"

    async def _reopen(self) -> Link:
        """Connect anew for the next poll; time-outs in a row go on counting."""
        in_row = self._exchange.timeouts_in_row
        self._exchange.restart()
        self._exchange.timeouts_in_row = in_row
        return await self._open()

    # One poll.

    async def _poll_for_ever(self, link: Link) -> None:
        pace = self._pace
        pace.start(self._clock.monotonic_ns())
        while True:
            pace.begin(self._clock.monotonic_ns())
            await self._poll(link)
            due_ns = pace.following(self._clock.monotonic_ns())
            if pace.changed():
                await self._say_pace()
            if self._news() != self._remembered:
                await self._remember()
            if self._config.close_after_poll:
                self._close()
            await self._clock.sleep_until(due_ns)
            if self._link is None:
                link = await self._reopen()

    async def _poll(self, link: Link) -> None:
        """Give each unit its turn."""
        end_ns = self._pace.end_ns()
        for unit in self._units:
            await unit.poll(link, end_ns)
            if unit.heard:
                if not self._up:
                    await self._say_up()
                if unit.told_down:
                    unit.told_down = False
                    await self._say_unit(unit, "link.up", "answers again")
                continue
            self._raise_if_all_are_silent()
            if self._shared and unit.silence.down and not unit.told_down:
                unit.told_down = True
                text = "does not answer; it is asked more rarely, the other units go on"
                await self._say_unit(unit, "link.down", text)

    def _raise_if_all_are_silent(self) -> None:
        """Give the link up when nobody on it has answered for long enough."""
        if self._exchange.timeouts_in_row >= self._patience and all(
            unit.silence.count for unit in self._units
        ):
            self._silent = True
            raise LinkLostError("no answer to several requests in a row")

    def _news(self) -> int:
        return sum(lessons.news for lessons in self._lessons.values())

    async def _remember(self) -> None:
        """Save lessons that are new."""
        self._remembered = self._news()
        await asyncio.to_thread(self._memory.save, self._lessons)

    # What is told beside values.

    async def _report_lost(self, reason: str) -> None:
        """Emit every point as bad, and the loss itself if it is news."""
        quality = Quality.BAD_COMM_FAILURE if self._silent else Quality.BAD_NOT_CONNECTED
        for unit in self._units:
            await unit.all_bad(quality)
        if self._up is not False:
            self._up = False
            await self._outlet.say("link.down", f"{self._where} is lost: {reason}.")

    async def _say_up(self) -> None:
        self._up = True
        requests = sum(len(unit.blocks) for unit in self._units)
        units = f" to {len(self._units)} units" if self._shared else ""
        text = f"{self._where} answers; {requests} requests{units} a poll."
        if self._endpoint:
            text = f"{text[:-1]}, through backup {self._config.backup}."
        await self._outlet.say("link.up", text)

    async def _say_unit(self, unit: Unit, kind: str, text: str) -> None:
        await self._outlet.say(kind, f"{unit.where} {text}.", {"unit": unit.number})

    async def _say_pace(self) -> None:
        slow, achieved_ms = self._pace.slow, self._pace.achieved_ns / 1e6
        period = f"{self._config.poll_ms} ms"
        text = (
            f"takes {achieved_ms:.0f} ms a poll instead of {period}"
            if slow
            else f"keeps {period} again"
        )
        attributes = {"slow": slow, "achieved_ms": achieved_ms, "poll_ms": self._config.poll_ms}
        await self._outlet.say("device.period", f"{self._where} {text}.", attributes)


def _by_unit(
    config: ModbusConfig, points: Sequence[DriverPoint[ModbusAddress]]
) -> dict[int, list[DriverPoint[ModbusAddress]]]:
    """Points of each unit id, ascending; a point without one belongs to the device's."""

    def unit_of(point: DriverPoint[ModbusAddress]) -> int:
        return config.unit if point.address.unit_id is None else point.address.unit_id

    ordered = sorted(points, key=unit_of)
    return {unit: list(of_unit) for unit, of_unit in groupby(ordered, unit_of)} or {config.unit: []}


def _registers(unit: Unit) -> int:
    """Registers that one poll of a unit touches, bits counted as sixteenths."""
    return sum((block.payload_bytes + 1) // 2 for block in unit.blocks)
