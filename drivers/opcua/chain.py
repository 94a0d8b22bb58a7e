"""Follows a server's certificate to an authority we trust, and looks it up as revoked. Pure.

Guarantees: an authority counts only if its certificate says that it is one and may sign; every
signature, validity, path length and revocation list on the way is checked (OPC 10000-4, 6.1.3);
whoever is trusted only through an authority must also bear the name we called and the application
URI the server gives itself, since the authority has issued other certificates too. Every refusal is
one sentence.

A revocation list that is out of date still revokes what it lists: a plant without a line to its
authority would stand still otherwise. No list at all revokes nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

_MOST_LINKS = 8
_LEAST_BITS = 2048  # for all three policies (OPC 10000-7, 6.6.161 ff.)


class TrustError(Exception):
    """A certificate or key cannot be used; the text is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Store:
    """What the trust folder holds: certificates, and revocation lists; place: how to call it."""

    certificates: Sequence[x509.Certificate] = ()
    lists: Sequence[x509.CertificateRevocationList] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a server shows: its certificate, those sent with it, its URI, and the host we called."""

    certificate: x509.Certificate
    chain: Sequence[x509.Certificate] = ()
    application_uri: str = ""
    host: str = ""


def check_trust(presented: Presented, store: Store, now_ns: int) -> None:
    """Raise TrustError unless the server is trusted now, by itself or through an authority."""
    certificate = presented.certificate
    very = _der(certificate) in {_der(known) for known in store.certificates}
    if not very:
        path = _path(presented, store)
        for place, authority in enumerate(path):
            check_validity(authority, f"the authority {_name(authority)}", now_ns)
            _check_length(authority, place)
        for below, authority in zip([certificate, *path], path, strict=False):
            _check_revoked(below, authority, store)
        _check_names(presented)
    else:
        for authority in store.certificates:
            if _is_authority(authority) and _issued(certificate, authority):
                _check_revoked(certificate, authority, store)
    check_validity(certificate, "the server's certificate", now_ns)
    key = certificate.public_key()
    if not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_BITS:
        raise TrustError(
            f"the server's certificate has no RSA key of {_LEAST_BITS} bits or more, which these"
            " security policies need: have a new one made at the server"
        )


def _path(presented: Presented, store: Store) -> list[x509.Certificate]:
    """Give the authorities from the server's own up to one that we trust; TrustError if none."""
    trusted = {_der(known) for known in store.certificates}
    path: list[x509.Certificate] = []
    at = presented.certificate
    for _ in range(_MOST_LINKS):
        found = next(_issuers(at, [*store.certificates, *presented.chain]), None)
        if found is None or _der(found) == _der(at):
            break
        path.append(found)
        if _der(found) in trusted:
            return path
        at = found
    raise _untrusted(presented.certificate, store)


def _issuers(
    of: x509.Certificate, candidates: Sequence[x509.Certificate]
) -> Iterator[x509.Certificate]:
    return (one for one in candidates if _is_authority(one) and _issued(of, one))


def _untrusted(certificate: x509.Certificate, store: Store) -> TrustError:
    namesakes = [one for one in store.certificates if one.subject == certificate.issuer]
    issuer = certificate.issuer.rfc4514_string()
    if certificate.issuer == certificate.subject:
        why = ""
    elif any(_is_authority(one) for one in namesakes):
        why = f"; it claims to be issued by {issuer}, whose signature it does not bear"
    elif namesakes:
        why = f"; its issuer {issuer} is in the trust folder, but is no authority"
    else:
        why = f"; its issuer {issuer} is not trusted either"
    return TrustError(
        f"the server's certificate is not trusted: SHA-256 {thumbprint(certificate)}, subject"
        f" {_name(certificate)}{why}; if that is the right server, {store.place}"
    )


def _check_length(authority: x509.Certificate, below: int) -> None:
    constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    if constraints.path_length is not None and below > constraints.path_length:
        raise TrustError(
            f"the authority {_name(authority)} may not have {below} authorities below it: have the"
            " server's certificate issued by another"
        )


def _check_revoked(
    certificate: x509.Certificate, authority: x509.Certificate, store: Store
) -> None:
    key = authority.public_key()
    if not isinstance(key, (RSAPublicKey, EllipticCurvePublicKey)):
        return
    for revoked in store.lists:
        if revoked.issuer != authority.subject or not revoked.is_signature_valid(key):
            continue
        entry = revoked.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None:
            raise TrustError(
                f"the certificate {_name(certificate)} (SHA-256 {thumbprint(certificate)}) was"
                f" revoked by {_name(authority)} on {entry.revocation_date_utc:%Y-%m-%d}: have a"
                " new one issued, and find out why"
            )


def _check_names(presented: Presented) -> None:
    certificate = presented.certificate
    uris, hosts = _names(certificate)
    if presented.application_uri and presented.application_uri not in uris:
        raise TrustError(
            f"the server calls itself {presented.application_uri}, but its certificate is made for"
            f" {', '.join(uris) or 'no application URI'}: have one issued for it, or name this very"
            " certificate in server_certificate"
        )
    if presented.host and _plain(presented.host) not in hosts:
        raise TrustError(
            f"the server's certificate is made for {', '.join(sorted(hosts)) or 'no host'}, not for"
            f" {presented.host}: use such a name in `endpoint`, or name this very certificate in"
            " server_certificate"
        )


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


def _is_authority(certificate: x509.Certificate) -> bool:
    extensions = certificate.extensions
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return bool(constraints.ca)
    return bool(constraints.ca and usage.key_cert_sign)


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> tuple[list[str], set[str]]:
    """Give the URIs and the hosts, as plain text, that a certificate is made for."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return [], set()
    names = extension.value
    hosts = {_plain(name) for name in names.get_values_for_type(x509.DNSName)}
    hosts |= {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return names.get_values_for_type(x509.UniformResourceIdentifier), hosts


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".")


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


__all__ = ["Presented", "Store", "TrustError", "check_trust", "check_validity", "thumbprint"]
