"""The real clock. The only place in the gateway that asks the system for the time.

Everything else takes a Clock or `now_ns` as an argument (drivers/contract.py has the protocol).
"""

from __future__ import annotations

import asyncio
import ctypes
import struct
import time
from pathlib import Path

_TIMEX_BYTES = 256  # struct timex is 208 on 64-bit Linux; modes = 0 changes nothing
_STA_UNSYNC = 0x0040
_TIME_ERROR = 5


class SystemClock:
    """Wall and monotonic time of this machine."""

    # Not methods of ours that call these: they are asked several times a poll.
    wall_ns = staticmethod(time.time_ns)
    """Wall-clock time, ns since 1970 UTC; may jump."""
    monotonic_ns = staticmethod(time.monotonic_ns)
    """Monotonic time in ns since boot; the only base for scheduling."""

    def kernel_error_ns(self) -> int | None:
        """Most that the wall clock may be wrong by, as what disciplines it says; None if nothing.

        adjtimex(2): `maxerror` in µs, and STA_UNSYNC in `status` until ntpd, chronyd or
        systemd-timesyncd has set the clock.
        """
        answer = ctypes.create_string_buffer(_TIMEX_BYTES)
        state = ctypes.CDLL(None, use_errno=True).adjtimex(answer)
        _, _, _, max_error_us, _, status = struct.unpack_from("@Iqqqqi", answer)
        if state < 0 or state == _TIME_ERROR or status & _STA_UNSYNC:
            return None
        return int(max_error_us) * 1_000

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Sleep until a monotonic time; yields once if it has passed."""
        await asyncio.sleep(max(0.0, (monotonic_ns - self.monotonic_ns()) / 1e9))


def boot_id() -> bytes:
    """16 bytes naming this boot of the machine (proc(5), /proc/sys/kernel/random/boot_id)."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    return bytes.fromhex(text.strip().replace("-", ""))
