"""Runs pytest and stops it, with all that it started, for seconds at random moments.

    python -m tests.stalls --seed 3 tests/drivers -k modbus [options of pytest]

What a busy machine does once a week to some test, this does to every test: nobody runs for seconds
(three stalls of ten stop pytest alone, while what it started goes on). A test that fails here takes
a slow machine for a fault; it needs a longer limit, not a second run. A stall costs no CPU, so that
several of these may run beside each other.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

ALONE = 0.3
"""Share of the stalls that stop pytest and nothing that it started."""


def states() -> dict[int, tuple[int, str]]:
    """Parent and state of each process (proc(5): `stat`, behind the name in brackets)."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(folder.name)] = (int(parent), state)
    return found


def offspring(root: int) -> list[int]:
    """What a process started, and they in turn, but for those that a test has stopped itself."""
    known, found = states(), [root]
    for parent in found:
        found += [pid for pid, (of, state) in known.items() if of == parent and state not in "TtZ"]
    return found[1:]


def stall(root: int, seconds: float, *, alone: bool) -> None:
    """Stop the tree, or its root alone, for a while."""
    stopped = []
    for pid in [root] if alone else [root, *offspring(root)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
    time.sleep(seconds)
    for pid in stopped:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def main(arguments: Sequence[str]) -> int:
    """Run; returns pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--run-s", type=float, default=0.4, help="between two stalls, on average")
    parser.add_argument("--stall-s", type=float, default=6.0, help="the longest")
    options, theirs = parser.parse_known_args(arguments)
    chance, count = random.Random(options.seed), 0
    command = [sys.executable, "-m", "pytest", "-q", "-o", "timeout=3000", *theirs]
    with subprocess.Popen(command) as child:
        while child.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                child.wait(chance.expovariate(1 / options.run_s))
            if child.poll() is None:
                span_s = chance.uniform(0.3, 1.0) * options.stall_s
                stall(child.pid, span_s, alone=chance.random() < ALONE)
                count += 1
    print(f"{count} stalls")
    return child.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
