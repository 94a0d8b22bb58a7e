"""What the work monitor finds, through pipeline and log: alarms, evidence, records, restart."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

from click.testing import CliRunner

from buffer.contract import Stream
from buffer.memory import MemoryLog
from drivers.contract import SourceEvent
from gateway.cli.main import main
from gateway.control.commands import commands
from gateway.control.permits import PermitDesk
from gateway.control.server import ControlServer
from gateway.model.catalogue import Catalogue
from gateway.normalise.scale import Normaliser
from gateway.pipeline import Pipeline
from gateway.rules.area_count import AreaSpec
from gateway.wire.v1 import uplink_pb2 as wire
from gateway.work.closing import Closing
from gateway.work.permit import Scalar
from gateway.workflow import CLOSING_STATE, WorkFlow
from tests.gateway.flow_rig import (
    JPEG,
    HandClock,
    alarms,
    batch,
    events,
    judge,
    over_count,
    points,
    records,
)
from tests.gateway.work_rig import analysis, permit, working


async def files(log: MemoryLog) -> list[wire.EvidenceFile]:
    found = await records(log, Stream.EVIDENCE)
    return [wire.EvidenceFile.FromString(record.payload) for record in found]


async def test_a_violation_is_an_alarm_with_evidence_and_the_work_ends_in_a_record() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, _ = working(log, clock)
    ordered: list[tuple[str, bytes]] = []

    def capture(camera: str, alarm_id: bytes) -> int:
        ordered.append((camera, alarm_id))
        return 1

    flow.capture = capture
    await flow.begin()
    await flow.accept(permit(clock, "approved"))
    await flow.accept(analysis(clock, 0.1))
    clock.advance(60)
    await flow.accept(permit(clock, "active"))
    await flow.accept(batch({3: 30.0}))
    [raised] = await alarms(log)
    assert (raised.source, raised.condition) == ("permit/DH-1/gds/c", "gas_over")
    assert ordered == [("cam", raised.alarm_id)]
    clip = SourceEvent("vision.clip", "cam", clock.wall_ns(), "A clip.",
                       {"alarm_id": raised.alarm_id.hex(), "media_type": "video/x-msvideo"},
                       b"RIFF clip")  # fmt: skip
    await flow.accept(clip)
    clock.advance(1)
    await flow.accept(permit(clock, "ended"))
    stored = await files(log)
    assert [(f.media_type, f.alarm_id) for f in stored] == [
        ("application/json", raised.alarm_id), ("video/x-msvideo", raised.alarm_id),
        ("application/json", b""), ("text/html", b""),
    ]  # fmt: skip
    sheet = json.loads(await log.read_file(stored[0].sha256, 0, 1 << 20))
    assert sheet["value"] == 1.5
    assert sheet["permit"]["ticket_no"] == "DH-1"
    record = next(e for e in await events(log) if e.kind == "work.record")
    assert record.attributes["complete"] == "true"
    name = bytes.fromhex(record.attributes["json_sha256"])
    content = json.loads(await log.read_file(name, 0, 1 << 20))
    [violation] = content["violations"]
    hashes = [e["sha256"] for e in violation["evidence"]]
    assert hashes == [stored[0].sha256.hex(), hashlib.sha256(b"RIFF clip").hexdigest()]
    kinds = [e.kind for e in await events(log)]
    assert kinds.count("work.stop_recommended") == 1
    assert [a.state.name for a in await alarms(log)] == [
        "UNACKNOWLEDGED_ACTIVE", "RETURNED_UNACKNOWLEDGED",
    ]  # fmt: skip


async def test_a_restart_goes_on_with_what_stood() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, _ = working(log, clock)
    await flow.accept(permit(clock, "approved"))
    await flow.accept(analysis(clock, 0.1))
    clock.advance(60)
    await flow.accept(permit(clock, "active"))
    await flow.accept(batch({3: 30.0}))
    await flow.settled()
    again, work = working(log, clock)
    await again.begin()
    await again.accept(batch({3: 30.0}))
    assert work.monitor is not None
    assert work.monitor.standing == 1
    assert len(await alarms(log)) == 1
    await again.accept(batch({3: 0.0}))
    clock.advance(6)
    await again.accept(batch({3: 0.0}))
    first, last = await alarms(log)
    assert first.alarm_id == last.alarm_id
    assert last.state.name == "RETURNED_UNACKNOWLEDGED"


async def test_the_picture_of_a_vendors_box_belongs_to_the_alarm_it_raises() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, _ = working(log, clock)
    await flow.accept(permit(clock, "approved"))
    await flow.accept(analysis(clock, 0.1))
    clock.advance(60)
    await flow.accept(permit(clock, "active"))
    said = {"alarm": "no_helmet", "camera": "cam", "alarm_id": "ff" * 16}
    await flow.accept(SourceEvent("intake.picture", "box", clock.wall_ns(), "", said, JPEG))
    [raised] = await alarms(log)
    assert raised.condition == "ppe_missing"
    pictures = [f for f in await files(log) if f.media_type == "image/jpeg"]
    assert [f.alarm_id for f in pictures] == [raised.alarm_id]  # not what the sender wrote


async def test_what_cannot_be_watched_is_stored_and_said() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, _ = working(log, clock)
    await flow.accept(permit(clock, "active", work="dancing"))
    said = [e for e in await events(log) if e.kind == "work.not_judged"]
    assert "no kind of special work" in said[0].text
    assert "intake.permit" in [e.kind for e in await events(log)]


async def test_a_permit_is_entered_moved_on_and_ended_by_command(tmp_path: Path) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, work = working(log, clock)

    async def run(*arguments: str) -> str:
        clock.advance(1)
        done = await asyncio.to_thread(CliRunner().invoke, main, ["permit", *arguments])
        return done.output

    assert work.monitor is not None
    async with ControlServer(tmp_path, PermitDesk(flow, work.monitor, clock).handlers()):
        place = str(tmp_path)
        assert await run("enter", place, "DH-9", "--work", "hot_work", "--level", "first",
                         "--area", "yard", "--operator", "王芳") == "DH-9: approved\n"  # fmt: skip
        assert await run("start", place, "DH-9") == (
            "DH-9: approved: analysis_missing\n"
            "  ! STOP 停止作业: no gas was analysed before the start 作业前未进行气体分析\n"
        )
        assert await run("gas", place, "DH-9", "--gas", "甲烷", "--value", "0.1", "--unit", "%vol",
                         "--operator", "李娜") == "DH-9: active\n"  # fmt: skip
        assert await run("suspend", place, "DH-9", "--reason", "rain") == "DH-9: suspended\n"
        assert "there is no permit DH-0" in await run("end", place, "DH-0")
        assert "0 with offset" not in await run("list", place)
        assert await run("end", place, "DH-9") == "DH-9: ended\n"
        listed = await run("list", place)
        assert "DH-9  hot_work first  yard  ended" in listed
        wrong = await run("enter", place, "X", "--work", "height", "--from", "soon")
        assert "must be a time as iso8601" in wrong
    audit = [e for e in await events(log) if e.kind == "audit.permit"]
    assert [e.attributes["verb"] for e in audit][:4] == ["enter", "start", "gas", "suspend"]
    assert audit[0].attributes["operator"] == "王芳"
    assert any(e.kind == "work.record" for e in await events(log))


async def test_an_alarm_is_handled_until_it_is_closed(tmp_path: Path) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, work = working(log, clock)

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, main, ["handling", *arguments])
        return done.output

    async with ControlServer(tmp_path, commands(flow, work, clock)):
        await flow.accept(permit(clock, "approved"))
        await flow.accept(analysis(clock, 3.0))
        await flow.accept(over_count(active=True))
        [over, seen] = await alarms(log)
        place, name, doubt = str(tmp_path), over.alarm_id.hex(), seen.alarm_id.hex()
        assert "permit/DH-1/methane analysis_over  new 新报警  stands\n" in await run("list", place)
        assert "who" not in await run("confirm", place, name, "--operator", "王芳")
        assert "needs a word of why" in await run("reject", place, doubt)
        await run("reject", place, doubt, "--operator", "李娜", "--note", "reflection")
        await run("handle", place, name)
        said = await run("close", place, name, "--note", "ventilated")
        assert said == "permit/DH-1/methane analysis_over: closed 已消警\n"
        left = await run("list", place)
        assert "cam/yard over_count  false 误报, 李娜  stands" in left
        assert left.endswith("1 alarm\n")
    steps = [e for e in await events(log) if e.kind == "work.handling"]
    assert [e.attributes["state"] for e in steps] == ["confirmed", "false", "handling", "closed"]
    assert steps[0].attributes["operator"] == "王芳"
    states = [case.state.value for case in Closing(log.state(CLOSING_STATE)).cases()]
    assert states == ["closed", "false"]


async def test_more_than_six_at_maintenance_are_an_alarm_only_while_there_is_a_permit() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    unit = AreaSpec("unit-1", "running_maintenance", place="yard", positioning="unit 1", hold_s=0.0)
    flow, _ = working(log, clock, [unit])

    async def count(people: int) -> list[tuple[str, str]]:
        clock.advance(1)
        said: dict[str, Scalar] = {"area": "unit 1", "people": people}
        await flow.accept(SourceEvent("intake.position_count", "uwb", clock.wall_ns(), "", said))
        found = [a for a in await alarms(log) if a.source == "area/unit-1"]
        return [(a.condition, a.state.name) for a in found]

    assert await count(7) == []  # nobody is at maintenance
    await flow.accept(permit(clock, "approved"))
    assert await count(7) == []  # not yet
    await flow.accept(permit(clock, "active"))
    raised = ("over_count", "UNACKNOWLEDGED_ACTIVE")
    assert await count(7) == [raised]
    returned = ("over_count", "RETURNED_UNACKNOWLEDGED")
    assert await count(6) == [raised, returned]
    assert (await count(7))[2:] == [raised]
    clock.advance(1)
    await flow.accept(permit(clock, "suspended"))  # nobody is at work under it any more
    assert (await count(7))[3:] == [returned]
    [first, *_] = [a for a in await alarms(log) if a.source == "area/unit-1"]
    assert (first.limit, first.rule) == (6, "headcount.running_maintenance/1")
    assert "2023" in first.clause


async def test_cameras_alarms_are_followed_where_no_work_is_watched(tmp_path: Path) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    work = WorkFlow(None, clock)
    catalogue = Catalogue.of(points())
    flow = Pipeline(log, catalogue, Normaliser(catalogue.points), judge(), clock, work)
    await flow.begin()
    assert flow.recorded is None
    handlers = commands(flow, work, clock)
    assert "handling.list" in handlers
    assert not any(name.startswith("permit") for name in handlers)
    await flow.accept(permit(clock, "active"))
    await flow.accept(batch({3: 30.0}))
    await flow.accept(over_count(active=True, picture=JPEG))
    [raised] = await alarms(log)
    async with ControlServer(tmp_path, handlers):
        said = await asyncio.to_thread(
            CliRunner().invoke, main,
            ["handling", "confirm", str(tmp_path), raised.alarm_id.hex(), "--operator", "王芳"],
        )  # fmt: skip
    assert said.exit_code == 0, said.output
    [case] = Closing(log.state(CLOSING_STATE)).cases()
    assert (case.source, case.state.value) == ("cam/yard", "confirmed")
    assert not any(event.kind.startswith("work.") and event.kind != "work.handling"
                   for event in await events(log))  # fmt: skip
