"""Receiver away, gateway killed: nothing older than one group commit is lost or doubled.

The Modbus server answers each register pair with its own read counter, so a gap or a repeat in what
`plantgate query` returns shows at once. PLANTGATE_FULL=1 runs the full lengths (60 s and 45 s).
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.chaos.kills import SYNCS_A_COMMIT
from tests.chaos.sync_probe import SyncProbe
from tests.e2e.watched import Watched
from tests.e2e.world import Row, World, by_point, free_port, stop, until

FULL = os.environ.get("PLANTGATE_FULL") == "1"
POINTS = 200
POLL_MS = 200
GROUP_COMMIT_MS = 100
LOST_AT_KILL = 1 + (GROUP_COMMIT_MS + POLL_MS - 1) // POLL_MS
"""Reads that one kill may cost a point: the poll under way, and those of one group commit; beyond
these only what the disk itself took to sync."""

pytestmark = pytest.mark.e2e


def write_points(world: World, port: int) -> None:
    """One device of POINTS u32 counters."""
    lines = ["name,area,address,type"]
    lines += [f"n{i},holding,{2 * i},u32" for i in range(POINTS)]
    (world.folder / "points.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    world.write_site(
        f"""
[[device]]
name = "counter"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = {POLL_MS}
timeout_ms = 20000
points = "points.csv"
"""
    )


def newest(world: World) -> float:
    """Newest counter of the first point at the receiver, 0 before the first."""
    rows = world.query("--point", "counter/n0")
    return max((row.value for row in rows if row.quality == "good"), default=0.0)


class Kill:
    """One SIGKILL of the gateway. most_lost: how many reads of a point it may cost."""

    def __init__(self, gateway: subprocess.Popen[bytes], probe: SyncProbe) -> None:
        at_s = time.monotonic()
        stop(gateway, signal.SIGKILL)
        self.most_lost = LOST_AT_KILL
        while self.most_lost + 1 <= LOST_AT_KILL + self._syncing(probe, at_s):
            self.most_lost += 1

    def _syncing(self, probe: SyncProbe, at_s: float) -> float:
        """Reads made while the disk was busy with the commits of one read more than most_lost."""
        busy_ms = probe.busy_ms(at_s - (self.most_lost + 2) * POLL_MS / 1e3, at_s)
        return SYNCS_A_COMMIT * busy_ms / POLL_MS


def check_counters(rows: list[Row], kill: Kill) -> dict[str, int]:
    """Check that every point counts up by one but at the kill; give what is missing per point."""
    missing: dict[str, int] = {}
    for point, samples in by_point(rows):
        good = [row.value for row in samples if row.quality == "good"]
        assert good, point
        assert good[0] == 1, f"{point} begins with {good[0]}"
        steps = [after - before for before, after in pairwise(good)]
        assert min(steps, default=1) >= 1, f"{point}: a value twice or out of order"
        gaps = [int(step) - 1 for step in steps if step != 1]
        assert len(gaps) <= 1, f"{point}: {len(gaps)} gaps {gaps[:5]} for one kill"
        assert all(gap <= kill.most_lost for gap in gaps), f"{point}: {gaps}"
        missing[point] = sum(gaps)
    return missing


@pytest.mark.timeout(600)
def test_outage_with_kill_in_the_middle(tmp_path: Path) -> None:
    outage_s = 60 if FULL else 12
    with World(tmp_path) as world, SyncProbe(tmp_path) as probe:
        port = free_port()
        world.start_modbus(port, 2 * POINTS)
        write_points(world, port)
        receiver = world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: newest(world) >= 10, what="values arrive")

        stop(receiver, signal.SIGKILL)
        time.sleep(outage_s / 2)
        kill = Kill(gateway, probe)
        gateway = world.start_gateway()
        time.sleep(outage_s / 2)

        before = newest(world)
        back_ns = time.time_ns()
        world.start_receiver()
        until(
            lambda: newest(world) > before + outage_s * 1000 / POLL_MS,
            what="data read after the outage arrives",
        )
        final = newest(world) + 5
        until(lambda: newest(world) >= final, what="the flow goes on")
        assert stop(gateway) == 0

        rows = world.query()
        missing = check_counters(rows, kill)
        assert len(missing) == POINTS
        assert any(row.historical for row in rows)
        print(f"\n{len(rows)} rows, {POINTS} points, missing per point at the kill: "
              f"{max(missing.values())}, duplicates 0, order kept")  # fmt: skip
        print(_first_live(world, back_ns))


def _first_live(world: World, back_ns: int) -> str:
    """When live data was committed after the receiver came back, and how old it was."""
    connection = sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True)
    try:
        found = connection.execute(
            "SELECT received_ns, received_ns - time_ns FROM records WHERE (id >> 40) % 4 = 2"
            " AND NOT historical AND received_ns > ? ORDER BY received_ns LIMIT 1",
            (back_ns,),
        ).fetchone()
    finally:
        connection.close()
    assert found is not None, "live data came back"
    return (
        f"first live commit {(found[0] - back_ns) / 1e9:.2f} s after the receiver's start began, "
        f"{found[1] / 1e9:.2f} s old"
    )


@pytest.mark.timeout(600)
def test_cold_start_while_the_receiver_is_away(tmp_path: Path) -> None:
    run_s = 45 if FULL else 8
    with Watched(tmp_path) as world, SyncProbe(tmp_path) as probe:
        port = free_port()
        world.start_modbus(port, 2 * POINTS)
        write_points(world, port)
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 0, what="values are stored")
        time.sleep(run_s)
        kill = Kill(gateway, probe)
        world.start_receiver()
        gateway = world.start_gateway()
        polls = (run_s - 4) * 1000 / POLL_MS
        until(lambda: newest(world) > polls, what="the cold start's values arrive")
        until(lambda: newest(world) > polls + 30, what="new values arrive")
        assert stop(gateway) == 0
        rows = world.query()
        missing = check_counters(rows, kill)
        assert len(missing) == POINTS
        print(f"\n{len(rows)} rows, missing per point at the kill: {max(missing.values())}")
