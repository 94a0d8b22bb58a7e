"""Checks of what the site file points at on disk: certificates 证书, keys, the data directory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from buffer.unusable import passes
from gateway.config.model import UplinkConfig
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath

EXPIRY_WARNING = timedelta(days=30)
URI_PREFIX = "urn:plantgate:gateway:"
"""The gateway id is a URI SAN of its certificate; receivers refuse a Hello with another."""

RECEIVERS = "receiver.db"
"""What only a receiver's store holds (gateway/receiver/sqlite/store.py)."""

MAX_SECRET_BYTES = 4096
MAX_PEM_BYTES = 1 << 20  # a chain of ten certificates has some 20 KB

T = TypeVar("T")


def check_uplink(
    uplink: UplinkConfig, gateway_id: str, path: TomlPath, report: Report, now_ns: int
) -> None:
    """Check the PEM files of an uplink against each other, the gateway id and the clock.

    gateway_id: empty where it is not known, the identity is then not judged.
    """
    if uplink.ca is None or uplink.certificate is None or uplink.key is None:
        return
    now = datetime.fromtimestamp(now_ns / 1e9, UTC)
    authorities = _parsed(uplink.ca, "CA certificates in PEM", _certificates, (*path, "ca"), report)
    if authorities:
        _check_dates(authorities[0], uplink.ca, (*path, "ca"), report, now)
    certificate = check_pair(uplink.certificate, uplink.key, path, report, now_ns)
    if certificate is not None and gateway_id:
        _check_identity(certificate, gateway_id, (*path, "certificate"), report)


def check_pair(
    certificate: Path, key: Path, path: TomlPath, report: Report, now_ns: int
) -> x509.Certificate | None:
    """Check that a certificate is valid and fits its key; gives it if it could be read.

    What time alone brings, or a wrong clock, is a warning: a gateway that starts again after a
    power cut must acquire, alarm and store, whatever has expired meanwhile.
    """
    at_certificate, at_key = (*path, "certificate"), (*path, "key")
    chain = _parsed(
        certificate, "a certificate in PEM or DER", _certificates, at_certificate, report
    )
    secret = _parsed(key, "an unencrypted private key", _private_key, at_key, report)
    if chain:
        now = datetime.fromtimestamp(now_ns / 1e9, UTC)
        _check_dates(chain[0], certificate, at_certificate, report, now)
        if secret is not None and _spki(chain[0].public_key()) != _spki(secret.public_key()):
            report.wrong(
                at_certificate,
                f"certificate {certificate.name} does not fit key {key.name}:"
                " they were not made together",
            )
    if secret is not None:
        warn_readable(key, at_key, report)
    return chain[0] if chain else None


def check_secret(file: Path, path: TomlPath, report: Report) -> None:
    """Check that a file holds one line of text for the gateway and for nobody else."""
    try:
        if not file.is_file():
            report.wrong(path, f"there is no file {file}")
            return
        with file.open("rb") as opened:
            text = opened.read(MAX_SECRET_BYTES + 1).decode("utf-8").strip()
    except OSError as error:
        report.wrong(path, f"{file} cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        report.wrong(path, f"{file} is not UTF-8 text: it holds the secret in one line")
        return
    if not text or "\n" in text or len(text) > MAX_SECRET_BYTES:
        report.wrong(path, f"{file} is {'empty' if not text else 'more than one line'}: it holds"
                     " the secret in one line, and nothing else")  # fmt: skip
    warn_readable(file, path, report)


def warn_readable(file: Path, path: TomlPath, report: Report) -> None:
    """Warn of a secret that every user of this machine can read; chmod would end it."""
    try:
        if file.stat().st_mode & 0o007:
            report.warn(path, f"every user can read {file.name}: chmod o= it")
    except OSError:
        pass  # said by whoever reads it


def check_data_dir(data_dir: Path, path: TomlPath, report: Report) -> None:
    """Create the folder if need be, write and sync a file in it, and leave things as they were."""
    made: list[Path] = []
    try:
        for folder in [*reversed(data_dir.parents), data_dir]:
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        if not data_dir.is_dir():
            report.wrong(path, f"{data_dir} is not a folder: name a folder for the buffer")
            return
        if (data_dir / RECEIVERS).exists():
            report.wrong(path, f"{data_dir} is a receiver's store: name another folder")
            return
        with tempfile.NamedTemporaryFile(dir=data_dir, prefix=".plantgate-check-") as probe:
            probe.write(b"plantgate")
            probe.flush()
            os.fsync(probe.fileno())
        if foreign := [e for e in sorted(data_dir.iterdir()) if not _ours(e)]:
            report.wrong(path, _foreign(data_dir, foreign))
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        text = f"data directory {data_dir} cannot be read and written: {reason}"
        if isinstance(error, OSError) and passes(error):
            report.warn(path, f"{text}; until it can, the gateway runs on a log in memory")
        else:
            report.wrong(path, text)
    finally:
        for folder in reversed(made):
            folder.rmdir()


def _ours(entry: Path) -> bool:
    """Tell whether this user may read and write an entry, or it is gone meanwhile."""
    return os.access(entry, os.R_OK | os.W_OK, effective_ids=True) or not entry.exists()


def _foreign(data_dir: Path, entries: list[Path]) -> str:
    """Say whose the entries are: a first try as root leaves them, and the service stops at them."""
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    try:
        owner = entries[0].owner()
    except (OSError, KeyError):
        owner = "another user"
    return (
        f"{data_dir} holds {entries[0].name}{more} of {owner}, which this user may not use (was the"
        f" gateway run as {owner} once?): as root, chown -R USER {data_dir}"
    )


def _parsed(
    file: Path, what: str, parse: Callable[[bytes], T], path: TomlPath, report: Report
) -> T | None:
    try:
        if not file.is_file():
            report.wrong(path, f"there is no file {file}")
            return None
        with file.open("rb") as opened:
            return parse(opened.read(MAX_PEM_BYTES))
    except OSError as error:
        report.wrong(path, f"{file} cannot be read: {error.strerror}")
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # TypeError: the key is encrypted and no password was given.
        report.wrong(path, f"{file} does not hold {what}")
    return None


def _certificates(content: bytes) -> list[x509.Certificate]:
    """Read PEM, or the one certificate of a DER file, as OPC UA tools write it."""
    if b"-----BEGIN" in content:
        return x509.load_pem_x509_certificates(content)
    return [x509.load_der_x509_certificate(content)]


def _private_key(content: bytes) -> PrivateKeyTypes:
    if b"-----BEGIN" in content:
        return load_pem_private_key(content, password=None)
    return load_der_private_key(content, password=None)


def _spki(public_key: object) -> bytes:
    """Canonical bytes of a public key, to compare two of any kind."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]  # the union of key types shares this method


def _check_dates(
    certificate: x509.Certificate, file: Path, path: TomlPath, report: Report, now: datetime
) -> None:
    end = certificate.not_valid_after_utc
    if now > end:
        report.warn(
            path,
            f"{file.name} expired on {end:%Y-%m-%d}, the other end will refuse it:"
            " get a new certificate",
        )
    elif now < certificate.not_valid_before_utc:
        start = certificate.not_valid_before_utc
        report.warn(path, f"{file.name} is valid only from {start:%Y-%m-%d}: is the clock right?")
    elif end - now < EXPIRY_WARNING:
        report.warn(path, f"{file.name} expires on {end:%Y-%m-%d}, in {(end - now).days} days")


def _check_identity(
    certificate: x509.Certificate, gateway_id: str, path: TomlPath, report: Report
) -> None:
    wanted = URI_PREFIX + gateway_id
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if wanted not in uris:
        held = ", ".join(uris) or "none"
        report.wrong(path, f"must name this gateway by the URI SAN {wanted}; it holds {held}")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usage:
        report.wrong(path, "its extended key usage lacks client authentication (clientAuth)")
