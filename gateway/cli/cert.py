"""`plantgate cert`: certificates for trials (demo) and for OPC UA clients (opcua).

Keys are written with mode 0600 and nothing is ever overwritten. A real province has its own CA;
the demo CA's key is thrown away, so that nobody can sign with it later.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.cli.group import Group
from gateway.receiver.identity import PREFIX
from gateway.runtime.clock import SystemClock

DEMO_DAYS = 60
"""A trial of the usual four weeks ends before a gateway warns, 30 days ahead, of the end."""
OPCUA_DAYS = 5 * 365
"""Replaced by hand in a control network that is rarely touched."""
_BACKDATE = datetime.timedelta(hours=1)  # site clocks are wrong by minutes before they are set

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@click.group(
    "cert",
    cls=Group,
    epilog="\b\nExample:\n  plantgate cert demo certs --gateway SD-370800-000123-01\n",
)
def command() -> None:
    """Make certificates for trials and for OPC UA."""


@command.command(
    "demo", epilog="\b\nExample:\n  plantgate cert demo certs --gateway SD-370800-000123-01\n"
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--gateway", default="demo-gateway", show_default=True, help="Id of the gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def demo(folder: Path, gateway: str, *, as_json: bool) -> None:
    """Make a throw-away CA, a receiver's certificate and a gateway's, in DIR."""
    if not gateway.isprintable() or not gateway.isascii() or not gateway or " " in gateway:
        _fail("--gateway: an id has printable ASCII characters and no space")
    _write(folder, _demo_files([("gateway", gateway)]), as_json=as_json)


@command.command(
    "fleet", epilog="\b\nExample:\n  plantgate cert fleet certs --gateways 200 --prefix LOAD\n"
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--gateways", default=100, show_default=True, type=click.IntRange(1, 20_000))
@click.option("--prefix", default="LOAD", show_default=True, help="Ids are PREFIX-00000 ...")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def fleet(folder: Path, gateways: int, prefix: str, *, as_json: bool) -> None:
    """Make a throw-away CA, a receiver's certificate and many gateways', for `plantgate load`."""
    _write(folder, _demo_files([(f"{prefix}-{n:05d}",) * 2 for n in range(gateways)]),
           as_json=as_json)  # fmt: skip


@command.command(
    "opcua",
    epilog="\b\nExample:\n  plantgate cert opcua certs --uri urn:plant1:plantgate:gateway\n",
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--uri", required=True, help="Application URI, the same as in the site file.")
@click.option("--host", default="", help="DNS name of this machine; its own name by default.")
@click.option("--request", is_flag=True, help="A request for the plant's own authority instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def opcua(folder: Path, uri: str, host: str, *, request: bool, as_json: bool) -> None:
    """Make an OPC UA application certificate (RSA 2048, self-signed) in DIR, as DER and PEM."""
    if not uri.isascii() or ":" not in uri or " " in uri:
        _fail("--uri: an application URI such as urn:plant1:plantgate:gateway")
    key = rsa.generate_private_key(65537, 2048)
    signer = _Signer(_name("plantgate"), key)
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName(host or socket.gethostname())]
    # OPC 10000-6 6.2.2: the four usages and both purposes. keyCertSign beside them, because peers
    # built on OpenSSL do not take a self-signed certificate as its own issuer without it.
    extensions = [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(all_of_opcua=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH,
                                ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]  # fmt: skip
    if request:
        builder = x509.CertificateSigningRequestBuilder().subject_name(signer.name)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        asked = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
        _write(folder, {"opcua.csr": asked, "opcua.key": _pem(key)}, as_json=as_json)
        return
    certificate = signer.sign(key, signer.name, _now(), OPCUA_DAYS, extensions)
    files = {
        "opcua.der": certificate.public_bytes(Encoding.DER),
        "opcua.pem": certificate.public_bytes(Encoding.PEM),
        "opcua.key": _pem(key),
    }
    _write(folder, files, as_json=as_json)


def _demo_files(gateways: Sequence[tuple[str, str]]) -> dict[str, bytes]:
    """CA, receiver and gateways (file name, id), by file name; the CA's key is thrown away."""
    now = _now()
    ca_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _Signer(_name("plantgate demo CA"), ca_key)
    ca = issuer.sign(ca_key, issuer.name, now, DEMO_DAYS, _ca_extensions(ca_key))
    local: list[x509.GeneralName] = [x509.DNSName("localhost")]
    local += [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
    receiver_key = ec.generate_private_key(ec.SECP256R1())
    receiver = issuer.sign(
        receiver_key, _name("plantgate demo receiver"), now, DEMO_DAYS,
        _leaf_extensions(local, server=True, client=False),
    )  # fmt: skip
    files = {
        "ca.pem": ca.public_bytes(Encoding.PEM),
        "receiver.pem": receiver.public_bytes(Encoding.PEM),
        "receiver.key": _pem(receiver_key),
    }
    for name, gateway in gateways:
        key = ec.generate_private_key(ec.SECP256R1())
        identity = x509.UniformResourceIdentifier(PREFIX + gateway)
        sender = issuer.sign(
            key, _name(gateway[:64]), now, DEMO_DAYS,
            _leaf_extensions([identity], server=False, client=True),
        )  # fmt: skip
        files |= {f"{name}.pem": sender.public_bytes(Encoding.PEM), f"{name}.key": _pem(key)}
    return files


Extensions = Sequence[tuple[x509.ExtensionType, bool]]


@dataclass(frozen=True, slots=True)
class _Signer:
    """Who signs: a name and its key."""

    name: x509.Name
    key: Key

    def sign(
        self,
        key: Key,
        subject: x509.Name,
        now: datetime.datetime,
        days: int,
        extensions: Extensions,
    ) -> x509.Certificate:
        """Certificate of `key` for so many days."""
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATE)
            .not_valid_after(now + datetime.timedelta(days=days))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return builder.add_extension(authority, critical=False).sign(self.key, hashes.SHA256())


def _ca_extensions(key: Key) -> Extensions:
    return [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(authority=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]


def _leaf_extensions(
    names: Sequence[x509.GeneralName], *, server: bool, client: bool
) -> Extensions:
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH] if server else []
    purposes += [ExtendedKeyUsageOID.CLIENT_AUTH] if client else []
    return [
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(), True),
        (x509.ExtendedKeyUsage(purposes), False),
    ]


def _usage(*, authority: bool = False, all_of_opcua: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=all_of_opcua,  # nonRepudiation
        key_encipherment=all_of_opcua,
        data_encipherment=all_of_opcua,
        key_agreement=False,
        key_cert_sign=authority or all_of_opcua,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "plantgate"),
            x509.NameAttribute(NameOID.COMMON_NAME, text),
        ]
    )


def _now() -> datetime.datetime:
    return datetime.datetime.fromtimestamp(SystemClock().wall_ns() / 1e9, datetime.UTC)


def _pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(folder: Path, files: dict[str, bytes], *, as_json: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if there := [name for name in files if (folder / name).exists()]:
            _fail(f"{folder} has {', '.join(there)} already; nothing is overwritten")
        for name, content in files.items():
            mode = 0o600 if name.endswith(".key") else 0o644
            number = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(number, "wb") as file:
                file.write(content)
    except OSError as error:
        _fail(f"{folder}: {error.strerror}")
    if as_json:
        print(json.dumps({"folder": str(folder), "files": list(files)}))
    else:
        print("\n".join(str(folder / name) for name in files))


def _fail(text: str) -> None:
    print(f"plantgate cert: {text}", file=sys.stderr)
    sys.exit(2)
