"""`python -m drivers.sim` as a process: says when it is ready, changes, ends on SIGTERM."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from drivers.registry import names

ROOT = Path(__file__).resolve().parents[3]


def read_words(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 16))
        return link.recv(4096)


def test_it_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "drivers.sim", "--modbus-port", "0", "--opcua-port", "0",
               "--points", "20", "--seed", "4", "--tables", str(tmp_path / "points")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as plant:
        try:
            assert plant.stdout is not None
            word, modbus, opcua = plant.stdout.readline().split()
            assert (word, modbus.split("=")[0], opcua.split("=")[0]) == ("ready", "modbus", "opcua")
            port = int(modbus.removeprefix("modbus="))
            first = read_words(port)
            deadline = time.monotonic() + 60
            while read_words(port) == first:
                assert time.monotonic() < deadline, "the registers never change"
                time.sleep(0.1)
            plant.send_signal(signal.SIGTERM)
            assert plant.wait(60) == 0
        finally:
            plant.kill()
    assert {path.name for path in (tmp_path / "points").iterdir()} == {"modbus.csv", "opcua.csv"}


def test_wrong_arguments_end_with_2() -> None:
    for arguments in ([], ["--modbus-port", "0", "--points", "-1"]):
        done = subprocess.run(
            [sys.executable, "-m", "drivers.sim", *arguments],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert "error" in done.stderr


def test_the_simulator_is_no_driver() -> None:
    assert "sim" not in names()
    assert "modbus" in names()
