"""The MQTT notifier against mosquitto: QoS 1 over TLS, logins refused, a broker killed and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from gateway.config.notify import MqttNotifier
from gateway.duty.words import Message
from gateway.notify.contract import NotifyError, TimedOutError
from gateway.notify.mqtt import Mqtt
from gateway.rules.alarm_states import AlarmEvent
from gateway.rules.desk import Command
from tests.fakes.certificates import Authority
from tests.gateway.flow_rig import alarms, batch
from tests.gateway.notify.test_service import Bench
from tests.peers import mosquitto
from tests.peers.mosquitto import PASSWORD, USER, Mosquitto
from tests.waiting import LONGEST_S, until

pytestmark = pytest.mark.peer

MESSAGE = Message(
    "aa/1/1", "alarm", "王芳/班长", "13800000000", "高报", "high", 1, {"tag": "gds/a"}
)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto.running(tmp_path) as broker:
        yield broker


def notifier(broker: Mosquitto, **keys: object) -> Mqtt:
    given = {
        "name": "phones", "type": "mqtt", "host": "127.0.0.1", "port": broker.port, "user": USER,
        "password_file": str(broker.password_file), "ca": str(broker.authority.ca),
        "topic": "plant/{kind}/{person}", "timeout_s": 60.0, **keys,
    }  # fmt: skip
    return Mqtt(MqttNotifier.model_validate_json(json.dumps(given, default=str)))


class Phone:
    """A subscriber with a session of its own at the broker: what was published, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.flags: list[tuple[int, bool]] = []

    @contextlib.asynccontextmanager
    async def listening(self, broker: Mosquitto) -> AsyncIterator[None]:
        async with aiomqtt.Client(
            "127.0.0.1", broker.port, username=USER, password=PASSWORD, identifier="phone",
            tls_context=ssl.create_default_context(cafile=str(broker.authority.ca)),
            timeout=LONGEST_S,
        ) as client:  # fmt: skip
            await client.subscribe("plant/#", qos=1)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self._take(client))
                try:
                    yield
                finally:
                    task.cancel()

    async def _take(self, client: aiomqtt.Client) -> None:
        with contextlib.suppress(aiomqtt.MqttError):  # the broker is gone
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                self.told.append((str(message.topic), json.loads(message.payload)))
                self.flags.append((message.qos, message.retain))


async def test_a_message_arrives_once_at_qos_1_over_tls_with_its_content(broker: Mosquitto) -> None:
    phone = Phone()
    async with phone.listening(broker):
        await notifier(broker).send(MESSAGE)
        await until(lambda: len(phone.told) == 1)
        await notifier(broker, language="both", client_id="own").send(MESSAGE)
        await until(lambda: len(phone.told) == 2)
    body = {
        "id": "aa/1/1", "kind": "alarm", "person": "王芳/班长", "contact": "13800000000",
        "zh": "高报", "en": "high", "tag": "gds/a",
    }  # fmt: skip
    assert phone.told == [
        ("plant/alarm/王芳_班长", body | {"text": "高报"}),
        ("plant/alarm/王芳_班长", body | {"text": "高报\nhigh"}),
    ]
    assert phone.flags == [(1, False)] * 2
    log = broker.log_text()
    assert "Received PUBLISH from plantgate-phones (d0, q1, r0, m1," in log
    assert "Sending PUBACK to plantgate-phones (m1" in log
    assert "Received DISCONNECT from plantgate-phones" in log


async def test_a_wrong_password_no_user_and_a_strange_broker_are_named_and_told_nothing(
    broker: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("wrong\n", encoding="utf-8")
    with pytest.raises(NotifyError, match="refuses user or password"):
        await notifier(broker, password_file=tmp_path / "wrong").send(MESSAGE)
    with pytest.raises(NotifyError, match="refuses user or password"):
        await notifier(broker, user=None, password_file=None).send(MESSAGE)
    other = Authority(tmp_path / "other", "other")
    with pytest.raises(NotifyError, match="certificate is not trusted"):
        await notifier(broker, ca=other.ca).send(MESSAGE)
    with pytest.raises(
        NotifyError, match=r"closed the connection|did not answer|cannot be reached"
    ):
        await notifier(broker, ca=None).send(MESSAGE)  # clear text to a port of TLS
    assert "Received PUBLISH" not in broker.log_text()


async def test_a_frozen_broker_is_given_up(broker: Mosquitto) -> None:
    broker.freeze()
    try:
        with pytest.raises(TimedOutError, match=r"no answer within 1\.5 s"):
            await notifier(broker, timeout_s=1.5).send(MESSAGE)
    finally:
        broker.thaw()
    await notifier(broker).send(MESSAGE)


async def test_a_broker_killed_and_back_gets_every_message_once_under_its_id(
    broker: Mosquitto,
) -> None:
    bench, phone = Bench(), Phone()
    bench.notifiers["sms"] = notifier(broker)
    bench.make_again()
    async with bench.running():
        async with phone.listening(broker):
            await bench.flow.accept(batch({1: 30.0}))
            await until(lambda: len(phone.told) == 1)
            await until(lambda: bench.service.statistics()["told"] == 2)
            broker.kill()
        await bench.step(300)
        # Nobody acknowledged: each following step is not reached, then the next round begins.
        await until(lambda: bench.service.statistics()["failed"] == 3)
        assert not bench.service.health()[0]
        await broker.start()
        async with phone.listening(broker):
            await bench.step(5)
            await until(lambda: bench.service.health()[0])
            await until(lambda: len(phone.told) == 2)
            bench.flow.command(Command(AlarmEvent.ACKNOWLEDGE, "gds/a", "high", "王芳"))
            await until(lambda: bench.service.statistics()["waiting"] == 0)
    told = [said for _, said in phone.told if said["tag"] == "gds/a"]
    assert [(said["person"], said["attempt"], said["repeated"]) for said in told] == [
        ("bo", 1, False), ("bo", 2, False),
    ]  # fmt: skip
    assert [said["round"] for said in told] == [1, 2]
    assert len({said["id"] for said in told}) == 2
    assert told[0]["zh"].startswith(
        "【3级报警】某化工 – gds/a（泵房入口可燃气） 高报:当前值 30 ppm,限值 10 ppm"
    )
    assert (told[0]["value"], told[0]["limit"], told[0]["unit"]) == (30.0, 10.0, "ppm")
    about = [(a.source, a.state.name) for a in await alarms(bench.log) if a.source != "gds/a"]
    assert about == [
        ("notifier/sms", "UNACKNOWLEDGED_ACTIVE"), ("notifier/sms", "RETURNED_UNACKNOWLEDGED"),
    ]  # fmt: skip
