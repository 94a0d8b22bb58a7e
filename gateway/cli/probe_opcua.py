"""`plantgate probe opcua URL`: what an OPC UA server offers, before it is configured.

Exit 0, or 1 where nobody answers. Nothing is written, neither there nor here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.cli.output import AS_JSON

if TYPE_CHECKING:
    from drivers.opcua.config import OpcUaConfig
    from drivers.opcua.inspect import Probe

EXAMPLE = """\b
Example:
  plantgate probe opcua opc.tcp://10.1.2.3:4840
  plantgate probe opcua opc.tcp://10.1.2.3:4840/UA --security Basic256Sha256 \\
      --certificate c.der --key c.pem --server-certificate s.der --user reader \\
      --password-file p.txt --json
"""
_FILE = click.Path(path_type=Path, exists=True)
F = TypeVar("F", bound=Callable[..., Any])


def login_options(function: F) -> F:
    """Add the options that say how to enter: none of them means without encryption, anonymous."""
    policies = ["None", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss"]
    for option in (
        click.option("--timeout-ms", type=click.IntRange(100, 60_000), default=4000),
        click.option("--password-file", type=_FILE, help="File with the password."),
        click.option("--user", help="User name."),
        click.option("--user-key", type=_FILE, help="Key of that certificate."),
        click.option("--user-certificate", type=_FILE, help="A user's certificate, instead."),
        click.option("--trust", type=_FILE, help="Folder of trusted servers and authorities."),
        click.option("--server-certificate", type=_FILE, help="The server's very certificate."),
        click.option("--key", type=_FILE, help="Our application's key."),
        click.option("--certificate", type=_FILE, help="Our application's certificate."),
        click.option("--mode", type=click.Choice(["SignAndEncrypt", "Sign"]),
                     default="SignAndEncrypt"),
        click.option("--security", type=click.Choice(policies), default="None"),
    ):  # fmt: skip
        function = option(function)
    return function


def login(url: str, **options: Any) -> OpcUaConfig:  # noqa: ANN401  # click's options as they come
    """Make a configuration of the options; ends with a usage error where they do not fit."""
    from pydantic import ValidationError

    from drivers.opcua.config import OpcUaConfig

    given = {name: value for name, value in options.items() if value is not None}
    given |= {"endpoint": url, "insecure": options.get("security") == "None"}
    try:
        return OpcUaConfig.model_validate(given)
    except ValidationError as error:
        words = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors())
        raise click.UsageError(words) from None


@click.command("opcua", epilog=EXAMPLE)
@click.argument("url")
@login_options
@AS_JSON
def command(url: str, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401  # click's options
    """Ask the OPC UA server at URL for its endpoints, and inside for state, limits, namespaces."""
    from drivers.contract import DeviceError
    from drivers.opcua.inspect import probe
    from gateway.runtime.clock import SystemClock

    config = login(url, **options)
    try:
        found = asyncio.run(probe(config, SystemClock().wall_ns()))
    except DeviceError as error:
        print(f"plantgate probe: {error}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(asdict(found), ensure_ascii=False) if as_json else _text(found))


def _text(found: Probe) -> str:
    lines = ["endpoints:"]
    for one in found.endpoints:
        lines.append(f"  {one.policy}/{one.mode}  login: {', '.join(one.logins)}  {one.url}")
    for print_, subject, until in sorted(
        {(e.thumbprint, e.subject, e.valid_until) for e in found.endpoints if e.thumbprint}
    ):
        lines += [f"certificate: {subject}, valid until {until}", f"  SHA-256 {print_}"]
    if found.refused:
        return "\n".join([*lines, f"inside: {found.refused}"])
    lines.append(f"state: {found.state}, service level {found.service_level}")
    limits = asdict(found.limits) if found.limits is not None else {}
    lines += [f"limit {name}: {value or 'not said'}" for name, value in limits.items()]
    lines += [f"namespace {index}: {uri}" for index, uri in enumerate(found.namespaces)]
    return "\n".join(lines)


__all__ = ["command", "login", "login_options"]
