"""A disk that damages what is not sent yet under a running gateway: repaired without a restart."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from buffer.inspection import Inspection
from tests.buffer.test_recover import damage_page, payload_of
from tests.chaos.counting import (
    RAISED,
    RETURNED,
    CountingDevice,
    expected_changes,
    gap_of,
    point_rows,
)
from tests.e2e.plant import Plant
from tests.e2e.watched import Watched, stop_clean, stop_when_sent
from tests.e2e.world import until

READS = 60
STATES = {"unacknowledged_active": RAISED, "returned_unacknowledged": RETURNED}


def reads_held(world: Watched) -> dict[int, set[int]]:
    """Numbers of the reads in each record of telemetry that is held, by its sequence."""
    with Inspection(world.data) as inspection:
        return {
            record.sequence: {int(batch.values[1]) for batch in batches}
            for record, batches in inspection.batches(1)
        }


def damage(path: Path, row: int) -> None:
    """Overwrite the head of the page that holds a record, as a failing disk does."""
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        until(  # no reader finds the page in the WAL any more
            lambda: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0,
            what="the WAL is emptied",
        )
    damage_page(path, payload_of(path, row))


@pytest.mark.e2e
def test_damage_is_repaired_while_it_runs_and_costs_what_the_gap_record_says(
    tmp_path: Path,
) -> None:
    device = CountingDevice()
    with Plant(1, device) as plant, Watched(tmp_path / "world") as world:
        world.write_device(plant.port, *point_rows(), poll_ms=50)
        gateway = world.start_gateway()
        until(lambda: device.reads > READS, what="the source is read")
        held = reads_held(world)
        damage(world.data / "telemetry.db", max(held) // 2)
        receiver = world.start_receiver()
        until(
            lambda: any(one["kind"] == "buffer.repaired" for one in world.notices("events")),
            what="the province hears of the repair",
        )
        repaired_at = device.reads
        until(lambda: device.reads > repaired_at + 20, what="the source is read on")
        stop_clean(world, gateway)
        gateway = world.start_gateway()
        until(
            lambda: (
                world.metric("uplink_connected", "province") > 0
                and world.metric("uplink_backlog_records", "province") <= 2
            ),
            what="all is sent",
        )
        stop_when_sent(world, gateway)
        rows = [row for row in world.query("--point", "gds/n0") if row.quality == "good"]
        found = [int(row.value) for row in rows]
        assert found == sorted(set(found)), "doubled or out of order"
        lost = set(range(1, found[-1] + 1)) - set(found)
        assert lost
        records = [reads for reads in held.values() if reads & lost]
        assert set().union(*records) <= lost, "a record is there or it is not"
        newer = lost - set().union(*held.values())  # of the same group, stored since then
        events = world.notices("events")
        gaps = [gap_of(one["attributes"]) for one in events if one["kind"] == "gap"]
        assert {gap.stream for gap in gaps} == {"telemetry"}
        # io_error: its writer met the page first, and refused what came before the repair
        assert {gap.cause for gap in gaps} <= {"corruption", "io_error"}
        (damaged,) = [gap for gap in gaps if gap.cause == "corruption"]
        assert len(records) <= damaged.count <= len(records) + len(newer)
        alarms = [(STATES[one["state"]], one["value"]) for one in world.notices("alarms")]
        wanted = [change for _, change in expected_changes(range(1, found[-1] + 1), standing=False)]
        assert alarms[: len(wanted)] == wanted, "no alarm was lost, and none is there twice"
        assert len(alarms) <= len(wanted) + 1, "one read may be newer than the last record"
        stop_clean(world, receiver)
        assert list(world.data.glob("telemetry.db.set-aside-*"))
