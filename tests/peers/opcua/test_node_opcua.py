"""The driver against node-opcua: encrypted, with user and password, value by value."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from gateway.runtime.clock import SystemClock
from tests.background import background, until_lost
from tests.fakes.opcua_certificates import make_application
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_node import NodeServer, install_node_opcua, serving
from tests.waiting import until

POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
TYPES = {
    "Double": "float", "Float": "float", "Int16": "int", "UInt32": "uint", "Int64": "int",
    "UInt64": "uint", "Boolean": "bool", "String": "text",
}  # fmt: skip

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeServer]:
    """One server for all tests that neither stop it nor change its nodes or what it trusts."""
    install_node_opcua()
    with serving(tmp_path_factory.mktemp("shared"), period=50) as peer:
        yield peer


def table() -> list[Any]:
    return points(*[(f"nsu=urn:plantgate:peer;s={name}", kind) for name, kind in TYPES.items()])


def as_text(name: str, value: Any) -> str:
    """A received value as the server wrote it into its own log."""
    if name == "Boolean":
        return "true" if value else "false"
    if name in ("Double", "Float"):
        return str(int(value)) if value == int(value) else str(value)
    return str(value)


@pytest.mark.parametrize("policy", POLICIES)
async def test_every_value_received_is_a_value_held(shared: NodeServer, policy: str) -> None:
    emit = Collector()
    driver = DRIVER.open("dcs", shared.config(security=policy), table(), SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: len(emit.samples(107)) >= 25)
    held = shared.held()
    for place, name in enumerate(TYPES):
        samples = emit.samples(100 + place)
        assert len(samples) >= 25
        seen = []
        for value, quality, time_ns in samples:
            text, status = held[name, time_ns // 10**6]
            assert quality == status >> 16
            if not quality & 0x8000:
                assert as_text(name, value) == text
            seen.append(time_ns // 10**6)
        assert seen == sorted(seen)
        all_held = sorted(ms for (held_name, ms) in held if held_name == name)
        between = [ms for ms in all_held if seen[0] <= ms <= seen[-1]]
        assert seen == between, f"{name}: values missing between the first and the last received"


async def test_wrong_password(shared: NodeServer, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong", encoding="utf-8")
    wrong = shared.config(password_file=tmp_path / "password")
    driver = DRIVER.open("dcs", wrong, table(), SystemClock())
    with pytest.raises(DeviceError, match="refused user and password"):
        await driver.run(Collector())


async def test_untrusted_client_certificate(shared: NodeServer, tmp_path: Path) -> None:
    emit = Collector()
    unknown = make_application(tmp_path, "client2")
    ours = shared.config(certificate=unknown.certificate, key=unknown.key)
    driver = DRIVER.open("dcs", ours, table(), SystemClock())
    with pytest.raises(DeviceError, match=r"does not trust our certificate yet: put .*client2"):
        await driver.run(emit)
    assert [s[1] for s in emit.samples(100)] == [Quality.BAD_NOT_CONNECTED]


async def test_a_server_we_do_not_trust_gets_no_password(
    shared: NodeServer, tmp_path: Path
) -> None:
    other = make_application(tmp_path, "other")
    strange = shared.config(server_certificate=other.certificate)
    driver = DRIVER.open("dcs", strange, table(), SystemClock())
    with pytest.raises(DeviceError, match=r"not trusted: SHA-256 [0-9a-f]{64}, subject CN=ser"):
        await driver.run(Collector())


async def test_all_items_come_back_after_a_restart_and_a_bad_node_stops_nothing(
    tmp_path: Path,
) -> None:
    items = 250  # above the server's 100 per call
    nodes = [(f"nsu=urn:plantgate:peer;s=D{i}", "float") for i in range(items)]
    rows = points(*nodes, ("nsu=urn:plantgate:peer;s=NoSuch", "float"))
    install_node_opcua()
    with serving(tmp_path, items=items) as peer:
        emit = Collector()
        driver = DRIVER.open("dcs", peer.config(), rows, SystemClock())

        def back() -> bool:
            return all(emit.samples(100 + i)[-1:][0][1] == 0 for i in range(items))

        async with background(until_lost(driver, emit)) as lost:
            await until(
                lambda: lost.done() or len({int(p) for b in emit.batches for p in b.points}) > items
            )
            assert not lost.done(), f"{lost.result()}; {peer.words()}"
            assert emit.samples(100 + items)[0][1] == Quality.BAD_ILLEGAL_ADDRESS
            peer.stop()
            await until(lost.done)
            assert isinstance(lost.result(), DeviceError)
        assert all(
            emit.samples(100 + i)[-1][1] == Quality.BAD_NOT_CONNECTED for i in range(items + 1)
        )
        peer.start()
        async with background(driver.run(emit)):
            await until(back)
            await until(lambda: "opcua.gap" in emit.kinds())
        assert emit.samples(100 + items)[-1][1] == Quality.BAD_ILLEGAL_ADDRESS


async def test_a_node_that_vanishes_and_returns_is_watched_again(tmp_path: Path) -> None:
    rows = points(*[(f"nsu=urn:plantgate:peer;s=D{i}", "float") for i in range(2)])
    emit = Collector()
    install_node_opcua()
    with serving(tmp_path, period=50, items=2) as peer:
        driver = DRIVER.open("dcs", peer.config(retry_s=1), rows, SystemClock())
        async with background(driver.run(emit)):
            await until(lambda: len(emit.samples(100)) > 1 and len(emit.samples(101)) > 1)
            peer.signal(signal.SIGUSR2)
            await until(lambda: emit.samples(100)[-1][1] in (0x8033, 0x8034))
            peer.signal(signal.SIGUSR2)
            await until(lambda: emit.samples(100)[-1][1] == 0)
            count = len(emit.samples(100))
            await until(lambda: len(emit.samples(100)) > count + 5)
    times = [sample[2] for sample in emit.samples(100) if sample[1] == 0]
    assert len(times) == len(set(times)), "a value came twice"
    assert {sample[1] for sample in emit.samples(101)} == {0}
