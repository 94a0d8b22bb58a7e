"""Ports for what begins to listen later, or again: a server that restarts, one that is killed.

Guarantee: no two processes of tests on this machine, whatever they run side by side, are given the
same port, and within one process a port comes again only after all others of its block.

Linux gives those from 32768 on to whoever asks for any (ip_local_port_range); one of them, free a
moment ago, was taken by a test that ran beside. One drawn by chance from the range below may be
given twice before either begins to listen. So each process claims a block of that range, by a name
in the abstract namespace of Unix sockets: such a name belongs to a network namespace, as ports do,
has one owner, and goes with it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import cycle

FIRST, END = 20_000, 30_000
BLOCK = 200
LAST = 32_768  # from here on Linux gives ports to whoever asks for any


def own_port() -> int:
    """A port of the loopback that is free, and that nobody else is given."""
    ports = _block(os.getpid())
    for anew in (False, True):  # at worst one on which connections ended less than a minute ago
        for _ in range(BLOCK):
            port = next(ports)
            if _free(port, anew=anew):
                return port
    raise AssertionError(f"all {BLOCK} ports of this process are in use")


def ports_in_a_row(count: int) -> range:
    """So many free ports, one after another; for a run that nothing of its kind runs beside."""
    for first in range(END, LAST - count, count):
        ports = range(first, first + count)
        if all(map(_free, ports)):
            return ports
    raise AssertionError(f"no {count} free ports in a row from {END} to {LAST}")


def _free(port: int, *, anew: bool = False) -> bool:
    """Tell whether a server could listen; anew: one with SO_REUSEADDR, as most have."""
    with socket.socket() as probe, suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, anew)
        probe.bind(("127.0.0.1", port))
        return True
    return False


@cache
def _block(pid: int) -> Iterator[int]:
    """The ports of a process, in turn; by its pid, so that a fork claims its own."""
    blocks = range(FIRST, END, BLOCK)
    for place in range(len(blocks)):
        first = blocks[(pid + place) % len(blocks)]
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0plantgate-test-ports-{first}")
        except OSError:  # another process has it
            claim.close()
            continue
        claim.detach()  # it stays open as long as the process lives
        return cycle(range(first, first + BLOCK))
    raise AssertionError(f"{len(blocks)} processes have claimed all ports from {FIRST} to {END}")
