"""The MQTT intake against mosquitto: TLS and login, restarts, and a kill before acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import DeviceError, DriverPoint
from drivers.intake.settings import ExternalAddress
from drivers.intake_mqtt.config import MqttIntakeConfig
from drivers.intake_mqtt.driver import MqttIntake
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.e2e.world import World, stop
from tests.fakes.certificates import Authority
from tests.fakes.intake_store import IntakeStore
from tests.peers import mosquitto
from tests.peers.mosquitto import USER, Mosquitto
from tests.waiting import LONGEST_S, until

pytestmark = pytest.mark.peer

ROOT = Path(__file__).parents[2]
TOPIC = "site/a/welding"
POINTS = [DriverPoint(1, "records", ExternalAddress(id="#records"), 2)]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with mosquitto.running(tmp_path) as broker:
        yield broker
    assert "Received PUBLISH from plantgate-1" not in broker.log_text(), "it published"


def entry(broker: Mosquitto, **keys: object) -> str:
    given = {
        "host": "127.0.0.1", "port": broker.port, "client_id": "plantgate-1", "user": USER,
        "password_file": str(broker.password_file), "ca": str(broker.authority.ca),
        "topics": {"site/+/welding": "welding"}, "connect_timeout_s": 60.0, "keep_alive_s": 60,
    }  # fmt: skip
    return json.dumps({**given, **keys})


def make(broker: Mosquitto, **keys: object) -> MqttIntake:
    config = MqttIntakeConfig.model_validate_json(entry(broker, **keys))
    return MqttIntake("iot", config, POINTS, SystemClock())


def welding(number: int) -> bytes:
    row = {"id": f"w{number}", "time": "2026-05-01T00:00:00Z", "machine": "M1", "on": True}
    return json.dumps(row).encode()


@contextlib.asynccontextmanager
async def running(driver: MqttIntake, store: IntakeStore) -> AsyncIterator[None]:
    before = len(store.events("link.up"))
    async with background(driver.run(store.emit)):
        await until(lambda: len(store.events("link.up")) > before)
        yield


def ids(store: IntakeStore) -> list[object]:
    return [event.attributes["id"] for event in store.events("intake.welding")]


async def test_records_over_tls_are_acknowledged_after_the_commit(broker: Mosquitto) -> None:
    store = IntakeStore(held=True)
    async with running(make(broker), store):
        await broker.publish(TOPIC, *[welding(number) for number in range(15)])
        await until(lambda: len(ids(store)) == 15)
        assert "Received PUBACK from plantgate-1" not in broker.log_text()
        store.release()
        await until(lambda: broker.log_text().count("Received PUBACK from plantgate-1") == 15)
        assert ids(store) == [f"w{number}" for number in range(15)]


async def test_what_is_published_while_we_are_down_and_the_broker_restarts_comes(
    broker: Mosquitto,
) -> None:
    store, driver = IntakeStore(), make(broker)
    async with running(driver, store):
        await broker.publish(TOPIC, welding(1))
        await until(lambda: ids(store) == ["w1"])
    await broker.publish(TOPIC, welding(2), welding(3))
    broker.stop()
    await broker.start()
    async with running(driver, store):
        await until(lambda: ids(store) == ["w1", "w2", "w3"])
    ups = [event.attributes["session_present"] for event in store.events("link.up")]
    assert ups == ["false", "true"]


async def test_a_broker_that_restarts_under_us_is_a_lost_link_and_loses_nothing(
    broker: Mosquitto,
) -> None:
    store, driver = IntakeStore(), make(broker)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_lost(driver, store))
        await until(lambda: store.events("link.up"))
        broker.stop()
        assert "the broker is lost" in await task
    await broker.start()
    await broker.publish(TOPIC, welding(1))
    async with running(driver, store):
        await until(lambda: ids(store) == ["w1"])


async def _lost(driver: MqttIntake, store: IntakeStore) -> str:
    with pytest.raises(DeviceError) as caught:
        await driver.run(store.emit)
    return str(caught.value)


async def test_killed_before_the_acknowledgement_the_broker_sends_it_again(
    broker: Mosquitto,
) -> None:
    command = [sys.executable, "-m", "tests.peers.mqtt_intake", entry(broker)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        await broker.logged("Received SUBSCRIBE from plantgate-1")
        await broker.publish(TOPIC, welding(1), welding(2))
        async with asyncio.timeout(LONGEST_S):
            taken = [await process.stdout.readline() for _ in range(2)]
        assert taken == [b"taken w1\n", b"taken w2\n"]
    finally:
        process.kill()
        await process.wait()
    store = IntakeStore()
    async with running(make(broker), store):
        await until(lambda: ids(store) == ["w1", "w2"])
        await until(lambda: broker.log_text().count("Received PUBACK from plantgate-1") == 2)
    again = IntakeStore()
    async with running(make(broker), again):
        await broker.publish(TOPIC, welding(3))
        await until(lambda: ids(again) == ["w3"])


async def test_a_wrong_password_and_a_strange_broker_are_named(
    broker: Mosquitto, tmp_path: Path
) -> None:
    (tmp_path / "wrong").write_text("wrong\n", encoding="utf-8")
    said = await _lost(make(broker, password_file=str(tmp_path / "wrong")), IntakeStore())
    assert "cannot be reached" in said
    assert "uthori" in said
    stranger = await _lost(make(broker, ca=str(_other_authority(tmp_path))), IntakeStore())
    assert "certificate verify failed" in stranger.lower().replace("_", " ")


async def test_a_gateway_killed_again_and_again_loses_no_message(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """Every message published is at the receiver; one that is there twice says the same twice."""
    with World(tmp_path / "world") as world:
        (world.folder / "points.csv").write_text("name,id\nrecords,#records\n", encoding="utf-8")
        world.write_site(
            f"""
[[device]]
name = "iot"
driver = "intake_mqtt"
host = "127.0.0.1"
port = {broker.port}
client_id = "plantgate-1"
user = "{USER}"
password_file = "{broker.password_file}"
ca = "{broker.authority.ca}"
connect_timeout_s = 60
points = "points.csv"
topics = {{"site/+/welding" = "welding"}}
"""
        )
        world.start_receiver()
        gateway = world.start_gateway()
        wanted = 0
        for kills in range(3):
            await broker.logged("Received SUBSCRIBE from plantgate-1", kills + 1)
            async with broker.site_system() as publish:
                for _ in range(40):
                    await publish(TOPIC, welding(wanted))
                    wanted += 1
                    if wanted % 40 == 20 + 7 * kills:
                        await asyncio.to_thread(stop, gateway, signal.SIGKILL)
            gateway = world.start_gateway()
        ids = {f"w{number}" for number in range(wanted)}
        await until(lambda: {key[0] for key in _received(world)} == ids, limit_s=120)
        assert len(set(_received(world))) == wanted, "twice means the same id and content"
        assert await asyncio.to_thread(stop, gateway) == 0


def _received(world: World) -> list[tuple[str, str]]:
    """(id, content_sha256) of every welding record at the receiver."""
    result = world.plantgate("query", "--store", str(world.store), "--events", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    said = [event["attributes"] for event in events if event["kind"] == "intake.welding"]
    return [(one["id"], one["content_sha256"]) for one in said]


def _other_authority(folder: Path) -> Path:
    return Authority(folder / "other", "other").ca
