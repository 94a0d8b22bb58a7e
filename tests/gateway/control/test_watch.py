"""`state`, `watch`, `values`, `alarm.detail` and `evidence` over the real socket."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buffer.contract import Stream
from buffer.memory import MemoryLog
from buffer.rollup import Minute
from drivers.contract import SourceEvent
from gateway.control.client import RefusedError, ask
from gateway.control.commands import commands
from gateway.control.lookup import Lookup, merged
from gateway.control.picture import PlantView, Seen
from gateway.control.server import SOCKET, ControlServer
from gateway.control.site_facts import SiteFacts
from gateway.control.tap import Tap
from gateway.control.watch import MOST_WATCHERS, Watch
from gateway.observe.health import Health
from gateway.observe.metrics import Metrics
from gateway.pipeline import Pipeline
from gateway.rules.rulebook import shipped
from gateway.work.closing import Closing
from gateway.workflow import WorkFlow
from tests.gateway.flow_rig import (
    WALL_NS,
    HandClock,
    S,
    alarms,
    batch,
    events,
    over_count,
    pipeline,
)

HOSTILE = "<img src=x onerror=alert(1)> \udcff\u2028"
FACTS = SiteFacts(
    gateway="SD-1", enterprise="E", software="plantgate/0", sources={"gds": "modbus"},
    cameras={"cam": ({"name": "yard", "most": 4, "require": ["helmet"]},)}, uplinks={"p": "h:1"},
    descriptions={}, rules=shipped(),
)  # fmt: skip


class RolledLog(MemoryLog):
    """With the rollup of one point."""

    async def rollup(self, point: int, from_ns: int, to_ns: int) -> list[Minute]:
        minutes = range(-(-from_ns // (60 * S)) * 60 * S, to_ns, 60 * S)
        return [Minute(at, 60, 0, 1.0, 3.0, 2.0, 0) for at in minutes if point == 1]


@dataclass
class Rig:
    folder: Path
    flow: Pipeline
    log: MemoryLog
    clock: HandClock
    watch: Watch

    async def ask(self, **request: Any) -> dict[str, Any]:
        return dict(await asyncio.to_thread(ask, self.folder, request))

    async def wait(self, task: asyncio.Future[Any]) -> Any:
        """Move the clock until a line has come."""
        while not task.done():
            self.clock.advance(0.25)
            await asyncio.sleep(0.002)
        return task.result()


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = HandClock()
    clock.advance(10)
    log = RolledLog(clock=clock)
    flow = pipeline(log, clock)
    work = WorkFlow(None, clock, Closing())
    flow._work = work
    tap = Tap()
    log.add_listener(tap.heard)
    metrics, health = Metrics(), Health()
    metrics.register("source_gds", lambda: {"achieved_period_ms": 999.7, "timeouts": 2})
    metrics.register("source_cam", lambda: {"headcount_yard": 3.0})
    view = PlantView(Seen(flow, work, log, metrics, health, clock), FACTS, tap)
    lookup = Lookup(view, flow, work, log, tmp_path / "evidence")
    watch = Watch(view, clock, lookup.watch_values)
    answers = {**commands(flow, work, clock), **watch.handlers(), **lookup.handlers()}
    async with ControlServer(tmp_path, answers):
        yield Rig(tmp_path, flow, log, clock, watch)


@contextlib.asynccontextmanager
async def watching(rig: Rig) -> AsyncIterator[asyncio.StreamReader]:
    reader, writer = await asyncio.open_unix_connection(rig.folder / SOCKET, limit=8 << 20)
    writer.write(b'{"ask":"watch"}\n')
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def line(rig: Rig, reader: asyncio.StreamReader, kind: str = "") -> dict[str, Any]:
    """The next line (of a kind), while the clock moves."""
    while True:
        async with asyncio.TaskGroup() as group:
            raw = await rig.wait(group.create_task(reader.readline()))
        said: dict[str, Any] = json.loads(raw)
        if not kind or said.get("kind") == kind:
            return said


async def changed(rig: Rig, reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next change of alarms."""
    while True:
        said = await line(rig, reader, "change")
        if "alarms" in said:
            return dict(said["alarms"])


async def test_a_watcher_sees_an_alarm_come_acknowledged_and_gone(rig: Rig) -> None:
    async with watching(rig) as reader:
        first = await line(rig, reader)
        assert first["kind"] == "state"
        assert first["alarms"] == []
        assert first["site"]["gateway"] == "SD-1"
        source = first["sections"]["sources"]["gds"]
        assert (source["driver"], source["connected"], source["period_ms"]) == (
            "modbus",
            None,
            1000,
        )
        [zone] = first["sections"]["cameras"]["cam"]["zones"]
        assert (zone["people"], zone["most"]) == (3.0, 4)
        await rig.flow.accept(batch({1: 11.0, 3: 5.5}))
        raised = await changed(rig, reader)
        [row] = raised["changed"]
        assert row["key"] == "gds/a|high"
        assert row["description"] == "泵房入口可燃气"
        assert (row["state"], row["value"], row["active"]) == ("unacknowledged_active", 11.0, True)
        said = {"verb": "ack", "source": "gds/a", "condition": "high", "operator": "王芳"}
        await rig.ask(ask="alarm.command", **said)
        [row] = (await changed(rig, reader))["changed"]
        assert (row["state"], row["operator"]) == ("acknowledged_active", "王芳")
        await rig.flow.accept(batch({1: 1.0}))
        assert (await changed(rig, reader))["gone"] == ["gds/a|high"]
        values = await rig.ask(ask="values", search="GDS", size=3)
        shown = [(r["name"], r["value"], r["quality"], r["high"]) for r in values["rows"]]
        assert shown == [("gds/a", 1.0, "good", 10.0), ("gds/b", None, "", 10.0),
                         ("gds/c", 5.5, "good", None)]  # fmt: skip
        assert (values["more"], values["points"]) == (True, 4)
        named = await rig.ask(ask="values", names=["gds/d", "x"])
        assert [r["name"] for r in named["rows"]] == ["gds/d"]


async def test_quiet_is_a_heartbeat_and_links_are_told(rig: Rig) -> None:
    async with watching(rig) as reader:
        await line(rig, reader)
        assert (await line(rig, reader, "heartbeat"))["revision"] >= 1
        lost = SourceEvent("link.down", "gds", WALL_NS + 5, f"gds is lost: {HOSTILE}.")
        lost_camera = SourceEvent("vision.camera_lost", "cam", WALL_NS, "no frames", {})
        with contextlib.suppress(UnicodeEncodeError):  # no such text enters the log
            await rig.flow.accept(lost)
        await rig.flow.accept(
            SourceEvent("link.down", "gds", WALL_NS + 5, lost.text.replace("\udcff", ""))
        )
        await rig.flow.accept(lost_camera)
        said = await line(rig, reader, "change")
        while "cameras" not in said.get("sections", {}):
            said = await line(rig, reader, "change")
        source = (await rig.ask(ask="state"))["sections"]["sources"]["gds"]
        assert (source["connected"], source["since_ns"]) == (False, WALL_NS + 5)
        assert "<img src=x" in source["text"]
        assert said["sections"]["cameras"]["cam"]["connected"] is False


async def test_who_does_not_read_gets_the_newest_picture_and_nothing_piles_up(rig: Rig) -> None:
    async with watching(rig) as reader:
        await line(rig, reader)
        revisions = rig.watch._revisions
        for number in range(400):  # each a revision: nobody reads meanwhile
            rig.flow.note("link.down", "gds", f"{number} " + "x" * 2000, {})
            await asyncio.sleep(0)
            rig.clock.advance(1.0)
            for _ in range(4):
                await asyncio.sleep(0)
        made = revisions.number
        assert made > 100
        lines = [await line(rig, reader)]
        while lines[-1].get("revision", 0) < made:
            lines.append(await line(rig, reader))
        assert sum(len(json.dumps(one)) for one in lines) < 1 << 20  # the socket's own room
        states = [one for one in lines if one["kind"] == "state"]
        told = states[-1]["sections"]["sources"]["gds"]["text"] if states else ""
        for one in lines:
            told = one.get("sections", {}).get("sources", {}).get("gds", {}).get("text", told)
        assert told.startswith("399 ")


async def test_watchers_have_a_bound_and_leave_nothing_behind(rig: Rig) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(MOST_WATCHERS):
            await line(rig, await stack.enter_async_context(watching(rig)))
        assert rig.watch.watchers == MOST_WATCHERS
        with pytest.raises(RefusedError, match="8 watch already"):
            await rig.ask(ask="watch")
    while rig.watch.watchers:  # each notices at its next line
        rig.clock.advance(5.0)
        await asyncio.sleep(0.002)


async def test_an_alarm_with_rule_handling_evidence_and_its_changes(rig: Rig) -> None:
    await rig.flow.accept(over_count(active=True, picture=b"\xff\xd8\xff hostile"))
    await rig.flow.settled()
    found = await rig.ask(ask="alarm.detail", key="cam/yard|over_count")
    assert found["handling"]["state"] == "new"
    digest = hashlib.sha256(b"\xff\xd8\xff hostile").hexdigest()
    assert [(e["sha256"], e["media_type"]) for e in found["evidence"]] == [(digest, "image/jpeg")]
    assert [one["state"] for one in found["history"]] == ["unacknowledged_active"]
    by_id = await rig.ask(ask="alarm.detail", alarm_id=found["alarm"]["alarm_id"])
    assert by_id["evidence"] == found["evidence"]
    for wrong in ({"key": "nothing"}, {"alarm_id": "../../x"}, {}):
        with pytest.raises(RefusedError, match="there is no such alarm"):
            await rig.ask(ask="alarm.detail", **wrong)
    assert len(await alarms(rig.log)) == 1
    assert not [e for e in await events(rig.log) if e.kind.startswith("audit")]  # looking is free


async def test_a_path_given_out_lies_in_the_evidence_folder(rig: Rig) -> None:
    content = b"\x00\x00\x00\x18ftypisom"
    digest = hashlib.sha256(content).hexdigest()
    place = rig.folder / "evidence" / digest[:2] / digest[2:]
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    found = await rig.ask(ask="evidence", sha256=digest)
    assert (found["path"], found["media_type"]) == (str(place), "video/mp4")
    outside = "ab" + "c" * 62
    (rig.folder / "evidence" / "ab").symlink_to("/etc")
    for wrong in ("../../../etc/passwd", digest.upper(), digest + "\n", outside, "0" * 64):
        with pytest.raises(RefusedError, match=r"SHA-256|no such file"):
            await rig.ask(ask="evidence", sha256=wrong)


async def test_history_is_bounded_and_merged(rig: Rig) -> None:
    hour = 3600 * S
    short = await rig.ask(ask="history", point="gds/a", from_ns=WALL_NS, to_ns=WALL_NS + hour)
    assert (len(short["rows"]), short["unit"]) == (60, "ppm")
    long = await rig.ask(ask="history", point="gds/a", from_ns=WALL_NS, to_ns=WALL_NS + 168 * hour)
    assert len(long["rows"]) <= 1500
    assert long["step_ns"] == 7 * 60 * S
    with pytest.raises(RefusedError, match="at most 7 days"):
        await rig.ask(ask="history", point="gds/a", from_ns=0, to_ns=10**18)
    with pytest.raises(RefusedError, match="no point"):
        await rig.ask(ask="history", point="gds/z", from_ns=0, to_ns=hour)


def test_merged_minutes_weigh_by_their_values_and_bad_ones_stay_visible() -> None:
    nan = float("nan")
    minutes = [Minute(0, 10, 0, 1.0, 5.0, 2.0, 0), Minute(60 * S, 30, 2, 0.0, 4.0, 4.0, 0),
               Minute(120 * S, 0, 60, nan, nan, nan, 0x8000)]  # fmt: skip
    assert merged(minutes, 120 * S) == [
        [0, 0.0, 3.5, 5.0, 40, 2], [120 * S, None, None, None, 0, 60],
    ]  # fmt: skip


async def test_a_stop_ends_those_who_watch(tmp_path: Path, rig: Rig) -> None:
    other = tmp_path / "other"
    other.mkdir()
    async with ControlServer(other, rig.watch.handlers()):
        reader, writer = await asyncio.open_unix_connection(other / SOCKET, limit=8 << 20)
        writer.write(b'{"ask":"watch"}\n')
        assert await reader.readline()
    assert await reader.read() == b""
    writer.close()
    assert rig.watch.watchers == 0
    assert len(await rig.log.read(Stream.EVENT, 1, last=9, max_bytes=1 << 20)) == 0
