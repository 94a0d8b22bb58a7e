"""[console]: the web console's address, certificate and limits, and what is judged of them.

A mistake is an error like any other. What only time or a lost file brings (an expired certificate,
no user) is a warning: it must not keep acquisition from starting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from drivers.loopback import is_loopback
from drivers.wording import shown
from gateway.config import users
from gateway.config.files import check_pair
from gateway.config.model import Section, split_address
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath

DEFAULT_LISTEN = "127.0.0.1:8443"


def _address(value: str) -> str:
    split_address(value)
    return value


class ConsoleConfig(Section):
    """[console]: pages for people, over TLS.

    listen: host:port; port 0 takes any free one.  certificate, key: PEM files; without them a
    certificate of its own is made once, in the data directory.  insecure: plain HTTP, on loopback
    only.  idle_minutes, session_hours: a sign-in ends after so long without a request, and in any
    case after so long.  memory_mb: beyond it the console's process is started anew.
    """

    listen: Annotated[str, AfterValidator(_address)] = DEFAULT_LISTEN
    certificate: Path | None = None
    key: Path | None = None
    insecure: bool = False
    idle_minutes: float = Field(default=60.0, ge=1, le=24 * 60, allow_inf_nan=False)
    session_hours: float = Field(default=12.0, ge=0.1, le=24 * 7, allow_inf_nan=False)
    memory_mb: int = Field(default=256, ge=128, le=4096)

    @property
    def host(self) -> str:
        """Address to listen on."""
        return split_address(self.listen)[0]

    @property
    def port(self) -> int:
        """Port to listen on."""
        return split_address(self.listen)[1]

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @model_validator(mode="after")
    def _secured(self) -> Self:
        given = [
            name
            for name, path in (("certificate", self.certificate), ("key", self.key))
            if path is not None
        ]
        if len(given) == 1:
            raise ValueError(
                f"{given[0]} alone is not enough: give certificate and key, or neither (then a"
                " certificate of its own is made)"
            )
        if self.insecure and not self.local:
            raise ValueError(
                "insecure = true (plain HTTP) is for loopback only, not for"
                f" {shown(self.listen)}: passwords would be readable on the way"
            )
        if self.insecure and given:
            raise ValueError("insecure = true and a certificate exclude each other")
        return self


def check_console(
    console: ConsoleConfig, data_dir: Path | None, path: TomlPath, report: Report, now_ns: int
) -> None:
    """Check the console's files and whether anybody could sign in. data_dir: None if not known."""
    if console.certificate is not None and console.key is not None:
        pair = console.certificate, console.key
        check_pair(*pair, path, report, now_ns)
    if data_dir is None:
        return
    try:
        people = users.read(data_dir)
    except users.UsersError as error:
        report.warn(path, f"nobody can sign in to the console: {error}")
        return
    if not people.users:
        here = "" if console.local else f" until then it listens on 127.0.0.1:{console.port} only;"
        report.warn(
            path,
            f"nobody can sign in to the console yet;{here} add somebody: plantgate console user"
            f" add {data_dir} NAME --role issuer",
        )
