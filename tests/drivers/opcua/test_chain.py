"""Trust through authorities: whom they let in, and each way it fails, in words."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from drivers.opcua.trust import (
    Presented,
    TrustError,
    check_server,
    check_store,
    load_certificate,
    split_chain,
)
from tests.fakes.opcua_certificates import Application, Authority, make_application, make_authority

NOW_NS = 1_800_000_000_000_000_000
URI = "urn:plant:dcs"
ENDED = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)


class Site:
    """A trust folder with an authority, and a server whose certificate that has issued."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = folder / "trust"
        self.trust.mkdir()
        self.authority = make_authority(self.trust, "plant-ca")
        self.server = self.issue("dcs")

    def issue(self, name: str, authority: Authority | None = None, **more: object) -> Application:
        options: dict[str, object] = {"uri": URI, "authority": authority or self.authority}
        return make_application(self.folder, name, **(options | more))  # type: ignore[arg-type]  # options as they come

    def check(
        self,
        server: Application | None = None,
        *,
        chain: tuple[Authority, ...] = (),
        host: str = "localhost",
        uri: str = URI,
    ) -> None:
        certificate = load_certificate((server or self.server).certificate)
        sent = [load_certificate(one.certificate) for one in chain]
        presented = Presented(certificate, sent, uri, host)
        check_server(presented, pinned=None, folder=self.trust, now_ns=NOW_NS)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_an_authority_has_issued_is_trusted_under_its_name(site: Site) -> None:
    for host in ("localhost", "LOCALHOST.", "127.0.0.1"):
        site.check(host=host)
    site.authority.revoke(site.trust / "crl" / "empty.crl")
    site.check()


def test_an_authority_below_counts_whether_sent_or_in_the_folder(site: Site) -> None:
    below = make_authority(site.folder, "unit-ca", above=site.authority)
    server = site.issue("below", below)
    site.check(server, chain=(below,))
    with pytest.raises(TrustError, match="its issuer CN=unit-ca is not trusted either"):
        site.check(server)
    (site.trust / "certs").mkdir()
    (site.trust / "certs" / "unit.der").write_bytes(below.certificate.read_bytes())
    site.check(server)


def test_a_strange_authority_and_a_false_one_are_told_apart(site: Site) -> None:
    strange = make_authority(site.folder, "strange-ca")
    with pytest.raises(TrustError, match="its issuer CN=strange-ca is not trusted either; if that"):
        site.check(site.issue("a", strange))
    twin = make_authority(site.folder / "twin", "plant-ca")
    with pytest.raises(TrustError, match="claims to be issued by CN=plant-ca, whose signature"):
        site.check(site.issue("b", twin))
    sent = site.issue("c", twin)
    with pytest.raises(TrustError, match="is not trusted"):
        site.check(sent, chain=(twin,))


def test_a_trusted_server_is_no_authority(site: Site) -> None:
    """Its key must not be able to let others in."""
    (site.trust / "dcs.der").write_bytes(site.server.certificate.read_bytes())
    certificate = load_certificate(site.server.certificate)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(site.server.key.read_bytes(), None)
    issuer = Authority(site.server.certificate, key, certificate.subject)  # type: ignore[arg-type]  # RSA, as made
    with pytest.raises(TrustError, match="is in the trust folder, but is no authority"):
        site.check(site.issue("forged", issuer))


def test_revoked_certificates_are_refused_also_pinned_ones_and_authorities(site: Site) -> None:
    below = make_authority(site.folder, "unit-ca", above=site.authority)
    site.authority.revoke(
        site.trust / "plant.crl", site.server, Application(below.certificate, below.certificate)
    )
    with pytest.raises(TrustError, match=r"CN=dcs .* was revoked by CN=plant-ca on 2020-01-01"):
        site.check()
    with pytest.raises(TrustError, match=r"CN=unit-ca .* was revoked by CN=plant-ca"):
        site.check(site.issue("below", below), chain=(below,))
    (site.trust / "dcs.der").write_bytes(site.server.certificate.read_bytes())
    with pytest.raises(TrustError, match="was revoked"):
        site.check()
    site.check(site.issue("other"))


def test_a_list_that_another_has_signed_revokes_nothing_and_a_bent_one_is_told(site: Site) -> None:
    make_authority(site.folder / "twin", "plant-ca").revoke(site.trust / "x.crl", site.server)
    site.check()
    (site.trust / "bent.crl").write_text("nonsense", encoding="utf-8")
    with pytest.raises(TrustError, match=r"bent.crl is no revocation list"):
        check_store(site.trust)


def test_an_ended_authority_and_an_ended_certificate_are_told_apart(site: Site) -> None:
    ended = make_authority(site.trust, "ended-ca", until=ENDED)
    with pytest.raises(TrustError, match=r"the authority CN=ended-ca .* to 2021-01-01, not today"):
        site.check(site.issue("a", ended))
    with pytest.raises(TrustError, match=r"the server's certificate .* to 2021-01-01, not today"):
        site.check(site.issue("b", until=ENDED))


def test_no_more_authorities_below_one_than_it_allows(site: Site) -> None:
    top = make_authority(site.trust, "top-ca", path_length=0)
    below = make_authority(site.folder, "unit-ca", above=top)
    with pytest.raises(TrustError, match="CN=top-ca may not have 1 authorities below it"):
        site.check(site.issue("a", below), chain=(below,))


def test_who_is_trusted_by_an_authority_must_bear_host_and_uri(site: Site) -> None:
    with pytest.raises(TrustError, match=r"made for 127.0.0.1, localhost, not for dcs-2"):
        site.check(host="dcs-2")
    with pytest.raises(TrustError, match="calls itself urn:other, but its certificate is made for"):
        site.check(uri="urn:other")
    (site.trust / "dcs.der").write_bytes(site.server.certificate.read_bytes())
    site.check(host="dcs-2", uri="urn:other")


def test_a_short_key_is_refused(site: Site) -> None:
    with pytest.raises(TrustError, match="no RSA key of 2048 bits or more"):
        site.check(site.issue("short", bits=1024))


def test_a_chain_is_read_and_a_bent_one_refused(site: Site) -> None:
    files = [site.server.certificate, site.authority.certificate]
    chain = b"".join(path.read_bytes() for path in files)
    assert [c.public_bytes(Encoding.DER) for c in split_chain(chain)] == [
        path.read_bytes() for path in files
    ]
    for bent in (chain[:-1], chain[1:], b"\x30", b"\x30\x82\xff\xff" + chain):
        with pytest.raises(TrustError, match="no proper DER"):
            split_chain(bent)
