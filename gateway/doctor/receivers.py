"""Tries a receiver: name, TCP, TLS and its dates, whether it lets this gateway in, its clock.

Guarantees: no record is sent and none is asked for. The Hello says that it is a trial and names no
log: a receiver answers it without touching its store, and one that knows no trials refuses it
without touching its store either, after it has judged certificate and enrolment.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from contextlib import suppress

import grpc
import grpc.aio
from cryptography import x509

from drivers.contract import Clock
from gateway.config.model import UplinkConfig, split_address
from gateway.config.site import Site
from gateway.doctor.causes import cause_of, why_not
from gateway.doctor.finding import About, Finding, State
from gateway.doctor.names import addresses_of
from gateway.runtime.clock import boot_id
from gateway.uplink.channel import METHOD, ChannelError, Parting, explain, open_channel
from gateway.uplink.diagnose import refused_by
from gateway.wire.v1 import uplink_pb2 as wire

_STEP_S = 8.0
_SOON_DAYS = 30
_OFFSET_MS = 1_000.0
"""Clocks further apart than this make an order of events between enterprises worthless."""


async def try_receiver(
    site: Site, uplink: UplinkConfig, clock: Clock, software: str
) -> list[Finding]:
    """Say how far this gateway gets at a receiver."""
    host, port = split_address(uplink.target)
    link = await _reach(uplink.name, host, port)
    if link.state is State.FAULT:
        return [link]
    found = [link]
    if not uplink.insecure:
        found += await _certificate(uplink, host, port, clock)
    if any(one.state is State.FAULT for one in found):
        return found
    return [*found, *await _greeted(site, uplink, clock, software)]


async def _reach(part: str, host: str, port: int) -> Finding:
    addresses = await addresses_of(host, port)
    if isinstance(addresses, str):
        return _fault(part, About.LINK, f"{host}:{port}: {addresses}")
    try:
        async with asyncio.timeout(_STEP_S):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
    except TimeoutError:
        return _fault(part, About.LINK, f"{host}:{port}: no TCP connection within {_STEP_S:g} s")
    except OSError as error:
        return _fault(part, About.LINK, f"{host}:{port}: {why_not(error)}")
    shown = "" if addresses == [host] else f" ({', '.join(addresses)})"
    return Finding(
        part, About.LINK, State.GOOD, f"{host}:{port}{shown} takes connections",
        f"{host}:{port} 可连接",
    )  # fmt: skip


async def _certificate(uplink: UplinkConfig, host: str, port: int, clock: Clock) -> list[Finding]:
    """Handshake as the uplink does; say what the receiver's certificate is good for."""
    if (ended := await refused_by(uplink)) is not None:
        return [_fault(uplink.name, About.CERTIFICATE, ended.reason)]
    try:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=str(uplink.ca))
        context.set_alpn_protocols(["h2"])
        await asyncio.to_thread(context.load_cert_chain, str(uplink.certificate), str(uplink.key))
        async with asyncio.timeout(_STEP_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            # A server that lets us in says so at once: its SETTINGS (RFC 9113, 3.4). One that
            # refuses our certificate, which TLS 1.3 allows only now, hangs up.
            welcome = await reader.read(1)
            secured = writer.get_extra_info("ssl_object")
            der, version = secured.getpeercert(binary_form=True), secured.version()
            writer.transport.abort()
    except TimeoutError:
        return [_fault(uplink.name, About.CERTIFICATE, f"no TLS connection within {_STEP_S:g} s")]
    except ssl.SSLCertVerificationError as error:
        why = f"the receiver's certificate is not accepted: {error.verify_message}"
        return [_fault(uplink.name, About.CERTIFICATE, why)]
    except (OSError, ValueError) as error:
        return [_fault(uplink.name, About.CERTIFICATE, f"no TLS connection: {error}")]
    if not welcome:
        why = (
            f"{uplink.target} hangs up after the TLS handshake: it does not accept the certificate"
            f" {uplink.certificate}"
        )
        return [_fault(uplink.name, About.CERTIFICATE, why)]
    presented = x509.load_der_x509_certificate(der)
    own_pem = await asyncio.to_thread(_read, uplink)
    return [
        _dates(uplink.name, "the receiver's", "接收端", presented, clock, version),
        *[_dates(uplink.name, "our", "本网关", own, clock, "") for own in _ours(own_pem)],
    ]


def _read(uplink: UplinkConfig) -> bytes:
    return uplink.certificate.read_bytes() if uplink.certificate is not None else b""


def _ours(pem: bytes) -> list[x509.Certificate]:
    with suppress(ValueError):
        return [x509.load_pem_x509_certificate(pem)]
    return []


def _dates(
    part: str, whose: str, chinese: str, one: x509.Certificate, clock: Clock, version: str
) -> Finding:
    now = dt.datetime.fromtimestamp(clock.wall_ns() / 1e9, dt.UTC)
    left = (one.not_valid_after_utc - now).days
    good = left > _SOON_DAYS
    until = f"{one.not_valid_after_utc:%Y-%m-%d}"
    return Finding(
        part, About.CERTIFICATE, State.GOOD if good else State.DOUBTFUL,
        f"{whose} certificate is valid until {until} ({left} days)"
        + (f", {version}" if version else ""),
        f"{chinese}证书有效期至 {until}(剩 {left} 天)",
        "" if good else "have it renewed now: after that day nothing gets through; a renewed file"
        " is taken without a restart",
        "" if good else "立即续期:到期后无法上传;换好文件后无需重启",
    )  # fmt: skip


async def _greeted(site: Site, uplink: UplinkConfig, clock: Clock, software: str) -> list[Finding]:
    """Say Hello on trial; what the receiver answers."""
    hello = wire.Hello(
        gateway_id=site.gateway.id,
        enterprise=site.gateway.enterprise,
        boot_id=boot_id(),
        role=wire.ROLE_ACTIVE,
        software=software,
        lane=wire.LANE_PRIORITY,
        destination=uplink.name if uplink.filter is not None else "",
        trial=True,
    )
    try:
        channel = open_channel(uplink)
    except ChannelError as error:
        return [_fault(uplink.name, About.CERTIFICATE, str(error))]
    try:
        async with asyncio.timeout(_STEP_S):
            return await _asked(channel, uplink, hello, clock)
    except TimeoutError:
        why = f"{uplink.target} takes connections and answers no Hello within {_STEP_S:g} s"
        return [_fault(uplink.name, About.ENROLMENT, why)]
    finally:
        await channel.close()


async def _asked(
    channel: grpc.aio.Channel, uplink: UplinkConfig, hello: wire.Hello, clock: Clock
) -> list[Finding]:
    method = channel.stream_stream(
        METHOD,
        request_serializer=wire.GatewayMessage.SerializeToString,
        response_deserializer=wire.ReceiverMessage.FromString,
    )
    call = method()
    parting = Parting(call)
    sent_ns = clock.wall_ns()
    try:
        await call.write(wire.GatewayMessage(hello=hello))
        answer = await call.read()
    except grpc.aio.AioRpcError as error:
        return [_unwelcome(uplink, *parting.words(error.code(), error.details()))]
    heard_ns = clock.wall_ns()
    if not isinstance(answer, wire.ReceiverMessage) or answer.WhichOneof("body") != "welcome":
        return [_unwelcome(uplink, *parting.words(await call.code(), await call.details()))]
    call.cancel()
    return _welcome(uplink.name, answer.welcome, sent_ns, heard_ns)


def _welcome(part: str, welcome: wire.Welcome, sent_ns: int, heard_ns: int) -> list[Finding]:
    """What a Welcome says. The true offset lies within half the round trip of what is told."""
    trip_ms = (heard_ns - sent_ns) / 1e6
    offset_ms = (welcome.server_time_ns - (sent_ns + heard_ns) / 2) / 1e6
    near = abs(offset_ms) <= max(_OFFSET_MS, trip_ms)
    ahead = "ahead of" if offset_ms > 0 else "behind"
    return [
        Finding(
            part, About.ENROLMENT, State.GOOD,
            f"lets this gateway in, answers after {trip_ms:.0f} ms",
            f"已准入,{trip_ms:.0f} 毫秒应答",
        ),
        Finding(
            part, About.CLOCK, State.GOOD if near else State.DOUBTFUL,
            f"its clock is {abs(offset_ms):.0f} ms {ahead} ours (±{trip_ms / 2:.0f})",
            f"对端时钟{'超前' if offset_ms > 0 else '落后'} {abs(offset_ms):.0f} 毫秒"
            f"(±{trip_ms / 2:.0f})",
            "" if near else "one of the two clocks is wrong: look at this machine's first",
            "" if near else "两端时钟之一有误:先查本机",
        ),
        Finding(
            part, About.VERSION, State.GOOD, f"it is {welcome.receiver or 'of unknown version'}",
            f"对端软件 {welcome.receiver or '版本未知'}",
        ),
    ]  # fmt: skip


def _unwelcome(uplink: UplinkConfig, code: grpc.StatusCode, details: str) -> Finding:
    if code is grpc.StatusCode.INVALID_ARGUMENT and "log id" in details:
        return Finding(
            uplink.name, About.ENROLMENT, State.GOOD,
            "lets this gateway in (it is older than this check and tells no clock)",
            "已准入(对端版本较旧,不报告时钟)",
        )  # fmt: skip
    ended = explain(code, details, uplink)
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return Finding(
            uplink.name, About.ENROLMENT, State.FAULT, ended.reason, f"对端拒绝本网关:{details}",
            "have the platform enrol this gateway id, enterprise and certificate, or correct"
            " [gateway] id and enterprise",
            "请平台登记本网关编号、统一社会信用代码和证书,或改正 [gateway]",
        )  # fmt: skip
    return _fault(uplink.name, About.ENROLMENT, ended.reason)


def _fault(part: str, about: About, why: str) -> Finding:
    cause = cause_of(why)
    return Finding(part, about, State.FAULT, why, cause.chinese or why, cause.advice,
                   cause.chinese_advice)  # fmt: skip


__all__ = ["try_receiver"]
