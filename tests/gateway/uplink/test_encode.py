"""Records on the wire, and gRPC's statuses in words."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from buffer.contract import Stream
from gateway.uplink import encode
from gateway.uplink.channel import ChannelError, explain, open_channel
from gateway.uplink.outputs import SendRecords
from gateway.uplink.patience import Ended
from tests.fakes.small_log import BOOT_ID, CATALOGUE, SmallLog


@dataclass(frozen=True)
class Destination:
    name: str = "province"
    target: str = "10.0.0.1:50051"
    ca: Path | None = Path("ca.pem")
    certificate: Path | None = Path("gw.pem")
    key: Path | None = None
    insecure: bool = False
    history_share: float = 0.5
    rate_bytes_per_s: int = 0
    evidence: str = "clip"
    evidence_bytes_per_day: int = 0
    copy_alarms: bool = False
    streams: tuple[str, ...] = ("alarm", "event", "telemetry", "evidence")


def test_push_says_each_thing_once() -> None:
    log = SmallLog()
    records = [*log.put(Stream.TELEMETRY, b"key"), *log.put(Stream.TELEMETRY, b"delta")]
    records += log.put(Stream.TELEMETRY, b"old", boot_id=b"o" * 16)
    message = encode.push(SendRecords(Stream.TELEMETRY, tuple(records), historical=True), BOOT_ID)
    first, second, third = message.push.records
    assert [record.payload for record in message.push.records] == [b"key", b"delta", b"old"]
    assert (first.catalogue, second.catalogue) == (CATALOGUE, b"")
    assert (first.boot_id, third.boot_id) == (b"", b"o" * 16)
    assert first.previous_hash == records[0].previous_hash
    assert second.previous_hash == b""
    assert second.crc32 == zlib.crc32(b"delta")
    assert second.group == 1
    assert all(record.historical for record in message.push.records)


def test_other_streams_name_no_group() -> None:
    records = SmallLog().put(Stream.ALARM, b"a")
    message = encode.push(SendRecords(Stream.ALARM, tuple(records), historical=False), BOOT_ID)
    assert message.push.records[0].group == 0
    assert message.push.records[0].catalogue == b""


@pytest.mark.parametrize(
    ("code", "details", "part", "permanent"),
    [
        ("UNAVAILABLE", "Connection refused", "cannot be reached", False),
        ("UNAVAILABLE", "Socket closed", "does not accept the certificate gw.pem", False),
        (
            "UNAVAILABLE",
            "handshake failed: SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED",
            "not signed by ca.pem",
            True,
        ),
        ("UNAVAILABLE", "tlsv1 alert unknown ca", "refuses the certificate gw.pem", True),
        ("INTERNAL", "Received RST_STREAM", "no client certificate", True),
        ("INTERNAL", "Internal error from Core", "ended the connection", False),
        ("PERMISSION_DENIED", "not for SD-1", "certificate or id: not for SD-1", True),
        ("UNIMPLEMENTED", "Method not found", "no plantgate receiver", True),
        ("INVALID_ARGUMENT", "no stream 9", "no stream 9", True),
        ("ABORTED", "replaced", "aborted (replaced)", False),
        ("OK", "", "ended the connection", False),
    ],
)
def test_statuses_become_one_sentence(code: str, details: str, part: str, permanent: bool) -> None:
    ended = explain(grpc.StatusCode[code], details, Destination())
    assert part in ended.reason
    assert ended == Ended(ended.reason, permanent, unclear=details == "Internal error from Core")
    assert ended.reason.startswith(("10.0.0.1:50051 ", "The certificate of 10.0.0.1:50051"))


def test_tls_without_files_is_refused() -> None:
    with pytest.raises(ChannelError, match="ca is missing: TLS needs"):
        open_channel(Destination(ca=None))
