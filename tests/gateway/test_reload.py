"""What a reload has to do, worked out from two sites; and a pipeline and rules that change over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.block import BlockDecoder
from buffer.contract import Stream
from buffer.memory import MemoryLog
from gateway.config.diff import RESTART_SECTIONS, Fingerprint, compare
from gateway.config.load import load
from gateway.config.snapshot import OUTSIDE, take
from gateway.model.catalogue import Catalogue
from gateway.model.point import Limits, Point
from gateway.normalise.scale import Normaliser
from gateway.rules.condition_spec import AlarmSpec, Kind
from gateway.rules.judge import Judge
from tests.gateway.flow_rig import (
    FullLog,
    HandClock,
    S,
    alarms,
    batch,
    counting_ids,
    judge,
    over_count,
    pipeline,
    points,
    records,
)

SITE = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C000000"
data_dir = "data"
"""
DEVICE = """
[[device]]
name = "{name}"
driver = "modbus"
host = "127.0.0.1"
port = {port}
unit = 1
poll_ms = 1000
points = "{name}.csv"
"""
ROWS = "name,area,address,type,scale,high\na,holding,0,u16,1,{high}\nb,holding,{second},u16,1,\n"
SECTIONS = dict.fromkeys(RESTART_SECTIONS, b"same")
NAMES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([b"1", b"2"]))


@given(old=NAMES, new=NAMES, changed=st.sets(st.sampled_from(RESTART_SECTIONS)))
def test_every_source_is_in_exactly_one_place(
    old: dict[str, bytes], new: dict[str, bytes], changed: set[str]
) -> None:
    sections = SECTIONS | dict.fromkeys(changed, b"other")
    found = compare(Fingerprint(SECTIONS, old), Fingerprint(sections, new))
    everything = [*found.added, *found.removed, *found.changed, *found.unchanged]
    assert sorted(everything) == sorted(old.keys() | new.keys())
    running = (set(old) - set(found.ending)) | set(found.starting)
    assert running == set(new)
    assert set(found.unchanged) == {n for n in new if old.get(n) == new[n]}
    assert set(found.restart) == changed


def fingerprint(
    folder: Path, *, port: int = 1502, second: int = 1, high: str = "", more: str = ""
) -> Fingerprint:
    path = folder / "site.toml"
    names = {"left": port, "right": 1503}
    devices = "".join(DEVICE.format(name=name, port=number) for name, number in names.items())
    path.write_text(SITE + devices + more, encoding="utf-8")
    (folder / "left.csv").write_text(ROWS.format(high=high, second=second), encoding="utf-8")
    (folder / "right.csv").write_text(ROWS.format(high="", second=1), encoding="utf-8")
    return Fingerprint.of(load(path))


@pytest.mark.parametrize(
    ("change", "changed", "restart"),
    [
        ({}, (), ()),
        ({"high": "7"}, (), ()),
        ({"second": 2}, ("left",), ()),
        ({"port": 1504}, ("left",), ()),
        ({"more": '[log]\nlevel = "debug"\n'}, (), ("log",)),
    ],
)
def test_what_a_change_of_the_files_restarts(
    tmp_path: Path, change: Mapping[str, object], changed: tuple[str, ...], restart: tuple[str, ...]
) -> None:
    found = compare(fingerprint(tmp_path), fingerprint(tmp_path, **change))  # type: ignore[arg-type] # a case of the table
    assert (found.changed, found.restart) == (changed, restart)
    assert not found.added
    assert not found.removed


def test_the_files_before_are_kept(tmp_path: Path) -> None:
    site, data = tmp_path / "site" / "site.toml", tmp_path / "data"
    site.parent.mkdir()
    (tmp_path / "far.csv").write_text("far", encoding="utf-8")
    (site.parent / "near.csv").write_text("1", encoding="utf-8")
    tables = ("near.csv", "../far.csv", "missing.csv")
    site.write_text("".join(f'[[device]]\npoints = "{t}"\n' for t in tables), encoding="utf-8")
    first = take(site)
    first.keep(data)
    first.keep(data)
    assert not (data / "config" / "previous").exists()
    (site.parent / "near.csv").write_text("2", encoding="utf-8")
    second = take(site)
    assert second.digest != first.digest
    second.keep(data)
    kept = data / "config"
    assert (kept / "current" / "near.csv").read_text(encoding="utf-8") == "2"
    assert (kept / "previous" / "near.csv").read_text(encoding="utf-8") == "1"
    assert [p.read_text(encoding="utf-8") for p in (kept / "current" / OUTSIDE).iterdir()] == [
        "far"
    ]
    assert take(tmp_path / "none.toml").files == {}


def test_every_file_of_the_configuration_is_kept_and_no_secret(tmp_path: Path) -> None:
    names = {"p.csv", "m.toml", "f.toml", "r.csv", "t.toml", "c.toml", "g.toml"}
    for name in (*names, "tokens", "hook.key"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    site = tmp_path / "site.toml"
    site.write_text(
        '[notify]\nroster = "r.csv"\ntemplates = "t.toml"\n'
        '[work]\ncalendar = "c.toml"\ngases = "g.toml"\n'
        '[[device]]\npoints = "p.csv"\nmapping = "m.toml"\ntokens = "tokens"\n'
        '[[device]]\nframe = "f.toml"\n[[notifier]]\nhmac_file = "hook.key"\n',
        encoding="utf-8",
    )
    assert take(site).files.keys() == names | {"site.toml"}


def limited(**changes: Limits) -> list[Point]:
    """The points of the rig; gds/<key> with other limits."""
    return [
        Point(p.id, p.name, unit=p.unit, limits=changes.get(p.name.removeprefix("gds/"), p.limits))
        for p in points()
    ]


def test_a_judge_that_takes_over_neither_raises_again_nor_forgets() -> None:
    old = judge()
    [raised] = old.feed(batch({1: 11.0, 2: 3.0}), now_ns=0)
    assert old.feed_event(over_count(active=True), now_ns=0)
    new = judge(judged=limited(a=Limits(high=20.0)))
    assert new.take_over(old, 5) == []
    assert new.standing == 2
    [returned] = new.feed(batch({1: 11.0}), now_ns=1)
    assert (returned.alarm_id, returned.limit) == (raised.alarm_id, 20.0)


def test_alarms_of_what_is_gone_are_returned_at_once() -> None:
    old = judge()
    ids = {change.alarm_id for change in old.feed(batch({1: 11.0}), now_ns=0)}
    ids |= {change.alarm_id for change in old.feed_event(over_count(active=True), now_ns=0)}
    new: Judge = judge(zones=(), judged=limited(a=Limits()))
    returned = new.take_over(old, 5)
    assert {change.alarm_id for change in returned} == ids
    assert all("removed" in change.text for change in returned)
    assert new.standing == 0


def test_a_running_delay_runs_on_unless_its_point_changed() -> None:
    for changes, due in (({}, 5 * S), ({"b": Limits(high=10.0, on_delay_s=6.0)}, None)):
        old = judge()
        assert old.feed(batch({2: 11.0}), now_ns=0) == []
        new = judge(judged=limited(**changes))
        assert new.take_over(old, 0) == []
        assert new.next_deadline_ns() == due
        assert len(new.tick(5 * S, wall_ns=0)) == (due is not None)


async def test_a_pipeline_that_is_renewed_stores_what_waits_under_the_new_catalogue() -> None:
    clock = HandClock()
    log = FullLog(clock)
    flow = pipeline(log, clock)
    scaled = [Point(p.id, p.name, unit=p.unit, scale=2.0, limits=p.limits) for p in points()]
    catalogue = Catalogue.of(scaled)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flow.accept(batch({3: 4.0})))
        await asyncio.sleep(0)
        await flow.announce_next(catalogue, {})
        flow.renew(catalogue, Normaliser(scaled), judge(judged=scaled))
        log.space.set()
        await task
    assert flow.catalogue.hash == catalogue.hash
    [block] = await records(log, Stream.TELEMETRY)
    [stored] = BlockDecoder().feed(block.payload)
    assert list(stored.values) == [8.0]


async def test_a_standing_alarm_keeps_its_id_when_the_pipeline_is_renewed() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow = pipeline(log, clock)
    await (await flow.accept(batch({1: 11.0})))
    kept = [point for point in points() if point.id != 1]
    catalogue = Catalogue.of(kept)
    await flow.announce_next(catalogue, {})
    flow.renew(catalogue, Normaliser(kept), judge(judged=kept))
    raised, returned = await alarms(log)
    assert raised.alarm_id == returned.alarm_id
    assert flow.statistics()["alarms_standing"] == 0.0
    with pytest.raises(ValueError, match="1"):
        await flow.accept(batch({1: 11.0}))


async def test_a_plant_that_is_silent_is_told_after_a_reload_too() -> None:
    """@example: silence was counted from the next value on, which never came."""
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow = pipeline(log, clock)
    await flow.begin()
    silence = AlarmSpec("s", Kind.STALE, ("gds/a",), after_s=60.0)
    catalogue = Catalogue.of(points())
    new = Judge(points(), [], new_id=counting_ids(), specs=[silence])
    flow.renew(catalogue, Normaliser(catalogue.points), new)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(flow.run())
        for _ in range(20):
            await asyncio.sleep(0)
        clock.advance(60)
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
    [told] = await alarms(log)
    assert (told.source, told.condition) == ("gds/a", "stale.s")
