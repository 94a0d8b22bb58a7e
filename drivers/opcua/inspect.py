"""Looks at a server without subscribing: what it offers, its limits, its nodes. Only reads.

Guarantees: endpoints are asked for without a session, so that also a server that refuses us is
described; browsing is bounded in depth and count, and paced: one request at a time, a pause before
each; nothing is trusted or written.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import asyncua.ua
from asyncua.common.utils import Buffer

from drivers.contract import Clock, DeviceError
from drivers.opcua import services
from drivers.opcua.client import Link, quiet_library
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.definitions import TypeAsker
from drivers.opcua.field_list import list_fields
from drivers.opcua.nodes import chunks
from drivers.opcua.services import Item, Place
from drivers.opcua.trust import TrustError, split_chain
from drivers.opcua.trust import thumbprint as certificate_thumbprint

ua: Any = asyncua.ua

_OBJECTS = Place(0, 85)
_OBJECT, _VARIABLE = 1, 2  # NodeClass (OPC 10000-3, 8.29)
_STATES = ("running", "failed", "no configuration", "suspended", "shutdown", "test",
           "communication fault", "unknown")  # fmt: skip
_TYPE_OF_NUMBER = {
    1: "bool", 8: "int", 9: "uint", 12: "text", 14: "text", 16: "text", 20: "text", 21: "text",
}  # fmt: skip
_REFERENCES_PER_NODE = 1000
_LABEL = "plantgate probe"
_CALL_NODES = 50


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One way in: policy, mode, kinds of login; thumbprint: SHA-256 of the server's certificate.

    subject: whose certificate it is, and who has issued it if another.
    """

    url: str
    policy: str
    mode: str
    logins: tuple[str, ...]
    thumbprint: str
    subject: str
    valid_until: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server says of itself; state and the rest only where we could log in."""

    endpoints: tuple[Endpoint, ...]
    refused: str = ""
    state: str = ""
    service_level: int | None = None
    namespaces: tuple[str, ...] = ()
    limits: services.Limits | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A value met while browsing. path: names from Objects on; node with namespace URI.

    field, index: of a structure and of an array of them, as the point table's columns of that name.
    """

    path: str
    node: str
    type: str
    field: str = ""
    index: str = ""


async def probe(config: OpcUaConfig, now_ns: int) -> Probe:
    """Ask one server for all of it; raises DeviceError only where nobody answers."""
    quiet_library()
    link = Link(config, config.servers[0], _LABEL)
    endpoints = tuple(_endpoint(found) for found in await link.endpoints())
    try:
        inside = Link(config, config.servers[0], _LABEL)
        async with _opened(inside, now_ns):
            state, level, _ = await services.server_health(inside)
            around = await services.surroundings(inside)
    except DeviceError as error:
        return Probe(endpoints, refused=str(error))
    word = _STATES[state] if 0 <= state < len(_STATES) else str(state)
    return Probe(endpoints, "", word, level, around.namespaces, around.limits)


@contextlib.asynccontextmanager
async def _opened(link: Link, now_ns: int) -> AsyncIterator[None]:
    try:
        await link.open(now_ns)
        yield
    finally:
        await link.close()


class _PacedLink(Link):
    """A link that pauses before each request, so that a server's plant has time of its own."""

    def __init__(self, config: OpcUaConfig, pause_s: float, clock: Clock) -> None:
        super().__init__(config, config.servers[0], _LABEL)
        self._clock = clock
        self._pause_ns = round(pause_s * 1e9)

    async def ask(self, request: object, seconds: float | None = None) -> Buffer:
        await self._clock.sleep_until(self._clock.monotonic_ns() + self._pause_ns)
        return await super().ask(request, seconds)


def _endpoint(found: asyncua.ua.EndpointDescription) -> Endpoint:
    thumbprint, subject, until = "", "", ""
    if found.ServerCertificate:
        with contextlib.suppress(TrustError):
            certificate = split_chain(bytes(found.ServerCertificate))[0]
            thumbprint = certificate_thumbprint(certificate)
            subject = certificate.subject.rfc4514_string()
            if certificate.issuer != certificate.subject:
                subject += f", issued by {certificate.issuer.rfc4514_string()}"
            until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    return Endpoint(
        url=str(found.EndpointUrl),
        policy=str(found.SecurityPolicyUri).rpartition("#")[2],
        mode=found.SecurityMode.name.rstrip("_"),
        logins=tuple(token.TokenType.name.lower() for token in found.UserIdentityTokens),
        thumbprint=thumbprint,
        subject=subject,
        valid_until=until,
    )


@dataclass(frozen=True, slots=True)
class Walk:
    """How to browse: globs over paths (any fits), depth, most variables, pause before each call."""

    globs: Sequence[str] = ("*",)
    depth: int = 8
    most: int = 100_000
    pause_s: float = 0.02


async def browse(config: OpcUaConfig, walk: Walk, clock: Clock) -> list[Found]:
    """Walk a server from its Objects folder; variables whose path fits, in order of the walk.

    A structure gives one row for each of its fields. Raises DeviceError.
    """
    quiet_library()
    found: list[Found] = []
    link = _PacedLink(config, walk.pause_s, clock)
    async with _opened(link, clock.wall_ns()):
        around = await services.surroundings(link)
        size = min(_CALL_NODES, around.limits.browse_per_call or _CALL_NODES)
        asker = TypeAsker(link, around.limits)
        seen = {_OBJECTS}
        level = [(_OBJECTS, "/Objects")]
        for _ in range(walk.depth):
            below: list[tuple[Place, str]] = []
            for chunk in chunks(level, size):
                children = await _children(link, [place for place, _ in chunk])
                for (_, path), named in zip(chunk, children, strict=True):
                    fresh = [child for child in named if child.place not in seen]
                    seen.update(child.place for child in fresh)
                    below += [(child.place, f"{path}/{child.name}") for child in fresh]
                    variables = [c for c in fresh if c.variable and _fits(path, c, walk)]
                    for few in chunks(variables, _CALL_NODES):
                        rows = await _described(link, asker, few)
                        found += [
                            Found(f"{path}/{child.name}", node, *rest)
                            for child, *rest in rows
                            for node in [services.place_text(child.place, around.namespaces)]
                        ]
                if len(found) >= walk.most:
                    return found[: walk.most]
            level = below
    return found


@dataclass(frozen=True, slots=True)
class _Child:
    place: Place
    name: str
    variable: bool


def _fits(path: str, child: _Child, walk: Walk) -> bool:
    return any(fnmatchcase(f"{path}/{child.name}", glob) for glob in walk.globs)


async def _children(link: Link, places: Sequence[Place]) -> list[list[_Child]]:
    """Give what lies below each node, of all pages; the server's own objects are left out."""
    answers = await services.browse(link, places, _REFERENCES_PER_NODE)
    return [
        [
            _Child(services.place_of(found.NodeId), str(found.BrowseName.Name),
                   int(found.NodeClass) == _VARIABLE)
            for found in references
            if int(found.NodeClass) in (_OBJECT, _VARIABLE)
            and services.place_of(found.NodeId) != Place(0, 2253)
        ]
        for references in answers
    ]  # fmt: skip


async def _described(
    link: Link, asker: TypeAsker, children: Sequence[_Child]
) -> list[tuple[_Child, str, str, str]]:
    """Give type, field and index of what variables hold: one row each, more of a structure."""
    items = [Item(0, child.place) for child in children]
    types, ranks = await services.read_types(link, items)
    maybe = [
        place
        for place, one in enumerate(types)
        if one is not None and (one[0] or one[1] is None or one[1] > 25 or one[1] == 22)
    ]
    learnt = await asker.follow([items[place] for place in maybe])
    roots = dict(zip(maybe, (asker.model.shown(*told) for told in learnt), strict=True))
    book = asker.model.book()
    rows = []
    for place, (child, one, rank) in enumerate(zip(children, types, ranks, strict=True)):
        root = roots.get(place)
        if root is None:
            number = one[1] if one is not None and not one[0] else None
            rows.append((child, _TYPE_OF_NUMBER.get(number or 0, "float"), "", ""))
            continue
        index = ",".join(["0"] * max(rank or 0, 0))
        rows += [
            (child, _TYPE_OF_NUMBER.get(field.built_in, "float"), field.path, index)
            for field in list_fields(book, root)
        ]
    return rows


__all__ = ["Endpoint", "Found", "Probe", "Walk", "browse", "probe"]
