"""Commands over the real socket: done, refused, on record; a stranger's bytes harm nothing."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from buffer.memory import MemoryLog
from drivers.contract import SourceEvent
from gateway.cli.main import main
from gateway.control.alarms import handlers
from gateway.control.client import NotAnsweredError, RefusedError, ask
from gateway.control.risk import risk_handlers
from gateway.control.server import SOCKET, ControlServer
from gateway.rules.risk import RiskView
from gateway.rules.risk_flow import RiskFlow
from tests.gateway.flow_rig import HandClock, alarms, batch, events, pipeline


async def asked(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    return dict(await asyncio.to_thread(ask, folder, request))


async def test_an_alarm_is_listed_acknowledged_and_both_are_on_record(tmp_path: Path) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow = pipeline(log, clock)
    folder = tmp_path / ("a" * 120)  # longer than a socket's address may be
    folder.mkdir()
    async with ControlServer(folder, handlers(flow, clock)):
        assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
        await flow.accept(batch({1: 11.0}))
        listed = await asyncio.to_thread(CliRunner().invoke, main, ["alarm", "list", str(folder)])
        assert (
            "gds/a (泵房入口可燃气) high: 11 ppm (limit 10) [unacknowledged active]"
            in listed.output
        )
        done = await asyncio.to_thread(
            CliRunner().invoke, main, ["alarm", "ack", str(folder), "gds/a", "--operator", "王芳"]
        )
        assert done.output == "gds/a high: acknowledged active\n"
        shelve = {"ask": "alarm.command", "verb": "shelve", "source": "gds/d", "operator": "王芳",
                  "condition": "low", "minutes": 30, "reason": "span gas"}  # fmt: skip
        answer = await asked(folder, shelve)
        assert answer["changes"][0]["state"] == "shelved"
        with pytest.raises(RefusedError, match=r"needs a reason"):
            await asked(folder, shelve | {"reason": "", "source": "gds/a", "condition": "high"})
        with pytest.raises(RefusedError, match="there is no alarm high of gds/c"):
            await asked(folder, shelve | {"source": "gds/c", "condition": "high"})
        with pytest.raises(RefusedError, match="no such command"):
            await asked(folder, {"ask": "write"})
        with pytest.raises(RefusedError, match=r"no special work .* has no \[\[permit_area\]\]"):
            await asked(folder, {"ask": "permit.list"})
    states = [(c.source, c.state.name, c.operator) for c in await alarms(log)]
    assert states == [
        ("gds/a", "UNACKNOWLEDGED_ACTIVE", ""),
        ("gds/a", "ACKNOWLEDGED_ACTIVE", "王芳"),
        ("gds/d", "SHELVED", "王芳"),
    ]
    audit = [event for event in await events(log) if event.kind == "audit.alarm"]
    assert [(e.attributes["verb"], e.attributes["operator"]) for e in audit] == [
        ("acknowledge", "王芳"), ("shelve", "王芳"),
    ]  # fmt: skip
    with pytest.raises(NotAnsweredError, match="no gateway is running there"):
        await asked(folder, {"ask": "alarm.list"})


@pytest.mark.parametrize("sent", [b"\x00\xff\n", b"[]\n", b"{}\n", b'{"ask":[]}\n', b"x" * 70_000])
async def test_bytes_that_are_no_request_get_an_error_and_the_next_is_served(
    tmp_path: Path, sent: bytes
) -> None:
    clock = HandClock()
    flow = pipeline(MemoryLog(clock=clock), clock)

    def speak() -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(tmp_path / SOCKET))
            try:
                link.sendall(sent)
                return link.recv(4096)
            except OSError:
                return b""

    async with ControlServer(tmp_path, handlers(flow, clock)):
        answer = await asyncio.to_thread(speak)
        assert answer in {b"", b'{"ok": false, "error": "no such command"}\n'}
        assert (await asked(tmp_path, {"ask": "alarm.list"}))["alarms"] == []


async def test_an_alarm_is_not_acknowledged_unseen(tmp_path: Path) -> None:
    """@example: a click on what had returned acknowledged the alarm that was raised meanwhile."""
    clock = HandClock()
    flow = pipeline(MemoryLog(clock=clock), clock)
    async with ControlServer(tmp_path, handlers(flow, clock)):
        folder = tmp_path
        await flow.accept(batch({1: 11.0}))
        seen = (await asked(folder, {"ask": "alarm.list"}))["alarms"][0]["alarm_id"]
        await flow.accept(batch({1: 1.0}))
        await flow.accept(batch({1: 12.0}))  # raised anew while somebody looks at the first one
        unseen = {"ask": "alarm.command", "verb": "ack", "source": "gds/a", "condition": "high",
                  "operator": "王芳", "alarm_id": seen}  # fmt: skip
        with pytest.raises(RefusedError, match="raised anew since it was looked at"):
            await asked(folder, unseen)
        [now] = (await asked(folder, {"ask": "alarm.list"}))["alarms"]
        assert now["state"] == "unacknowledged_active"
        await asked(folder, unseen | {"alarm_id": now["alarm_id"]})
        [now] = (await asked(folder, {"ask": "alarm.list"}))["alarms"]
        assert now["state"] == "acknowledged_active"


async def test_grade_and_risk_are_shown_kept_over_a_restart_and_told_to_who_follows(
    tmp_path: Path,
) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, heard = pipeline(log, clock), list[str]()

    def hear(view: RiskView) -> None:
        heard.append(view.grade.value if view.grade is not None else "")

    flow.risk.follow("province", hear, lambda: True)
    said: list[tuple[str, dict[str, str | int | float | bool]]] = [
        ("intake.enterprise_grade", {"grade": "orange"}),
        ("intake.unit_risk", {"unit": "罐区", "level": "major"}),
        ("intake.lightning", {"level": "red"}),
    ]
    for kind, attributes in said:
        await (await flow.accept(SourceEvent(kind, "risk", clock.wall_ns(), "", attributes)))
    assert heard == ["", "orange", "orange"]
    again = pipeline(log, clock)  # from what the log holds
    async with ControlServer(tmp_path, risk_handlers(again)):
        shown = await asyncio.to_thread(CliRunner().invoke, main, ["risk", str(tmp_path)])
        answer = await asked(tmp_path, {"ask": "risk.show"})
    assert "企业分级: orange 橙" in shown.output
    assert "risk of 罐区 风险等级: major 重大风险（红）" in shown.output
    assert "Reported to more closely 加密上报: nobody" in shown.output
    assert (answer["enterprise_grade"], answer["unit_risks"]) == ("orange", {"罐区": "major"})
    assert again.statistics()["risk_grade"] == 2
    assert again.statistics()["risk_units_major"] == 1
    lost = RiskFlow(b'{"grade": {"word": "pink", "time_ns": 1, "deleted": false}, "units": {}}')
    assert lost.view.grade is None
    assert "cannot be read" in lost.complaints[0]
