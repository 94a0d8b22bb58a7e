"""The console's process: `python -m gateway.console --fd N`, talking over one socketpair.

Guarantees: it ends when the socket closes or says stop, even if its own loop hangs then; it runs at
lower priority (nice 5), ends by itself beyond `memory_mb`, and the kernel's out-of-memory killer
takes it before acquisition; it has at most MOST_FILES descriptors, so that no flood of connections
makes it grow; nobody but this machine can reach it while there is nobody who could sign in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path

NICE = 5
OOM_SCORE = "500"
"""Half of the machine's memory is added to what counts against it; proc_pid_oom_score_adj(5)."""
MOST_FILES = 1024
LAST_S = 2.0


def main() -> int:
    """Entry point of the process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="gateway.console", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket")
    link = socket.socket(fileno=parser.parse_args().fd)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's to answer
    with contextlib.suppress(OSError):
        os.nice(NICE)
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE, encoding="ascii")
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))
    threading.Thread(target=_end_with, args=(link.fileno(),), daemon=True).start()
    from gateway.console.serving import run

    return run(link)


def _end_with(descriptor: int) -> None:
    """End the process soon after the gateway has gone, whatever its loop is doing."""
    watched = select.poll()
    watched.register(descriptor, select.POLLRDHUP)
    events = watched.poll()
    if any(event & select.POLLNVAL for _, event in events):
        return  # the socket was closed from in here: it is ending
    time.sleep(LAST_S)
    os._exit(0)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a thread may be trying a password
