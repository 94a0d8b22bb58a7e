"""How a broker (MQTT) may be spoken to, whoever speaks to it: an intake or a notifier. Pure.

Guarantees: no clear text beyond this machine unless somebody said `insecure = true`; what is given
for a login or for TLS is complete, so that nothing of it is left out silently.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from drivers.loopback import is_loopback


class BrokerAccess(Protocol):
    """Keys of a site file that say where a broker is and how it is spoken to.

    ca: of the broker's certificate; TLS if given.  certificate, key: ours, if the broker asks.
    """

    host: str
    user: str | None
    password_file: Path | None
    ca: Path | None
    certificate: Path | None
    key: Path | None
    insecure: bool


def broker_doubt(access: BrokerAccess) -> str:
    """Say why a broker is not spoken to like that, or nothing."""
    if (access.certificate is None) != (access.key is None):
        return "certificate and key belong together: give both or neither"
    if access.certificate is not None and access.ca is None:
        return "certificate needs TLS: give the broker's ca"
    if access.password_file is not None and access.user is None:
        return "password_file needs user"
    if access.ca is None and not access.insecure and not is_loopback(access.host):
        return (
            f"{access.host} would be spoken to in clear text: give ca, or insecure = true where"
            " the site accepts that"
        )
    return ""
