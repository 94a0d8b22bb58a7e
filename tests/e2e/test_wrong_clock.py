"""A gateway that starts in 1970 because its clock's battery is dead, without a line to anybody.

What it recorded is shown at its true time once a receiver has told it; what is stored stays as it
was written. A clock that is set while it runs is an event, and what follows is right as well.
"""

from __future__ import annotations

import csv
import datetime
import io
import sqlite3
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.watched import Watched, stop_when_sent
from tests.e2e.world import free_port, until
from tests.fakes.wrong_clock import set_offset

pytestmark = pytest.mark.e2e
SLACK_S = 2.0
"""Of the true time: LEAST_SHIFT_NS, below which nothing is corrected, and a poll's own time."""


def exported(world: Watched, *arguments: str) -> list[tuple[str, float]]:
    """Times and good values of a point, as `plantgate buffer export` prints them."""
    told = world.plantgate("buffer", "export", str(world.data), "--point", "gds/n0", *arguments)
    rows = csv.DictReader(io.StringIO(told.stdout))
    return [(row["time"], float(row["value"])) for row in rows if row["quality"] == "good"]


def seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


@pytest.mark.timeout(600)
def test_records_of_1970_are_shown_when_they_were_made(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        port = free_port()
        world.start_modbus(port, 4)
        world.write_device(port, "n0,holding,0,u32,,", "n1,holding,2,u32,,5", poll_ms=200)
        offset = tmp_path / "offset"
        set_offset(offset, -time.time_ns())
        began_s = time.time_ns() / 1e9
        command = [sys.executable, "-m", "tests.fakes.wrong_clock", str(world.site), str(offset)]
        gateway = world.start("gateway", command)
        world.wait_until_running()
        until(lambda: world.metric("flow_alarms_raised") > 0, what="an alarm in 1970")
        assert world.metric("clock_synchronised") == 0

        world.start_receiver()
        until(lambda: world.metric("clock_anchors") > 0, what="the time is known")
        set_offset(offset, 3_600 * 10**9)  # someone sets it, an hour wrong
        until(lambda: world.metric("clock_steps") > 0, what="the step is seen")
        after = world.metric("flow_batches")
        until(lambda: world.metric("flow_batches") > after + 10, what="more reads")
        set_offset(offset, 0)
        until(lambda: world.metric("clock_steps") > 1, what="the next step is seen")
        until(lambda: world.metric("clock_synchronised"), what="the clock is right")
        after = world.metric("flow_batches")
        until(lambda: world.metric("flow_batches") > after + 10, what="more reads")
        stop_when_sent(world, gateway, lambda: world.start("gateway", command))
        ended_s = time.time_ns() / 1e9

        rows = [row for row in world.query("--point", "gds/n0") if row.quality == "good"]
        times = [seconds(row.time) for row in rows]
        assert min(times) >= began_s - SLACK_S
        assert max(times) <= ended_s + SLACK_S
        assert all(after - before > -SLACK_S for before, after in pairwise(times))
        values = [row.value for row in rows]
        assert values == sorted(set(values)), "order is that of sequence"

        raw = [seconds(row.time) for row in world.query("--point", "gds/n0", "--recorded-time")
               if row.quality == "good"]  # fmt: skip
        assert len(raw) == len(rows)
        in_1970 = [at for at in raw if at < 86_400 * 365]
        ahead = [at for at in raw if at > ended_s + 3_000]
        assert in_1970
        assert ahead
        hour = "1970-01-01T01:00:00Z"
        assert not world.query("--to", hour)
        assert world.query("--to", hour, "--recorded-time")

        assert exported(world) == [(row.time, row.value) for row in rows], "as the province has it"
        assert len(exported(world, "--recorded-time", "--to", hour)) == len(in_1970)
        assert not exported(world, "--to", hour)
        start = datetime.datetime.fromtimestamp(began_s - SLACK_S, datetime.UTC).isoformat()
        assert exported(world, "--from", start) == exported(world)

        [alarm] = [one for one in world.notices("alarms") if one["source"] == "gds/n1"]
        assert began_s - SLACK_S <= seconds(alarm["time"]) <= ended_s + SLACK_S
        events = world.notices("events")
        anchors = [one for one in events if one["kind"] == "clock.anchor"]
        steps = [float(one["attributes"]["by_ns"]) / 1e9 for one in events
                 if one["kind"] == "clock.step"]  # fmt: skip
        assert anchors[0]["attributes"]["source"] == "province"
        assert len(steps) == 2
        assert steps[0] > 3_600
        assert abs(steps[1] + 3_600) < SLACK_S
        with sqlite3.connect(f"file:{world.store / 'receiver.db'}?mode=ro", uri=True) as db:
            [(stored,)] = db.execute("SELECT count(*) FROM records WHERE time_ns < 86400000000000")
        db.close()
        assert stored, "what was written in 1970 is stored as it was written"
