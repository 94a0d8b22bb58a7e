"""A slow, long and lossy IP link between two network namespaces, in user space.

For kernels without netem. Needs root and /dev/net/tun; acts on whole packets, so TCP sees what a
real line does.

    with SlowLink("a", "b", Line(bits_per_s=256_000, delay_ms=150, loss=0.02), seed=1) as link:
        ip netns exec a ...          # 10.77.0.1
        ip netns exec b ...          # 10.77.0.2

Each direction sends one packet after another at the line's rate, from a queue of at most
`queue_bytes` (beyond it packets are dropped, as a modem does), and each arrives delay_ms later.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import selectors
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Self

ADDRESSES = ("10.77.0.1", "10.77.0.2")
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_CLONE_NEWNET = 0x40000000
_MTU = 1400


@dataclass(frozen=True)
class Line:
    """What the line does to packets; loss is a ratio of packets, in both directions."""

    bits_per_s: int
    delay_ms: float
    loss: float = 0.0
    queue_bytes: int = 32 * 1024


class SlowLink:
    """Two namespaces of the given names, made and removed here, and the line between them."""

    def __init__(self, left: str, right: str, line: Line, seed: int) -> None:
        self._names = (left, right)
        self._line = line
        self._random = random.Random(seed)
        self._ends: list[int] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self.dropped = 0
        self.packets = 0

    def __enter__(self) -> Self:
        try:
            for name, own, other in zip(self._names, ADDRESSES, ADDRESSES[::-1], strict=True):
                _run("ip", "netns", "add", name)
                self._ends.append(_tun_in(name))
                for command in (
                    "link set lo up",
                    f"addr add {own} peer {other} dev tun0",
                    f"link set tun0 mtu {_MTU} up",
                ):
                    _run("ip", "-n", name, *command.split())
        except BaseException:
            self._remove()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._remove()

    def _remove(self) -> None:
        for end in self._ends:
            os.close(end)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def _carry(self) -> None:
        line, free_at = self._line, [0.0, 0.0]
        under_way: list[tuple[float, int, int, bytes]] = []
        with selectors.DefaultSelector() as selector:
            for number, end in enumerate(self._ends):
                selector.register(end, selectors.EVENT_READ, number)
            while not self._stop.is_set():
                wait_s = under_way[0][0] - time.monotonic() if under_way else 0.2
                for key, _ in selector.select(max(0.0, min(wait_s, 0.2))):
                    packet, now = os.read(self._ends[key.data], 2048), time.monotonic()
                    self.packets += 1
                    queued_s = max(0.0, free_at[key.data] - now)
                    full = queued_s * line.bits_per_s / 8 > line.queue_bytes
                    if full or self._random.random() < line.loss:
                        self.dropped += 1
                        continue
                    free_at[key.data] = now + queued_s + len(packet) * 8 / line.bits_per_s
                    arrival = free_at[key.data] + line.delay_ms / 1000
                    heapq.heappush(under_way, (arrival, self.packets, 1 - key.data, packet))
                while under_way and under_way[0][0] <= time.monotonic():
                    _, _, end, packet = heapq.heappop(under_way)
                    os.write(self._ends[end], packet)


def _tun_in(namespace: str) -> int:
    """Make tun0 in a namespace from a thread of its own, which alone is moved there."""
    made: list[int] = []

    def make() -> None:
        place = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(place, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        os.close(place)
        end = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH14x", b"tun0", _IFF_TUN_NO_PI))
        made.append(end)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"no tun device in namespace {namespace}: root and /dev/net/tun are needed")
    return made[0]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
