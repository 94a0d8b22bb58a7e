"""What leaves over an encrypted channel, as node-opcua has decrypted it: nothing that could write.

Our own judge (tests/conformance) reads the wire, which it can only without encryption. Here the
server writes down every request it has understood, while its answers are spoilt on their way, so
that the driver reconnects, resumes, republishes and asks for alarms and history.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from drivers.contract import DeviceError
from drivers.opcua import DRIVER
from gateway.runtime.clock import SystemClock
from tests.conformance.judge import OPCUA
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_node import install_node_opcua, node, serving
from tests.fakes.wiretap import Spoiler, Wiretap
from tests.waiting import until

pytestmark = pytest.mark.peer

ALLOWED = {f"{service}Request" for service in OPCUA.values()}
CALL = "CallRequest ns=0;i=2782 ns=0;i=3875"  # ConditionType, ConditionRefresh
_CLEAR = {b"HEL", b"OPN", b"MSG", b"CLO"}


async def _supervise(driver: object) -> None:
    while True:
        try:
            await driver.run(Collector())  # type: ignore[attr-defined]  # a Driver
        except DeviceError:
            await asyncio.sleep(0.02)


def frames(stream: bytes) -> list[bytes]:
    """Kinds of the chunks in a stream, the last one whole."""
    kinds, at = [], 0
    while at + 8 <= len(stream):
        kinds.append(stream[at : at + 3])
        at += max(8, int.from_bytes(stream[at + 4 : at + 8], "little"))
    return kinds


def requests(folder: Path) -> list[str]:
    """What the server has told of so far, whole lines."""
    path = folder / "requests.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.rpartition("\n")[0].splitlines()


async def test_an_encrypted_channel_carries_only_what_reads(tmp_path: Path) -> None:
    install_node_opcua()
    spoil = Spoiler(5, share=0.3, spare=10**9)
    table = points(*[(node(f"D{i}"), "float") for i in range(5)], (node("NoSuch"), "float"))
    with serving(tmp_path, items=5, alarm=True, history=True, requests=True) as peer:
        port = int(peer.endpoint.split(":")[2].split("/")[0])
        async with Wiretap(port, spoil) as tap:
            through = peer.config(
                endpoint=peer.endpoint.replace(f":{port}", f":{tap.port}"),
                alarms=True, retry_s=1, timeout_ms=1500, state_dir=tmp_path / "state",
            )  # fmt: skip
            driver = DRIVER.open("dcs", through, table, SystemClock())
            task = asyncio.get_running_loop().create_task(_supervise(driver))
            try:
                await until(lambda: task.done() or CALL in requests(tmp_path))
                spoil.spare = spoil.seen  # from here on
                await until(lambda: task.done() or spoil.spoilt >= 3, limit_s=90)
                assert not task.done()
            finally:
                task.cancel()
                await asyncio.wait([task])
            sent = [bytes(stream) for stream in tap.sent]
    told = requests(tmp_path)
    assert {line for line in told if not line.startswith("CallRequest")} <= ALLOWED
    assert {line for line in told if line.startswith("CallRequest")} == {CALL}
    assert {"CreateMonitoredItemsRequest", "PublishRequest", "ReadRequest"} <= set(told)
    kinds = [kind for stream in sent for kind in frames(stream)]
    assert set(kinds) <= _CLEAR
    # nothing passed the server by: it has told of the chunks, but of those cut with a link
    assert len(told) >= 0.5 * sum(kind == b"MSG" for kind in kinds)
