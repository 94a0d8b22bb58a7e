"""Certificate files: renewed ones noticed, tried, and only then used; those that end soon, said.

Guarantees: the running connections are given up only after the new files have been loaded together;
a half-written pair, or a key that does not fit, is reported once and changes nothing. What was not
acknowledged is sent again on the new connections, so a renewal costs no record.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

from cryptography import x509

from drivers.contract import Clock
from gateway.uplink.channel import Destination
from gateway.uplink.expiry import ExpiryWatch

LOOK_NS = 2_000_000_000
"""How often three files are looked at (3 stat calls)."""

Stamp = tuple[tuple[int, int, int], ...]


async def watch(
    destination: Destination,
    clock: Clock,
    renewed: Callable[[], None],
    report: Callable[[str, str, dict[str, Any]], None],
    *,
    look_ns: int = LOOK_NS,
) -> None:
    """Call `renewed` after each change that can be used, until cancelled."""
    if destination.insecure:
        return
    used = await asyncio.to_thread(_stamp, destination)
    refused: Stamp = ()
    ends, expiry = await asyncio.to_thread(_ends, destination), ExpiryWatch()
    while True:
        for kind, text in expiry.feed(ends, wall_ns=clock.wall_ns()):
            report(kind, text, {})
        await clock.sleep_until(clock.monotonic_ns() + look_ns)
        now = await asyncio.to_thread(_stamp, destination)
        if now in (used, refused):
            continue
        if wrong := await asyncio.to_thread(_try, destination):
            refused = now
            text = f"The renewed certificate files are not used: {wrong}; the old ones still are."
            report("uplink.certificate_unusable", text, {})
            continue
        used, refused = now, ()
        ends = await asyncio.to_thread(_ends, destination)
        text = f"The certificate {destination.certificate} was renewed; connecting anew with it."
        report("uplink.certificate_renewed", text, {})
        renewed()


def _stamp(destination: Destination) -> Stamp:
    found = []
    for path in (destination.ca, destination.certificate, destination.key):
        try:
            status = path.stat() if path is not None else None
        except OSError:
            status = None
        found.append((status.st_mtime_ns, status.st_ino, status.st_size) if status else (0, 0, 0))
    return tuple(found)


def _try(destination: Destination) -> str:
    try:
        context = ssl.create_default_context(cafile=str(destination.ca))
        context.load_cert_chain(str(destination.certificate), str(destination.key))
    except (OSError, ssl.SSLError) as error:
        return f"{destination.certificate} and {destination.key} do not load ({error})"
    return ""


def _ends(destination: Destination) -> dict[str, int]:
    """When the first certificate of each readable file ends, in ns since 1970."""
    found = {}
    for path in (destination.certificate, destination.ca):
        if path is None:
            continue
        try:
            first = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except (OSError, ValueError):
            continue  # `plantgate check` and the connection itself say what is wrong with it
        found[str(path)] = int(first.not_valid_after_utc.timestamp()) * 1_000_000_000
    return found
