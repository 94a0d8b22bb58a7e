"""Browsers at the console while alarms flood: some read, some slowly, one never; a person acts.

What is measured: how old the marker's alarm is when a browser that reads has it (wall clock of one
machine: now less the time at which the gateway read the register; a change waits up to 250 ms for
others at the gateway and again at the console, by design), and how long a page, a list and an
acknowledgement take, each over a TLS connection of its own.

They are a process of their own (`Crowd` starts it), because on a real site they are other machines:
told the name of each phase by a line on standard input, and telling all that was felt at its end. A
phase lasts until the person has done all that he does once within it, whatever the machine is like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gateway.config import users
from gateway.config.users import Role
from tests.gateway.console.rig import PASSWORD, Browser

READING, SLOW = 6, 4
SLOW_BYTES, SLOW_S = 4096, 0.2
ASK_S = 0.2
SEEN = "alarm at a browser"
PERSON = "王芳"
LONGEST_S = 60.0
"""A bound against hanging."""
NICE = 5
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Place:
    """The console of a gateway that a test started."""

    data: Path
    address: tuple[str, int]
    insecure: bool = False


@dataclass(slots=True)
class Felt:
    """What browsers felt in one phase, ms."""

    answers_ms: dict[str, list[float]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class Browsers:
    """All of them, in threads. phases: what was felt, by name; between phases nothing is kept."""

    def __init__(self, place: Place, marker: str) -> None:
        self._place = place
        self._marker = marker
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._rounds = self._begun = 0
        self._acted = threading.Condition()
        self._felt = Felt()
        self.phases: dict[str, Felt] = {}
        self.ended: list[str] = []

    def attach(self) -> None:
        """Sign in and open all streams; they stay open."""
        browser = Browser(self._place)
        until_signed_in(browser)
        work: list[Callable[[Browser], None]] = [self._stall, self._act]
        work += [self._read] * READING
        work += [self._read_slowly] * SLOW
        for one in work:
            thread = threading.Thread(target=self._run, args=(one, browser))
            self._threads.append(thread)
            thread.start()

    def phase(self, name: str) -> None:
        """Begin a phase; an empty name ends it, once the person has acted in it."""
        with self._acted:
            whole = self._begun + 2  # the round that was under way, and one more
            if not name:
                self._acted.wait_for(lambda: self._rounds >= whole or self.ended, LONGEST_S)
            self._begun = self._rounds
        with self._lock:
            self._felt = Felt()
            if name:
                self.phases[name] = self._felt

    def end(self) -> None:
        """Let all of them go."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[Browser], None], browser: Browser) -> None:
        try:
            work(browser)
        except (OSError, AssertionError) as error:
            if not self._stop.is_set():
                self.ended.append(f"{work.__name__.strip('_')}: {error!r}")

    def _add(self, what: str, taken_ms: float) -> None:
        with self._lock:
            self._felt.answers_ms.setdefault(what, []).append(taken_ms)

    def _read(self, browser: Browser) -> None:
        seen = 0
        with browser.live() as stream:
            while not self._stop.is_set():
                event, content = stream.next()
                now_ns = time.time_ns()
                if event == "gone":
                    self._refuse("a browser was told that the gateway is gone")
                for row in rows_of(event, content):
                    if row["key"] == self._marker and row["since_ns"] > seen:
                        # What stood before the stream began is no news.
                        if seen or event == "change":
                            self._add(SEEN, (now_ns - row["since_ns"]) / 1e6)
                        seen = row["since_ns"]

    def _read_slowly(self, browser: Browser) -> None:
        with browser.live(receive_bytes=SLOW_BYTES) as stream:
            while not self._stop.wait(SLOW_S):
                assert stream.answer.read1(SLOW_BYTES), "the stream has ended"

    def _stall(self, browser: Browser) -> None:
        with browser.live(receive_bytes=SLOW_BYTES):
            self._stop.wait()

    def _act(self, browser: Browser) -> None:
        source, _, condition = self._marker.rpartition("|")
        acknowledge = {"verb": "ack", "source": source, "condition": condition}
        asks: dict[str, tuple[str, str, Any, set[int]]] = {
            "page": ("GET", "/", None, {200}),
            "state by REST": ("GET", "/api/state", None, {200}),
            "list by REST": ("GET", "/api/alarms?most=100", None, {200}),
            # Nothing to acknowledge just now is an answer too.
            "console acknowledge": ("POST", "/api/commands/alarm.command", acknowledge, {200, 409}),
        }
        while not self._stop.is_set():
            for name, (method, path, content, good) in asks.items():
                began = time.perf_counter()
                reply = browser.ask(method, path, content)
                self._add(name, (time.perf_counter() - began) * 1e3)
                if reply.status not in good:
                    self._refuse(f"{name}: {reply.status} {reply.content[:80]!r}")
            with self._acted:
                self._rounds += 1
                self._acted.notify()
            self._stop.wait(ASK_S)

    def _refuse(self, text: str) -> None:
        with self._lock:
            self._felt.refused.append(text)


class Crowd:
    """The process of all browsers, from outside."""

    def __init__(self, data: Path, port: int, marker: str) -> None:
        users.add_user(data, PERSON, Role.OPERATOR, PASSWORD, time.time_ns())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.flood_browsers", str(data), str(port), marker],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "attached\n"

    @contextmanager
    def at_work(self, name: str) -> Iterator[None]:
        """Have them note what they feel during the block."""
        self._say(f"{name}\n")
        yield
        self._say("\n")

    def end(self) -> tuple[dict[str, Felt], list[str]]:
        """What was felt by phase, and whose connection ended."""
        said, _ = self._process.communicate(timeout=120)
        found = json.loads(said)
        return {name: Felt(**felt) for name, felt in found["phases"].items()}, found["ended"]

    def kill(self) -> None:
        """End the process in any case."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _say(self, text: str) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "noted\n"


def until_signed_in(browser: Browser) -> None:
    """Sign in; a new user is known within a second."""
    deadline = time.monotonic() + 60
    while browser.sign_in(PERSON).status != 200:
        assert time.monotonic() < deadline, "cannot sign in"
        time.sleep(0.5)


def rows_of(event: str, content: Any) -> list[dict[str, Any]]:
    """Rows of alarms that an event of the live stream brings."""
    if event == "state":
        return list(content["alarms"])
    return list(content.get("alarms", {}).get("changed", ())) if event == "change" else []


def main() -> None:
    """Attach, then a phase a line; print what was felt as JSON."""
    os.nice(NICE)
    _, data, port, marker = sys.argv
    browsers = Browsers(Place(Path(data), ("127.0.0.1", int(port))), marker)
    browsers.attach()
    print("attached", flush=True)
    for line in sys.stdin:
        browsers.phase(line.strip())
        print("noted", flush=True)
    ended = list(browsers.ended)
    browsers.end()
    phases = {name: asdict(felt) for name, felt in browsers.phases.items()}
    print(json.dumps({"phases": phases, "ended": ended}))


if __name__ == "__main__":
    main()
