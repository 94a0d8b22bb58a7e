"""Keys of signed heads: each type signs, is found by its certificate, and is refused when bad."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.runtime.signing import PrivateKey, SigningKeyError, checking, load_signer, own_signer

KEYS: dict[str, PrivateKey] = {
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "rsa": rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_signature_is_checked_by_the_public_key(tmp_path: Path, kind: str) -> None:
    key = KEYS[kind]
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    signer = load_signer(private)
    signature = signer.sign(b"head")
    check = checking([public])
    assert check(signer.key_id, b"head", signature) is True
    assert check(signer.key_id, b"another head", signature) is False
    assert check(bytes(32), b"head", signature) is None


def test_a_gateway_makes_its_own_key_once(tmp_path: Path) -> None:
    signer = own_signer(tmp_path / "data")
    assert own_signer(tmp_path / "data").key_id == signer.key_id
    assert stat.S_IMODE((tmp_path / "data" / "signing.key").stat().st_mode) == 0o600
    check = checking([tmp_path / "data" / "signing.pem"])
    assert check(signer.key_id, b"head", signer.sign(b"head"))


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", None])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SigningKeyError, match=r"key\.pem"):
        load_signer(path)
    with pytest.raises(SigningKeyError, match=r"key\.pem"):
        checking([path])


def test_a_key_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = x25519.X25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(SigningKeyError, match="an EC, RSA or Ed25519 key"):
        load_signer(path)
