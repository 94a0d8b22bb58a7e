"""Modbus TCP driver: polls one unit over one connection and emits columns.

Guarantees:

- polls never overlap and keep the phase of their schedule; a poll that is late is counted;
- every poll emits every point, in at most one Batch per column kind, with quality for what could
  not be read; the `points` arrays are the same objects for ever;
- a lost link emits every point once as bad and raises DeviceError; `run` may be called again and
  remembers what it learned about the device.

The shell: sockets, time and the order of things. What is sent is codec's, when it is given up
exchange's, what is read together plan's, what it means decode's, what is illegal learn's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from drivers.contract import Batch, Clock, DeviceError, DriverPoint, Emit, Quality, SourceEvent
from drivers.modbus.codec import read
from drivers.modbus.config import ModbusAddress, ModbusConfig, resolve
from drivers.modbus.decode import Column, Decoder, Layout, Value
from drivers.modbus.exchange import Exchange, Outcome
from drivers.modbus.learn import Lessons, Search, covering
from drivers.modbus.link import Link, LinkLostError, connect
from drivers.modbus.pace import Pace
from drivers.modbus.plan import Block, Span, plan

_BUSY = frozenset({5, 6})  # acknowledge, server device busy: specification §7
_NO_ANSWER = frozenset({Outcome.UNANSWERED, Outcome.TIMED_OUT})
_COMM_FAILURE = frozenset({*_NO_ANSWER, Outcome.MALFORMED, 10, 11})
"""10 and 11: a gateway in between could not reach the unit; it is the line that failed."""
_BUSY_PAUSE_NS = 50 * 10**6
_FREE_READS = 16  # reads of a search that are made even when the period is over
_ROUNDS = 4  # times that one poll is read anew after lessons
_TAGS_IN_TEXT = 20
_TAGS_IN_ATTRIBUTES = 200


class ModbusDriver:
    """One unit behind one TCP connection; drivers/contract.py says what `run` promises."""

    def __init__(
        self,
        name: str,
        config: ModbusConfig,
        points: Sequence[DriverPoint[ModbusAddress]],
        clock: Clock,
    ) -> None:
        self._name = name
        self._where = f"{name} ({config.host}:{config.port} unit {config.unit})"
        self._config = config
        self._clock = clock
        self._tags = {point.id: point.tag for point in points}
        self._layout = Layout(_value(point, config) for point in points)
        self._exchange = Exchange(config.in_flight, config.timeout_ms * 10**6, config.lost_after)
        self._pace = Pace(config.poll_ms * 10**6)
        self._lessons = Lessons()
        self._searches: list[Search] = []
        self._found: list[Search] = []
        self._outcomes: list[int] = []  # of the running poll's plan
        self._sequence = 0
        self._up: bool | None = None
        self._replan()

    async def run(self, emit: Emit) -> None:
        """Poll until cancelled; raises DeviceError when the device is lost."""
        self._exchange.restart()
        self._searches.clear()
        self._found.clear()
        self._lessons.probe_all(self._clock.monotonic_ns())
        config = self._config
        link: Link | None = None
        try:
            link = await connect(
                config.host, config.port, self._exchange, self._clock, config.timeout_ms / 1e3
            )
            await self._poll_for_ever(link, emit)
        except LinkLostError as error:
            if link is not None:
                link.close()
            await self._report_lost(emit, str(error))
            raise DeviceError(
                f"{self._where}: {error}; check address, port, unit id, cable and power"
            ) from error
        finally:
            if link is not None:
                link.close()

    def statistics(self) -> Mapping[str, float]:
        """Counters since start; achieved period and mean round trip in ms."""
        exchange, pace = self._exchange, self._pace
        mean_ns = exchange.round_trip_total_ns / exchange.answered if exchange.answered else 0.0
        return {
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
            "requests_per_poll": len(self._blocks),
            "illegal_values": len(self._lessons.illegal),
        }

    # One poll.

    async def _poll_for_ever(self, link: Link, emit: Emit) -> None:
        pace = self._pace
        pace.start(self._clock.monotonic_ns())
        while True:
            pace.begin(self._clock.monotonic_ns())
            await self._poll(link, emit)
            due_ns = pace.following(self._clock.monotonic_ns())
            if pace.changed():
                await self._say_pace(emit)
            await self._clock.sleep_until(due_ns)

    async def _poll(self, link: Link, emit: Emit) -> None:
        """Read and emit every point once, learning from what the device refuses."""
        if self._lessons.illegal:
            await self._probe(link, emit)
        decoder = self._decoder
        self._outcomes = []
        try:
            self._outcomes = await link.exchange(self._requests, decoder.buffer, decoder.offsets)
            if any(self._outcomes):
                await self._mend(link, emit)
                decoder = self._decoder
        except LinkLostError:
            # Values that were read before the link went are values; the rest is said to be bad.
            outcomes = self._outcomes or self._exchange.outcomes
            if len(outcomes) == len(self._blocks) and Outcome.READ in outcomes:
                await self._emit_columns(emit, self._decoder.decode(_failed(outcomes)))
            raise
        if not self._up and not _NO_ANSWER.issuperset(self._outcomes):
            await self._say_up(emit)
        await self._emit_columns(emit, decoder.decode(_failed(self._outcomes)))

    async def _mend(self, link: Link, emit: Emit) -> None:
        """Within a poll: read busy blocks again; learn from refused ones and read all anew."""
        for _ in range(_ROUNDS):
            await self._retry_busy(link)
            if not await self._search(link, emit):
                return
            decoder = self._decoder
            self._outcomes = []  # they were of the old plan
            self._outcomes = await link.exchange(self._requests, decoder.buffer, decoder.offsets)
            if not any(self._outcomes):
                return

    async def _retry_busy(self, link: Link) -> None:
        """Ask blocks again whose device was busy."""
        buffer, offsets, outcomes = self._decoder.buffer, self._decoder.offsets, self._outcomes
        for _ in range(self._config.busy_retries):
            busy = [index for index, code in enumerate(outcomes) if code in _BUSY]
            if not busy:
                return
            await self._clock.sleep_until(self._clock.monotonic_ns() + _BUSY_PAUSE_NS)
            again = [self._requests[index] for index in busy]
            codes = await link.exchange(again, buffer, [offsets[index] for index in busy])
            for index, code in zip(busy, codes, strict=True):
                outcomes[index] = code

    async def _emit_columns(self, emit: Emit, columns: Iterable[Column]) -> None:
        now_ns = self._clock.wall_ns()
        for points, values, quality in columns:
            batch = Batch(points, values, quality, now_ns, now_ns, self._sequence)
            self._sequence += 1
            await emit(batch)

    # Illegal addresses.

    async def _search(self, link: Link, emit: Emit) -> bool:
        """Look for illegal addresses in refused blocks; returns whether the plan has changed.

        A search that the period leaves no time for goes on in the next poll; the plan changes
        when the last one has ended, so that no search works on an outdated plan.
        """
        self._begin_searches()
        reads = 0
        while self._searches:
            search = self._searches[0]
            while search.read is not None:
                reads += 1
                if reads > _FREE_READS and self._clock.monotonic_ns() > self._pace.end_ns():
                    return False
                code = await self._read_one(link, search.read)
                if not _is_firm(code) and (
                    code in _NO_ANSWER or not self._lessons.is_lasting(search.block)
                ):
                    break
                search.answer(code)
            self._searches.pop(0)
            if search.read is None:
                self._found.append(search)
        return await self._learn(emit)

    def _begin_searches(self) -> None:
        """Queue a search for each refused block that has none; drop those that are read by now."""
        now_ns = self._clock.monotonic_ns()
        refused = [
            block
            for block, code in zip(self._blocks, self._outcomes, strict=True)
            if self._lessons.may_search(block, code, now_ns)
        ]
        self._searches = [search for search in self._searches if search.block in refused]
        begun = [search.block for search in (*self._searches, *self._found)]
        self._searches += [Search(block) for block in refused if block not in begun]

    async def _learn(self, emit: Emit) -> bool:
        """Take over what the finished searches found."""
        finished, self._found = self._found, []
        before = self._lessons.version
        illegal: list[Span] = []
        for search in finished:
            illegal += self._lessons.learn(search, self._clock.monotonic_ns())
        if illegal:
            await self._say_addresses(emit, "device.illegal_address", "does not have", illegal)
        if self._lessons.version == before:
            return False
        self._replan()
        return True

    async def _probe(self, link: Link, emit: Emit) -> None:
        """Ask illegal values again whose time has come."""
        legal: list[Span] = []
        for span in self._lessons.due(self._clock.monotonic_ns()):
            code = await self._read_one(link, covering([span]))
            if _is_firm(code) and self._lessons.probed(span, code, self._clock.monotonic_ns()):
                legal.append(span)
        if legal:
            self._replan()
            await self._say_addresses(emit, "device.legal_address", "has by now", legal)

    async def _read_one(self, link: Link, block: Block) -> int:
        """Read a block for its outcome alone."""
        request = read(block.area, self._config.unit, block.start, block.count)
        return (await link.exchange([request], bytearray(block.payload_bytes), [0]))[0]

    def _replan(self) -> None:
        lessons, unit = self._lessons, self._config.unit
        limits = self._config.limits()
        self._blocks = plan(self._layout.spans(), limits, lessons.illegal, lessons.cuts)
        self._requests = [read(b.area, unit, b.start, b.count) for b in self._blocks]
        self._decoder = Decoder(self._layout, self._blocks)

    # What is told beside values.

    async def _report_lost(self, emit: Emit, reason: str) -> None:
        """Emit every point as bad, and the loss itself if it is news."""
        silent = self._exchange.lost
        quality = Quality.BAD_COMM_FAILURE if silent else Quality.BAD_NOT_CONNECTED
        await self._emit_columns(emit, self._layout.all_bad(quality))
        if self._up is not False:
            self._up = False
            await self._say(emit, "link.down", f"{self._where} is lost: {reason}.")

    async def _say_up(self, emit: Emit) -> None:
        self._up = True
        text = f"{self._where} answers; {len(self._blocks)} requests a poll."
        await self._say(emit, "link.up", text)

    async def _say_pace(self, emit: Emit) -> None:
        slow, achieved_ms = self._pace.slow, self._pace.achieved_ns / 1e6
        period = f"{self._config.poll_ms} ms"
        text = (
            f"takes {achieved_ms:.0f} ms a poll instead of {period}"
            if slow
            else f"keeps {period} again"
        )
        attributes = {"slow": slow, "achieved_ms": achieved_ms, "poll_ms": self._config.poll_ms}
        await self._say(emit, "device.period", f"{self._where} {text}.", attributes)

    async def _say_addresses(self, emit: Emit, kind: str, verb: str, spans: list[Span]) -> None:
        tags = [self._tags[point] for point in self._layout.ids_of(spans)]
        shown = ", ".join(tags[:_TAGS_IN_TEXT])
        more = f" and {len(tags) - _TAGS_IN_TEXT} more" if len(tags) > _TAGS_IN_TEXT else ""
        attributes: dict[str, str | int | float | bool] = {
            "tags": ",".join(tags[:_TAGS_IN_ATTRIBUTES]),
            "count": len(tags),
        }
        text = f"{self._where} {verb} the addresses of {shown}{more}."
        await self._say(emit, kind, text, attributes)

    async def _say(
        self,
        emit: Emit,
        kind: str,
        text: str,
        attributes: Mapping[str, str | int | float | bool] | None = None,
    ) -> None:
        await emit(SourceEvent(kind, self._name, self._clock.wall_ns(), text, attributes or {}))


def _value(point: DriverPoint[ModbusAddress], config: ModbusConfig) -> Value:
    target = resolve(point.address, config.base)
    return Value(point.id, target.span, target.type, target.order)


def _is_firm(code: int) -> bool:
    """Tell whether an outcome says something about the address, not about line or load."""
    return code not in _BUSY and code not in _COMM_FAILURE


def _failed(outcomes: Sequence[int]) -> dict[int, Quality]:
    """Quality of each block that was not read."""
    if not any(outcomes):
        return {}
    return {
        index: Quality.BAD_COMM_FAILURE if code in _COMM_FAILURE else Quality.BAD_DEVICE_EXCEPTION
        for index, code in enumerate(outcomes)
        if code
    }
