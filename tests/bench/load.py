"""`make load`: one receiver process under simulated gateways, in rounds of at most two minutes.

    python -m tests.bench.load [--json FILE] [ROUND ...]

Rounds: idle (memory a gateway: 10, 100, 1000 connected and silent), live (10, 100, 1000 gateways of
500 points at 1 s), herd (100 gateways reconnect within 1 s with 8 h of backlog). Receiver and
simulator share the machine and its cores; each one's CPU stands apart, and how late the simulator
itself woke up. SQLite on the disk of the temporary folder, no TLS.

Not among the default: tls (idle and live with mutual TLS, a certificate each), postgres (live and
herd over one PostgreSQL).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.machine import describe
from tests.peers import postgres

PLANTGATE = Path(sys.executable).parent / "plantgate"
ROUNDS: dict[str, list[list[str]]] = {
    "idle": [["--idle", "--gateways", n, "--seconds", "10"] for n in ("10", "100", "1000")],
    "live": [["--gateways", n, "--seconds", "25"] for n in ("10", "100", "1000")],
    "herd": [["--gateways", "100", "--seconds", "90", "--backlog-hours", "8", "--herd"]],
}
EXTRA: dict[str, list[list[str]]] = {
    "tls": [["--idle", "--gateways", "100", "--seconds", "10"],
            ["--gateways", "100", "--seconds", "25"]],
    "postgres": [["--gateways", "100", "--seconds", "25"], *ROUNDS["herd"]],
}  # fmt: skip


def measure(name: str, arguments: list[str]) -> dict[str, Any]:
    """Run one load against a fresh receiver; returns what the command printed."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        serve = [str(PLANTGATE), "receive", "--listen", "127.0.0.1:0", "--json"]
        if name == "postgres":
            server = postgres.Postgres()
            stack.callback(server.close)
            server.start()
            serve += ["--store", server.database(), "--files", str(folder)]
        else:
            serve += ["--store", str(folder / "store")]
        if name == "tls":
            certs = folder / "certs"
            made = [str(PLANTGATE), "cert", "fleet", str(certs), "--gateways", "100"]
            subprocess.run(made, check=True, capture_output=True)
            serve += ["--ca", str(certs / "ca.pem"), "--certificate", str(certs / "receiver.pem"),
                      "--key", str(certs / "receiver.key")]  # fmt: skip
            arguments = [*arguments, "--certificates", str(certs)]
        else:
            serve.append("--insecure")
        return _measure(serve, arguments, folder / "store/receiver.db")


def _measure(serve: list[str], arguments: list[str], database: Path) -> dict[str, Any]:
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=log, text=True) as receiver,
    ):
        assert receiver.stdout is not None
        try:
            ready = json.loads(receiver.stdout.readline())
            command = [str(PLANTGATE), "load", "--json", "--pid", str(receiver.pid)]
            command += ["--target", ready["listen"], *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            if database.exists():
                result["stored_mb"] = round(database.stat().st_size / 1e6, 1)
        finally:
            receiver.terminate()
            receiver.wait(timeout=60)
        log.seek(0)
        slow = [float(found) for found in re.findall(r'"seconds": ([0-9.]+)', log.read())]
        result |= {"commits_over_1_s": len(slow), "slowest_commit_s": max(slow, default=0.0)}
    return result


def main() -> None:
    """Run the rounds asked for and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="*", metavar="ROUND",
                        help=", ".join([*ROUNDS, *EXTRA]))  # fmt: skip
    parser.add_argument("--json", type=Path, help="write all results to a file")
    options = parser.parse_args()
    print(json.dumps(describe()), "load average", Path("/proc/loadavg").read_text().split()[0])
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.rounds or ROUNDS:
        for arguments in (ROUNDS | EXTRA)[name]:
            result = measure(name, arguments)
            results.setdefault(name, []).append(result)
            print(name, json.dumps(result), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
