"""JetStream's servers are parted or frozen: every acknowledged record is stored once.

Three servers of the journal in a network namespace each; receivers, consumers, PostgreSQL and the
simulated gateways in a fourth (tests/fakes/split_net.py). The leader is cut from the other two
while we still reach it, cut from us alone, cut from everybody, and frozen: while that lasts every
gateway must get on by the others. Then all three are cut from each other: nobody has a quorum,
nothing may be acknowledged. In the end the store holds each acknowledged record once.

    python -m tests.chaos.partition --gateways 50 --seconds 120          (root; `make cluster`)

Results as a table; exit 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psycopg

from tests.chaos.cluster import Campaign, Engine, leader_of, run, show
from tests.e2e.world import ROOT, until
from tests.fakes.split_net import SplitNet
from tests.peers import jetstream, postgres

SERVERS = (0, 1, 2)
WE = 3
RECORDS = 5
"""What each gateway must get into the store while a server is away: seconds of its telemetry."""
PATIENCE_S = 180.0


HARMS = (
    "leader cut from its peers",
    "leader cut from us",
    "leader cut from all",
    "leader frozen",
    "all cut from each other",
)


class Net:
    """What can be done to the three servers, as engines of a campaign."""

    def __init__(self, net: SplitNet, servers: jetstream.JetStream, campaign: Campaign) -> None:
        self._net, self._servers, self._campaign = net, servers, campaign

    def engines(self) -> dict[str, Engine]:
        """Each harm by its name."""
        how = (
            Engine(partial(self._cut, peers=True, us=False), self._heal),
            Engine(partial(self._cut, peers=False, us=True), self._heal),
            Engine(partial(self._cut, peers=True, us=True), self._heal),
            Engine(self._freeze, self._servers.thaw),
            Engine(self._cut_all, self._heal),
        )
        return dict(zip(HARMS, how, strict=True))

    def _heal(self, _: int) -> None:
        self._net.heal()

    def _cut(self, *, peers: bool, us: bool) -> int:
        leader = leader_of(self._servers)
        others = {*SERVERS} - {leader} if peers else set()
        before = self._stored()
        self._net.part({leader}, others | ({WE} if us else set()))
        self._get_on(before)
        return leader

    def _freeze(self) -> int:
        leader = leader_of(self._servers)
        before = self._stored()
        self._servers.freeze(leader)
        self._get_on(before)
        return leader

    def _cut_all(self) -> int:
        for one in SERVERS:
            self._net.part({one}, {*SERVERS} - {one})
        return 0

    def _get_on(self, before: Mapping[int, int]) -> None:
        """Wait until every gateway has more in the store: by the servers that are left."""

        def got_on() -> bool:
            now = self._stored()
            return all(now[stream] >= held + RECORDS for stream, held in before.items())

        began = time.monotonic()
        until(got_on, limit_s=PATIENCE_S, what="each gateway gets on without the leader")
        print(f"every gateway had {RECORDS} records more after {time.monotonic() - began:.1f} s",
              flush=True)  # fmt: skip

    def _stored(self) -> dict[int, int]:
        """Newest telemetry record of each log."""
        with psycopg.connect(self._campaign.store) as db:
            return dict(
                db.execute(
                    "SELECT stream_key, head_sequence FROM plantgate.streams"
                    " WHERE stream_key % 4 = 2"
                ).fetchall()
            )


def campaign(options: argparse.Namespace) -> bool:
    """Run inside the fourth namespace; tells whether nothing was wrong."""
    net = SplitNet(options.inside, len(SERVERS) + 1)
    with (
        contextlib.closing(jetstream.JetStream(3, net)) as jet,
        contextlib.closing(postgres.Postgres()) as server,
    ):
        jet.start()
        server.start()
        load = Campaign(options.folder, jet.address, server.database(), options.away)
        engines = Net(net, jet, load).engines()
        fleet = (options.gateways, options.points, options.seconds)
        result = run(load, fleet, {name: engines[name] for name in options.harm or HARMS}, ours=())
    show(result)
    print(json.dumps({"harms": len(result.kills), "acknowledged": result.acknowledged}))
    return result.whole


def _in_namespaces(options: argparse.Namespace) -> int:
    prefix = f"pp{os.getpid() % 100_000}"
    with (
        SplitNet(prefix, len(SERVERS) + 1) as net,
        tempfile.TemporaryDirectory(prefix="plantgate-partition-") as folder,
    ):
        command = [*net.within(WE), sys.executable, "-m", "tests.chaos.partition", *sys.argv[1:],
                   "--inside", prefix, "--folder", str(options.folder or folder)]  # fmt: skip
        return subprocess.run(command, cwd=ROOT, check=False).returncode


def main() -> None:
    """Make the namespaces, then run the campaign in one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateways", type=int, default=50)
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--away", type=float, default=20.0, help="s between a harm and its end")
    parser.add_argument("--folder", type=Path, help="for logs and the ledger; it stays")
    parser.add_argument("--harm", choices=HARMS, action="append", help="only this; several times")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is None:
        sys.exit(_in_namespaces(options))
    options.folder.mkdir(exist_ok=True)
    sys.exit(0 if campaign(options) else 1)


if __name__ == "__main__":
    main()
