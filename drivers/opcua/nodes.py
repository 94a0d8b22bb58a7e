"""Finds the nodes of points in a session: namespace URIs to indexes, browse paths to node ids.

Where a point is a field of a structure, it also learns how that is read (definitions.py), before
the first value of it can come.

Guarantees: nothing found is kept beyond a session, since servers renumber namespaces and rebuild
nodes; a point that cannot be found has a StatusCode and stops nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from drivers.opcua import services
from drivers.opcua.address import Node, Step
from drivers.opcua.client import Link
from drivers.opcua.definitions import TypeAsker
from drivers.opcua.device import Device
from drivers.opcua.faults import BAD_NO_MATCH, BAD_NODE_ID_UNKNOWN
from drivers.opcua.field_table import structure_readers
from drivers.opcua.pieces import in_pieces
from drivers.opcua.services import Item, Place, Surroundings

_CALL = 100  # operations a call, where the server names no limit: what small ones allow
T = TypeVar("T")


class NodeFinder:
    """Nodes of one device at one server; `surroundings` are those of the last `find`."""

    def __init__(self, device: Device, link: Link) -> None:
        self._device = device
        self._link = link
        self.surroundings = Surroundings((), services.Limits())
        self._learned: set[int] = set()
        self.renumbered: dict[int, int] = {}
        """Namespace indexes of before that mean others now, with those of today."""
        self.items: dict[int, Item] = {}
        """Every item found in this session, by client handle."""

    async def find(self, handles: Sequence[int]) -> tuple[list[Item], dict[int, int]]:
        """Give the items found, in order of handle, and a StatusCode for each that is not."""
        self.surroundings = await services.surroundings(self._link)
        indexes: Indexes = {uri: at for at, uri in enumerate(self.surroundings.namespaces)}
        for old, new in self._renumbered().items():
            indexes[old] = new
        found: dict[int, Place] = {}
        missing: dict[int, int] = {}
        paths: dict[int, list[tuple[int, str]]] = {}
        for handle in handles:
            node = self._device.points[handle].address.target()
            if isinstance(node.identifier, tuple):
                path = _path(node.identifier, indexes)
                if path is None:
                    missing[handle] = BAD_NODE_ID_UNKNOWN
                else:
                    paths[handle] = path
                continue
            place = _place(node, indexes)
            if place is None:
                missing[handle] = BAD_NODE_ID_UNKNOWN
            else:
                found[handle] = place
        await self._follow(paths, found, missing)
        items = [self._item(handle, found[handle]) for handle in sorted(found)]
        self.items.update({item.handle: item for item in items})
        await self.learn(item.handle for item in items if item.handle not in self._learned)
        return items, missing

    def _renumbered(self) -> Mapping[int, int]:
        """Give the present index of each that means another namespace now than it did at first.

        A URI that the server has no more tells nothing: then the index is taken as it stands.
        """
        state, now = self._device.state, self.surroundings.namespaces
        if len(now) > len(state.namespaces) and now[: len(state.namespaces)] == tuple(
            state.namespaces
        ):
            state.remember(now)
        self.renumbered = {
            index: now.index(uri)
            for index, uri in enumerate(state.namespaces)
            if uri in now and uri not in now[index : index + 1]
        }
        return self.renumbered

    async def learn(self, handles: Iterable[int]) -> list[int]:
        """Learn how the structures among these are read; gives those that are read otherwise now.

        Of structures that share a type, each is asked for its type, and the type once.
        """
        fellows = self._device.fellows
        items = [self.items[h] for h in handles if h in fellows and h in self.items]
        if not items:
            return []
        self._learned.update(item.handle for item in items)
        asker = TypeAsker(self._link, self.surroundings.limits)
        types = await asker.follow(items)
        book, changed = asker.model.book(), []
        for item, (data_type, encoding) in zip(items, types, strict=True):
            root = asker.model.root(data_type, encoding)
            handles = fellows[item.handle]
            paths = [self._device.points[handle].address.path() for handle in handles]
            readers, quick = structure_readers(book, root, paths)
            table = self._device.fields
            if table.set(item.handle, tuple(zip(handles, readers, strict=True)), quick):
                changed.append(item.handle)
        return changed

    async def _follow(
        self,
        paths: dict[int, list[tuple[int, str]]],
        found: dict[int, Place],
        missing: dict[int, int],
    ) -> None:
        limit = self.surroundings.limits.paths_per_call or _CALL

        def ask(handles: Sequence[int]) -> Awaitable[list[tuple[int, Place | None]]]:
            return services.translate(self._link, [paths[handle] for handle in handles])

        async for piece, results in in_pieces(list(paths), limit, ask):
            for handle, (status, place) in zip(piece, results, strict=True):
                if place is not None and not status & 0x8000_0000:
                    found[handle] = place
                else:
                    # "no match" is for a path what an unknown node id is for a node
                    known = status not in (0, BAD_NO_MATCH)
                    missing[handle] = status if known else BAD_NODE_ID_UNKNOWN

    def _item(self, handle: int, place: Place) -> Item:
        address = self._device.points[handle].address
        return Item(handle, place, address.index, address.deadband())


def chunks(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut into pieces of at most `size`, at least 1."""
    size = max(1, size)
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


Indexes = dict[str | int, int]
"""Index of each namespace URI, and of each index that means another namespace than it did."""


def _index(namespace: str | int, indexes: Indexes) -> int | None:
    known = indexes.get(namespace)
    return namespace if known is None and isinstance(namespace, int) else known


def _place(node: Node, indexes: Indexes) -> Place | None:
    if isinstance(node.identifier, tuple):
        return None
    index = _index(node.namespace, indexes)
    return None if index is None else Place(index, node.identifier)


def _path(steps: Sequence[Step], indexes: Indexes) -> list[tuple[int, str]] | None:
    path = []
    for step in steps:
        index = _index(step.namespace, indexes)
        if index is None:
            return None
        path.append((index, step.name))
    return path


__all__ = ["NodeFinder", "chunks"]
