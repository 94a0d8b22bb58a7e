"""Every way in which a server can refuse us by certificate or login has a sentence that helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncua.ua
import pytest

from drivers.opcua.faults import REFUSED_LOGIN, status_sentence

ua: Any = asyncua.ua
CODES = ua.StatusCodes
OURS = Path("certs/gateway.der")
OF_CERTIFICATES = sorted(name for name in dir(CODES) if name.startswith("BadCertificate"))
OTHERS = (
    "BadUserAccessDenied", "BadIdentityTokenInvalid", "BadIdentityTokenRejected",
    "BadSecurityChecksFailed", "BadSecurityModeRejected", "BadSecurityPolicyRejected",
    "BadTooManySessions", "BadTooManySubscriptions", "BadServerHalted",
)  # fmt: skip


@pytest.mark.parametrize("name", [*OF_CERTIFICATES, *OTHERS])
def test_a_refusal_says_what_is_wrong_and_not_only_its_number(name: str) -> None:
    status = int(getattr(CODES, name))
    sentence = status_sentence(status, name, "connecting", OURS)
    assert "0x" not in sentence
    assert "while connecting" not in sentence
    assert sentence.count("{") == 0
    if status in REFUSED_LOGIN:
        assert str(OURS) in sentence  # a user known by a certificate
        assert str(OURS) not in status_sentence(status, name, "connecting", None)


def test_an_untrusted_certificate_is_named_with_where_to_put_it() -> None:
    for name in ("BadCertificateUntrusted", "BadSecurityChecksFailed"):
        sentence = status_sentence(int(getattr(CODES, name)), name, "connecting", OURS)
        assert "does not trust our certificate yet: put certs/gateway.der into" in sentence


def test_a_code_that_nobody_knows_is_still_named() -> None:
    sentence = status_sentence(0x80FF_0000, "BadSomething", "reading", None)
    assert sentence == "the server answered BadSomething (0x80FF0000) while reading"
