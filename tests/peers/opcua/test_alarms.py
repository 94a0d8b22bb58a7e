"""Alarms & Conditions of node-opcua, mirrored: changes, and what stood at a reconnect."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.contract import SourceEvent
from drivers.opcua import DRIVER
from gateway.model.alarm import AlarmChange, AlarmState
from gateway.rules.mirror import NO_BRANCH
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving
from tests.gateway.flow_rig import judge
from tests.waiting import until

pytestmark = pytest.mark.peer


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[NodeServer]:
    """One for each test, which leaves its alarm in another state."""
    install_node_opcua()
    with serving(tmp_path, period=1000, anonymous=True, alarm=True) as peer:
        yield peer


def alarms(emit: Collector) -> list[SourceEvent]:
    found = [event for event in emit.events if event.kind == "opcua.alarm"]
    return [event for event in found if event.attributes.get("condition") == "LevelAlarm"]


async def test_alarms_come_with_their_states_and_standing_ones_again(peer: NodeServer) -> None:
    emit = Collector()
    table = points((node("Level"), "float"))
    driver = DRIVER.open("dcs", peer.plain(alarms=True), table, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: bool(emit.samples(100)))
        peer.signal(signal.SIGHUP)  # 80: high
        await until(lambda: any(event.attributes.get("active") for event in alarms(emit)))
        first = alarms(emit)[-1]
        peer.signal(signal.SIGHUP)  # 95: high high
        await until(lambda: alarms(emit)[-1].attributes["event_id"] != first.attributes["event_id"])
    assert str(first.attributes["source_name"]).endswith("Tank1")
    assert first.attributes["acknowledged"] is False
    assert first.attributes["retain"] is True
    assert first.attributes["refreshed"] is False
    assert int(first.attributes["severity"]) > 0
    assert "active" in first.text

    again = Collector()
    driver = DRIVER.open("dcs", peer.plain(alarms=True), table, SystemClock())
    async with background(driver.run(again)):
        await until(lambda: bool(alarms(again)))
        standing = alarms(again)[0]
        assert standing.attributes["refreshed"] is True
        assert standing.attributes["active"] is True
        peer.signal(signal.SIGHUP)  # 50: normal
        await until(lambda: alarms(again)[-1].attributes["active"] is False)
    assert driver.statistics()["alarms"] >= 2


async def test_conditions_are_alarm_records_and_a_reconnect_makes_no_second_one(
    peer: NodeServer,
) -> None:
    table, emit, rules = points((node("Level"), "float")), Collector(), judge()
    taken, records = [0], list[AlarmChange]()

    def states(collector: Collector) -> list[AlarmState]:
        """States of the records of LevelAlarm so far, as the rules of the gateway make them."""
        for event in collector.events[taken[0] :]:
            made = rules.feed_event(event, now_ns=1)
            records.extend(one for one in made if one.condition == "LevelAlarm")
        taken[0] = len(collector.events)
        return [one.state for one in records]

    driver = DRIVER.open("dcs", peer.plain(alarms=True), table, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: bool(emit.samples(100)))
        peer.signal(signal.SIGHUP)  # 80: high
        await until(lambda: AlarmState.UNACKNOWLEDGED_ACTIVE in states(emit))
    raised = records[-1]
    assert raised.source.startswith("dcs/")
    assert raised.source.endswith("Tank1")
    said = alarms(emit)[-1].attributes
    assert str(said["condition_id"]).startswith("ns=")
    before, again = len(records), Collector()
    taken[0] = 0
    driver = DRIVER.open("dcs", peer.plain(alarms=True), table, SystemClock())
    async with background(driver.run(again)):
        await until(lambda: again.kinds().count("opcua.refresh") >= 2)
        states(again)
        assert len(records) == before, "the refresh made another record of a standing alarm"
        peer.signal(signal.SIGHUP)  # 95: high high
        count = len(alarms(again))
        await until(lambda: len(alarms(again)) > count)
        peer.signal(signal.SIGHUP)  # 50: normal
        # node-opcua puts the earlier state that nobody has acknowledged aside as a branch and says
        # that the condition itself is inactive and acknowledged: the alarm is returned, and owed.
        await until(lambda: states(again)[-1] is not AlarmState.UNACKNOWLEDGED_ACTIVE)
        assert records[-1].state is AlarmState.RETURNED_UNACKNOWLEDGED
        assert any(event.attributes["branch"] not in NO_BRANCH for event in alarms(again))
        peer.signal(signal.SIGUSR2)  # its operator acknowledges
        await until(lambda: states(again)[-1] is AlarmState.NORMAL)
    assert {one.condition_id for one in records} == {said["condition_id"]}
    assert {one.alarm_id for one in records[before - 1 :]} == {raised.alarm_id}
