"""The gateway id in a client certificate that a proxy in front has checked and passed on. Pure.

    nginx   grpc_set_header x-client-cert $ssl_client_escaped_cert;     the PEM, URL-encoded
    Envoy   forward_client_cert_details: SANITIZE_SET, uri and cert     x-forwarded-client-cert

Only believed of a peer whose own certificate names a trusted proxy (`--trusted-proxy`): a gateway
could write these headers too. What a proxy did not set is an error, never an empty identity.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.receiver.identity import PREFIX

NGINX_HEADER = "x-client-cert"
ENVOY_HEADER = "x-forwarded-client-cert"
_PART = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|[^;,]*)')
_LONGEST = 64 * 1024


class ForwardedError(Exception):
    """The proxy passed on nothing that names a gateway; the text says what is missing."""


def names_of_peer(auth_context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """DNS names and common name of the peer's own certificate."""
    found = (*auth_context.get("peer_dns", ()), *auth_context.get("x509_common_name", ()))
    return frozenset(name.decode("utf-8", "replace") for name in found)


def forwarded_identity(
    metadata: Iterable[tuple[str, str | bytes]],
) -> tuple[frozenset[str], bytes | None]:
    """Gateway ids of the certificate that the proxy checked, and its DER form if it was passed on.

    Raises ForwardedError.
    """
    headers: dict[str, list[str]] = {NGINX_HEADER: [], ENVOY_HEADER: []}
    for key, value in metadata:
        if key in headers:
            headers[key].append(value if isinstance(value, str) else value.decode("latin-1"))
    given = [(key, values) for key, values in headers.items() if values]
    if not given:
        raise ForwardedError(
            "the proxy passed on no client certificate: it sets neither"
            f" {NGINX_HEADER} (nginx) nor {ENVOY_HEADER} (Envoy)"
        )
    if len(given) > 1 or len(given[0][1]) > 1 or len(given[0][1][0]) > _LONGEST:
        raise ForwardedError("more than one client certificate was passed on; the proxy must"
                             " replace such headers of its clients")  # fmt: skip
    key, (value,) = given[0]
    uris, der = _from_pem(key, value) if key == NGINX_HEADER else _from_envoy(value)
    ids = frozenset(uri.removeprefix(PREFIX) for uri in uris if uri.startswith(PREFIX))
    return ids, der


def _from_pem(header: str, value: str) -> tuple[list[str], bytes | None]:
    try:
        certificate = x509.load_pem_x509_certificate(unquote(value).encode("ascii", "replace"))
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound):
        raise ForwardedError(f"{header} holds no certificate with a SAN") from None
    uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
    return uris, certificate.public_bytes(Encoding.DER)


def _from_envoy(value: str) -> tuple[list[str], bytes | None]:
    # With SANITIZE_SET there is one element; a comma outside quotes would begin another hop's.
    if "," in re.sub(r'"(?:[^"\\]|\\.)*"', "", value):
        raise ForwardedError(f"{ENVOY_HEADER} names more than one hop; use SANITIZE_SET")
    parts = [(key.upper(), part.strip('"')) for key, part in _PART.findall(value)]
    for key, part in parts:
        if key == "CERT":
            return _from_pem(ENVOY_HEADER, part)
    return [part for key, part in parts if key == "URI"], None
