"""Receivers, consumers and both engines are killed under load: every acknowledged record once.

Real processes: simulated gateways (`plantgate load`) on two receivers with a journal, two
consumers, JetStream (three servers or one) and PostgreSQL (Patroni over three, or one). The fleet
writes down what was ever acknowledged to it; after the journal is empty PostgreSQL must hold each
of those records exactly once, and no Welcome may have forgotten one.

    python -m tests.chaos.cluster --gateways 200 --seconds 120

Results as a table; exit 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import psycopg

from buffer.ranges import RangeSet
from gateway.receiver.journal.address import parse_journal
from gateway.receiver.journal.consume import DURABLES
from gateway.receiver.journal.line import Line
from tests.e2e.world import free_ports, until
from tests.peers import jetstream, postgres
from tests.peers.patroni import Patroni

PLANTGATE = str(Path(sys.executable).parent / "plantgate")
AWAY_S = 8.0
"""Time between a kill and the start of what was killed: longer than an election, where there is
one; without one it is an outage."""
DRAIN_S = 240.0
LONGEST_S = 1200
"""The fleet's records are made beforehand, for so long."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What can be done to a server or a cluster, and how it is undone.

    harm: does it, and returns the number of the server it was done to.  mend: takes that number.
    """

    harm: Callable[[], int]
    mend: Callable[[int], None]


def leader_of(servers: jetstream.JetStream) -> int:
    """Number of the server that leads the journal, once there is one."""

    def leads() -> int:
        if len(servers.ports) == 1:
            return 1
        leader = servers.leader()
        return 0 if leader is None else leader + 1

    return until(leads, what="a leader of the journal") - 1


def jetstream_killed(servers: jetstream.JetStream) -> Engine:
    """SIGKILL for the leader of the journal."""

    def harm() -> int:
        number = leader_of(servers)
        servers.kill(number)
        return number

    return Engine(harm, servers.start)


def postgres_killed(server: postgres.Postgres) -> Engine:
    """SIGKILL for a single PostgreSQL; what was committed is recovered from its log."""

    def harm() -> int:
        server.kill()
        return 0

    return Engine(harm, lambda _: server.start())


@dataclass(slots=True)
class Result:
    """What a campaign did and found; anything in the last four is a fault."""

    kills: Counter[str] = field(default_factory=Counter)
    load: dict[str, Any] = field(default_factory=dict)
    acknowledged: int = 0
    stored: int = 0
    drained_s: float = 0.0
    missing: int = 0
    doubled: int = 0
    forgotten: int = 0
    aside: int = 0

    @property
    def whole(self) -> bool:
        """Whether every acknowledged record is stored once."""
        return not (self.missing or self.doubled or self.forgotten or self.aside)


class Campaign:
    """Processes of the product over two engines; leaving it ends them."""

    def __init__(self, folder: Path, journal: str, store: str, away_s: float = AWAY_S) -> None:
        self.away_s = away_s
        self.folder, self.journal, self.store = folder, journal, store
        self.result = Result()
        self._ports = free_ports(2)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        for number in (0, 1):
            self.start(f"receiver {number}")
            self.start(f"consumer {number}")
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            process.kill()
        for process in self._running.values():
            process.wait(timeout=60)

    def start(self, name: str) -> None:
        """Start one of ours and wait until it says that it is ready."""
        part, _, number = name.partition(" ")
        common = ["--journal", self.journal, "--store", self.store, "--json"]
        if part == "receiver":
            command = ["receive", "--listen", f"127.0.0.1:{self._ports[int(number)]}", "--insecure",
                       "--files", str(self.folder / "files"), *common]  # fmt: skip
        else:
            command = ["consume", *common]

        def ready() -> bool:
            said = self.folder / f"{name}.out"
            with said.open("wb") as out, (self.folder / f"{name}.log").open("ab") as log:
                process = subprocess.Popen([PLANTGATE, *command], stdout=out, stderr=log)
            while process.poll() is None:
                if b"\n" in said.read_bytes():
                    self._running[name] = process
                    return True
                time.sleep(0.1)
            return False  # its engine had no leader just now

        until(ready, limit_s=120, what=f"{name} ready; see {self.folder}/{name}.log")

    def kill(self, name: str) -> None:
        """SIGKILL one of ours."""
        process = self._running.pop(name)
        process.kill()
        process.wait(timeout=60)

    def load(self, gateways: int, points: int) -> subprocess.Popen[bytes]:
        """Begin the fleet; it goes on until it is told to end."""
        command = [PLANTGATE, "load", "--json", "--gateways", str(gateways)]
        command += ["--points", str(points), "--seconds", str(LONGEST_S)]
        command += ["--ledger", str(self._ledger)]
        for port in self._ports:
            command += ["--target", f"127.0.0.1:{port}"]
        with (self.folder / "load.out").open("wb") as out:
            return subprocess.Popen(command, stdout=out, stderr=out)

    def has_begun(self) -> bool:
        """Tell whether telemetry has come as far as the store."""
        with psycopg.connect(self.store) as db:
            row = db.execute("SELECT 1 FROM plantgate.records WHERE samples > 1 LIMIT 1").fetchone()
        return row is not None

    def fault(self, name: str, engine: Engine | None) -> None:
        """Kill something, and start it again after a while."""
        self.result.kills[name] += 1
        if engine is None:
            self.kill(name)
            time.sleep(self.away_s)
            self.start(name)
        else:
            number = engine.harm()
            time.sleep(self.away_s)
            engine.mend(number)

    def judge(self) -> Result:
        """Compare the ledger with the store, after everything is moved."""
        result = self.result
        text = (self.folder / "load.out").read_text()
        result.load = json.loads(text.splitlines()[-1])
        result.forgotten = int(result.load["forgotten"])
        began = time.monotonic()
        try:
            until(lambda: not self._left(), limit_s=DRAIN_S, what="an empty journal")
        except AssertionError as error:
            raise AssertionError(f"{error}; {self._why_not()}") from None
        result.drained_s = round(time.monotonic() - began, 1)
        with psycopg.connect(self.store) as db:
            db.execute("SET search_path = plantgate")
            row = db.execute("SELECT count(*) FROM aside").fetchone()
            result.aside = int(row[0]) if row else -1
            rows = db.execute(
                "SELECT name || '/' || encode(log_id, 'hex'), logs.id FROM logs"
                " JOIN gateways ON gateways.id = gateway"
            ).fetchall()
            logs = {str(name): int(number) for name, number in rows}
            for line in self._ledger.read_text().splitlines():
                self._judge_one(db, json.loads(line), logs)
        return result

    def _judge_one(
        self, db: psycopg.Connection[Any], promised: dict[str, Any], logs: dict[str, int]
    ) -> None:
        log = logs.get(f"{promised['gateway']}/{promised['log_id']}")
        for number, stream in ((0, "alarm"), (2, "telemetry")):
            rows = [] if log is None else db.execute(
                "SELECT sequence FROM records WHERE stream_key = %s", (log * 4 + number,)
            ).fetchall()  # fmt: skip
            held = RangeSet()
            for (sequence,) in rows:
                held.add(sequence)
            self.result.stored += len(rows)
            self.result.doubled += len(rows) - len(held)
            for start, stop in promised[stream]:
                self.result.acknowledged += stop - start
                self.result.missing += len(held.missing(start, stop))

    @property
    def _ledger(self) -> Path:
        return self.folder / "ledger"

    def _left(self) -> int:
        with contextlib.closing(Line.open(parse_journal(self.journal), 60.0)) as line:
            first, last = line.call(line.extent)
            return last + 1 - first

    def _why_not(self) -> str:
        """Say what the journal, its consumers and the store know of what is left."""
        with contextlib.closing(Line.open(parse_journal(self.journal), 60.0)) as line:
            said = [f"journal holds {line.call(line.extent)}"]
            for durable in DURABLES.values():
                info = line.call(partial(line.jet.consumer_info, line.address.stream, durable))
                said.append(
                    f"{durable}: delivered {info.delivered}, ack floor {info.ack_floor},"
                    f" {info.num_pending} pending, {info.num_ack_pending} unacknowledged,"
                    f" {info.num_redelivered} again"
                )
        with psycopg.connect(self.store) as db:
            held = db.execute("SELECT name, consumed::text FROM plantgate.journals").fetchall()
        return "; ".join([*said, f"the store has {held}"])


OURS = ("receiver 0", "consumer 0", "receiver 1", "consumer 1")


def run(
    campaign: Campaign,
    fleet: tuple[int, int, int],
    engines: dict[str, Engine],
    ours: Sequence[str] = OURS,
) -> Result:
    """Load for fleet = (gateways, points, seconds); harm in turn so long, all once, then judge.

    ours: processes of the product that are killed in their turn.
    """
    victims: list[tuple[str, Engine | None]] = [*engines.items(), *((one, None) for one in ours)]
    with campaign:
        load = campaign.load(fleet[0], fleet[1])
        try:
            until(campaign.has_begun, limit_s=120, what="a first record in the store")
            end = time.monotonic() + fleet[2]
            turn = 0
            while time.monotonic() < end or turn < len(victims):
                campaign.fault(*victims[turn % len(victims)])
                turn += 1
                time.sleep(campaign.away_s)
        finally:
            load.terminate()
            load.wait(timeout=300)
        return campaign.judge()


def show(result: Result) -> None:
    """Print what was done and found."""
    print("load average", Path("/proc/loadavg").read_text().split()[0])
    print(json.dumps(result.load))
    print("harmed:", ", ".join(f"{name} {count}x" for name, count in result.kills.items()))
    for name in ("acknowledged", "stored", "missing", "doubled", "forgotten", "aside",
                 "drained_s"):  # fmt: skip
        print(f"{name:14} {getattr(result, name)}")


def main() -> None:
    """Run the campaign over two clusters of three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=200)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--folder", type=Path, help="for logs and the ledger; it stays")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder
        if folder is None:
            prefix = "plantgate-cluster-"
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        folder.mkdir(exist_ok=True)
        jet = stack.enter_context(contextlib.closing(jetstream.JetStream(3)))
        store = stack.enter_context(contextlib.closing(Patroni()))
        jet.start()
        store.begin()
        campaign = Campaign(folder, jet.address, store.address)
        fleet = (options.gateways, options.points, options.seconds)
        result = run(campaign, fleet, {
            "JetStream leader": jetstream_killed(jet),
            "PostgreSQL leader": Engine(store.kill_leader, store.start),
        })  # fmt: skip
        show(result)
        if not result.whole:
            sys.exit(1)


if __name__ == "__main__":
    main()
