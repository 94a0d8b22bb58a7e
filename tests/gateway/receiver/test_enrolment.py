"""Who may speak, over the real wire, and what a mistake in the list says."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from buffer.contract import Stream
from gateway.receiver import exchange
from gateway.receiver.enrolment import EnrolmentError, read_enrolment
from gateway.receiver.gate import Gate
from gateway.receiver.quota import Quota
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain, WireGateway
from tests.gateway.receiver.test_service import alarm, demo_tls

if TYPE_CHECKING:
    from tests.gateway.receiver.conftest import RunReceiver

LIST = """\ufeffgateway,enterprise,certificate_sha256,bytes_per_s,bytes_per_day,records_per_s
G-1,91370800TEST,,1000,,
,,,,,
G-7,,{fingerprint},,,5
"""


def test_a_list_is_read_with_defaults_for_what_is_empty() -> None:
    found = read_enrolment(LIST.format(fingerprint="AB:" * 31 + "AB"), Quota(7, 8, 9)).gateways
    assert found["G-1"].quota == Quota(1000, 8, 9)
    assert found["G-7"].quota == Quota(7, 8, 5)
    assert found["G-7"].certificate_sha256 == "ab" * 32


def test_all_mistakes_are_said_at_once() -> None:
    text = "gateway,certificate_sha256,bytes_per_s\nG-1,xyz,\nG-2,,many\n,,5\nG-3,,\nG-3,,\n"
    with pytest.raises(EnrolmentError) as caught:
        read_enrolment(text, Quota())
    assert str(caught.value).splitlines() == [
        "line 2: certificate_sha256 has 64 hexadecimal digits",
        "line 3: bytes_per_s 'many' is no whole number; 0 is no limit",
        "line 4: gateway is empty",
        "line 6: gateway G-3 is listed twice",
    ]
    for heading in ("", "gateway,color", "id"):
        with pytest.raises(EnrolmentError, match=r"line 1: .* the columns are gateway, enterprise"):
            read_enrolment(heading, Quota())


async def refused(target: str, **hello: object) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with WireGateway(target, **hello):  # type: ignore[arg-type]  # keywords by name
            pass
    return caught.value.code(), caught.value.details() or ""


async def test_who_is_not_on_the_list_is_refused_with_a_reason(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    gate = Gate(read_enrolment("gateway,enterprise\nG-1,91370800TEST\nG-2,other\n", Quota()))
    async with run_receiver(tmp_path, gate=gate) as running, WireGateway(running.target) as known:
        await known.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
        assert await known.acknowledged(1) == {1}
        for gateway, reason in [("G-3", "not on the enrolment list"), ("G-2", "enterprise other")]:
            code, text = await refused(running.target, gateway_id=gateway)
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert reason in text
        assert running.rows("SELECT name FROM gateways") == [("G-1",)]
        running.receiver.enrol(read_enrolment("gateway\nG-3\n", Quota()))
        assert (await known.ended()).code() is grpc.StatusCode.PERMISSION_DENIED
        async with WireGateway(running.target, gateway_id="G-3"):
            pass


async def test_the_certificate_itself_may_be_asked_for(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    certificates = tmp_path / "certs"
    tls = demo_tls(certificates, "G-7")
    pem = x509.load_pem_x509_certificate((certificates / "gateway.pem").read_bytes())
    own = hashlib.sha256(pem.public_bytes(Encoding.DER)).hexdigest()
    gate = Gate(read_enrolment(f"gateway,certificate_sha256\nG-7,{own}\n", Quota()))
    async with run_receiver(tmp_path / "store", tls, gate=gate) as running:
        target = running.target.replace("127.0.0.1", "localhost")
        async with WireGateway(target, gateway_id="G-7", certificates=certificates):
            pass
        connected = WireGateway(target, gateway_id="G-7", certificates=certificates)
        await connected.__aenter__()
        running.receiver.enrol(read_enrolment(f"gateway,certificate_sha256\nG-7,{own}\n", Quota()))
        await connected.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
        assert await connected.acknowledged(1) == {1}
        other = f"gateway,certificate_sha256\nG-7,{'0' * 64}\n"
        running.receiver.enrol(read_enrolment(other, Quota()))
        error = await connected.ended()  # a certificate that was stolen is at once nobody's
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert f"came with {own}" in (error.details() or "")
        await connected.close()
        code, text = await refused(target, gateway_id="G-7", certificates=certificates)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert f"came with {own}" in text


def far_delta(chain: Chain) -> wire.Record:
    """9 KB that need no catalogue: a delta whose key is elsewhere."""
    return chain.record(bytes(9000), key=max(1, chain.sequence - 1))


async def test_a_quota_is_told_first_and_ends_who_does_not_listen(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    gate = Gate(quota=Quota(bytes_per_s=1000))
    chain = Chain(Stream.TELEMETRY, start=2)
    async with run_receiver(tmp_path, gate=gate) as running, WireGateway(running.target) as bulk:
        assert (await bulk.next()).throttle.bytes_per_s == 1000
        for _ in range(3):
            await bulk.push(Stream.TELEMETRY, far_delta(chain))
        paused = 0
        while not paused:
            paused = (await bulk.next()).throttle.pause_ms
        await bulk.push(Stream.TELEMETRY, *[far_delta(chain) for _ in range(4)])
        error = await bulk.ended()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "1000 bytes a second" in (error.details() or "")
        async with WireGateway(running.target, lane=wire.LANE_PRIORITY) as priority:
            await priority.next()
            await priority.push(Stream.ALARM, Chain(Stream.ALARM).record(alarm("one")))
            assert await priority.acknowledged(1) == {1}


async def test_a_quota_that_is_set_holds_for_who_is_connected(
    tmp_path: Path, run_receiver: RunReceiver
) -> None:
    chain = Chain(Stream.TELEMETRY, start=2)
    gate = Gate(read_enrolment("gateway\nG-1\n", Quota()))
    async with run_receiver(tmp_path, gate=gate) as running, WireGateway(running.target) as bulk:
        await bulk.push(Stream.TELEMETRY, *[far_delta(chain) for _ in range(5)])
        assert len(await bulk.acknowledged(5)) == 5
        tight = read_enrolment("gateway,bytes_per_s\nG-1,1000\n", Quota())
        running.receiver.enrol(tight)
        await bulk.push(Stream.TELEMETRY, *[far_delta(chain) for _ in range(5)])
        error = await bulk.ended()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_gateway_that_says_nothing_is_ended(
    tmp_path: Path, run_receiver: RunReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_receiver(tmp_path) as running, WireGateway(running.target) as silent:
        monkeypatch.setattr(exchange, "IDLE_SECONDS", 0.2)  # from its next message on
        await silent.send(wire.GatewayMessage(status=wire.Status(ping=1)))
        error = await silent.ended()
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no whole message" in (error.details() or "")


async def test_a_gateway_that_reads_nothing_is_ended(
    tmp_path: Path, run_receiver: RunReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Exchange ends, and it is not read from any more, though its connection lives."""
    monkeypatch.setattr(exchange, "DEAF_SECONDS", 0.5)
    many = wire.Push(stream=wire.STREAM_ALARM, records=[wire.Record()] * 2000)
    async with (
        run_receiver(tmp_path) as running,
        WireGateway(running.target, small_window=True) as deaf,
    ):

        async def talk() -> None:
            while True:  # each is answered by 2000 Rejects, which nobody reads
                await deaf.send(wire.GatewayMessage(push=many))

        async with asyncio.timeout(90), asyncio.TaskGroup() as group:
            talking = group.create_task(talk())
            while running.receiver.statistics()["exchanges"]:  # noqa: ASYNC110  # a count of its own
                await asyncio.sleep(0.05)
            talking.cancel()
