"""What the routes of the console work with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from drivers.contract import Clock
from gateway.console.link import Link
from gateway.console.live import Live
from gateway.console.people import Caller, Door


@dataclass(frozen=True, slots=True)
class Services:
    """Handed to every route by `of`."""

    link: Link
    live: Live
    door: Door
    clock: Clock
    data_dir: Path


def of(request: Request) -> Services:
    """Give the services of the application that a request came to."""
    found = request.app.state.services
    if not isinstance(found, Services):
        raise TypeError("the application was made without services")
    return found


def caller_of(request: Request) -> Caller:
    """Give who asks; the guard has let nobody else through."""
    found = request.scope["plantgate.caller"]
    if not isinstance(found, Caller):
        raise TypeError("a route that needs a caller is not guarded")
    return found


def address_of(request: Request) -> str:
    """Give the address that a request came from."""
    return request.client.host if request.client is not None else ""
