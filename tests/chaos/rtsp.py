"""What a camera over RTSP can do wrong, 200 times: seen within 10 s, back within 10 s, no leak.

    python -m tests.chaos.rtsp [--rounds 200] [--seed 1] [--json]      (root; `make rtsp`)

Four cameras at a time, GStreamer's server each: H.264 and MJPEG with a digest login, H.264 and
H.265 without. Each in a network namespace of its own. Faults, in random order, each kind equally
often: SIGKILL, SIGSTOP, an orderly restart, the line cut to 8 kbit/s (tc tbf), one byte in 200
garbled (tests/fakes/garbling_relay.py), another size of picture in the middle of the stream.

A fault is *seen* when the camera's headcount has bad quality; a change of size is no fault: there
only the time until the next good count matters. *Back* is the first good count of a picture that is
younger than the end of the fault; a camera that was killed is back when it listens. Seconds include
the one-second period of the counts.

Leaks, by rule stated here: the camera's process is the same from first to last; its open files and
threads after a fault are, in the last quarter, at no time more than the most of the first quarter;
the median of its resident memory grows by at most 4 MB from the second quarter to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.rtsp_lane import OUTAGE_S

ROOT = Path(__file__).resolve().parents[2]
LANES = (("h264-digest", "h264", True), ("mjpeg-digest", "mjpeg", True),
         ("h264", "h264", False), ("h265", "h265", False))  # fmt: skip
BAR_S = 10.0
MOST_GROWTH_BYTES = 4_000_000
Round = dict[str, Any]


def run(rounds: int, seed: int, outage_s: float = OUTAGE_S) -> list[Round]:
    """Run all lanes side by side. outage_s: how long a fault lasts at most after it was seen."""
    share = -(-rounds // len(LANES))
    results: list[Round] = []
    with tempfile.TemporaryFile("w+") as errors:
        started = [
            _start(lane, share, (seed + n, outage_s), errors) for n, lane in enumerate(LANES)
        ]
        try:
            for process, _ in started:
                output = process.communicate()[0]
                results += [json.loads(line) for line in output.splitlines()]
        finally:
            for process, namespace in started:
                process.kill()
                process.wait()
                subprocess.run(["ip", "netns", "del", namespace], check=False)
        if any(process.returncode for process, _ in started):
            errors.seek(0)
            raise SystemExit(f"rtsp: a camera did not finish its rounds\n{errors.read()}")
    return results


def _start(lane: tuple[str, str, bool], rounds: int, chance: tuple[int, float], errors: Any) -> Any:
    (name, codec, digest), (seed, outage_s) = lane, chance
    namespace = f"pg-{os.getpid()}-{name}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    for command in ("lo mtu 1500 gso_max_size 1500", "lo up"):
        subprocess.run(["ip", "-n", namespace, "link", "set", *command.split()], check=True)
    arguments = [
        "--name",
        name,
        "--codec",
        codec,
        "--rounds",
        str(rounds),
        "--seed",
        str(seed),
        "--outage-s",
        str(outage_s),
    ]
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.chaos.rtsp_lane",
         *arguments, *(["--digest"] if digest else [])],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True,
    )  # fmt: skip
    return process, namespace


def table(results: Sequence[Round]) -> list[str]:
    """A Markdown table: per kind of fault how many, and how long (median, most)."""
    lines = [
        "| fault | times | seen s, median (most) | back s, median (most) |",
        "|---|---|---|---|",
    ]
    for kind in sorted({one["kind"] for one in results}):
        mine = [one for one in results if one["kind"] == kind]
        seen = [one["seen_s"] for one in mine if one["seen_s"] is not None]
        back = [one["back_s"] for one in mine]
        said = f"{statistics.median(seen):.1f} ({max(seen):.1f})" if seen else "is no fault"
        lines.append(
            f"| {kind} | {len(mine)} | {said} | {statistics.median(back):.1f} ({max(back):.1f}) |"
        )
    return lines


def leaks(results: Sequence[Round]) -> list[str]:
    """A Markdown table of what each camera's process had open and used, first and last."""
    lines = [
        "| camera | rounds | open files | threads | MB, 2nd quarter → last |",
        "|---|---|---|---|---|",
    ]
    for name, mine in _by_lane(results).items():
        first, second, last = _quarters(mine)
        lines.append(
            f"| {name} | {len(mine)} |"
            + "".join(
                f" {max(one[key] for one in first)} → {max(one[key] for one in last)} |"
                for key in ("open_files", "threads")
            )
            + f" {_median(second) / 1e6:.1f} → {_median(last) / 1e6:.1f} |"
        )
    return lines


def wrong(results: Sequence[Round]) -> list[str]:
    """What misses a bar, one sentence each."""
    found = []
    for one in results:
        for key, word in (("seen_s", "seen"), ("back_s", "back")):
            if one[key] is not None and one[key] > BAR_S:
                text = f"{one['lane']}: {one['kind']} {word} after {one[key]:.1f} s"
                found.append(" ".join([text, one["said"]]).strip())
    for name, mine in _by_lane(results).items():
        first, second, last = _quarters(mine)
        if mine[-1]["starts"] != 1:
            found.append(f"{name}: its process was started {mine[-1]['starts']} times")
        for key in ("open_files", "threads"):
            if max(one[key] for one in last) > max(one[key] for one in first):
                found.append(f"{name}: more {key} at the end than at the beginning")
        if _median(last) - _median(second) > MOST_GROWTH_BYTES:
            found.append(f"{name}: resident memory grows")
    return found


def _by_lane(results: Sequence[Round]) -> dict[str, list[Round]]:
    lanes: dict[str, list[Round]] = {}
    for one in results:
        lanes.setdefault(one["lane"], []).append(one)
    return lanes


def _quarters(mine: list[Round]) -> tuple[list[Round], list[Round], list[Round]]:
    size = max(1, len(mine) // 4)
    return mine[:size], mine[size : 2 * size] or mine[:size], mine[-size:]


def _median(mine: list[Round]) -> float:
    return float(statistics.median(one["resident_bytes"] for one in mine))


def main() -> int:
    """Run, print the tables, 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage-s", type=float, default=OUTAGE_S,
                        help="how long a fault lasts at most after it was seen")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="every round, nothing else")
    given = parser.parse_args()
    results = run(given.rounds, given.seed, given.outage_s)
    if given.json:
        print(json.dumps(results))
        return 0
    problems = wrong(results)
    print("\n".join([*table(results), "", *leaks(results), "", *problems]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
