"""`plantgate cert opcua`: a certificate, or a request, as OPC UA servers want it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtensionOID

from drivers.opcua.trust import load_identity
from gateway.cli.cert import command

URI = "urn:plant1:plantgate:gateway"


def make(folder: Path, *more: str) -> None:
    made = CliRunner().invoke(command, ["opcua", str(folder), "--uri", URI, "--host", "gw", *more])
    assert made.exit_code == 0, made.output


def test_the_certificate_names_its_uri_and_its_key_is_private(tmp_path: Path) -> None:
    make(tmp_path)
    identity = load_identity(tmp_path / "opcua.der", tmp_path / "opcua.key")
    assert identity.application_uri == URI
    assert (tmp_path / "opcua.key").stat().st_mode & 0o777 == 0o600


def test_a_request_asks_an_authority_for_the_same(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b", "--request")
    made = x509.load_pem_x509_certificate((tmp_path / "a" / "opcua.pem").read_bytes())
    asked = x509.load_pem_x509_csr((tmp_path / "b" / "opcua.csr").read_bytes())
    assert asked.is_signature_valid
    for oid in (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.KEY_USAGE,
                ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS):  # fmt: skip
        ours, theirs = (o.extensions.get_extension_for_oid(oid) for o in (asked, made))
        assert ours == theirs
    key = load_pem_private_key((tmp_path / "b" / "opcua.key").read_bytes(), None)
    assert key.public_key() == asked.public_key()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"opcua.csr", "opcua.key"}
