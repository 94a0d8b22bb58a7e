"""The console's certificate: the site's own, or a self-signed one made once.

Guarantees: the key is readable by its owner only; what was made is never made anew while it can be
read, so that a fingerprint written down once stays right. The certificate made here has no end that
a site would meet: whoever trusts it does so by its fingerprint, and a gateway whose clock stands at
1970 must make one that is valid later too.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.config.console import ConsoleConfig
from gateway.config.users import FOLDER, write_private

CERTIFICATE, KEY = "console.pem", "console.key"
_FROM = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_UNTIL = dt.datetime(2070, 1, 1, tzinfo=dt.UTC)


class CertificateError(Exception):
    """There is no certificate to serve with; one sentence."""


def files_of(config: ConsoleConfig, data_dir: Path) -> tuple[Path, Path]:
    """Paths of certificate and key, whether or not they are there yet."""
    if config.certificate is not None and config.key is not None:
        return config.certificate, config.key
    return data_dir / FOLDER / CERTIFICATE, data_dir / FOLDER / KEY


def fingerprint_of(certificate: Path) -> str:
    """SHA-256 of a certificate as browsers show it (AB:CD:...); raises CertificateError."""
    try:
        first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError, IndexError) as error:
        raise CertificateError(f"{certificate} cannot be read as a certificate") from error
    digest = hashlib.sha256(first.public_bytes(Encoding.DER)).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, 64, 2))


def tls_context(config: ConsoleConfig, data_dir: Path) -> tuple[ssl.SSLContext, str]:
    """Context to serve with (TLS 1.2 and later), and the fingerprint. Raises CertificateError."""
    certificate, key = files_of(config, data_dir)
    if config.certificate is None and not (certificate.exists() and key.exists()):
        _make(certificate, key, config.host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(f"{certificate} and {key.name} cannot be used: {error}") from error
    return context, fingerprint_of(certificate)


def _make(certificate: Path, key: Path, host: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())  # P-256: every browser takes it
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "plantgate console")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        certificate.parent.mkdir(mode=0o700, exist_ok=True)
        write_private(key, pem)
        write_private(certificate, made.public_bytes(Encoding.PEM))
    except OSError as error:
        raise CertificateError(f"{certificate} cannot be written: {error.strerror}") from error


def _names(host: str) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    own = socket.gethostname()
    if own.isascii() and own != "localhost":
        names.append(x509.DNSName(own))
    addresses = {"127.0.0.1", "::1"}
    try:
        if not ipaddress.ip_address(host).is_unspecified:
            addresses.add(host)
    except ValueError:
        if host.isascii() and host not in {own, "localhost"}:
            names.append(x509.DNSName(host))
    return names + [x509.IPAddress(ipaddress.ip_address(text)) for text in sorted(addresses)]
