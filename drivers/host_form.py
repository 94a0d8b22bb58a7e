"""Says what is wrong with the host of a device as people write it. Pure; nothing is looked up."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from drivers.wording import shown

_NUMBERS = re.compile(r"[0-9.]+")
_WITH_PORT = re.compile(r"([^:/\s]+)[:：]([0-9]{1,5})/?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"  # RFC 1123, 2.1, and as people do
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_SCOPE = "%"


def host_problem(host: str) -> str:
    """One sentence, without the key's name; empty where the host may be one.

    A host is a name, an IPv4 or an IPv6 address (with a scope where it is link-local), and no more.
    """
    scheme, slashes, rest = host.strip().partition("://")
    bare = rest if slashes else scheme
    if split := _WITH_PORT.fullmatch(bare):
        return f'write host = "{split[1]}" and port = {int(split[2])}, two keys, not {shown(host)}'
    if slashes:
        return f'is a name or an address alone, "{bare.rstrip("/")}", not {shown(host)}'
    if _NUMBERS.fullmatch(bare) and not _is_address(bare):
        return f"is no IPv4 address (four numbers from 0 to 255): {shown(host)}"
    if host != bare or not (_NAME.fullmatch(host) or _is_address(host.partition(_SCOPE)[0])):
        return f"must be a host name or an IP address, without blanks, not {shown(host)}"
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _host(value: str) -> str:
    if value and (problem := host_problem(value)):
        raise ValueError(problem)
    return value


Host = Annotated[str, AfterValidator(_host)]
"""Type of a key `host`; empty is for the model to judge."""

__all__ = ["Host", "host_problem"]
