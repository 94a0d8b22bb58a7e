"""Trust on both sides, against node-opcua: authorities, revocation, users by certificate."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drivers.contract import DeviceError
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.inspect import probe
from drivers.opcua.trust import load_certificate, thumbprint
from gateway.cli.cert import command as cert
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_certificates import UNTIL, make_application, make_authority
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_node import NodeServer, install_node_opcua, node, serving
from tests.waiting import until

POLICIES = ["Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeServer]:
    """A server whose certificate an authority has issued, which `folder/trust` holds."""
    install_node_opcua()
    folder = tmp_path_factory.mktemp("trust")
    authority = make_authority(folder / "trust", "plant-ca")
    user = make_application(folder, "user")
    arguments = ["opcua", str(folder / "made"), "--uri", "urn:plant1:plantgate:gateway"]
    made = CliRunner().invoke(cert, arguments)
    assert made.exit_code == 0, made.output
    trusted = folder / "pki" / "trusted" / "certs"
    trusted.mkdir(parents=True)
    for certificate in (user.certificate, folder / "made" / "opcua.der"):
        shutil.copy(certificate, trusted)
    with serving(folder, authority=authority, anonymous=True) as peer:
        yield peer


async def first_value(config: OpcUaConfig) -> float:
    emit = Collector()
    driver = DRIVER.open("dcs", config, points((node("Double"), "float")), SystemClock())
    async with running(driver, emit) as task:
        await until(lambda: task.done() or bool(emit.samples(100)))
        if task.done():
            await task
    return float(emit.samples(100)[0][0])


def by_authority(peer: NodeServer, **more: Any) -> OpcUaConfig:
    keys = {"server_certificate": None, "trust": peer.folder / "trust"}
    keys |= {"user": None, "password_file": None}
    return peer.config(**(keys | more))


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_server_that_an_authority_has_issued_and_a_user_by_certificate(
    shared: NodeServer, policy: str
) -> None:
    files = {"user_certificate": shared.folder / "user.der", "user_key": shared.folder / "user.pem"}
    await first_value(by_authority(shared, security=policy))
    await first_value(by_authority(shared, security=policy, **files))


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_certificate_made_by_our_command_is_taken(shared: NodeServer, policy: str) -> None:
    made = shared.folder / "made"
    ours = {"certificate": made / "opcua.der", "key": made / "opcua.key"}
    await first_value(by_authority(shared, security=policy, **ours))


class Later(SystemClock):
    """Ten days before the certificates of these tests end."""

    def wall_ns(self) -> int:
        return super().wall_ns() + AHEAD_NS


AHEAD_NS = int((UNTIL - dt.timedelta(days=10)).timestamp()) * 10**9 - SystemClock().wall_ns()


async def test_certificates_that_end_soon_are_told_once_while_values_come(
    shared: NodeServer,
) -> None:
    emit = Collector()
    table = points((node("Double"), "float"))
    driver = DRIVER.open("dcs", by_authority(shared), table, Later())
    async with running(driver, emit) as task:
        await until(lambda: task.done() or bool(emit.samples(100)))
        if task.done():
            await task
        days = driver.statistics()["certificate_days"]
    told = [one for one in emit.events if one.kind == "device.certificate"]
    assert [one.attributes["whose"] for one in told] == ["our", "the server's"]
    assert {one.attributes["until"] for one in told} == {f"{UNTIL:%Y-%m-%d}"}
    assert 9 < days <= 10


async def test_a_user_whom_the_server_does_not_know(shared: NodeServer, tmp_path: Path) -> None:
    stranger = make_application(tmp_path, "stranger")
    files = {"user_certificate": stranger.certificate, "user_key": stranger.key}
    with pytest.raises(DeviceError, match=r"refused the user's certificate .*stranger.der"):
        await first_value(by_authority(shared, **files))


async def test_a_revoked_server_gets_nothing(shared: NodeServer, tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "trust", "plant-ca")
    with serving(tmp_path, authority=authority, anonymous=True) as peer:
        await first_value(by_authority(peer))
        authority.revoke(tmp_path / "trust" / "plant.crl", peer.server)
        with pytest.raises(DeviceError, match=r"was revoked by CN=plant-ca"):
            await first_value(by_authority(peer))


async def test_a_server_of_another_authority_is_refused_by_name(
    shared: NodeServer, tmp_path: Path
) -> None:
    make_authority(tmp_path / "trust", "other-ca")
    with pytest.raises(DeviceError, match="its issuer CN=plant-ca is not trusted either"):
        await first_value(by_authority(shared, trust=tmp_path / "trust"))


async def test_a_probe_names_the_certificate_of_a_chain_and_its_issuer(shared: NodeServer) -> None:
    seen = await probe(shared.plain(), SystemClock().wall_ns())
    ours = thumbprint(load_certificate(shared.server.certificate))
    assert {one.thumbprint for one in seen.endpoints} == {ours}
    assert {one.subject for one in seen.endpoints} == {"CN=server, issued by CN=plant-ca"}
