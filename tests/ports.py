"""Ports for what begins to listen later, or again: a server that restarts, one that is killed."""

from __future__ import annotations

import random
import socket
from contextlib import suppress


def own_port() -> int:
    """A port of the loopback that is free, and that nobody gets who asks for any port.

    Linux gives those from 32768 on (ip_local_port_range); one of them, free a moment ago, was taken
    by a test that ran beside.
    """
    choice = random.SystemRandom()
    for _ in range(100):
        port = choice.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port from 20000 to 30000 is free")
