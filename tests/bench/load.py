"""`make load`: one receiver process under simulated gateways, in rounds of at most four minutes.

    python -m tests.bench.load [--json FILE] [ROUND ...]

Rounds: idle (memory a gateway: 10, 100, 1000 connected and silent), live (10, 100, 1000 gateways of
500 points at 1 s), herd (100 gateways reconnect within 1 s with 8 h of backlog). Receiver and
simulator share the machine and its cores; SQLite on the disk of the temporary folder, no TLS.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench.machine import describe

PLANTGATE = Path(sys.executable).parent / "plantgate"
ROUNDS: dict[str, list[list[str]]] = {
    "idle": [["--idle", "--gateways", n, "--seconds", "15"] for n in ("10", "100", "1000")],
    "live": [["--gateways", n, "--seconds", "30"] for n in ("10", "100", "1000")],
    "herd": [["--gateways", "100", "--seconds", "120", "--backlog-hours", "8", "--herd"]],
}


def measure(arguments: list[str]) -> dict[str, Any]:
    """Run one load against a fresh receiver; returns what the command printed."""
    with tempfile.TemporaryDirectory() as folder:
        serve = [str(PLANTGATE), "receive", "--listen", "127.0.0.1:0", "--store", folder]
        receiver = subprocess.Popen(
            [*serve, "--insecure", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert receiver.stdout is not None
        try:
            ready = json.loads(receiver.stdout.readline())
            drain = subprocess.Popen(["cat"], stdin=receiver.stdout, stdout=subprocess.DEVNULL)
            command = [str(PLANTGATE), "load", "--json", "--pid", str(receiver.pid)]
            command += ["--target", ready["listen"], *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            result["stored_mb"] = round((Path(folder) / "receiver.db").stat().st_size / 1e6, 1)
        finally:
            receiver.terminate()
            receiver.wait(timeout=60)
        drain.wait(timeout=60)
    return result


def main() -> None:
    """Run the rounds asked for and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", nargs="*", metavar="ROUND", help=", ".join(ROUNDS))
    parser.add_argument("--json", type=Path, help="write all results to a file")
    options = parser.parse_args()
    print(json.dumps(describe()), "load average", Path("/proc/loadavg").read_text().split()[0])
    results: dict[str, list[dict[str, Any]]] = {}
    for name in options.rounds or ROUNDS:
        for arguments in ROUNDS[name]:
            result = measure(arguments)
            results.setdefault(name, []).append(result)
            print(name, json.dumps(result), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
