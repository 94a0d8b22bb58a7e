"""The real clock. The only place in the gateway that asks the system for the time.

Everything else takes a Clock or `now_ns` as an argument (drivers/contract.py has the protocol).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path


class SystemClock:
    """Wall and monotonic time of this machine."""

    def wall_ns(self) -> int:
        """Wall-clock time, ns since 1970 UTC; may jump."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Monotonic time in ns since boot; the only base for scheduling."""
        return time.monotonic_ns()

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Sleep until a monotonic time; yields once if it has passed."""
        await asyncio.sleep(max(0.0, (monotonic_ns - self.monotonic_ns()) / 1e9))


def boot_id() -> bytes:
    """16 bytes naming this boot of the machine (proc(5), /proc/sys/kernel/random/boot_id)."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))
