"""The driver against libmodbus behind stunnel, which asks for a client certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvloop

from drivers.contract import Quality
from tests.drivers.modbus.rig import Sink, holding, make, running
from tests.fakes.certificates import Authority, Pair
from tests.peers.libmodbus import UNIT, build, require, serve, tunnel

pytestmark = pytest.mark.peer


@pytest.fixture(scope="session")
def tls_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("gcc", "pkg-config", "stunnel4")
    return build(tmp_path_factory.mktemp("libmodbus-tls"))


class Site:
    """Port of stunnel and what a client needs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "ca")
        self.server = self.authority.issue("device")
        self.client: Pair = self.authority.issue("gateway")
        self.port = 0

    def keys(self, **keys: object) -> dict[str, object]:
        return {
            "transport": "tls", "unit": UNIT, "ca": self.authority.ca,
            "certificate": self.client.certificate, "key": self.client.key, **keys,
        }  # fmt: skip


@pytest.fixture
async def site(tls_binary: Path, tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    server = site.server
    async with (
        serve(tls_binary) as target,
        tunnel(tmp_path, target.port, server.certificate, server.key, site.authority.ca) as port,
    ):
        site.port = port
        yield site


async def test_values_come_through(site: Site) -> None:
    driver = make(site.port, holding(16, first=0x160), **site.keys())
    async with running(driver) as sink:
        await sink.until(lambda: "link.up" in sink.kinds())
        await sink.until(lambda: all(not quality for _, quality in sink.last().values()))
    assert sink.last()[3] == (float((0x4123 + 2 * 0x1357) & 0xFFFF), Quality.GOOD)


async def test_values_come_through_on_uvloop(site: Site) -> None:
    """Device and tunnel stay with this loop: uvloop may be closed before it has seen their end."""

    async def read() -> Sink:
        async with running(make(site.port, holding(16, first=0x160), **site.keys())) as sink:
            await sink.until(lambda: "link.up" in sink.kinds())
        return sink

    sink = await asyncio.to_thread(lambda: uvloop.run(read()))
    assert "link.up" in sink.kinds()


async def _first_error(site: Site, **keys: object) -> str:
    driver = make(site.port, holding(4, first=0x160), **site.keys(**keys))
    async with running(driver) as sink:
        await sink.until(lambda: bool(sink.errors))
    assert {quality for _, quality in sink.last().values()} <= {
        Quality.BAD_NOT_CONNECTED, Quality.BAD_COMM_FAILURE,
    }  # fmt: skip
    assert "link.up" not in sink.kinds()
    return str(sink.errors[0])


async def test_another_name_in_the_certificate_is_refused(site: Site) -> None:
    error = await _first_error(site, server_name="sis-2.plant")
    assert "the server's certificate is not accepted" in error
    assert "sis-2.plant" in error


async def test_another_authority_is_refused(site: Site) -> None:
    error = await _first_error(site, ca=Authority(site.folder / "other").ca)
    assert "the server's certificate is not accepted" in error


async def test_without_a_client_certificate_the_device_says_so(site: Site) -> None:
    error = await _first_error(site, certificate=None, key=None)
    assert "perhaps it does not accept our certificate" in error


async def test_a_client_certificate_of_another_authority_is_refused(site: Site) -> None:
    stranger = Authority(site.folder / "stranger").issue("gateway")
    error = await _first_error(site, certificate=stranger.certificate, key=stranger.key)
    assert "perhaps it does not accept our certificate" in error


async def test_a_device_without_tls_is_named(site: Site, tls_binary: Path) -> None:
    async with serve(tls_binary) as plain:
        site.port = plain.port
        error = await _first_error(site, timeout_ms=1000)
    assert "TLS" in error
