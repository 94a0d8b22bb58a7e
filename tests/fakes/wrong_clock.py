"""`plantgate run` on a machine whose wall clock is wrong, and which nothing disciplines.

    python -m tests.fakes.wrong_clock SITE.toml OFFSET_FILE

The wall clock is this machine's plus what OFFSET_FILE holds (ns, decimal); write another number
there (whole, by renaming), and the clock is set. Everything else is the gateway itself.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from gateway.app import run
from gateway.config.load import load
from gateway.runtime.clock import SystemClock


class WrongClock(SystemClock):
    """Wall clock with an offset from a file, read when it has changed."""

    def __init__(self, offset: Path) -> None:
        self._file = offset
        self._seen = 0
        self._offset_ns = 0

    def wall_ns(self) -> int:
        changed_ns = self._file.stat().st_mtime_ns
        if changed_ns != self._seen:
            self._seen, self._offset_ns = changed_ns, int(self._file.read_text(encoding="ascii"))
        return super().wall_ns() + self._offset_ns

    def kernel_error_ns(self) -> int | None:
        return None


def set_offset(offset: Path, by_ns: int) -> None:
    """Set the wall clock of the gateway that reads this file."""
    new = offset.with_suffix(".new")
    new.write_text(str(by_ns), encoding="ascii")
    new.rename(offset)


async def _main(site: Path, offset: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run(lambda: load(site), stop, asyncio.Event(), WrongClock(offset))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), Path(sys.argv[2])))
