"""A small driver, a fixed clock and freshly made certificates, so that cases need no real parts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pydantic import Field

from drivers import registry
from drivers.contract import Clock, Driver, DriverPoint, DriverType, Problem, StrictModel, ValueKind

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
GATEWAY = "SD-370800-000123-01"


class FakeConfig(StrictModel):
    host: str = Field(min_length=1)
    port: int = Field(default=502, ge=1, le=65535)
    unit: int = Field(default=1, ge=0, le=247)
    poll_ms: int = Field(default=1000, ge=10)
    trust: Path | None = None


class FakeAddress(StrictModel):
    area: Literal["input", "holding"] = "holding"
    address: int = Field(ge=0, le=65535)
    type: Literal["u16", "f32", "text"] = Field(
        default="u16", json_schema_extra={"headings": ["型"]}
    )


def _check(config: FakeConfig, points: Sequence[DriverPoint[FakeAddress]]) -> list[Problem]:
    problems = []
    if config.unit == 0:
        problems.append(Problem(0, "unit", "warning: 0 is broadcast"))
    taken: dict[tuple[str, int], DriverPoint[FakeAddress]] = {}
    for point in points:
        for register in range(2 if point.address.type == "f32" else 1):
            key = (point.address.area, point.address.address + register)
            if key in taken:
                said = f"{point.tag} begins inside {taken[key].tag} (row {taken[key].row})"
                problems.append(Problem(point.row, "address", said))
            taken[key] = point
    return problems


def _open(
    name: str, config: FakeConfig, points: Sequence[DriverPoint[FakeAddress]], clock: Clock
) -> Driver:
    raise NotImplementedError(f"{name} is only configured here")


FAKE: DriverType[FakeConfig, FakeAddress] = DriverType(
    name="fake",
    config=FakeConfig,
    address=FakeAddress,
    kind=lambda address: ValueKind.TEXT if address.type == "text" else ValueKind.FLOAT,
    check=_check,
    open=_open,
)


class FixedClock:
    def wall_ns(self) -> int:
        return int(NOW.timestamp()) * 10**9

    def monotonic_ns(self) -> int:
        return 0

    async def sleep_until(self, monotonic_ns: int) -> None:
        raise NotImplementedError


@pytest.fixture
def find_driver() -> Callable[[str], DriverType[Any, Any]]:
    """The fake driver by its name, the real ones by theirs."""

    def find(name: str) -> DriverType[Any, Any]:
        return FAKE if name == "fake" else registry.find(name)

    return find


@pytest.fixture
def clock() -> Clock:
    return FixedClock()


def _certificate(
    key: ec.EllipticCurvePrivateKey,
    *,
    uri: str = f"urn:plantgate:gateway:{GATEWAY}",
    days: int = 365,
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - dt.timedelta(days=400))
        .not_valid_after(NOW + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), False)
        .add_extension(x509.ExtendedKeyUsage([usage]), False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    lock = serialization.BestAvailableEncryption(password) if password else None
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        lock or serialization.NoEncryption(),
    )


@pytest.fixture(scope="session")
def certificates() -> dict[str, bytes]:
    """PEM files by name, as the cases' site files name them under certs/."""
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    return {
        "ca.pem": _certificate(key),
        "gateway.pem": _certificate(key),
        "gateway.key": _pem(key),
        "other.key": _pem(other),
        "locked.key": _pem(key, b"secret"),
        "expired.pem": _certificate(key, days=-3),
        "ending.pem": _certificate(key, days=12),
        "other-id.pem": _certificate(key, uri="urn:plantgate:gateway:SD-2"),
        "server.pem": _certificate(key, usage=ExtendedKeyUsageOID.SERVER_AUTH),
        "broken.pem": b"-----BEGIN CERTIFICATE-----\nnot base64\n-----END CERTIFICATE-----\n",
    }
