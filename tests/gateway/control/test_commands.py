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
from gateway.cli.main import main
from gateway.control.alarms import handlers
from gateway.control.client import NotAnsweredError, RefusedError, ask
from gateway.control.server import SOCKET, ControlServer
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
        assert "gds/a high: 11 ppm (limit 10) [unacknowledged active]" in listed.output
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
