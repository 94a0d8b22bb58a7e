"""Listens to an RS-485 line for a while, at one setting after another, and transmits nothing.

Guarantees: while it listens the link keeps no means to write (listen_only.ListeningLink); bytes
that the port gives with an error are counted, never taken for data; the port is closed on exit.
`ask_once` is the one thing here that sends: a single read of one register, for a caller who knows
that no master is there; it tells whether the line gives our own bytes back (echo). Cancel-safe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.contract import Clock
from drivers.modbus import rtu
from drivers.modbus.codec import Area, read
from drivers.modbus.config import ModbusConfig
from drivers.modbus.exchange import Outcome
from drivers.modbus.line_verdict import Setting, best, decodes, settled
from drivers.modbus.link import Link, LinkLostError, PacedLink
from drivers.modbus.listen_only import ListeningLink
from drivers.modbus.overhear import Ear, Heard, unmark
from drivers.modbus.transport import attach, make_exchange, open_serial

_LOOK_NS = 100 * 10**6


@dataclass(slots=True)
class Listening:
    """What was listened to. trials: each setting with what was heard at it, in order.

    setting: the one that was understood, or None.  heard: at that setting, all of the time.
    """

    setting: Setting | None = None
    heard: Heard = field(default_factory=Heard)
    listened_ns: int = 0
    trials: dict[Setting, Heard] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asking:
    """What came of one request. echo: our own bytes came back first."""

    echo: bool
    answered: bool
    exception: int


async def listen(
    config: ModbusConfig, settings: Sequence[Setting], seconds: tuple[float, float], clock: Clock
) -> Listening:
    """Find the setting that decodes, and listen at it; raises LinkLostError.

    config: of transport rtu or rtu-tcp; a TCP converter has one setting, its own.
    seconds: to listen at a setting that is tried, and at the one that is right.
    """
    try_s, listen_s = seconds
    result = Listening()
    for at, setting in enumerate(settings):
        longest_s = try_s if at else max(try_s, listen_s)
        heard = await _hear(config, setting, longest_s, clock, enough=settled)
        result.trials[setting] = heard
        if decodes(heard) or not heard.bytes:
            break  # a line on which someone talks gives bytes at any setting
    if not heard.bytes and len(result.trials) == 1:
        result.listened_ns = round(longest_s * 1e9)
        return result
    result.setting = best(result.trials)
    setting = result.setting or settings[0]
    began_ns = clock.monotonic_ns()
    result.heard = await _hear(config, setting, listen_s, clock)
    result.listened_ns = clock.monotonic_ns() - began_ns
    if result.heard.frames and result.setting is None:
        result.setting = setting
    return result


async def ask_once(config: ModbusConfig, clock: Clock) -> Asking:
    """Read holding register 0 of the unit of `config`, once; raises LinkLostError."""
    exchange = make_exchange(config, shared=False)
    link = _EchoLink(exchange, clock, rtu.silence_ns(config.baud))
    request = read(Area.HOLDING, config.unit, 0, 1)
    try:
        await attach(config, config.endpoints()[0], link, clock)
        (code,) = await link.exchange([request], bytearray(2), [0])
    finally:
        link.close()
    exception = code if 0 < code < Outcome.UNANSWERED else 0
    answered = code == Outcome.READ or exception > 0
    return Asking(link.came.startswith(rtu.encode(request)), answered, exception)


async def _hear(
    config: ModbusConfig,
    setting: Setting,
    seconds: float,
    clock: Clock,
    enough: Callable[[Heard], bool] | None = None,
) -> Heard:
    """Listen at one setting for so long, or until it is enough."""
    ear, rest = Ear(), b""

    def take(chunk: bytes, now_ns: int) -> None:
        nonlocal rest
        if not config.serial:
            ear.feed(chunk, now_ns)
            return
        good, marked, rest = unmark(rest + chunk)
        ear.feed(good, now_ns, marked)

    link = ListeningLink(make_exchange(config, shared=False), clock, take)
    until_ns = clock.monotonic_ns() + round(seconds * 1e9)
    try:
        await _open(config, setting, link, clock)
        while clock.monotonic_ns() < until_ns and not (enough and enough(ear.heard)):
            if link.reason:
                raise LinkLostError(link.reason)
            await clock.sleep_until(min(until_ns, clock.monotonic_ns() + _LOOK_NS))
    finally:
        link.close()
    return ear.end(clock.monotonic_ns())


async def _open(config: ModbusConfig, setting: Setting, link: Link, clock: Clock) -> None:
    if not config.serial:
        await attach(config, config.endpoints()[0], link, clock)
        return
    keys = {"baud": setting.baud, "parity": setting.parity}
    open_serial(config.model_copy(update=keys), link, mark_errors=True)


class _EchoLink(PacedLink):
    """Keeps everything that came."""

    came = b""

    def data_received(self, data: bytes) -> None:
        """Keep, and go on as a link does."""
        self.came += data
        super().data_received(data)
