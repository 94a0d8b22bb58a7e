"""A redundant set of two node-opcua servers: another takes over with nothing lost or doubled.

Both hold the same values with the same source times and keep a history, as the servers of a set do.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from drivers.opcua import DRIVER
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.opcua_collector import Collector, points
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving
from tests.waiting import until

pytestmark = pytest.mark.peer

PERIOD_MS = 200
"""Of changes that come close upon each other, because the server was held up, node-opcua tells some
alone or not at all, to every client; on a busy machine that happened at 50 ms."""


@contextmanager
def redundant(folder: Path) -> Iterator[tuple[NodeServer, NodeServer]]:
    install_node_opcua()
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                serving(folder / name, period=PERIOD_MS, anonymous=True, history=True,
                        aligned=True, serviceLevel=255)
            )
            for name in ("first", "second")
        )  # fmt: skip
        yield first, second


def kill(server: NodeServer) -> None:
    server.stop()


def freeze(server: NodeServer) -> None:
    server.signal(signal.SIGSTOP)


def lower(server: NodeServer) -> None:
    server.signal(signal.SIGHUP)


def times_ms(emit: Collector) -> list[int]:
    return [time_ns // 10**6 for _, _, time_ns in emit.samples(100)]


@pytest.mark.parametrize("harm", [kill, freeze, lower])
async def test_the_other_takes_over_without_a_gap_and_without_a_value_twice(
    tmp_path: Path, harm: Callable[[NodeServer], None]
) -> None:
    emit = Collector()
    with redundant(tmp_path) as (first, second):
        patience = {"timeout_ms": 4000} if harm is freeze else {}
        both = [first.endpoint, second.endpoint]
        config = first.plain(endpoint="", endpoints=both, **patience)
        driver = DRIVER.open("dcs", config, points((node("Double"), "float")), SystemClock())
        async with background(driver.run(emit)):
            await until(lambda: len(emit.samples(100)) > 15)
            harm(first)
            await until(lambda: "opcua.failover" in emit.kinds())
            await until(lambda: "opcua.backfill" in emit.kinds())
            count = len(emit.samples(100))
            await until(lambda: len(emit.samples(100)) > count + 15)
        if harm is freeze:
            first.signal(signal.SIGCONT)
    came = times_ms(emit)
    assert len(came) == len(set(came)), "a value came twice"
    assert sorted(came) == list(range(min(came), max(came) + 1, PERIOD_MS)), "values are missing"
    assert {quality for _, quality, _ in emit.samples(100)} <= {0, 0x4090, 0x808C}
    assert "link.down" not in emit.kinds()
    assert "opcua.gap" not in emit.kinds()
    assert driver.statistics()["failovers"] == 1
