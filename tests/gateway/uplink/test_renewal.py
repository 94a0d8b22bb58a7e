"""A certificate renewed under load: used without losing a record; a bad one is not used."""

from __future__ import annotations

from pathlib import Path

from buffer.contract import Stream
from tests.fakes.certificates import Authority
from tests.fakes.receiver import FakeReceiver
from tests.fakes.small_log import SmallLog, payloads
from tests.gateway.uplink.test_client import all_there, mutual, running
from tests.waiting import until


async def test_a_renewed_certificate_is_used_and_nothing_is_lost(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own, server = authority.issue_gateway("SD-1"), authority.issue("receiver")
    new = authority.issue("new", uri="urn:plantgate:gateway:SD-1")
    log = SmallLog()
    async with FakeReceiver(authority=authority, pair=server) as receiver:
        destination = mutual(receiver.target, authority.ca, own)
        async with running(destination, log) as gateway:
            await until(lambda: "link.up" in gateway.kinds())
            log.put(Stream.TELEMETRY, *payloads(300, size=900))
            (old,) = receiver.certificates

            new.key.replace(own.key)  # now the key does not fit the certificate
            await until(lambda: "uplink.certificate_unusable" in gateway.kinds())
            assert gateway.uplink.health()[0], "goes on with the old one"

            log.put(Stream.TELEMETRY, *payloads(300, size=900, seed=1))
            new.certificate.replace(own.certificate)
            await until(lambda: len(receiver.certificates) == 2)
            log.put(Stream.ALARM, b"")
            await until(all_there(receiver, log))
            assert own.certificate.read_bytes() in receiver.certificates - {old}
            assert gateway.kinds().count("uplink.certificate_renewed") == 1


async def test_a_certificate_that_has_expired_is_told_and_hinders_nothing_else(
    tmp_path: Path,
) -> None:
    authority = Authority(tmp_path)
    server = authority.issue("receiver")
    own = authority.issue("old", uri="urn:plantgate:gateway:SD-1", ended=True)
    log = SmallLog()
    async with FakeReceiver(authority=authority, pair=server) as receiver:
        destination = mutual(receiver.target, authority.ca, own)
        async with running(destination, log) as gateway:
            await until(lambda: "uplink.certificate_expired" in gateway.kinds())
            await until(lambda: "link.down" in gateway.kinds())
            log.put(Stream.TELEMETRY, *payloads(30, size=90))
            assert not gateway.uplink.health()[0]
            assert not receiver.certificates
            assert gateway.kinds().count("uplink.certificate_expired") == 1
