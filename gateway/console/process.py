"""Starts the console's process and supervises it, from inside the gateway.

Guarantees: acquisition waits for nothing here; a console that ends, is silent for SILENCE_S (it
says every second that it lives) or cannot listen is a DeviceError, which the supervisor notes as an
event and answers by starting it again; it never outlives the gateway. What it may put on record is
one kind of event, at most NOTES at once and one more each NOTE_S.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from drivers.contract import Clock, DeviceError
from gateway.config.console import ConsoleConfig
from gateway.console.messages import (
    MOST_LINE_BYTES,
    STOP,
    Alive,
    Failed,
    Note,
    Order,
    Ready,
    encoded,
    told,
)
from gateway.console.throttle import Allowance
from gateway.observe.failures import Note as Noting
from gateway.observe.log import logger
from gateway.runtime.children import NotStartedError, linked

SILENCE_S = 15.0
STARTUP_S = 60.0
"""Imports take 1 s alone, tens of seconds on a box that boots."""
NOTES, NOTE_S = 100, 10
_LOG = logger("console")


class ConsoleProcess:
    """The console as a part that runs until cancelled."""

    def __init__(
        self,
        config: ConsoleConfig,
        data_dir: Path,
        note: Noting,
        clock: Clock,
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._order = Order(config=config, data_dir=data_dir.absolute())
        self._note = note
        self._clock = clock
        self._silence_s = silence_s
        self._allowance = Allowance(NOTES, NOTE_S * 1_000_000_000)
        self._starts = 0
        self._own: Mapping[str, float] = {}
        self._reason = ""
        self.pid: int | None = None
        self.address = ""

    def statistics(self) -> Mapping[str, float]:
        """starts, running (0 or 1), and what the process itself counts."""
        running = 0.0 if self.pid is None else 1.0
        return {**self._own, "starts": float(self._starts), "running": running}

    def health(self) -> tuple[bool, str]:
        """Well while it serves."""
        if self.address:
            return True, f"serving {self.address}"
        return False, self._reason or "the console is starting"

    async def run(self) -> None:
        """Run the process until cancelled; raises DeviceError when it is lost."""
        try:
            async with linked("gateway.console", STOP, line_bytes=MOST_LINE_BYTES) as link:
                self.pid, self._starts = link.pid, self._starts + 1
                try:
                    link.writer.write(encoded(self._order))
                    await self._listen(link.reader)
                finally:
                    self.pid, self._own, self.address = None, {}, ""
        except NotStartedError as error:
            raise DeviceError(f"the console cannot be started: {error}") from error

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take what it says; always ends with DeviceError."""
        patience_s = STARTUP_S
        while True:
            try:
                async with asyncio.timeout(patience_s):
                    line = await reader.readline()
            except TimeoutError:
                self._reason = f"the console was silent for {patience_s:g} s"
                raise DeviceError(self._reason) from None
            except (OSError, ValueError) as error:
                raise DeviceError(f"the console's link broke: {error}") from error
            if not line:
                self._reason = f"the console is lost: {self._reason or 'it ended without a word'}"
                raise DeviceError(self._reason)
            self._take(line)
            patience_s = self._silence_s

    def _take(self, line: bytes) -> None:
        try:
            message = told(line)
        except ValueError as error:
            raise DeviceError("the console sent what makes no sense") from error
        match message:
            case Ready():
                self.address, self._reason = message.address, ""
                _LOG.info("console", address=message.address, sha256=message.fingerprint or None,
                          only_here_until_a_user_is_added=message.restricted or None)  # fmt: skip
            case Alive():
                self._own = message.statistics
            case Note():
                self._keep(message)
            case Failed():
                self._reason = message.text.rstrip(".")

    def _keep(self, message: Note) -> None:
        refused = self._allowance.take(now_ns=self._clock.monotonic_ns())
        if refused is None:
            return
        more = {"left_out_before": str(refused)} if refused else {}
        self._note(message.kind, "console", message.text, {**message.attributes, **more})
