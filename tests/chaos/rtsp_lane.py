"""One camera of the RTSP campaign: a live server, a relay before it, and the product's own source.

Runs inside a network namespace of its own (tests/chaos/rtsp.py makes it), since the line's rate is
cut with tc on its loopback. Prints one JSON line a fault, and one of what the camera's process had
open after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from drivers.contract import Quality
from tests.chaos.rtsp_rounds import Return, Round
from tests.fakes.garbling_relay import GarblingRelay
from tests.ports import own_port
from tests.vision.recorder import Recorder, camera, running

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "tests" / "peers" / "live_camera.py"
LOGIN = ("admin", "p@ss:/1 密码")
KINDS = ("kill", "freeze", "restart", "bandwidth", "corrupt", "resolution")
SIZES = ((640, 360), (320, 240), (480, 272))
GARBLE = 0.005
"""One byte in 200: 7 in a packet of 1,400, so hardly a packet is whole."""
CUT = "8kbit"
OUTAGE_S = 6.0
"""How long a fault lasts at most after it was seen."""
LONGEST_S = 60.0
"""A bound against hanging; what counts is what was measured."""


class Server:
    """The live server, killed, frozen and restarted on one port."""

    def __init__(self, codec: str, digest: bool) -> None:
        self._arguments = ["--codec", codec]
        if digest:
            self._arguments += ["--user", LOGIN[0], "--password", LOGIN[1]]
        self.port = own_port()  # the same after each restart
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, size: tuple[int, int] = SIZES[0]) -> None:
        """Start it, and wait until it listens. size: of its picture."""
        where = ("--port", str(self.port), "--size", "x".join(map(str, size)))
        self._process = process = await asyncio.create_subprocess_exec(
            *("/usr/bin/python3", str(SERVER), *self._arguments, *where),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(LONGEST_S):
            word, _, port = (await process.stdout.readline()).decode().partition(" ")
        if word != "ready":
            raise SystemExit(
                f"rtsp: the live camera does not start (exit code {await process.wait()}, its words"
                " are above); see tests/peers/install.sh"
            )
        assert int(port) == self.port

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
            await process.wait()

    async def resize(self, width: int, height: int) -> None:
        """Change the size of the picture while clients look on."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"size {width} {height}\n".encode())
        await self._process.stdin.drain()


class Lane:
    """One camera under faults."""

    def __init__(
        self, name: str, server: Server, seed: int, kinds: Sequence[str] = KINDS, *,
        outage_s: float = OUTAGE_S,
    ) -> None:  # fmt: skip
        self._name = name
        self._outage_s = outage_s
        self._kinds = kinds
        self._server = server
        self._relay = GarblingRelay(seed)
        self._random = random.Random(seed)
        self._size = 0

    async def run(self, digest: bool, rounds: int) -> None:
        """Run the rounds; each prints a line."""
        async with AsyncExitStack() as stack:
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="plantgate-rtsp-"))
            )
            stack.push_async_callback(self._server.end)
            stack.push_async_callback(self._relay.close)
            await self._up()
            secret = folder / "password"
            secret.write_text(LOGIN[1], encoding="utf-8")
            login = {"user": LOGIN[0], "password_file": str(secret)} if digest else {}
            config = camera(
                f"rtsp://127.0.0.1:{self._relay.port}/live", analyse_fps=2.0,
                clip_before_s=0.0, clip_after_s=0.0, **login,
            )  # fmt: skip
            seen = await stack.enter_async_context(running(config))
            await self._do_once(seen)
            kinds: list[str] = []
            for _ in range(rounds):
                if not kinds:
                    kinds = self._random.sample(self._kinds, len(self._kinds))
                await asyncio.sleep(self._random.uniform(0.5, 2.0))
                result = await self._round(kinds.pop(), seen)
                print(json.dumps(asdict(result)), flush=True)
                seen.batches.clear()
                seen.events.clear()

    async def _do_once(self, seen: Recorder) -> None:
        """Have done what a camera seldom does and what loads something: that is no leak.

        A picture of each shape takes the network's memory for it (2.6 MB), the first picture with
        text its letters and the encoder (6.7 MB).
        """
        for size in (*SIZES[1:], SIZES[0]):
            await self._down()
            seen.batches.clear()
            await seen.until(lambda: any(q >= Quality.BAD for q in seen.qualities()))
            await self._up(size)
            await seen.until(lambda: Quality.GOOD in seen.qualities())
        await seen.source.look()

    async def _round(self, kind: str, seen: Recorder) -> Round:
        begin, end = self._faults()[kind]
        seen.batches.clear()
        began = time.monotonic()
        await begin()
        seen_s = None
        if kind == "resolution":
            await asyncio.sleep(1.0)
        else:
            await _patiently(seen, lambda: any(q != Quality.GOOD for q in seen.qualities()))
            seen_s = time.monotonic() - began
            await asyncio.sleep(self._random.uniform(0.0, self._outage_s))
        await end()
        ended, back = time.monotonic(), Return(time.time_ns())
        seen.batches.clear()
        fed = 0

        def returned() -> bool:
            nonlocal fed
            now_s = time.monotonic() - ended
            for batch in seen.batches[fed:]:
                if isinstance(batch.source_time_ns, int):
                    back.feed(int(batch.quality[0]), batch.source_time_ns, now_s=now_s)
            fed = len(seen.batches)
            return back.good_s is not None

        said = await _patiently(seen, returned)
        process = psutil.Process(seen.source.pid)
        return Round(
            self._name, kind, seen_s, back.counting_s, back.good_s, process.num_fds(),
            process.num_threads(), process.memory_info().rss,
            int(seen.source.statistics()["starts"]), said,
        )  # fmt: skip

    def _faults(
        self,
    ) -> dict[str, tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]]:
        """How each kind begins and ends."""
        return {
            "kill": (self._down, self._up),
            "freeze": (self._freeze, self._thaw),
            "restart": (self._stop, self._up),
            "bandwidth": (self._cut, self._uncut),
            "corrupt": (self._garble, self._clean),
            "resolution": (self._resize, self._nothing),
        }

    async def _up(self, size: tuple[int, int] = SIZES[0]) -> None:
        await self._server.start(size)
        await self._relay.open(self._server.port)

    async def _down(self) -> None:
        await self._server.end(signal.SIGKILL)
        await self._relay.close()

    async def _stop(self) -> None:
        await self._server.end(signal.SIGTERM)
        await self._relay.close()

    async def _freeze(self) -> None:
        self._server.send(signal.SIGSTOP)

    async def _thaw(self) -> None:
        self._server.send(signal.SIGCONT)

    async def _cut(self) -> None:
        _tc("add", "tbf", "rate", CUT, "burst", "2000", "latency", "2000ms")

    async def _uncut(self) -> None:
        _tc("del")

    async def _garble(self) -> None:
        self._relay.garble = GARBLE

    async def _clean(self) -> None:
        self._relay.garble = 0.0

    async def _resize(self) -> None:
        self._size = (self._size + 1) % len(SIZES)
        await self._server.resize(*SIZES[self._size])

    async def _nothing(self) -> None:
        return


async def _patiently(seen: Recorder, condition: Callable[[], bool]) -> str:
    """Wait; what the camera said last if it was in vain."""
    try:
        await seen.until(condition)
    except TimeoutError:
        texts = " ".join(event.text for event in seen.events[-3:])
        last = f"quality {seen.qualities()[-1]:#06x}" if seen.batches else "no count"
        return f"{last}; {texts}"
    return ""


def _tc(verb: str, *what: str) -> None:
    subprocess.run(["tc", "qdisc", verb, "dev", "lo", "root", *what], check=True)


def main() -> None:
    """Run one lane."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--outage-s", type=float, default=OUTAGE_S)
    parser.add_argument("--only", choices=KINDS, action="append")
    given = parser.parse_args()
    server = Server(given.codec, given.digest)
    kinds = given.only or KINDS
    lane = Lane(given.name, server, given.seed, kinds, outage_s=given.outage_s)
    asyncio.run(lane.run(given.digest, given.rounds))


if __name__ == "__main__":
    main()
