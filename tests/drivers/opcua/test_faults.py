"""Refusals by certificate or login have a sentence that helps; no answer ends out of order."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import asyncua.ua
import pytest

from drivers.contract import DeviceError, Quality
from drivers.opcua import DRIVER
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.faults import REFUSED_LOGIN, status_sentence
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, points, running
from tests.fakes.opcua_server import OpcUaServer
from tests.fakes.wiretap import Wiretap
from tests.waiting import until

ua: Any = asyncua.ua
CODES = ua.StatusCodes
OURS = Path("certs/gateway.der")
OF_CERTIFICATES = sorted(name for name in dir(CODES) if name.startswith("BadCertificate"))
OTHERS = (
    "BadUserAccessDenied", "BadIdentityTokenInvalid", "BadIdentityTokenRejected",
    "BadSecurityChecksFailed", "BadSecurityModeRejected", "BadSecurityPolicyRejected",
    "BadTooManySessions", "BadTooManySubscriptions", "BadServerHalted",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OF_CERTIFICATES, *OTHERS])
def test_a_refusal_says_what_is_wrong_and_not_only_its_number(name: str) -> None:
    status = int(getattr(CODES, name))
    sentence = status_sentence(status, name, "connecting", OURS)
    assert "0x" not in sentence
    assert "while connecting" not in sentence
    assert sentence.count("{") == 0
    if status in REFUSED_LOGIN:
        assert str(OURS) in sentence  # a user known by a certificate
        assert str(OURS) not in status_sentence(status, name, "connecting", None)


def test_an_untrusted_certificate_is_named_with_where_to_put_it() -> None:
    for name in ("BadCertificateUntrusted", "BadSecurityChecksFailed"):
        sentence = status_sentence(int(getattr(CODES, name)), name, "connecting", OURS)
        assert "does not trust our certificate yet: put certs/gateway.der into" in sentence


def test_a_code_that_nobody_knows_is_still_named() -> None:
    sentence = status_sentence(0x80FF_0000, "BadSomething", "reading", None)
    assert sentence == "the server answered BadSomething (0x80FF0000) while reading"


_READ_RESPONSE, _SERVICE_FAULT = b"\x01\x00\x7a\x02", b"\x01\x00\x8d\x01"
"""Type ids i=634 and i=397 (OPC 10000-6, annex A) as they stand in a message."""

_RESULT, _STRINGS = 16, 21
"""Where ServiceResult and the count of the string table lie from there (OPC 10000-4, 7.34)."""


@pytest.mark.parametrize("way", ["poll", "heartbeat"])
@pytest.mark.parametrize("fault", ["makes no sense", "BadServerHalted"])
async def test_an_answer_to_a_read_that_is_none_ends_the_session_in_order(
    way: str, fault: str
) -> None:
    spoiling = False

    def spoil(chunk: bytes) -> bytes:
        at = chunk.find(_READ_RESPONSE)
        if not spoiling or at < 0:
            return chunk
        changed = bytearray(chunk)
        if fault == "makes no sense":
            struct.pack_into("<i", changed, at + _STRINGS, -513736704)
        else:
            changed[at : at + 4] = _SERVICE_FAULT
            struct.pack_into("<I", changed, at + _RESULT, 0x800E_0000)
        return bytes(changed)

    emit = Collector()
    more: dict[str, object] = {"reading": "poll"} if way == "poll" else {"heartbeat_s": 1}
    async with OpcUaServer(2) as server:
        port = int(server.endpoint.split(":")[2].split("/")[0])
        async with Wiretap(port, spoil) as tap:
            settings = {
                "endpoint": server.endpoint.replace(str(port), str(tap.port)), "security": "None",
                "insecure": True, "publish_ms": 100, "timeout_ms": 60_000, **more,
            }  # fmt: skip
            table = points(*((OpcUaServer.node(f"D{i}"), "float") for i in range(2)))
            driver = DRIVER.open("dcs", OpcUaConfig.model_validate(settings), table, SystemClock())
            async with running(driver, emit) as task:
                await until(lambda: bool(emit.samples(100) and emit.samples(101)), 60)
                spoiling = True
                await asyncio.wait([task], timeout=60)
                assert task.done()
                with pytest.raises(DeviceError, match=fault if "sense" in fault else "halted"):
                    await task
    assert emit.kinds()[-1] == "link.down"
    for point in (100, 101):
        assert emit.samples(point)[-1][1] == Quality.BAD_NOT_CONNECTED
