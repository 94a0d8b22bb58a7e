"""Application certificates for OPC UA tests: RSA 2048, self-signed, with an application URI.

Certificates are written in DER, keys in PEM, as OPC UA products exchange them. An Authority issues
others and revokes them.
"""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
UNTIL = datetime.datetime(2049, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Application:
    """Paths of an application's certificate (DER) and key (PEM)."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority; certificate: path of its DER."""

    certificate: Path
    key: rsa.RSAPrivateKey
    name: x509.Name

    def revoke(self, path: Path, *applications: Application) -> None:
        """Write a revocation list of these."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(_FROM)
            .next_update(UNTIL)
        )
        for application in applications:
            certificate = x509.load_der_x509_certificate(application.certificate.read_bytes())
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(_FROM)
                .build()
            )
        revoked = builder.sign(self.key, hashes.SHA256())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(revoked.public_bytes(serialization.Encoding.DER))


def make_authority(
    folder: Path,
    name: str,
    *,
    above: Authority | None = None,
    path_length: int | None = None,
    until: datetime.datetime = UNTIL,
) -> Authority:
    """Write NAME.der of an authority, its own root unless one is above it."""
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    signing = above.key if above is not None else key
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.name if above is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .sign(signing, hashes.SHA256())
    )
    path = folder / f"{name}.der"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    return Authority(path, key, subject)


def make_application(
    folder: Path,
    name: str,
    *,
    uri: str | None = None,
    until: datetime.datetime = UNTIL,
    authority: Authority | None = None,
    bits: int = 2048,
) -> Application:
    """Write NAME.der and NAME.pem; the URI is urn:plantgate:test:NAME unless given, "" for none.

    authority: who issues it; self-signed without.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    signing = authority.key if authority is not None else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    uri = f"urn:plantgate:test:{name}" if uri is None else uri
    names: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    if uri:
        names.insert(0, x509.UniformResourceIdentifier(uri))
    public = key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True,
        data_encipherment=True, key_agreement=False, key_cert_sign=True, crl_sign=False,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    both = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.name if authority is not None else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .sign(signing, hashes.SHA256())
    )
    application = Application(folder / f"{name}.der", folder / f"{name}.pem")
    application.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    application.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return application
