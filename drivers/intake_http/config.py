"""What a site file may say about an HTTP intake, and what is wrong with it.

Guarantees: nobody can hand in without saying who he is, and nothing travels in clear text beyond
this machine, unless the site file says `insecure = true`; `check` reads files and binds nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from drivers.contract import DriverPoint, Problem
from drivers.intake.settings import ExternalAddress, IntakeConfig, check_intake
from drivers.intake_http.senders import SendersError, read_senders
from drivers.loopback import is_loopback

WARNING = "warning: "
_OTHERS_READ = 0o004


class HttpIntakeConfig(IntakeConfig):
    """Keys of a [[device]] with driver = "intake_http".

    listen: address and port; [::1]:8480 for IPv6.  certificate, key: TLS of the server, PEM.
    client_ca: senders must show a certificate of this authority; its common name is their name.
    tokens: file of bearer tokens, one `name token` a line.  insecure: no TLS beyond the loopback.
    max_body_kb: of JSON.  max_picture_kb: of one picture.  rate_per_s, burst: requests of a sender.
    store_timeout_s: a request that is not durable by then is answered 503.
    """

    listen: str
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    insecure: bool = False
    max_body_kb: int = Field(default=1024, ge=1, le=65_536)
    max_picture_kb: int = Field(default=4096, ge=1, le=65_536)
    rate_per_s: float = Field(default=20.0, gt=0, le=10_000)
    burst: int = Field(default=100, ge=1, le=10_000)
    store_timeout_s: float = Field(default=30.0, ge=0.1, le=300)

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        split_address(value)
        return value

    @model_validator(mode="after")
    def _safe(self) -> HttpIntakeConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or neither")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca needs TLS: give certificate and key")
        if not self.insecure and self.client_ca is None and self.tokens is None:
            raise ValueError(
                "anybody could hand in: give tokens (a file) or client_ca; insecure = true only"
                " for a test"
            )
        if self.certificate is None and not self.insecure and not self.loopback:
            raise ValueError(
                f"{self.listen} is reachable from other machines in clear text: give certificate"
                " and key, or insecure = true where the site accepts that"
            )
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return split_address(self.listen)

    @property
    def loopback(self) -> bool:
        """Tell whether only this machine can connect."""
        return is_loopback(self.address[0])


def split_address(text: str) -> tuple[str, int]:
    """Split an address into host and port; raises ValueError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    known = host == "localhost" or _is_ip(host)
    if not colon or not known or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError(
            f"listen {text!r:.60} is no address such as 127.0.0.1:8480 or 0.0.0.0:8480"
        )
    return host, int(port)


def check(
    config: HttpIntakeConfig, points: Sequence[DriverPoint[ExternalAddress]]
) -> list[Problem]:
    """Find mistakes of the entry, the point table, the mapping and the files of secrets."""
    problems = list(check_intake(config, points))
    if config.tokens is not None:
        try:
            read_senders(config.tokens)
            if config.tokens.stat().st_mode & _OTHERS_READ:
                said = f"{WARNING}every user can read {config.tokens.name}: chmod o= it"
                problems.append(Problem(0, "tokens", said))
        except SendersError as error:
            problems.append(Problem(0, "tokens", str(error)))
    if config.client_ca is not None and not config.client_ca.is_file():
        problems.append(Problem(0, "client_ca", f"there is no file {config.client_ca}"))
    if config.insecure:
        said = f"{WARNING}insecure = true: senders or their data are not protected"
        problems.append(Problem(0, "insecure", said))
    return problems


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(host)


def _is_ip(host: str) -> bool:
    try:
        _ip(host)
    except ValueError:
        return False
    return True


__all__ = ["HttpIntakeConfig", "check", "split_address"]
