"""A register, a gateway killed while it tells, a real HTTPS server: who hears of an alarm."""

from __future__ import annotations

import hashlib
import hmac
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.plant import Plant
from tests.e2e.watched import Watched, stop_clean
from tests.e2e.world import stop, until
from tests.fakes.certificates import Authority
from tests.fakes.hook_server import Hook, HookServer, hooks_beside

pytestmark = pytest.mark.e2e
KEY = "key of the site"
PLAYER = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"


def notify(folder: Path, server: HookServer, authority: Authority) -> str:
    (folder / "hook.key").write_text(KEY, encoding="utf-8")
    (folder / "roster.csv").write_text(
        "级别,姓名,通知方式,电话\n1,张三,sms,138\n2,李四,sms;horn,139\n", encoding="utf-8"
    )
    return f"""
[notify]
roster = "roster.csv"
enterprise_name = "某化工"
wait_s = [5, 5, 5, 5]
rounds = 1
[[notifier]]
name = "sms"
type = "webhook"
url = "{server.url}"
ca = "{authority.ca}"
hmac_file = "hook.key"
[[notifier]]
name = "horn"
type = "sound"
command = ["{sys.executable}", "-c", "{PLAYER}", "{folder / "played.txt"}", "{{file}}"]
"""


def genuine(hook: Hook) -> Any:
    """What a message says, once its signature was checked."""
    content = hook.headers["X-Plantgate-Timestamp"].encode() + b"." + hook.body
    digest = hmac.new(KEY.encode(), content, hashlib.sha256).hexdigest()
    assert hook.headers["X-Plantgate-Signature"] == f"sha256={digest}"
    return hook.json


def test_an_alarm_is_told_over_a_kill_until_somebody_acknowledges(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "hook-ca")
    with hooks_beside(authority) as hooks, Plant(2) as plant, Watched(tmp_path) as world:
        hooks.held = True
        world.write_device(
            plant.port, "AT-101,holding,0,u16,,25", more=notify(tmp_path, hooks, authority)
        )
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 0, what="values flow")
        plant.set(0, 31)
        until(lambda: len(hooks.hooks) == 1, what="the first person is being told")
        stop(gateway, signal.SIGKILL)  # nobody knows whether he was told
        hooks.held = False
        gateway = world.start_gateway()
        until(lambda: len(hooks.hooks) >= 3, what="told again, and the next step")
        first, again, second = (genuine(hook) for hook in hooks.hooks[:3])
        assert (first["person"], first["repeated"], first["tag"]) == ("张三", False, "gds/AT-101")
        assert first["zh"].startswith("【3级报警】某化工")
        assert (again["id"], again["person"], again["repeated"]) == (first["id"], "张三", True)
        assert "可能重复" in again["zh"]
        assert (second["person"], second["step"]) == ("李四", 2)
        until((tmp_path / "played.txt").exists, what="the horn")
        assert (tmp_path / "played.txt").read_text().endswith("tone-3.wav")
        listed = world.plantgate("notify", "calls", str(world.data))
        assert "gds/AT-101" in listed.stdout
        world.plantgate("alarm", "ack", str(world.data), "gds/AT-101", "--operator", "王芳")
        assert world.plantgate("notify", "calls", str(world.data)).stdout == "0 calls\n"
        until(lambda: any(e["kind"] == "notify.ended" for e in world.notices("events")),
              what="the end of the call at the receiver")  # fmt: skip
        told = [e for e in world.notices("events") if e["kind"] == "notify.told"]
        assert {e["attributes"]["person"] for e in told} == {"张三", "李四"}
        assert len({alarm["alarm_id"] for alarm in world.notices("alarms")}) == 1
        tried = world.plantgate("notify", "test", str(world.site), "sms", "--person", "赵六")
        assert "delivered: 【测试" in tried.stdout
        assert genuine(hooks.hooks[-1])["kind"] == "test"
        on_duty = world.plantgate("notify", "roster", str(world.site))
        assert "*  step 2: 李四 (sms), 李四 (horn)" in on_duty.stdout
        stop_clean(world, gateway)


def test_another_roster_is_used_by_a_call_that_runs(tmp_path: Path) -> None:
    """SIGHUP with a changed roster: the call stays open and goes on to whoever is on duty now."""
    authority = Authority(tmp_path / "hook-ca")
    with hooks_beside(authority) as hooks, Plant(2) as plant, Watched(tmp_path) as world:
        settings = notify(tmp_path, hooks, authority).replace("rounds = 1", "rounds = 20")
        roster = tmp_path / "roster.csv"
        roster.write_text("级别,姓名,通知方式\n1,张三,sms\n", encoding="utf-8")
        world.write_device(plant.port, "AT-101,holding,0,u16,,25", more=settings)
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.metric("flow_values") > 0, what="values flow")
        plant.set(0, 31)
        until(lambda: hooks.hooks, what="the first person is told")

        roster.write_text("级别,姓名,通知方式\n1,王五,pager\n", encoding="utf-8")
        gateway.send_signal(signal.SIGHUP)
        until(
            lambda: _kinds(world).count("config.rejected") == 1,
            what="a roster with a notifier that does not exist is refused",
        )
        roster.write_text("级别,姓名,通知方式\n1,王五,sms\n", encoding="utf-8")
        gateway.send_signal(signal.SIGHUP)
        until(lambda: _kinds(world).count("config.applied") == 1, what="applied")
        until(lambda: genuine(hooks.hooks[-1])["person"] == "王五", what="王五 is told")
        said = [genuine(hook) for hook in list(hooks.hooks)]
        people = [one["person"] for one in said]
        assert people == sorted(people, key="张三王五".index), "somebody not on duty was told"
        assert len({one["call"] for one in said}) == 1
        kept = world.data / "config"
        assert "王五" in (kept / "current" / "roster.csv").read_text(encoding="utf-8")
        assert "张三" in (kept / "previous" / "roster.csv").read_text(encoding="utf-8")
        assert "gds/AT-101" in world.plantgate("notify", "calls", str(world.data)).stdout
        world.plantgate("alarm", "ack", str(world.data), "gds/AT-101", "--operator", "王芳")
        assert world.plantgate("notify", "calls", str(world.data)).stdout == "0 calls\n"
        stop_clean(world, gateway)


def _kinds(world: Watched) -> list[str]:
    return [event["kind"] for event in world.notices("events")]
