"""Whom we trust and who we are: certificates of both sides, read from files.

Guarantees: a server is trusted only if its very certificate (byte for byte) is the configured
`server_certificate` or lies in the `trust` folder; certificates out of their validity are refused;
every refusal is one sentence that names the certificate by SHA-256 and subject and says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
)

_CERTIFICATE_SUFFIXES = (".der", ".crt", ".cer", ".pem")


class TrustError(Exception):
    """A certificate or key cannot be used; the text is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Our application instance: certificate, key, and the URI the certificate names."""

    certificate: x509.Certificate
    key: RSAPrivateKey
    application_uri: str


def load_identity(certificate_path: Path, key_path: Path) -> Identity:
    """Read our certificate and key (PEM or DER); raises TrustError."""
    certificate = load_certificate(certificate_path)
    key = _load_key(key_path)
    if certificate.public_key() != key.public_key():
        raise TrustError(
            f"the key {key_path} does not belong to the certificate {certificate_path}"
        )
    uris = _uris(certificate)
    if not uris:
        raise TrustError(
            f"the certificate {certificate_path} names no application URI (a URI in its subject"
            " alternative name), without which OPC UA servers refuse it"
        )
    return Identity(certificate, key, uris[0])


def load_certificate(path: Path) -> x509.Certificate:
    """Read one certificate, PEM or DER; raises TrustError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrustError(f"the certificate {path} cannot be read: {error.strerror}") from error
    try:
        if b"-----BEGIN" in content:
            return x509.load_pem_x509_certificate(content)
        return x509.load_der_x509_certificate(content)
    except ValueError as error:
        raise TrustError(f"{path} is no certificate in PEM or DER") from error


def read_password(path: Path) -> str:
    """Read a password file: its text without one final line end; raises TrustError."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"the password file {path} cannot be read as UTF-8: {error}") from error


def check_server(
    presented: x509.Certificate,
    *,
    pinned: Path | None,
    folder: Path | None,
    now_ns: int,
) -> None:
    """Raise TrustError unless the presented server certificate is trusted and valid now."""
    der = presented.public_bytes(Encoding.DER)
    pins = [load_certificate(pinned)] if pinned is not None else []
    if not any(pin.public_bytes(Encoding.DER) == der for pin in pins) and not _in_folder(
        der, folder
    ):
        place = f"put it into {folder}" if folder is not None else f"compare it with {pinned}"
        raise TrustError(
            f"the server's certificate is not trusted: SHA-256 {thumbprint(presented)}, subject"
            f" {presented.subject.rfc4514_string()}; if that is the right server, {place}"
        )
    check_validity(presented, "the server's certificate", now_ns)


def check_validity(certificate: x509.Certificate, whose: str, now_ns: int) -> None:
    """Raise TrustError unless a certificate is valid now; whose: how a person calls it."""
    moment = datetime.fromtimestamp(now_ns / 1e9, tz=UTC)
    if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
        raise TrustError(
            f"{whose} (SHA-256 {thumbprint(certificate)}) is valid"
            f" from {certificate.not_valid_before_utc:%Y-%m-%d}"
            f" to {certificate.not_valid_after_utc:%Y-%m-%d}, not today"
            f" ({moment:%Y-%m-%d}); renew it, or set the gateway's clock right"
        )


def thumbprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER form, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def _in_folder(der: bytes, folder: Path | None) -> bool:
    """Look for a certificate; files that are none are passed over."""
    if folder is None:
        return False
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _CERTIFICATE_SUFFIXES)
    except OSError as error:
        raise TrustError(f"the trust folder {folder} cannot be read: {error.strerror}") from error
    for path in paths:
        try:
            if load_certificate(path).public_bytes(Encoding.DER) == der:
                return True
        except TrustError:
            continue
    return False


def _load_key(path: Path) -> RSAPrivateKey:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrustError(f"the key {path} cannot be read: {error.strerror}") from error
    try:
        load = load_pem_private_key if b"-----BEGIN" in content else load_der_private_key
        key = load(content, password=None)
    except (ValueError, TypeError) as error:
        raise TrustError(f"{path} is no unencrypted private key in PEM or DER") from error
    if not isinstance(key, RSAPrivateKey):
        raise TrustError(f"the key {path} is no RSA key, which these security policies need")
    return key


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)


__all__ = [
    "Identity",
    "TrustError",
    "check_server",
    "check_validity",
    "load_certificate",
    "load_identity",
    "read_password",
    "thumbprint",
]
