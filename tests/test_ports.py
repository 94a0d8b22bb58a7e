"""No port is given twice: within a process, to two at a time, or while somebody listens there."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from tests.ports import BLOCK, own_port, ports_in_a_row

ROOT = Path(__file__).resolve().parent.parent
GIVE = "from tests.ports import own_port; print(*(own_port() for _ in range(50)), flush=True)"


def test_a_process_gives_each_port_once_before_the_first_comes_again() -> None:
    given = [own_port() for _ in range(BLOCK // 2)]
    assert len(set(given)) == len(given)


def test_processes_side_by_side_are_given_different_ports() -> None:
    command = [sys.executable, "-c", f"{GIVE}; input()"]
    beside = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    given = [own_port() for _ in range(50)]
    for process in beside:
        assert process.stdout is not None
        given += map(int, process.stdout.readline().split())
    for process in beside:
        process.communicate(b"\n")
    assert len(given) == len(set(given)) == 150


def test_a_port_that_somebody_has_is_passed_over() -> None:
    port = own_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert port not in {own_port() for _ in range(BLOCK - 1)}


def test_ports_in_a_row_are_free_and_nobodys_own() -> None:
    ports = ports_in_a_row(3)
    assert len(ports) == 3
    assert own_port() not in ports
