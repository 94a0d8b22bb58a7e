"""Webhook, MQTT and sound over the real wire on loopback, and a player that is a real process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
import sys
import wave
from pathlib import Path

import pytest

from drivers.contract import Clock
from gateway.config.notify import MqttNotifier, SoundNotifier, WebhookNotifier
from gateway.duty.words import Message
from gateway.notify.contract import NotifyError, TimedOutError
from gateway.notify.mqtt import Mqtt
from gateway.notify.sound import Sound
from gateway.notify.tone import PATTERNS, RATE_HZ, tone
from gateway.notify.webhook import Webhook
from tests.fakes.certificates import Authority
from tests.fakes.hook_server import HookServer
from tests.fakes.mqtt_broker import CONNECT, PUBLISH, FakeBroker
from tests.gateway.flow_rig import WALL_NS, HandClock
from tests.waiting import until

MESSAGE = Message("aa/1/1", "alarm", "王芳", "13800000000", "高报", "high", 1, {"tag": "gds/a"})


def webhook(server: HookServer, clock: Clock | None = None, **keys: object) -> Webhook:
    given = {"name": "hook", "type": "webhook", "url": server.url, "timeout_s": 20.0, **keys}
    config = WebhookNotifier.model_validate_json(json.dumps(given, default=str))
    return Webhook(config, clock or HandClock())


def secret(folder: Path, text: str) -> Path:
    path = folder / "secret"
    path.write_text(text + "\n", encoding="utf-8")
    return path


async def test_a_webhook_is_signed_and_verified_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with HookServer(authority) as server:
        key = secret(tmp_path, "key of the site")
        await webhook(server, ca=authority.ca, hmac_file=key).send(MESSAGE)
    (hook,) = server.hooks
    stamp = hook.headers["X-Plantgate-Timestamp"]
    assert stamp == str(WALL_NS // 10**9)
    digest = hmac.new(b"key of the site", stamp.encode() + b"." + hook.body, hashlib.sha256)
    assert hook.headers["X-Plantgate-Signature"] == f"sha256={digest.hexdigest()}"
    assert hook.headers["Idempotency-Key"] == "aa/1/1"
    assert hook.json == {
        "id": "aa/1/1", "kind": "alarm", "person": "王芳", "contact": "13800000000",
        "text": "高报", "zh": "高报", "en": "high", "tag": "gds/a",
    }  # fmt: skip


async def test_a_bearer_token_is_read_for_every_message(tmp_path: Path) -> None:
    async with HookServer() as server:
        hook = webhook(server, bearer_file=secret(tmp_path, "first"), language="both")
        await hook.send(MESSAGE)
        secret(tmp_path, "renewed")
        await hook.send(MESSAGE)
        (tmp_path / "secret").unlink()
        with pytest.raises(NotifyError, match="secret cannot be read"):
            await hook.send(MESSAGE)
    assert [h.headers["Authorization"] for h in server.hooks] == ["Bearer first", "Bearer renewed"]
    assert server.hooks[0].json["text"] == "高报\nhigh"


async def test_a_server_that_is_not_trusted_gets_nothing(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path / "ca"), Authority(tmp_path / "other", "other")
    async with HookServer(authority) as server:
        with pytest.raises(NotifyError, match="certificate is not trusted"):
            await webhook(server, ca=other.ca).send(MESSAGE)
    assert server.hooks == []


@pytest.mark.parametrize("status", [199 + 1 + 100, 302, 401, 500])
async def test_only_2xx_is_delivered_and_no_redirect_is_followed(status: int) -> None:
    async with HookServer() as server:
        server.status = status
        with pytest.raises(NotifyError, match=str(status)):
            await webhook(server).send(MESSAGE)
        assert len(server.hooks) == 1
        server.status = 204
        await webhook(server).send(MESSAGE)


async def test_silence_and_a_closed_port_are_failures_without_the_address(tmp_path: Path) -> None:
    async with HookServer() as server:
        server.held = True
        with pytest.raises(TimedOutError):
            await webhook(server, timeout_s=0.2).send(MESSAGE)
    url = secret(tmp_path, server.url + "?token=hidden")
    with pytest.raises(NotifyError, match="cannot be reached") as error:
        await webhook(server, url="", url_file=url).send(MESSAGE)
    assert "hidden" not in str(error.value)


async def test_robots_are_judged_by_errcode(tmp_path: Path) -> None:
    clock = HandClock()
    async with HookServer() as server:
        server.answer = '{"errcode":0,"errmsg":"ok"}'
        await webhook(server, format="wecom").send(MESSAGE)
        key = secret(tmp_path, "SECxyz")
        await webhook(server, clock, format="dingtalk", hmac_file=key).send(MESSAGE)
        server.answer = '{"errcode":310000,"errmsg":"sign not match"}'
        with pytest.raises(NotifyError, match="310000 sign not match"):
            await webhook(server, format="dingtalk").send(MESSAGE)
        server.answer = "<html>"
        with pytest.raises(NotifyError, match="no errcode"):
            await webhook(server, format="wecom").send(MESSAGE)
    wecom, dingtalk, *_ = server.hooks
    assert wecom.json == {
        "msgtype": "text",
        "text": {"content": "高报", "mentioned_mobile_list": ["13800000000"]},
    }
    assert dingtalk.json["at"] == {"atMobiles": ["13800000000"]}
    stamp = dingtalk.query["timestamp"]
    wanted = hmac.digest(b"SECxyz", f"{stamp}\nSECxyz".encode(), "sha256")
    assert base64.b64decode(dingtalk.query["sign"]) == wanted


def mqtt(broker: FakeBroker, **keys: object) -> Mqtt:
    given = {"name": "phones", "type": "mqtt", "host": "127.0.0.1", "port": broker.port,
             "topic": "plant/{kind}/{person}", "timeout_s": 20.0, **keys}  # fmt: skip
    return Mqtt(MqttNotifier.model_validate_json(json.dumps(given, default=str)))


async def test_a_message_is_published_and_acknowledged() -> None:
    async with FakeBroker() as broker:
        await mqtt(broker).send(MESSAGE)
        await mqtt(broker).send(MESSAGE)
        published = [body for kind, body in broker.frames if kind == PUBLISH]
    assert len(published) == 2
    size = int.from_bytes(published[0][:2], "big")
    assert published[0][2 : 2 + size].decode() == "plant/alarm/王芳"
    assert json.loads(published[0][4 + size :])["zh"] == "高报"


@pytest.mark.parametrize(
    ("how", "said"),
    [("refuse", "refuses user or password"), ("silent", "no answer"), ("rubbish", "did not answer"),
     ("away", "cannot be reached")],
)  # fmt: skip
async def test_a_broker_that_does_not_take_it_is_a_failure(how: str, said: str) -> None:
    broker = FakeBroker()
    async with broker:
        broker.refuse_code = 4 if how == "refuse" else 0
        broker.answers = how != "silent"
        broker.greeting = b"\x90\x02\x00\x00" if how == "rubbish" else b""
        if how == "away":
            await broker.stop()
        with pytest.raises(NotifyError, match=said):
            await mqtt(broker, timeout_s=0.3 if how == "silent" else 20.0).send(MESSAGE)
        assert {kind for kind, _ in broker.frames} <= {CONNECT, 14}


PLAYER = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.argv[2:]), encoding="utf-8")
time.sleep(next((float(word) for word in sys.argv[2:] if word.isdigit()), 0))
sys.stderr.write("Device or resource busy\\n" if "bad" in sys.argv else "")
raise SystemExit(7 if "bad" in sys.argv else 0)
"""


def sound(folder: Path, *words: str, **keys: object) -> tuple[Sound, Path]:
    said = folder / "said.txt"
    command = [sys.executable, "-c", PLAYER, str(said), *words]
    given = {"name": "horn", "type": "sound", "command": command, "timeout_s": 30.0, **keys}
    config = SoundNotifier.model_validate_json(json.dumps(given, default=str))
    return Sound(config, folder / "tones"), said


async def test_a_tone_is_played_by_a_command(tmp_path: Path) -> None:
    horn, said = sound(tmp_path, "{file}", "{text}")
    await horn.send(MESSAGE)
    file, text = said.read_text(encoding="utf-8").splitlines()
    assert text == "高报"
    with wave.open(file) as tones:
        assert (tones.getframerate(), tones.getnchannels()) == (RATE_HZ, 1)
        assert tones.getnframes() / RATE_HZ == PATTERNS[1][1] * 2 * 0.25


async def test_words_of_an_alarm_are_one_argument_and_nothing_more(tmp_path: Path) -> None:
    horn, said = sound(tmp_path, "{text}")
    words = "$(reboot); {file} `x` \"' --option"
    await horn.send(Message("i", "alarm", "p", "", words, words, 1, {}))
    assert said.read_text(encoding="utf-8") == words


async def test_a_player_that_fails_or_hangs_is_a_failure_and_leaves_no_process(
    tmp_path: Path,
) -> None:
    horn, _ = sound(tmp_path, "{file}", "bad")
    with pytest.raises(NotifyError, match="ended with 7: Device or resource busy"):
        await horn.send(MESSAGE)
    horn, _ = sound(tmp_path, "600", timeout_s=1.0)
    with pytest.raises(TimedOutError, match="did not end"):
        await horn.send(MESSAGE)
    horn, said = sound(tmp_path, "600")
    said.unlink(missing_ok=True)
    async with asyncio.TaskGroup() as group:
        playing = group.create_task(horn.send(MESSAGE))
        await until(said.exists, limit_s=60)
        playing.cancel()
    given = {"name": "h", "type": "sound", "command": ["/no/such/player"]}
    config = SoundNotifier.model_validate_json(json.dumps(given))
    with pytest.raises(NotifyError, match="cannot be started"):
        await Sound(config, tmp_path).send(MESSAGE)


def test_every_priority_has_a_tone_of_its_own() -> None:
    made = {tone(priority) for priority in range(1, 5)}
    assert len(made) == 4
    for content in made:
        with wave.open(io.BytesIO(content)) as file:
            assert file.getnframes() > 0
