"""The uplink through real HTTP/2 proxies with mutual TLS: nginx and Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buffer.contract import Stream
from gateway.receiver.evidence import EvidenceFiles
from gateway.receiver.service import Receiver, Tls
from gateway.receiver.sqlite.store import SqliteStore
from gateway.runtime.clock import SystemClock
from gateway.uplink.outputs import SessionSettings
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.certificates import Authority, Pair
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.receiver.serving import serving
from tests.gateway.uplink.test_client import Destination, mutual, running
from tests.gateway.uplink.test_with_receiver import announced
from tests.peers.proxies import PROXY_NAME, Proxy, proxy, require
from tests.waiting import until

CALM = SessionSettings(heartbeat_ms=300, silence_ms=60_000, stall_ms=61_000)
"""No stall of the machine is taken for a lost link."""


@dataclass
class Province:
    """A proxy, the receiver behind it, and certificates for gateways."""

    proxy: Proxy
    authority: Authority

    def destination(self, pair: Pair) -> Destination:
        return mutual(self.proxy.target, self.authority.ca, pair)


@contextlib.asynccontextmanager
async def province(kind: str, folder: Path, trusted: str = PROXY_NAME) -> AsyncIterator[Province]:
    require(kind)  # before anything runs that a test left out would leave
    authority = Authority(folder)
    pair = authority.issue("receiver")
    tls = Tls(
        authority.ca.read_bytes(),
        pair.certificate.read_bytes(),
        pair.key.read_bytes(),
        frozenset({trusted}),
    )
    with contextlib.closing(SqliteStore.open(folder / "store")) as store:
        receiver = Receiver(store, EvidenceFiles(folder / "files"), SystemClock(), tls)
        async with serving(receiver) as port:
            with proxy(kind, folder / kind, authority, port) as before:
                yield Province(before, authority)


def full() -> SmallLog:
    log = SmallLog()
    announced(log)
    log.put(Stream.TELEMETRY, *payloads(200, size=900))
    return log


def left(log: SmallLog) -> int:
    return sum(log.unacknowledged("province", stream) for stream in Stream)


@pytest.mark.parametrize("kind", ["nginx", "envoy"])
async def test_everything_is_acknowledged_through_a_proxy(kind: str, tmp_path: Path) -> None:
    log = full()
    async with province(kind, tmp_path) as there:
        own = there.authority.issue_gateway("SD-1")
        async with running(there.destination(own), log, CALM) as gateway:
            await until(lambda: left(log) == 0)
            log.put(Stream.ALARM, wire.Alarm(source="a").SerializeToString())
            await until(lambda: left(log) == 0)
            assert gateway.kinds() == ["link.up"]


@pytest.mark.parametrize("kind", ["nginx", "envoy"])
async def test_another_id_than_the_forwarded_certificates_is_refused(
    kind: str, tmp_path: Path
) -> None:
    async with province(kind, tmp_path) as there:
        other = there.authority.issue_gateway("SD-2")
        async with running(there.destination(other), full(), CALM) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            assert "is for gateway SD-2, not for SD-1" in gateway.text("link.down")


async def test_a_proxy_that_is_not_named_is_not_believed(tmp_path: Path) -> None:
    async with province("nginx", tmp_path, trusted="another") as there:
        own = there.authority.issue_gateway("SD-1")
        async with running(there.destination(own), full(), CALM) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            assert "the client certificate names no gateway" in gateway.text("link.down")


@pytest.mark.parametrize("kind", ["nginx", "envoy"])
async def test_a_certificate_of_a_foreign_authority_is_not_retried_as_if_it_would_pass(
    kind: str, tmp_path: Path
) -> None:
    """A 400 of nginx, which gRPC shows as INTERNAL; an alert of Envoy, which gRPC loses."""
    foreign = Authority(tmp_path / "foreign", name="foreign").issue_gateway("SD-1")
    async with (
        province(kind, tmp_path) as there,
        running(there.destination(foreign), full(), CALM) as gateway,
    ):
        await until(lambda: gateway.uplink.statistics()["reconnects"] >= 6)
        for _ in range(5):  # those whose end was not clear try again, at most 2 s later
            before = gateway.uplink.statistics()["reconnects"]
            await asyncio.sleep(6)  # one that it took for a passing fault is tried within 5 s
            if gateway.uplink.statistics()["reconnects"] == before:
                break
        else:
            raise AssertionError("it does not wait half a minute or more")
        [(_, text, attributes)] = [event for event in gateway.events if event[0] == "link.down"]
        assert attributes["permanent"]
        assert "certificate" in text


async def test_envoys_faults_delay_and_abort_and_nothing_is_lost(tmp_path: Path) -> None:
    log = full()
    async with province("envoy", tmp_path) as there:
        await asyncio.to_thread(there.proxy.fault, abort_percent=100)
        own = there.authority.issue_gateway("SD-1")
        async with running(there.destination(own), log, CALM) as gateway:
            await until(lambda: "link.down" in gateway.kinds())
            assert "fault filter abort" in gateway.text("link.down")
            await asyncio.to_thread(there.proxy.fault, abort_percent=0, fixed_delay_percent=100)
            await until(lambda: left(log) == 0, 60)
            assert "link.up" in gateway.kinds()
