"""A real gateway with its console: an alarm is seen, acknowledged in a person's name, on record."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.config import users
from gateway.config.users import Role
from gateway.control.client import ask
from tests.chaos.flood_browsers import Place, rows_of
from tests.e2e.plant import Plant
from tests.e2e.watched import Watched, family
from tests.e2e.world import free_port, listens, until
from tests.gateway.console.rig import PASSWORD, Browser

pytestmark = pytest.mark.e2e
KEY = "gds-1/a|high"


def test_an_alarm_is_seen_and_acknowledged_by_somebody_and_the_console_ends_with_the_gateway(
    tmp_path: Path,
) -> None:
    with Watched(tmp_path) as world, Plant(1) as plant:
        port = free_port()
        (world.folder / "gds-1.csv").write_text(
            "name,area,address,type,high\na,holding,0,u16,500\n", encoding="utf-8"
        )
        world.write_site(
            f"""
[console]
listen = "127.0.0.1:{port}"
[[device]]
name = "gds-1"
driver = "modbus"
host = "127.0.0.1"
port = {plant.port}
unit = 1
poll_ms = 100
timeout_ms = 20000
points = "gds-1.csv"
"""
        )
        gateway = world.start_gateway()
        world.until_ready(gateway, lambda: listens(port), "the console listens")
        users.add_user(world.data, "王芳", Role.OPERATOR, PASSWORD, 1)
        browser = Browser(Place(world.data, ("127.0.0.1", port)))
        until(lambda: browser.sign_in("王芳").status == 200, what="she signs in")
        with browser.live() as stream:
            stream.until("state")
            plant.set(0, 501)
            rows: dict[str, Any] = {}
            while KEY not in rows:
                rows = {row["key"]: row for row in rows_of(*stream.next())}
            assert rows[KEY]["value"] == 501
        acknowledge = {"verb": "ack", "source": "gds-1/a", "condition": "high"}
        reply = browser.post("/api/commands/alarm.command", acknowledge)
        assert reply.json["changes"][0]["state"] == "acknowledged_active"
        again = browser.post("/api/commands/alarm.command", acknowledge)
        assert again.status == 409
        assert "acknowledge" in again.json["error"]
        listed = ask(world.data, {"ask": "alarm.list"})["alarms"]
        assert [(row["state"], row["operator"]) for row in listed] == [
            ("acknowledged_active", "王芳")
        ]
        until(
            lambda: world.health()[1].get("components", {}).get("console", {}).get("ok"),
            what="health says that the console is well",
        )
        until(lambda: world.metric("console_signed_in") == 1, what="it is counted")
        members = family(gateway)
        assert len(members) == 2
        # Alarms go their way whatever the console does, here nothing at all.
        frozen = members[1]
        os.kill(frozen, signal.SIGSTOP)
        plant.set(0, 0)
        until(
            lambda: not ask(world.data, {"ask": "alarm.list"})["alarms"],
            what="the alarm returns while the console is frozen",
        )
        with suppress(ProcessLookupError):  # the gateway may have ended it, and begun another
            os.kill(frozen, signal.SIGCONT)
        members += family(gateway)
        gateway.kill()
        gateway.wait()
        until(lambda: not any(_alive(pid) for pid in members), what="both have ended")
        world.start_gateway()
        until(lambda: listens(port), what="the console listens again")
        shown = world.plantgate("buffer", "tail", str(world.data), "--stream", "event", "-n", "50")
        assert "王芳 signed in to the console from 127.0.0.1." in shown.stdout


def _alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
