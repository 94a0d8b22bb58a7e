"""OPC UA server with exactly the nodes of a site's point tables; without security, on loopback.

Guarantees: nodes stand under the namespace URIs, indices, identifiers and browse paths that the
tables name, as Double, Int64, UInt64, Boolean or String, read-only. Only what changed is written,
with the time of the change as source time. `stop` closes all connections, `start` serves the same
address space anew.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from asyncua import ua
from asyncua.common.node import Node
from asyncua.common.ua_utils import value_to_datavalue
from asyncua.server.server import Server
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers.sim.ceasing import cease
from drivers.sim.signals import Floats
from drivers.sim.site_signals import WORDS

UNCERTAIN_CALIBRATION = StatusCodes.UncertainSensorCalibration  # OPC 10000-8, 6.3

_OWN_NAMESPACES = 2  # OPC UA's, and the server's own
MOST_NAMESPACES = 200
"""Highest bare index that is simulated; each below it is a namespace of its own."""
_TYPES = {
    "float": ua.VariantType.Double,
    "int": ua.VariantType.Int64,
    "uint": ua.VariantType.UInt64,
    "bool": ua.VariantType.Boolean,
    "text": ua.VariantType.String,
}

Path = tuple[tuple[str | int, str], ...]


@dataclass(frozen=True, slots=True)
class NodeSpot:
    """One variable. signal: place among all values.

    namespace: URI or index.  identifier: int, str, UUID or bytes; or the steps of a browse path
    from the root, each with its namespace.  type: float, int, uint, bool or text.
    """

    signal: int
    tag: str
    namespace: str | int
    identifier: int | str | uuid.UUID | bytes | Path
    type: str


class OpcUaSiteError(Exception):
    """Nodes that this server cannot have; the text is one clear line."""


class OpcUaSite:
    """`await start()`, then `await show(raw, calibrating)` as often as something changes."""

    def __init__(
        self, spots: Sequence[NodeSpot], port: int, *, path: str = "", host: str = "127.0.0.1"
    ) -> None:
        """Port 0 takes any free one, and keeps it over `stop` and `start`."""
        self._spots = tuple(spots)
        self._port = port
        self._path = path
        self._host = host
        self._server: Server | None = None
        self._nodes: list[ua.NodeId] = []
        self._shown: list[tuple[float, bool]] = []

    @property
    def serving(self) -> bool:
        """Whether clients can connect."""
        return self._server is not None

    @property
    def endpoint(self) -> str:
        """URL for clients."""
        return f"opc.tcp://{self._host}:{self._port}{self._path}"

    @property
    def port(self) -> int:
        """Port it listens on, 0 before the first start if any was asked for."""
        return self._port

    async def start(self, raw: Floats) -> None:
        """Build the address space and listen. Raises OSError if the port is taken."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        server = Server()
        await server.init()
        server.set_server_name("plantgate rehearsal")
        server.set_endpoint(self.endpoint)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        builder = _AddressSpace(server, await _namespaces(server, self._spots))
        self._nodes = [await builder.add(spot, float(raw[spot.signal])) for spot in self._spots]
        self._shown = [(float(raw[spot.signal]), False) for spot in self._spots]
        await server.start()
        self._server = server
        if server.bserver is not None:
            self._port = int(server.bserver.port)

    async def stop(self) -> None:
        """Close all connections and stop listening."""
        if self._server is not None:
            server, self._server = self._server, None
            # asyncua drops the clients that it knows before it stops listening: who comes between
            # stays connected to a stopped server. It has no public way to its listener.
            listener = server.bserver._server if server.bserver else None  # noqa: SLF001
            if listener is not None:
                await cease(listener)
            await server.stop()

    async def show(self, raw: Floats, calibrating: frozenset[int] = frozenset()) -> int:
        """Let the nodes hold these values; returns how many changed."""
        if self._server is None:
            return 0
        changed = 0
        for at, spot in enumerate(self._spots):
            now = (float(raw[spot.signal]), spot.signal in calibrating)
            if now == self._shown[at]:
                continue
            self._shown[at] = now
            status = UNCERTAIN_CALIBRATION if now[1] else StatusCodes.Good
            value = replace(
                value_to_datavalue(_variant(now[0], spot.type)),
                StatusCode=ua.StatusCode(ua.UInt32(status)),
            )
            await self._server.write_attribute_value(self._nodes[at], value)
            changed += 1
        return changed


class _AddressSpace:
    """Makes each node once; two points of one node share it."""

    def __init__(self, server: Server, indices: dict[str | int, int]) -> None:
        self._server = server
        self._indices = indices
        self._made: dict[object, ua.NodeId] = {}
        self._folders: dict[Path, Node] = {}

    async def add(self, spot: NodeSpot, raw: float) -> ua.NodeId:
        """Add the variable of a spot, or find the one that is there."""
        if isinstance(spot.identifier, tuple):
            key: object = spot.identifier
        else:
            key = (self._indices[spot.namespace], spot.identifier)
        if key not in self._made:
            self._made[key] = await self._variable(spot, raw)
        return self._made[key]

    async def _variable(self, spot: NodeSpot, raw: float) -> ua.NodeId:
        kind = _TYPES[spot.type]
        value = _variant(raw, spot.type)
        if isinstance(spot.identifier, tuple):
            parent = await self._folder(spot.identifier[:-1])
            namespace, name = spot.identifier[-1]
            index = self._indices[namespace]
            made = await parent.add_variable(index, name, value, kind)
            return made.nodeid
        index = self._indices[spot.namespace]
        node = _node_id(spot.identifier, index)
        existing = self._server.get_node(node)
        if node in self._server.iserver.aspace:
            return existing.nodeid  # a node of the standard, such as the server's clock
        objects = self._server.nodes.objects
        await objects.add_variable(node, ua.QualifiedName(spot.tag, ua.UInt16(index)), value, kind)
        return node

    async def _folder(self, path: Path) -> Node:
        if not path:
            return self._server.nodes.root
        if path not in self._folders:
            parent = await self._folder(path[:-1])
            namespace, name = path[-1]
            step = ua.QualifiedName(name, ua.UInt16(self._indices[namespace]))
            try:
                self._folders[path] = await parent.get_child(step)
            except UaStatusCodeError:
                self._folders[path] = await parent.add_object(self._indices[namespace], name)
        return self._folders[path]


async def _namespaces(server: Server, spots: Sequence[NodeSpot]) -> dict[str | int, int]:
    """Index of each namespace: bare indices keep theirs, URIs follow behind."""
    named: list[str | int] = [spot.namespace for spot in spots]
    for spot in spots:
        if isinstance(spot.identifier, tuple):
            named += [namespace for namespace, _ in spot.identifier]
    bare = {name for name in named if isinstance(name, int)}
    most = max(bare, default=0)
    if most > MOST_NAMESPACES:
        raise OpcUaSiteError(f"a namespace index of {most} is more than is simulated")
    for index in range(_OWN_NAMESPACES, most + 1):
        await server.register_namespace(f"urn:plantgate:sim:ns{index}")
    indices: dict[str | int, int] = {index: index for index in bare}
    for uri in dict.fromkeys(name for name in named if isinstance(name, str)):
        indices[uri] = await server.register_namespace(uri)
    return indices


def _node_id(identifier: int | str | uuid.UUID | bytes, index: int) -> ua.NodeId:
    namespace = ua.Int16(index)
    if isinstance(identifier, int):
        return ua.NodeId(ua.Int32(identifier), namespace, ua.NodeIdType.Numeric)
    if isinstance(identifier, str):
        return ua.NodeId(ua.String(identifier), namespace, ua.NodeIdType.String)
    if isinstance(identifier, uuid.UUID):
        return ua.NodeId(identifier, namespace, ua.NodeIdType.Guid)  # type: ignore[arg-type]  # as it encodes it
    return ua.NodeId(ua.ByteString(identifier), namespace, ua.NodeIdType.ByteString)


def _variant(raw: float, word: str) -> ua.Variant:
    kind = _TYPES[word]
    if word == "text":
        return ua.Variant(WORDS[int(raw) % len(WORDS)], kind)
    if word == "bool":
        return ua.Variant(bool(raw), kind)
    return ua.Variant(raw if word == "float" else int(np.rint(raw)), kind)


__all__ = ["MOST_NAMESPACES", "NodeSpot", "OpcUaSite", "OpcUaSiteError"]
