"""The MQTT intake against a broker that misbehaves; every frame that leaves is looked at."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator

import aiomqtt
import pytest

from drivers.contract import DeviceError, DriverPoint, Quality
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.client import ALLOWED_FRAMES, RefusedFrameError, _Client
from drivers.intake_mqtt.config import MqttIntakeConfig
from drivers.intake_mqtt.driver import MqttIntake
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.intake_store import IntakeStore
from tests.fakes.mqtt_broker import CONNECT, PUBACK, SUBSCRIBE, FakeBroker
from tests.waiting import until

POINTS = [
    DriverPoint(1, "ti", ExternalAddress(id="TI-101"), 2),
    DriverPoint(2, "records", ExternalAddress(id="#records"), 3),
]
TOPICS = {"site/+/welding": "welding", "site/values": "samples"}


def config(port: int, **keys: object) -> MqttIntakeConfig:
    given = {"host": "127.0.0.1", "port": port, "client_id": "plantgate-1", "topics": TOPICS,
             "keep_alive_s": 60, "connect_timeout_s": 20}  # fmt: skip
    return MqttIntakeConfig.model_validate_json(json.dumps({**given, **keys}))


def welding(number: int, **more: object) -> bytes:
    row = {"id": f"w{number}", "time": "2026-05-01T00:00:00Z", "machine": "M1", "on": True, **more}
    return json.dumps(row).encode()


@contextlib.asynccontextmanager
async def fake_broker() -> AsyncIterator[FakeBroker]:
    broker = FakeBroker()
    async with broker:
        try:
            yield broker
        finally:
            allowed = {frame >> 4 for frame in ALLOWED_FRAMES}
            assert broker.kinds() <= allowed, "a frame that only a writer sends"
            connects = [body for kind, body in broker.frames if kind == CONNECT]
            assert all(not body[7] & 0x04 for body in connects), "no will"


def running(
    driver: MqttIntake, store: IntakeStore
) -> contextlib.AbstractAsyncContextManager[asyncio.Task[None]]:
    return background(driver.run(store.emit))


def make(broker: FakeBroker, **keys: object) -> MqttIntake:
    return MqttIntake("iot", config(broker.port, **keys), POINTS, SystemClock())


async def subscribed(broker: FakeBroker) -> None:
    await until(lambda: any(len(s.topics) >= 2 for s in broker.sessions.values()))


async def test_acknowledged_only_after_the_commit_and_in_order() -> None:
    store = IntakeStore(held=True)
    async with fake_broker() as broker, running(make(broker), store):
        await subscribed(broker)
        for number in range(5):
            broker.publish("site/a/welding", welding(number))
        await until(lambda: len(store.events("intake.welding")) == 5)
        await asyncio.sleep(0.05)
        assert broker.acknowledged == []
        store.release()
        await until(lambda: broker.acknowledged == [1, 2, 3, 4, 5])
        ids = [event.attributes["id"] for event in store.events("intake.welding")]
        assert ids == ["w0", "w1", "w2", "w3", "w4"]
        assert store.events("intake.welding")[0].attributes["sender"] == "site/a/welding"


async def test_a_kept_session_is_asked_for_and_told() -> None:
    store = IntakeStore()
    async with fake_broker() as broker:
        driver = make(broker)
        for number in range(2):
            async with running(driver, store):
                await until(lambda: len(store.events("link.up")) == number + 1)  # noqa: B023  # waited for here
        connects = [body for kind, body in broker.frames if kind == CONNECT]
        assert all(not body[7] & 0x02 for body in connects), "clean session is off"
        ups = [event.attributes["session_present"] for event in store.events("link.up")]
        assert ups == ["false", "true"]


async def test_what_could_not_be_stored_comes_again() -> None:
    store = IntakeStore()
    async with fake_broker() as broker:
        driver = make(broker)
        async with asyncio.TaskGroup() as group:
            failing = group.create_task(_fails(driver, store))
            await subscribed(broker)
            await until(lambda: store.events("link.up"))
            store.fail_next = 1
            broker.publish("site/a/welding", welding(1))
            said = await failing
        assert "not stored (the disk is full); the broker sends it again" in said
        assert broker.acknowledged == []
        async with running(driver, store):
            await until(lambda: broker.acknowledged == [1])
        assert len(store.durable_events("intake.welding")) == 1


async def _fails(driver: MqttIntake, store: IntakeStore) -> str:
    with pytest.raises(DeviceError) as caught:
        await driver.run(store.emit)
    return str(caught.value)


async def test_rubbish_is_told_acknowledged_and_blocks_nobody() -> None:
    store = IntakeStore()
    async with fake_broker() as broker, running(make(broker, max_message_kb=1), store):
        await subscribed(broker)
        broker.publish("site/a/welding", b"\xff\xfe rubbish")
        broker.publish("site/a/welding", b"x" * 2000)
        broker.publish("elsewhere", b"{}")
        rows = [json.loads(welding(1)), {"id": "w2", "time": "2026-05-01T00:00:00Z"}]
        broker.publish("site/a/welding", json.dumps(rows).encode())
        await until(lambda: broker.acknowledged == [1, 2, 3, 4])
        told = [str(e.attributes["reasons"]) for e in store.events("intake.rejected")]
        assert len(told) == 4
        for reason in ("is not UTF-8", "is larger than 1 KB", "no filter", "machine is missing"):
            assert any(reason in one for one in told), told
        assert [e.attributes["id"] for e in store.events("intake.welding")] == ["w1"]


async def test_samples_and_levels_of_the_topic() -> None:
    store = IntakeStore()
    async with fake_broker() as broker, running(make(broker), store):
        await subscribed(broker)
        row = {"id": "TI-101", "time": "2026-05-01T00:00:00Z", "value": 7, "quality": 0xD8}
        broker.publish("site/values", json.dumps([row, {**row, "id": "x"}]).encode())
        await until(lambda: broker.acknowledged == [1])
        assert store.last_value(1) == (7.0, 0x0096)
        (told,) = store.events("intake.rejected")
        assert "id is not in the point table" in str(told.attributes["reasons"])


async def test_qos_0_is_taken_and_warned_of() -> None:
    store = IntakeStore()
    async with fake_broker() as broker, running(make(broker), store):
        await subscribed(broker)
        broker.publish("site/a/welding", welding(1), qos=0)
        broker.publish("site/a/welding", welding(2), qos=0)
        await until(lambda: len(store.events("intake.welding")) == 2)
        assert broker.acknowledged == []
        assert len(store.events("device.warning")) == 1


@pytest.mark.parametrize("fault", ["cut", "rubbish", "frozen", "refused", "topic", "nobody"])
async def test_a_lost_broker_is_data_and_a_reason(
    fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = IntakeStore()
    async with fake_broker() as broker:
        driver = make(broker, **({"keep_alive_s": 1} if fault == "frozen" else {}))
        if fault == "refused":
            broker.refuse_code = 5
        if fault == "topic":
            broker.refuse_topic = "site/values"
        if fault == "nobody":
            await broker.stop()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_fails(driver, store))
            if fault in {"cut", "rubbish", "frozen"}:
                await until(lambda: store.events("link.up"))
            if fault == "cut":
                broker.cut()
            if fault == "rubbish":
                broker.send_raw(b"\xf0\x02ab" * 10)
            if fault == "frozen":
                broker.answers = False
        said = task.result()
        assert said.startswith("iot: ")
        expected = {
            "refused": "cannot be reached",
            "nobody": "cannot be reached",
            "topic": "refuses topic site/values",
        }.get(fault, "the broker is lost")
        assert expected in said
        assert store.last_value(1)[1] == store.last_value(2)[1] == Quality.BAD_NOT_CONNECTED
        assert [event.text for event in store.events("link.down")] == [f"{said}."]
    lines = [r.getMessage() for r in caplog.records if r.name == "intake_mqtt.iot"]
    assert len(lines) == driver.statistics()["not_mqtt"] == (fault == "rubbish")
    assert all("the broker sent what is not MQTT (command 240)" in line for line in lines)


async def test_a_forgotten_session_is_told() -> None:
    store = IntakeStore()
    async with fake_broker() as broker:
        driver = make(broker)
        for number in range(3):
            async with running(driver, store):
                await until(lambda: len(store.events("link.up")) == number + 1)  # noqa: B023  # waited for here
            if number == 1:
                broker.forget()
        assert len(store.events("mqtt.session_lost")) == 1


async def test_cancelled_while_connecting_leaves_nothing() -> None:
    async with fake_broker() as broker:
        broker.answers = False
        for wait_s in (0.0, 0.002, 0.05):
            store = IntakeStore()
            async with running(make(broker), store):
                await asyncio.sleep(wait_s)
            assert store.items == []


async def test_the_guard_stands_at_the_queue_of_frames() -> None:
    async with fake_broker() as broker:
        client = _Client(config(broker.port), None, None, logging.getLogger("intake_mqtt.iot"))
        async with client:
            for qos in (0, 1, 2):
                with pytest.raises(RefusedFrameError, match="only reads"):
                    await client.publish("a", b"x", qos=qos)
            with pytest.raises(RefusedFrameError, match="only reads"):
                await client.unsubscribe("a")
            for name in ("appendleft", "append"):
                with pytest.raises(RefusedFrameError):
                    getattr(client._client._out_packet, name)(
                        {"packet": b"\x30\0", "command": 0x30}
                    )
        await client.settle()
        assert broker.kinds() <= {CONNECT, 14}


def test_internals_of_the_libraries_are_what_we_use() -> None:
    for name in ("_on_connect", "_on_message", "_client_connect", "_wait_for"):
        assert callable(getattr(aiomqtt.Client, name))
    assert {"qos", "mid"} <= set(aiomqtt.Message("a", b"", 1, False, 1, None).__dict__)


async def test_frames_of_a_whole_life() -> None:
    store = IntakeStore()
    async with fake_broker() as broker, running(make(broker, keep_alive_s=1), store):
        await subscribed(broker)
        broker.publish("site/a/welding", welding(1))
        await until(lambda: 12 in broker.kinds())
        assert {CONNECT, SUBSCRIBE, PUBACK} <= broker.kinds()
