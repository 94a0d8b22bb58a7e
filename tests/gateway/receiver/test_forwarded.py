"""Only what one proxy clearly set counts as a forwarded identity."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.receiver.forwarded import ForwardedError, forwarded_identity, names_of_peer
from tests.fakes.certificates import Authority

URI = "urn:plantgate:gateway:SD-1"
ENVOY = "x-forwarded-client-cert"
NGINX = "x-client-cert"


def test_envoys_element_names_the_gateway() -> None:
    value = f'Hash=ab12;Subject="CN=a\\"b,O=c";URI={URI}'
    assert forwarded_identity([("user-agent", "x"), (ENVOY, value)]) == (frozenset({"SD-1"}), None)


def test_nginx_passes_the_certificate_itself(tmp_path: Path) -> None:
    pem = Authority(tmp_path).issue_gateway("SD-1").certificate.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    assert forwarded_identity([(NGINX, quote(pem))]) == (frozenset({"SD-1"}), der)
    assert forwarded_identity([(ENVOY, f'Cert="{quote(pem)}";URI=x')]) == (frozenset({"SD-1"}), der)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ([], "passed on no client certificate"),
        ([(ENVOY, f"URI={URI}"), (ENVOY, f"URI={URI}")], "more than one"),
        ([(ENVOY, f"URI={URI}"), (NGINX, "")], "more than one"),
        ([(ENVOY, f"URI=urn:plantgate:gateway:SD-2,By=x;URI={URI}")], "more than one hop"),
        ([(NGINX, "no certificate")], "holds no certificate"),
        ([(NGINX, b"\xff\xfe")], "holds no certificate"),
    ],
)
def test_what_is_not_clear_is_refused(metadata: list[tuple[str, str | bytes]], says: str) -> None:
    with pytest.raises(ForwardedError, match=says):
        forwarded_identity(metadata)


def test_a_subject_cannot_pose_as_a_uri() -> None:
    value = f'Subject="CN=x;URI={URI}"'
    assert forwarded_identity([(ENVOY, value)]) == (frozenset(), None)


def test_a_peer_is_known_by_its_own_certificates_names() -> None:
    peer = {"x509_common_name": [b"proxy-1"], "peer_dns": [b"a.example"], "peer_uri": [b"u"]}
    assert names_of_peer(peer) == {"proxy-1", "a.example"}
