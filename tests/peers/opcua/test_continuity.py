"""Nothing is lost between server and disk: cut links, our own end, restarts of the server."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import DeviceError
from drivers.opcua import DRIVER
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving
from tests.fakes.opcua_proxy import Proxy
from tests.waiting import until

pytestmark = pytest.mark.peer
NAMES = ["Double", "Int64", "UInt32"]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[NodeServer]:
    """A server for one test: node-opcua ends where the queue of a left subscription runs over."""
    install_node_opcua()
    with serving(tmp_path, period=50, anonymous=True, maxSessions=4) as peer:
        yield peer


def table() -> list[Any]:
    kinds = ["float", "int", "uint"]
    return points(*[(node(name), kind) for name, kind in zip(NAMES, kinds, strict=True)])


def received(emit: Collector, point: int) -> list[int]:
    """Source times in ms of the values of a point, in order of arrival; not our own bad ones."""
    return [s[2] // 10**6 for s in emit.samples(point) if s[1] != 0x808A]


def assert_complete(peer: NodeServer, emit: Collector) -> None:
    """Every value held between the first and the last received came, and came once."""
    held = peer.held()
    for place, name in enumerate(NAMES):
        came = received(emit, 100 + place)
        between = [ms for n, ms in held if n == name and min(came) <= ms <= max(came)]
        assert sorted(set(came)) == sorted(between), f"{name}: values missing"
        assert len(came) == len(set(came)), f"{name}: values twice"


def count(emit: Collector) -> int:
    return len(received(emit, 100))


@pytest.mark.parametrize("secure", [False, True])
async def test_a_cut_link_loses_nothing(own: NodeServer, secure: bool) -> None:
    emit = Collector()
    async with Proxy(own.endpoint) as proxy:
        make = own.config if secure else own.plain
        config = make(endpoint=proxy.endpoint, queue_size=500)
        driver = DRIVER.open("dcs", config, table(), SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: count(emit) > 10)
            await proxy.cut()
            await until(task.done)
            assert isinstance(task.exception(), DeviceError)
        await asyncio.sleep(1)  # values that only the server's queue holds
        await proxy.join()
        so_far = count(emit)
        async with running(driver, emit):
            await until(lambda: count(emit) > so_far + 40)
    assert_complete(own, emit)
    assert "opcua.gap" not in emit.kinds()
    assert driver.statistics()["resumed"] == 1


async def test_our_own_end_loses_nothing(own: NodeServer, tmp_path: Path) -> None:
    emit = Collector()
    config = own.plain(queue_size=500, state_dir=tmp_path)
    for turn in range(3):
        driver = DRIVER.open("dcs", config, table(), SystemClock())
        so_far = count(emit)
        async with running(driver, emit):
            await until(lambda so_far=so_far: count(emit) > so_far + 15)  # type: ignore[misc]  # mypy and defaults
        await asyncio.sleep(0.5)
        assert driver.statistics()["resumed"] == (turn > 0)
    assert_complete(own, emit)
    assert "opcua.gap" not in emit.kinds()


async def test_a_restarted_server_fills_the_gap_from_its_history(tmp_path: Path) -> None:
    install_node_opcua()
    emit = Collector()
    with serving(tmp_path, period=50, anonymous=True, history=True) as peer:
        driver = DRIVER.open("dcs", peer.plain(), table()[:1], SystemClock())
        async with Proxy(peer.endpoint) as proxy:
            config = peer.plain(endpoint=proxy.endpoint)
            driver = DRIVER.open("dcs", config, table()[:1], SystemClock())
            async with running(driver, emit) as task:
                await until(lambda: count(emit) > 10)
                await proxy.cut()
                await until(task.done)
            await asyncio.sleep(1)
            before = len(peer.held())
            peer.stop()
            peer.start(continueFrom=before)
            await proxy.join()
            async with running(driver, emit):
                await until(lambda: "opcua.backfill" in emit.kinds())
                so_far = count(emit)
                await until(lambda: count(emit) > so_far + 5)
        held = peer.held()
    came = received(emit, 100)
    between = [ms for n, ms in held if n == "Double" and min(came) <= ms <= max(came)]
    assert len(came) == len(set(came)), "values twice"
    assert sorted(came) == sorted(between), "values missing"
    backfill = next(event for event in emit.events if event.kind == "opcua.backfill")
    assert backfill.attributes["points"] == 1
    assert int(backfill.attributes["values"]) >= 15
    assert sum(len(batch) for batch in emit.batches if batch.is_history) == int(
        backfill.attributes["values"]
    ), "history is marked, and nothing else"
    assert "opcua.gap" not in emit.kinds()


async def test_history_of_more_than_a_page_is_read_to_its_end(tmp_path: Path) -> None:
    """The server gives 1,000 values an answer and a continuation point (OPC 10000-11, 6.4.2)."""
    install_node_opcua()
    emit = Collector()
    with serving(tmp_path, period=50, anonymous=True, history=True) as peer:
        config = peer.plain(state_dir=tmp_path / "state")
        driver = DRIVER.open("dcs", config, table()[:1], SystemClock())
        async with running(driver, emit):
            await until(lambda: count(emit) > 3)
        peer.stop()
        remembered = (tmp_path / "history.jsonl").read_text(encoding="utf-8").splitlines()
        last = max(json.loads(line)["ms"] for line in remembered)
        missing = [last + 1 + i for i in range(2500)]
        with (tmp_path / "history.jsonl").open("a", encoding="utf-8") as file:
            rows = [{"name": "Double", "value": str(ms), "ms": ms} for ms in missing]
            file.writelines(json.dumps(row) + "\n" for row in rows)
        while SystemClock().wall_ns() // 10**6 <= missing[-1]:  # the server's values come after  # noqa: ASYNC110  # the clock
            await asyncio.sleep(0.05)
        peer.start()
        driver = DRIVER.open("dcs", config, table()[:1], SystemClock())
        async with running(driver, emit):
            await until(lambda: "opcua.backfill" in emit.kinds())
    came = received(emit, 100)
    assert set(missing) <= set(came)
    assert len(came) == len(set(came)), "values twice"
    assert "opcua.gap" not in emit.kinds()


async def test_a_frozen_server_is_left_and_comes_back_complete(tmp_path: Path) -> None:
    """SIGSTOP: its sockets stay open, it says nothing; after SIGCONT all is there, once."""
    install_node_opcua()
    emit = Collector()
    with serving(tmp_path, period=50, anonymous=True) as peer:
        config = peer.plain(queue_size=500, timeout_ms=4000)
        driver = DRIVER.open("dcs", config, table(), SystemClock())
        async with running(driver, emit) as task:
            await until(lambda: count(emit) > 10)
            peer.signal(signal.SIGSTOP)
            await until(task.done)
            assert isinstance(task.exception(), DeviceError)
        assert "link.down" in emit.kinds()
        assert all(emit.samples(100 + i)[-1][1] == 0x808A for i in range(len(NAMES)))
        peer.signal(signal.SIGCONT)
        so_far = count(emit)
        async with running(driver, emit):
            await until(lambda: count(emit) > so_far + 20)
        assert_complete(peer, emit)


async def test_our_own_sudden_end_never_exhausts_the_sessions(
    own: NodeServer, tmp_path: Path
) -> None:
    """The server has four sessions; eight times the link breaks and a new process comes."""
    emit = Collector()
    async with Proxy(own.endpoint) as proxy:
        config = own.plain(endpoint=proxy.endpoint, queue_size=500, state_dir=tmp_path)
        for _ in range(8):
            driver = DRIVER.open("dcs", config, table(), SystemClock())
            so_far = count(emit)
            await proxy.join()
            async with running(driver, emit) as task:
                await until(lambda so_far=so_far: count(emit) > so_far)  # type: ignore[misc]  # mypy and defaults
                await proxy.cut()  # so that no CloseSession passes, as with kill -9
                await until(task.done)
    assert all("no more sessions" not in event.text for event in emit.events)


async def test_a_session_that_is_gone_hands_over_its_subscription(
    own: NodeServer, tmp_path: Path
) -> None:
    """TransferSubscriptions, then Republish: what the server held meanwhile comes, and once."""
    emit = Collector()
    config = own.plain(queue_size=500, state_dir=tmp_path)
    driver = DRIVER.open("dcs", config, table(), SystemClock())
    async with running(driver, emit):
        await until(lambda: count(emit) > 15, 60)
    kept = tmp_path / "dcs.session.json"
    content = json.loads(kept.read_text(encoding="utf-8"))
    token = bytes.fromhex(content["token"])
    content["token"] = (token[:-1] + bytes((token[-1] ^ 0xFF,))).hex()  # the server knows it not
    kept.write_text(json.dumps(content), encoding="utf-8")
    before = [s[0] for s in content["subscriptions"]]
    await asyncio.sleep(0.5)
    so_far = count(emit)
    driver = DRIVER.open("dcs", config, table(), SystemClock())
    async with running(driver, emit) as task:
        await until(lambda: task.done() or count(emit) > so_far + 15)
        assert not task.done()
    after = json.loads(kept.read_text(encoding="utf-8"))
    assert [s[0] for s in after["subscriptions"]] == before
    assert after["token"] not in (content["token"], token.hex())
    assert driver.statistics()["resumed"] == 1
    assert_complete(own, emit)
    assert "opcua.gap" not in emit.kinds()


async def test_a_queue_that_runs_over_at_the_server_is_told_as_a_gap(tmp_path: Path) -> None:
    install_node_opcua()
    emit = Collector()
    with serving(tmp_path, period=50, anonymous=True, items=1) as peer:
        config = peer.plain(queue_size=2, publish_ms=1000)
        driver = DRIVER.open("dcs", config, points((node("D0"), "float")), SystemClock())
        async with running(driver, emit):
            await until(lambda: "opcua.gap" in emit.kinds())
    told = next(event for event in emit.events if event.kind == "opcua.gap")
    assert told.attributes["cause"] == "queue_overflow"
    assert int(told.attributes["count"]) > 0
    assert "raise queue_size" in told.text
