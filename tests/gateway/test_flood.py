"""A flood of alarms: each is on disk once, the flood is declared, and the report tells of it."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from buffer.contract import Stream
from buffer.inspection import Inspection
from buffer.policy import BufferConfig
from buffer.store import Buffer
from drivers.contract import Batch
from gateway.cli.main import main
from gateway.model.alarm import AlarmChange
from gateway.model.catalogue import Catalogue
from gateway.model.event import gap_event
from gateway.model.point import Limits, Point
from gateway.normalise.scale import Normaliser
from gateway.pipeline import Pipeline
from gateway.rules.judge import DESK_STATE, Judge
from gateway.rules.metrics import Thresholds
from gateway.rules.rulebook import shipped
from gateway.runtime.clock import SystemClock
from gateway.wire.v1 import uplink_pb2 as wire

COUNT = 2000
SITE = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C0000XC"
data_dir = "data"
"""


def thresholds() -> Thresholds:
    return Thresholds.of(shipped(), dt.date(2026, 11, 28))


async def test_every_alarm_of_a_flood_is_stored_once_and_the_report_tells_of_it(
    tmp_path: Path,
) -> None:
    points = [Point(i, f"d/p{i}", limits=Limits(high=10.0)) for i in range(1, COUNT + 1)]
    catalogue, clock = Catalogue.of(points), SystemClock()
    numbers = itertools.count(1)
    rules = Judge(points, (), new_id=lambda: next(numbers).to_bytes(16, "big"),
                  thresholds=thresholds())  # fmt: skip
    ids = np.arange(1, COUNT + 1, dtype=np.int32)
    (tmp_path / "site.toml").write_text(SITE, encoding="utf-8")
    async with Buffer.open(
        tmp_path / "data", BufferConfig(), clock=clock, boot_id=b"b" * 16, encode_gap=gap_event
    ) as buffer:
        flow = Pipeline(buffer, catalogue, Normaliser(points), rules, clock)
        await flow.announce({})
        await flow.begin()
        for value in (11.0, 1.0, 12.0):
            now_ns = clock.wall_ns()
            quality = np.zeros(COUNT, np.uint16)
            await flow.accept(Batch(ids, np.full(COUNT, value), quality, now_ns, now_ns, 0))
        await flow.settled()
        assert len(buffer.states(DESK_STATE)) == COUNT

    with Inspection(tmp_path / "data") as inspection:
        stored = [AlarmChange.decode(r.payload) for r in inspection.records(Stream.ALARM)]
        events = [wire.Event.FromString(r.payload) for r in inspection.records(Stream.EVENT)]
    assert len(stored) == 3 * COUNT
    assert len({(change.alarm_id, change.state) for change in stored}) == 3 * COUNT
    assert len({change.alarm_id for change in stored}) == 2 * COUNT
    assert [event.kind for event in events] == ["catalogue", "alarm.flood"]

    said = CliRunner().invoke(main, ["report", str(tmp_path / "site.toml"), "--json"])
    assert said.exit_code == 0, said.output
    facts = json.loads(said.output)
    assert facts["raised"] == 2 * COUNT
    assert [flood["alarms"] for flood in facts["floods"]] == [2 * COUNT]
    assert facts["positions"][0]["most_in_10_min"] <= 2 * COUNT
    table = CliRunner().invoke(main, ["report", str(tmp_path / "site.toml")]).output
    assert f"{2 * COUNT} raised, 0 more under declared tests" in table
    assert "alarm.flood.start/1" in table
