"""The driver against a real server (asyncua's) on loopback."""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_server import NAMESPACE, OpcUaServer
from tests.waiting import until

ROOT = Path(__file__).parents[3]
GOOD, LOST = int(Quality.GOOD), int(Quality.BAD_NOT_CONNECTED)


def config(endpoint: str, **more: Any) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoint": endpoint, "security": "None", "insecure": True, "publish_ms": 100}
        | {"timeout_ms": 15_000}
        | more
    )


def node(name: str) -> str:
    return OpcUaServer.node(name)


async def test_values_of_every_type_arrive_with_quality_and_source_time() -> None:
    table = points(
        (node("D1"), "float"), (node("Int"), "int"), (node("UInt"), "uint"),
        (node("Text"), "text"), (node("Bool"), "bool"), (node("Short"), "float"),
        (node("Array"), "float"),
    )  # fmt: skip
    emit = Collector()
    async with OpcUaServer(3) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: all(emit.samples(100 + i) for i in range(len(table))))
            for i in range(20):
                await server.set("D1", i / 3, source_ns=1_700_000_000_000_000_000 + i * 10**6)
                await asyncio.sleep(0.03)
            await until(lambda: emit.samples(100)[-1][2] == 1_700_000_000_019_000_000)
            await server.set("D1", 7.5, status=0x4090_0000)
            await until(lambda: emit.samples(100)[-1][1] == 0x4090)
    assert emit.samples(101)[0][0] == -(2**62) - 1
    assert emit.samples(102)[0][0] == 2**64 - 1
    assert emit.samples(103)[0][0] == "液位正常"
    assert emit.samples(104)[0][:2] == (1.0, GOOD)
    assert emit.samples(105)[0][:2] == (-7.0, GOOD)
    assert emit.samples(106)[0][1] == Quality.BAD_CONFIG_ERROR
    timed = {s[2]: s[0] for s in emit.samples(100) if s[2] < 1_700_000_001_000_000_000}
    for time_ns, value in timed.items():
        assert value == (time_ns - 1_700_000_000_000_000_000) // 10**6 / 3
    assert 1_700_000_000_019_000_000 in timed
    assert emit.samples(100)[-1][:2] == (7.5, 0x4090)
    assert [b.sequence for b in emit.batches] == list(range(len(emit.batches)))
    assert emit.kinds()[0] == "link.up"
    assert "device.config_error" in emit.kinds()


async def test_one_batch_per_kind_and_the_same_points_object_when_a_set_repeats() -> None:
    table = points(*[(node(f"D{i}"), "float") for i in range(50)])
    emit = Collector()
    async with OpcUaServer(50) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: len(emit.samples(149)) == 1)
            for turn in range(1, 4):
                for i in range(50):
                    await server.set(f"D{i}", 1000.0 * turn + i)
                await until(partial(_counted, emit, turn))
    full = [batch for batch in emit.batches if len(batch) == 50]
    assert len({id(batch.points) for batch in full}) == 1


async def test_a_refused_item_is_bad_and_stops_nothing() -> None:
    table = points(
        (node("D0"), "float"), (node("NoSuch"), "float"), ("nsu=urn:nowhere;s=X", "int"),
        (node("D1"), "float"), ("i=999999", "text"),
    )  # fmt: skip
    emit = Collector()
    async with OpcUaServer(2) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: all(emit.samples(100 + i) for i in range(5)))
    for point in (101, 102, 104):
        assert [s[1] for s in emit.samples(point)] == [Quality.BAD_ILLEGAL_ADDRESS]
    assert emit.samples(100)[0][:2] == (0.0, GOOD)
    assert emit.samples(103)[0][:2] == (1.0, GOOD)
    assert emit.kinds().count("device.illegal_address") == 1
    assert driver.statistics()["refused"] == 3


async def test_after_a_restart_all_values_come_back_and_the_gap_is_told() -> None:
    table = points((node("D0"), "float"), (node("Text"), "text"))
    emit = Collector()
    async with OpcUaServer(1) as server:
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: bool(emit.samples(101)))
            await server.stop()
            await asyncio.wait([task])
            assert isinstance(task.exception(), DeviceError)
        assert emit.samples(100)[-1][1] == LOST
        assert emit.samples(101)[-1][:2] == ("", LOST)
        assert np.isnan(emit.samples(100)[-1][0])
        count = len(emit.batches)
        for _ in range(2):  # nobody there: said, but no second row of bad values
            with pytest.raises(DeviceError, match="nobody listens"):
                await driver.run(emit)
        assert len(emit.batches) == count
        assert emit.kinds()[-2:] == ["link.down", "link.down"]
        await server.start()
        async with running(driver, emit):
            await until(lambda: emit.samples(100)[-1][1] == GOOD)
            await until(lambda: emit.samples(101)[-1][1] == GOOD)
            await until(lambda: emit.kinds()[-1] == "opcua.gap")
    assert emit.kinds()[-2:] == ["link.up", "opcua.gap"]
    gap = emit.events[-1]
    assert gap.attributes["cause"] == "link lost"
    assert driver.statistics()["reconnects"] == 1


async def test_a_frozen_server_is_found_and_left() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.opcua_server", "--port", "0", "--items", "3",
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        endpoint = (await process.stdout.readline()).decode().strip()
        emit = Collector()
        driver = DRIVER.open(
            "dcs", config(endpoint, timeout_ms=1500), points((node("D0"), "float")), SystemClock()
        )
        async with running(driver, emit) as task:
            await until(lambda: len(emit.samples(100)) > 1)
            process.send_signal(signal.SIGSTOP)
            await asyncio.wait([task], timeout=120)
            assert task.done()
            assert isinstance(task.exception(), DeviceError)
            assert "no answer" in str(task.exception())
            assert driver.statistics()["timeouts"] >= 1
        assert emit.samples(100)[-1][1] == LOST
    finally:
        process.kill()
        await process.wait()


async def test_wrong_password_is_said_clearly(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong\n", encoding="utf-8")
    emit = Collector()
    async with OpcUaServer(1, users={"reader": "right"}) as server:
        good = config(server.endpoint, user="reader", password_file=secret)
        driver = DRIVER.open("dcs", good, points((node("D0"), "float")), SystemClock())
        with pytest.raises(DeviceError, match="refused user and password"):
            await driver.run(emit)
        assert "link.down" in emit.kinds()
        secret.write_text("right\n", encoding="utf-8")
        async with running(driver, emit):
            await until(lambda: emit.samples(100)[-1][1] == GOOD)


async def test_nothing_is_acknowledged_before_it_is_stored() -> None:
    emit = Collector()
    emit.commit_at_once = False
    table = points((node("D0"), "float"))
    async with OpcUaServer(1) as server:
        driver: Any = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            for i in range(1, 5):
                await server.set("D0", float(i * 10))
                await until(partial(_came, emit, i * 10.0))
            held = server.held()
            assert len(held) >= 4
            for receipt in emit.pending:
                receipt.set_result(None)
            emit.commit_at_once = True
            await server.set("D0", 99.0)
            await until(lambda: len(server.held()) <= 1)


def _came(emit: Collector, value: float) -> bool:
    return [sample[0] for sample in emit.samples(100)][-1:] == [value]


def _counted(emit: Collector, turn: int) -> bool:
    return len(emit.samples(149)) > turn


async def test_a_bare_index_is_accepted_with_a_warning() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        table = points(("ns=2;s=D0", "float"))
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: bool(emit.samples(100)))
    assert emit.samples(100)[0][:2] == (0.0, GOOD)
    assert "device.warning" in emit.kinds()


async def test_items_are_created_in_chunks() -> None:
    emit = Collector()
    table = points(*[(node(f"D{i}"), "float") for i in range(25)])
    async with OpcUaServer(25) as server:
        driver = DRIVER.open("dcs", config(server.endpoint, items_per_call=4), table, SystemClock())
        async with running(driver, emit):
            await until(lambda: all(emit.samples(100 + i) for i in range(25)))
    assert [emit.samples(100 + i)[0][0] for i in range(25)] == [float(i) for i in range(25)]
    assert NAMESPACE in table[0].address.node


@pytest.mark.parametrize("keep", [True, False])
async def test_a_lost_notification_is_asked_for_again_or_told_as_a_gap(keep: bool) -> None:
    emit = Collector()
    async with OpcUaServer(2) as server:
        # publishing is slow, so that `lose` comes before the server's own turn
        slow = config(server.endpoint, publish_ms=700)
        table = points((node("D0"), "float"), (node("D1"), "float"))
        driver = DRIVER.open("dcs", slow, table, SystemClock())
        async with running(driver, emit):
            await until(lambda: bool(emit.samples(100)) and bool(emit.samples(101)))
            await server.set("D0", 11.0)
            await server.lose(keep=keep)
            await server.set("D0", 22.0)
            await until(lambda: [s[0] for s in emit.samples(100)][-1:] == [22.0])
            if not keep:
                await server.set("D1", 33.0)  # else the driver waits to see where D1 begins again
                await until(lambda: "opcua.gap" in emit.kinds())
    values = [sample[0] for sample in emit.samples(100)]
    if keep:
        assert values[-2:] == [11.0, 22.0]
        assert driver.statistics()["republished"] == 1
        assert "opcua.gap" not in emit.kinds()
    else:
        assert 11.0 not in values
        gaps = [event for event in emit.events if event.kind == "opcua.gap"]
        assert [gap.attributes["count"] for gap in gaps] == [1]
        assert driver.statistics()["gaps"] == 1


async def test_cancelling_closes_the_session_at_the_server() -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        table = points((node("D0"), "float"))
        driver = DRIVER.open("dcs", config(server.endpoint), table, SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: bool(emit.samples(100)))
            assert server.subscriptions() == 1
        assert task.cancelled()
        await until(lambda: server.subscriptions() == 0)
    assert [sample[1] for sample in emit.samples(100)] == [GOOD]
    assert "link.down" not in emit.kinds()


async def test_importing_the_driver_imports_no_library() -> None:
    code = (
        "import sys, drivers.opcua as d; assert d.DRIVER;"
        "sys.exit(any(m in sys.modules for m in ('asyncua', 'cryptography')))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT)
    assert await process.wait() == 0
