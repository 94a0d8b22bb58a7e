"""Who speaks: the gateway id in a client certificate, as the URI SAN urn:plantgate:gateway:ID.

Pure. With mTLS the certificate decides; a Hello that names another id is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

PREFIX = "urn:plantgate:gateway:"
_LONGEST_ID = 128


def identities(auth_context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """Gateway ids of the peer's certificate, as gRPC's authentication context shows it.

    Only `peer_uri` is read: the URI names of the certificate, which gRPC keeps apart from DNS
    names, so that no other kind of name can pose as an identity.
    """
    names = (name.decode("utf-8", "replace") for name in auth_context.get("peer_uri", ()))
    return frozenset(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))


def certificate(auth_context: Mapping[str, Iterable[bytes]]) -> bytes | None:
    """DER form of the peer's certificate; None if there is none."""
    for pem in auth_context.get("x509_pem_cert", ()):
        body = b"".join(line for line in pem.splitlines() if line and not line.startswith(b"-----"))
        return base64.b64decode(body)
    return None


def refusal(gateway_id: str, certified: frozenset[str] | None) -> str:
    """Say why this id may not be used, or nothing. `certified` is None without mTLS."""
    if not 0 < len(gateway_id) <= _LONGEST_ID or not gateway_id.isprintable():
        return f"a gateway id has 1 to {_LONGEST_ID} printable characters"
    if certified is None or gateway_id in certified:
        return ""
    if not certified:
        return f"the client certificate names no gateway: its SAN has no URI {PREFIX}{gateway_id}"
    named = ", ".join(sorted(certified))
    return f"the client certificate is for gateway {named}, not for {gateway_id}"
