"""Who may speak, and how much: the enrolment list 准入名单 of a receiver. Pure.

A CSV file, one gateway a line, UTF-8 (a byte order mark is taken):

    gateway,enterprise,certificate_sha256,bytes_per_s,bytes_per_day,records_per_s
    SD-370800-000123-01,91370800XXXXXXXXXX,9f86d081…0a08,200000,2000000000,1000

Only `gateway` must be filled; what is empty is not asked for. certificate_sha256 is that of the
DER form, as `openssl x509 -fingerprint -sha256` prints it, with or without colons. bytes_per_s and
bytes_per_day (UTC days of the receiver's clock) bound telemetry and evidence, records_per_s bounds
alarms and events. Every mistake is said at once, with its line.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.receiver.quota import Quota

COLUMNS = ("gateway", "enterprise", "certificate_sha256", "bytes_per_s", "bytes_per_day",
           "records_per_s")  # fmt: skip
_HEX = frozenset("0123456789abcdef")


class EnrolmentError(Exception):
    """The list cannot be used; the text holds one line for each mistake."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """One gateway of the list; empty fields are not asked for."""

    enterprise: str = ""
    certificate_sha256: str = ""
    quota: Quota = field(default_factory=Quota)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The list; `None` in place of it lets every gateway in that its certificate lets in."""

    gateways: Mapping[str, Enrolled]

    def refusal(self, gateway: str, enterprise: str, certificate: bytes | None) -> str:
        """Say why this gateway may not speak, or nothing. certificate: DER, None without mTLS."""
        enrolled = self.gateways.get(gateway)
        if enrolled is None:
            return f"gateway {gateway} is not on the enrolment list of this receiver"
        if enrolled.enterprise and enrolled.enterprise != enterprise:
            return (
                f"gateway {gateway} is enrolled for enterprise {enrolled.enterprise},"
                f" not for {enterprise or 'none'}"
            )
        if enrolled.certificate_sha256:
            found = hashlib.sha256(certificate).hexdigest() if certificate else "none"
            if found != enrolled.certificate_sha256:
                return (
                    f"gateway {gateway} is enrolled with the certificate"
                    f" {enrolled.certificate_sha256}, and came with {found}"
                )
        return ""


def read_enrolment(text: str, default: Quota) -> Enrolment:
    """Read the list; `default` fills the quotas left empty. Raises EnrolmentError."""
    rows = csv.reader(io.StringIO(text.removeprefix("\ufeff")))
    heading = [name.strip() for name in next(rows, [])]
    unknown = [name for name in heading if name not in COLUMNS]
    if "gateway" not in heading or unknown:
        wrong = f"unknown column {unknown[0]!r}" if unknown else "no column 'gateway'"
        raise EnrolmentError(f"line 1: {wrong}; the columns are {', '.join(COLUMNS)}")
    gateways: dict[str, Enrolled] = {}
    mistakes: list[str] = []
    for row in rows:
        fields = dict(zip(heading, (cell.strip() for cell in row), strict=False))
        if not any(fields.values()):
            continue
        try:
            name = _name(fields, gateways)
            gateways[name] = _enrolled(fields, default)
        except ValueError as error:
            mistakes.append(f"line {rows.line_num}: {error}")
    if mistakes:
        raise EnrolmentError("\n".join(mistakes))
    return Enrolment(gateways)


def _name(fields: Mapping[str, str], gateways: Mapping[str, Enrolled]) -> str:
    name = fields["gateway"]
    if not name:
        raise ValueError("gateway is empty")
    if name in gateways:
        raise ValueError(f"gateway {name} is listed twice")
    return name


def _enrolled(fields: Mapping[str, str], default: Quota) -> Enrolled:
    fingerprint = fields.get("certificate_sha256", "").replace(":", "").lower()
    if fingerprint and (len(fingerprint) != 64 or not _HEX.issuperset(fingerprint)):
        raise ValueError("certificate_sha256 has 64 hexadecimal digits")
    quota = Quota(
        _number(fields, "bytes_per_s", default.bytes_per_s),
        _number(fields, "bytes_per_day", default.bytes_per_day),
        _number(fields, "records_per_s", default.records_per_s),
    )
    return Enrolled(fields.get("enterprise", ""), fingerprint, quota)


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    text = fields.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise ValueError(f"{name} {text!r} is no whole number; 0 is no limit")
    return int(text)
