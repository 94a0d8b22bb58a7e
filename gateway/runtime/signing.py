"""The gateway's key for the signed heads of its log: made, loaded, used, and checked against.

A key is the one of the uplink's certificate, or the gateway's own, made at its first start. Schemes
by type of key: ECDSA with SHA-256 (any curve), RSA PKCS #1 v1.5 with SHA-256, Ed25519. A key is
named by the SHA-256 of its SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from buffer.contract import Signer

OWN_KEY, OWN_PUBLIC = "signing.key", "signing.pem"
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
CheckSignature = Callable[[bytes, bytes, bytes], bool | None]
"""check(key_id, message, signature): whether it is that key's; None where the key is not known."""


class SigningKeyError(Exception):
    """A key or certificate cannot be used; one sentence that names the file."""


def load_signer(path: Path) -> Signer:
    """Signer with the private key in a PEM file; raises SigningKeyError."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SigningKeyError(f"{path}: no private key in PEM that can be read: {error}") from error
    if not isinstance(key, PrivateKey):
        raise SigningKeyError(f"{path}: an EC, RSA or Ed25519 key is needed")
    return Signer(key_id(key.public_key()), _signing(key))


def own_signer(folder: Path) -> Signer:
    """Signer with the key `signing.key` in a folder, made if there is none; SigningKeyError.

    Its public half lies beside it in `signing.pem`, for `plantgate buffer verify --certificate`.
    """
    path = folder / OWN_KEY
    try:
        if not path.exists():
            _make_key(folder)
    except OSError as error:
        raise SigningKeyError(f"{path} cannot be written: {error.strerror}") from error
    return load_signer(path)


def key_id(public: PublicKey) -> bytes:
    """Name of a key, 32 bytes."""
    return hashlib.sha256(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def is_signature(public: PublicKey, message: bytes, signature: bytes) -> bool:
    """Tell whether a signature of a message is that key's."""
    try:
        match public:
            case ec.EllipticCurvePublicKey():
                public.verify(signature, message, ec.ECDSA(SHA256()))
            case rsa.RSAPublicKey():
                public.verify(signature, message, padding.PKCS1v15(), SHA256())
            case _:
                public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def public_keys(path: Path) -> Mapping[bytes, PublicKey]:
    """Public keys of the certificates in a PEM file, or its bare public key; SigningKeyError."""
    try:
        content = path.read_bytes()
        keys: list[object] = []
        if b"BEGIN CERTIFICATE" in content:
            keys += [one.public_key() for one in x509.load_pem_x509_certificates(content)]
        else:
            keys.append(load_pem_public_key(content))
    except (OSError, ValueError) as error:
        raise SigningKeyError(f"{path}: no certificate or public key in PEM: {error}") from error
    return {key_id(key): key for key in keys if isinstance(key, PublicKey)}


def checking(files: Iterable[Path]) -> CheckSignature:
    """Check of signatures with the keys in these files; raises SigningKeyError."""
    keys: dict[bytes, PublicKey] = {}
    for path in files:
        keys |= public_keys(path)

    def check(name: bytes, message: bytes, signature: bytes) -> bool | None:
        key = keys.get(name)
        return None if key is None else is_signature(key, message, signature)

    return check


def _signing(key: PrivateKey) -> Callable[[bytes], bytes]:
    match key:
        case ec.EllipticCurvePrivateKey():
            return lambda message: key.sign(message, ec.ECDSA(SHA256()))
        case rsa.RSAPrivateKey():
            return lambda message: key.sign(message, padding.PKCS1v15(), SHA256())
        case _:
            return key.sign


def _make_key(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in ((OWN_PUBLIC, public), (OWN_KEY, private)):
        partial = folder / f"{name}.partial"
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        partial.rename(folder / name)
