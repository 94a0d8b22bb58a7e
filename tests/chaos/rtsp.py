"""What a camera over RTSP can do wrong, 200 times: seen within 10 s, back within 10 s, no leak.

    python -m tests.chaos.rtsp [--rounds 200] [--seed 1] [--json]      (root; `make rtsp`)

Four cameras at a time, GStreamer's server each: H.264 and MJPEG with a digest login, H.264 and
H.265 without. Each in a network namespace of its own. Faults, in random order, each kind equally
often: SIGKILL, SIGSTOP, an orderly restart, the line cut to 8 kbit/s (tc tbf), one byte in 200
garbled (tests/fakes/garbling_relay.py), another size of picture in the middle of the stream.

A fault is *seen* when the camera's headcount has bad quality; a change of size is no fault: there
only the time until the next good count matters. A camera that was killed can be back when it
listens. Seconds include the one-second period of the counts. Each round is printed as it happens;
tests/chaos/rtsp_rounds.py says what counts as back, and what as a leak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from tests.chaos.rtsp_lane import OUTAGE_S
from tests.chaos.rtsp_rounds import Round, leaks, line, table, totals, wrong

ROOT = Path(__file__).resolve().parents[2]
LANES = (("h264-digest", "h264", True), ("mjpeg-digest", "mjpeg", True),
         ("h264", "h264", False), ("h265", "h265", False))  # fmt: skip
LaneOf = tuple[str, str, bool]


async def run(
    rounds: int, seed: int, outage_s: float, tell: Callable[[Round], None]
) -> list[Round]:
    """Run all lanes side by side. outage_s: how long a fault lasts at most after it was seen."""
    share = -(-rounds // len(LANES))
    with tempfile.TemporaryFile("w+") as errors:
        async with asyncio.TaskGroup() as group:
            lanes = [
                group.create_task(_lane(lane, (share, seed + n, outage_s), errors, tell))
                for n, lane in enumerate(LANES)
            ]
        found = [one for lane in lanes for one in lane.result()]
        if len(found) < share * len(LANES):
            errors.seek(0)
            raise SystemExit(f"rtsp: a camera did not finish its rounds\n{errors.read()}")
    return found


async def _lane(
    lane: LaneOf,
    how: tuple[int, int, float],
    errors: IO[str],
    tell: Callable[[Round], None],
) -> list[Round]:
    """Run one camera's rounds."""
    (name, codec, digest), (rounds, seed, outage_s) = lane, how
    with _namespace(name) as namespace:
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", namespace, sys.executable, "-m", "tests.chaos.rtsp_lane"),
            *("--name", name, "--codec", codec, "--rounds", str(rounds), "--seed", str(seed)),
            *("--outage-s", str(outage_s), *(["--digest"] if digest else [])),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
        assert process.stdout is not None
        found = []
        try:
            async for told in process.stdout:
                found.append(Round(**json.loads(told)))
                tell(found[-1])
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        return found


@contextmanager
def _namespace(lane: str) -> Iterator[str]:
    """Give a network namespace with a loopback of its own, gone afterwards."""
    namespace = f"pg-{os.getpid()}-{lane}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        for command in ("lo mtu 1500 gso_max_size 1500", "lo up"):
            subprocess.run(["ip", "-n", namespace, "link", "set", *command.split()], check=True)
        yield namespace
    finally:
        subprocess.run(["ip", "netns", "del", namespace], check=False)


def main() -> int:
    """Run, print the tables, 1 if a bar is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--outage-s", type=float, default=OUTAGE_S,
                        help="how long a fault lasts at most after it was seen")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="every round, nothing else")
    given = parser.parse_args()

    def tell(one: Round) -> None:
        if not given.json:
            print(line(one), flush=True)

    results = asyncio.run(run(given.rounds, given.seed, given.outage_s, tell))
    if given.json:
        print(json.dumps([asdict(one) for one in results]))
        return 0
    problems = wrong(results)
    print("\n".join(["", totals(results), "", *table(results), "", *leaks(results), "", *problems]))
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
