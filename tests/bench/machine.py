"""What the machine is, and what a process has used. Read from /proc; no estimate."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel, Python, and the commit that is measured."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(encoding="utf-8"))
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "cpu": cpu.group(1) if cpu else platform.processor(),
        "cores": str(os.cpu_count()),
        "memory_gib": f"{int(memory.group(1)) / 2**20:.0f}" if memory else "?",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip() or "?",
    }


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds used since the process began, and resident bytes now."""

    cpu_s: float
    resident_bytes: int


def usage(pid: int) -> Usage:
    """CPU (user + system, all threads) and resident memory of a process; proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return Usage(ticks / TICKS_PER_S, int(fields[21]) * PAGE_BYTES)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one process' connections to a port have sent: payload bytes and TCP segments."""

    payload_bytes: int
    segments: int

    @property
    def wire_bytes(self) -> int:
        """Payload plus 52 bytes a segment; link-layer framing is left out.

        IPv4 20 (RFC 791), TCP 20 (RFC 9293), time-stamp option 12 (RFC 7323).
        """
        return self.payload_bytes + 52 * self.segments


def sent_to(port: int) -> Sent:
    """Sum over the established connections whose remote port is `port` (ss -ti)."""
    listing = subprocess.run(
        ["ss", "-tinH", "state", "established", f"( dport = :{port} )"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    payload = sum(int(n) for n in re.findall(r"bytes_sent:(\d+)", listing))
    segments = sum(int(n) for n in re.findall(r"segs_out:(\d+)", listing))
    return Sent(payload, segments)
