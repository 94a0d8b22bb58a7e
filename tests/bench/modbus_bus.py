"""What a dead unit costs the others on a serial bus, in simulated time.

    python -m tests.bench.modbus_bus [--units 30] [--points 16] [--baud 9600] [--seconds 600]

The driver runs as it is; only clock and line are simulated. The line takes 11 bits a character and
3.5 characters of silence before each frame (Modbus over Serial Line V1.02 §2.5.1), the device 5 ms
to answer, and a unit that is dead costs the time-out. Reported in one run: period of the poll and
of the slowest living unit, with all units alive and with one dead.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from drivers.contract import DriverPoint
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.modbus.client import ModbusDriver
from drivers.modbus.codec import Request
from drivers.modbus.exchange import Outcome
from drivers.modbus.link import Link

DEAD_UNIT = 7
BAR_RATIO = 1.1
"""One time-out of 300 ms per back-off period of 2 s to 60 s, beside polls of about 2 s."""
_THINKING_NS = 5 * 10**6


class _Clock:
    """Time that passes only by sleeping and by bytes on the line."""

    def __init__(self) -> None:
        self.now_ns = 0

    def wall_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        self.now_ns = max(self.now_ns, monotonic_ns)


class _Line(Link):
    """A link whose exchange takes the time of its bytes; raises when the time is over."""

    def __init__(
        self, driver: ModbusDriver, clock: _Clock, baud: int, timeout_ms: int, dead: int
    ) -> None:
        self._counts = driver._exchange
        self._time = clock
        self._character_ns = 11 * 10**9 // baud
        self._timeout_ns = timeout_ms * 10**6
        self._dead = dead

    async def exchange(
        self, wanted: Sequence[Request], buffer: bytearray, offsets: Sequence[int]
    ) -> list[int]:
        counts, time = self._counts, self._time
        counts.lost = False
        counts.outcomes = [int(Outcome.UNANSWERED)] * len(wanted)
        for at, request in enumerate(wanted):
            counts.requests += 1
            time.now_ns += int((3.5 + 8) * self._character_ns)
            if request.unit == self._dead:
                time.now_ns += self._timeout_ns
                counts.outcomes[at] = Outcome.TIMED_OUT
                counts.timeouts += 1
                counts.timeouts_in_row += 1
                counts.lost = True
                break
            time.now_ns += _THINKING_NS + (5 + request.payload_bytes) * self._character_ns
            counts.outcomes[at] = 0
            counts.timeouts_in_row = 0
        return counts.outcomes


class _Discard:
    def __await__(self) -> Generator[None, None, None]:
        yield from ()

    async def __call__(self, item: object) -> _Discard:
        return self


@dataclass(frozen=True, slots=True)
class Result:
    """Mean period over the run; time-outs in it."""

    period_ms: float
    slowest_unit_ms: float
    timeouts: int


def run(
    *, dead: int, units: int = 30, points: int = 16, baud: int = 9600, seconds: float = 600.0
) -> Result:
    """Poll for some simulated seconds. dead: unit that never answers, 0 for none."""
    timeout_ms = 300
    clock = _Clock()
    table = [
        DriverPoint(
            unit * 1000 + at,
            f"u{unit}-{at}",
            ModbusAddress(area="holding", address=str(at), type="u16", unit_id=unit),
        )
        for unit in range(1, units + 1)
        for at in range(points)
    ]
    config = ModbusConfig(host="bus", poll_ms=1000, timeout_ms=timeout_ms)
    driver = ModbusDriver("bus", config, table, clock)
    driver._outlet.open(_Discard())
    line = _Line(driver, clock, baud, timeout_ms, dead)

    async def poll() -> int:
        polls = 0
        driver._pace.start(clock.now_ns)
        while clock.now_ns < seconds * 1e9:
            driver._pace.begin(clock.now_ns)
            await driver._poll(line)
            polls += 1
            await clock.sleep_until(driver._pace.following(clock.now_ns))
        return polls

    polls = asyncio.run(poll())
    turns = [unit.turns for unit in driver._units]
    living = [n for unit, n in zip(driver._units, turns, strict=True) if unit.number != dead]
    taken_ms = clock.now_ns / 1e6
    return Result(taken_ms / polls, taken_ms / min(living), driver._exchange.timeouts)


def compare(**options: float) -> tuple[Result, Result]:
    """All alive, and one dead."""
    return run(dead=0, **options), run(dead=DEAD_UNIT, **options)  # type: ignore[arg-type]  # ints


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="What a dead unit costs a serial bus.")
    parser.add_argument("--units", type=int, default=30)
    parser.add_argument("--points", type=int, default=16)
    parser.add_argument("--baud", type=int, default=9600)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = vars(parser.parse_args())
    alive, with_dead = compare(**options)
    print(f"{'':12} {'poll ms':>9} {'slowest unit ms':>16} {'time-outs':>10}")
    for name, result in (("all alive", alive), ("one dead", with_dead)):
        print(f"{name:12} {result.period_ms:9.1f} {result.slowest_unit_ms:16.1f} "
              f"{result.timeouts:10}")  # fmt: skip
    ratio = with_dead.slowest_unit_ms / alive.slowest_unit_ms
    print(f"with one unit dead the others take {ratio:.3f} of their period with all alive")


if __name__ == "__main__":
    main()
