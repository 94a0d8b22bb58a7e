"""Whom we trust and who we are: certificates of both sides, read from files.

Guarantees: a server is trusted only if its very certificate (byte for byte) is the configured
`server_certificate` or lies in the `trust` folder, or if an authority there has issued it
(chain.py); every refusal is one sentence that names the certificate by SHA-256 and subject and says
what to do.

The folder is read anew at each connect: certificates (.der, .crt, .cer, .pem) and revocation lists
(.crl), in the folder itself or in `certs` and `crl` below it. Files that are neither are passed by.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_der_private_key,
    load_pem_private_key,
)

from drivers.opcua.chain import (
    Presented,
    Store,
    TrustError,
    check_trust,
    check_validity,
    thumbprint,
)

_CERTIFICATE_SUFFIXES = (".der", ".crt", ".cer", ".pem")
_LIST_SUFFIX = ".crl"
LoadedT = TypeVar("LoadedT")


@dataclass(frozen=True, slots=True)
class Identity:
    """Our application instance: certificate, key, and the URI the certificate names."""

    certificate: x509.Certificate
    key: RSAPrivateKey
    application_uri: str


def load_identity(certificate_path: Path, key_path: Path) -> Identity:
    """Read our certificate and key (PEM or DER); raises TrustError."""
    certificate, key = load_user(certificate_path, key_path)
    uris = _uris(certificate)
    if not uris:
        raise TrustError(
            f"the certificate {certificate_path} names no application URI (a URI in its subject"
            " alternative name), without which OPC UA servers refuse it"
        )
    return Identity(certificate, key, uris[0])


def load_certificate(path: Path) -> x509.Certificate:
    """Read one certificate, PEM or DER; raises TrustError."""
    readers = (x509.load_pem_x509_certificate, x509.load_der_x509_certificate)
    return _load(path, "certificate", *readers)


def end_ns_of(certificate: x509.Certificate) -> int:
    """When it ends, ns since 1970."""
    return int(certificate.not_valid_after_utc.timestamp()) * 10**9


def read_password(path: Path) -> str:
    """Read a password file: its text without one final line end; raises TrustError."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise TrustError(f"the password file {path} cannot be read as UTF-8: {error}") from error


def check_server(
    presented: Presented, *, pinned: Path | None, folder: Path | None, now_ns: int
) -> None:
    """Raise TrustError unless the server is trusted and valid now; chain.py says what is looked at.

    pinned: trusted as this very certificate only, never as an authority.
    """
    if pinned is not None:
        pin = load_certificate(pinned)
        if pin == presented.certificate:
            check_trust(presented, Store([pin]), now_ns)
            return
    if folder is None:
        check_trust(presented, Store(place=f"compare it with {pinned}"), now_ns)
    else:
        check_trust(presented, read_store(folder), now_ns)


def read_store(folder: Path) -> Store:
    """Read a trust folder; raises TrustError where it cannot be read."""
    certificates, lists = [], []
    for path in _files(folder):
        with contextlib.suppress(TrustError):
            if path.suffix.lower() == _LIST_SUFFIX:
                lists.append(load_list(path))
            elif path.suffix.lower() in _CERTIFICATE_SUFFIXES:
                certificates.append(load_certificate(path))
    return Store(certificates, lists, f"put it into {folder}")


def check_store(folder: Path) -> None:
    """Raise TrustError where a revocation list cannot be read: it would revoke nothing."""
    for path in _files(folder):
        if path.suffix.lower() == _LIST_SUFFIX:
            load_list(path)


def _files(folder: Path) -> list[Path]:
    try:
        paths = list(folder.iterdir())
        for below in (folder / "certs", folder / "crl"):
            if below.is_dir():
                paths += below.iterdir()
    except OSError as error:
        raise TrustError(f"the trust folder {folder} cannot be read: {error.strerror}") from error
    return sorted(path for path in paths if path.is_file())


def load_list(path: Path) -> x509.CertificateRevocationList:
    """Read one revocation list, PEM or DER; raises TrustError."""
    return _load(path, "revocation list", x509.load_pem_x509_crl, x509.load_der_x509_crl)


def _load(
    path: Path, what: str, pem: Callable[[bytes], LoadedT], der: Callable[[bytes], LoadedT]
) -> LoadedT:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrustError(f"the {what} {path} cannot be read: {error.strerror}") from error
    try:
        return (pem if b"-----BEGIN" in content else der)(content)
    except ValueError as error:
        raise TrustError(f"{path} is no {what} in PEM or DER") from error


def split_chain(content: bytes) -> list[x509.Certificate]:
    """Read certificates in DER one after another, as a server sends them; raises TrustError."""
    found = []
    while content:
        # a SEQUENCE with a length of two bytes: a certificate has more than 255 and at most 65535
        length = 4 + int.from_bytes(content[2:4], "big")
        try:
            certificate = x509.load_der_x509_certificate(content[:length])
        except ValueError as error:
            raise TrustError("the server's certificate is no proper DER") from error
        if certificate.public_bytes(Encoding.DER) != content[:length]:
            raise TrustError("the server's certificate is no proper DER")
        found.append(certificate)
        content = content[length:]
    return found


def load_user(certificate_path: Path, key_path: Path) -> tuple[x509.Certificate, RSAPrivateKey]:
    """Read a user's certificate and key (PEM or DER); raises TrustError."""
    certificate, key = load_certificate(certificate_path), _load_key(key_path)
    if certificate.public_key() != key.public_key():
        raise TrustError(
            f"the key {key_path} does not belong to the certificate {certificate_path}"
        )
    return certificate, key


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
    "Presented",
    "TrustError",
    "check_server",
    "check_store",
    "check_validity",
    "end_ns_of",
    "load_certificate",
    "load_identity",
    "load_user",
    "read_password",
    "split_chain",
    "thumbprint",
]
