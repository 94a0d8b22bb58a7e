"""Why a TLS receiver goes away before its Welcome: asked once more, by a plain TLS handshake.

In TLS 1.3 a server refuses a client's certificate after the handshake, with an alert; gRPC loses
that alert and says UNAVAILABLE, as if the receiver were down (Envoy, grpcio). The alert, read here,
tells what a person has to mend, so that it is not retried as if it would pass.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

from gateway.uplink.channel import Destination
from gateway.uplink.patience import Ended

_PATIENCE_S = 5.0
_ALERTS = {
    "CERTIFICATE_REQUIRED": "asks for a client certificate and was given none",
    "CERTIFICATE_EXPIRED": "says that {certificate} has expired",
    "CERTIFICATE_REVOKED": "says that {certificate} is revoked",
    "UNKNOWN_CA": "does not know the authority that signed {certificate}",
    "BAD_CERTIFICATE": "refuses the certificate {certificate}",
    "CERTIFICATE_UNKNOWN": "refuses the certificate {certificate}",
    "ACCESS_DENIED": "denies access to the certificate {certificate}",
    "HANDSHAKE_FAILURE": "refuses the TLS handshake (with {certificate})",
    "DECRYPT_ERROR": "says that {certificate} and {key} do not fit",
}


async def refused_by(destination: Destination) -> Ended | None:
    """Say which certificate the receiver refuses, or None if TLS is not the reason."""
    if destination.insecure or None in (destination.ca, destination.certificate, destination.key):
        return None
    host, _, port = destination.target.rpartition(":")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await _ask(destination, host.strip("[]"), int(port))
    except (OSError, TimeoutError, ValueError):
        return None  # away, or silent as a server that waits for HTTP/2


async def _ask(destination: Destination, host: str, port: int) -> Ended | None:
    context = await asyncio.to_thread(_context, destination)
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            await reader.read(1)  # in TLS 1.3 the alert comes with the first read
        finally:
            writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
    except ssl.SSLError as error:
        reason = error.reason or ""
        said = next((text for name, text in _ALERTS.items() if reason.endswith(name)), None)
        if said is None:
            return None
        text = said.format(certificate=destination.certificate, key=destination.key)
        return Ended(f"{destination.target} {text}.", permanent=True)
    return None


def _context(destination: Destination) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=_text(destination.ca))
    context.set_alpn_protocols(["h2"])
    context.load_cert_chain(_text(destination.certificate), _text(destination.key))
    return context


def _text(path: Path | None) -> str:
    return str(path)
