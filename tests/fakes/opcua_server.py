"""A small OPC UA server on loopback, spoken by asyncua, for unit and end-to-end tests.

Holds `items` Double variables named D0, D1, … and one each of other types (TYPED). Their values,
status codes and source times change only by `set`. Standalone:

    python -m tests.fakes.opcua_server --port 4840 --items 100     # counts all D up once a second
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import logging
import pickle
from collections.abc import Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast

import asyncua.ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from drivers.sim.ceasing import cease
from tests.ports import own_port

ua: Any = asyncua.ua
NAMESPACE = "urn:plantgate:fake"

TYPED: Mapping[str, tuple[str, Any]] = {
    "Int": ("Int64", -(2**62) - 1),
    "UInt": ("UInt64", 2**64 - 1),
    "Short": ("Int16", -7),
    "Text": ("String", "液位正常"),
    "Bool": ("Boolean", True),
    "Array": ("Double", [1.0, 2.0]),
}


class _Users(UserManager):
    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users

    def get_user(
        self,
        iserver: object,
        username: str | None = None,
        password: str | None = None,
        certificate: object = None,
    ) -> User | None:
        if username is not None and self._users.get(username) == password:
            return User(role=UserRole.User)
        return None


@functools.cache
def _standard_nodes() -> Mapping[Any, bytes]:
    """The standard address space, node by node, built once in a process: it takes 2 s."""
    from asyncua.server.standard_address_space import standard_address_space

    server, filler = InternalServer(), cast(Any, standard_address_space)
    filler.fill_address_space(server.node_mgt_service)
    return {key: pickle.dumps(server.aspace[key]) for key in list(server.aspace.keys())}


class _Nodes(MutableMapping[Any, Any]):
    """Nodes of one server: a standard node is copied when it is first asked for."""

    def __init__(self) -> None:
        self._standard = _standard_nodes()
        self._own: dict[Any, Any] = {}
        self._gone: set[Any] = set()

    def __getitem__(self, key: Any) -> Any:
        if key not in self._own:
            if key in self._gone:
                raise KeyError(key)
            self._own[key] = pickle.loads(self._standard[key])  # noqa: S301  # our own bytes
        return self._own[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._own[key] = value

    def __delitem__(self, key: Any) -> None:
        self._gone.add(key)
        self._own.pop(key, None)

    def __contains__(self, key: object) -> bool:
        return key in self._own or (key in self._standard and key not in self._gone)

    def __iter__(self) -> Iterator[Any]:
        return iter((self._own.keys() | self._standard.keys()) - self._gone)

    def __len__(self) -> int:
        return len((self._own.keys() | self._standard.keys()) - self._gone)


class _QuickServer(InternalServer):
    """asyncua's server without the seconds it takes to build its address space and to stop."""

    def __init__(self, user_manager: UserManager | None) -> None:
        super().__init__(user_manager)
        self.disabled_clock = True

    async def load_standard_address_space(self, shelf_file: object = None) -> None:
        space: Any = self.aspace
        space._nodes = _Nodes()


class OpcUaServer:
    """`async with OpcUaServer(...) as server:`; then `server.endpoint`, `set`, `stop`, `start`."""

    def __init__(
        self, items: int = 10, *, port: int = 0, users: Mapping[str, str] | None = None
    ) -> None:
        self._items = items
        self._users = users
        self.port = port or own_port()
        self._server: Server | None = None
        self._variables: dict[str, tuple[Any, Any]] = {}
        self.namespaces_before: tuple[str, ...] = ()
        """Registered before our own at the next start, so that it gets another index."""

    @property
    def endpoint(self) -> str:
        """URL of the running server."""
        return f"opc.tcp://127.0.0.1:{self.port}/UA/Fake"

    @staticmethod
    def node(name: str) -> str:
        """Node id of a variable, as a point table writes it."""
        return f"nsu={NAMESPACE};s={name}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, on the port of last time if there was one; all values are new again."""
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        manager = _Users(self._users) if self._users is not None else None
        server = Server(iserver=_QuickServer(manager))
        await server.init()
        server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}/UA/Fake")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        for other in self.namespaces_before:
            await server.register_namespace(other)
        index = await server.register_namespace(NAMESPACE)
        names: dict[str, tuple[str, Any]] = {
            f"D{i}": ("Double", float(i)) for i in range(self._items)
        }
        for name, (variant, value) in (names | dict(TYPED)).items():
            node_id = ua.NodeId(name, index)
            kind = getattr(ua.VariantType, variant)
            await server.nodes.objects.add_variable(node_id, name, value, kind)
            self._variables[name] = (node_id, kind)
        await server.start()
        self._server = server
        bound: Any = server.bserver
        self.port = int(bound.port)

    async def stop(self) -> None:
        """Stop; `start` may follow."""
        server, self._server = self._server, None
        if server is not None:
            if server.bserver is not None and server.bserver._server is not None:
                await cease(server.bserver._server)  # as drivers/sim/site_opcua.py
            await server.stop()
            await _end_leftovers()

    async def set(
        self, name: str, value: object, *, status: int = 0, source_ns: int | None = None
    ) -> None:
        """Write a value with its StatusCode and source time (ns since 1970; none if None)."""
        assert self._server is not None, "the fake server is not running"
        node_id, kind = self._variables[name]
        moment = None
        if source_ns is not None:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=source_ns // 1000)
        data_value = ua.DataValue(ua.Variant(value, kind), ua.StatusCode(status), moment)
        await self._server.write_attribute_value(node_id, data_value)

    async def retype(self, name: str, variant: str, value: object) -> None:
        """Give a variable another data type, an array's rank if it is one, and a value of it.

        In between it has none: asyncua takes a value of another type only after none.
        """
        assert self._server is not None, "the fake server is not running"
        node_id, _ = self._variables[name]
        kind = getattr(ua.VariantType, variant)
        node: Any = self._server.get_node(node_id)
        rank = ua.Variant(1 if isinstance(value, list) else -1, ua.VariantType.Int32)
        data_type = ua.Variant(ua.NodeId(kind.value), ua.VariantType.NodeId)
        await self.set(name, value, status=0x8032_0000)  # BadWaitingForInitialData
        await node.write_attribute(ua.AttributeIds.DataType, ua.DataValue(data_type))
        await node.write_attribute(ua.AttributeIds.ValueRank, ua.DataValue(rank))
        self._variables[name] = (node_id, kind)
        await self.set(name, value)

    async def describe(self, name: str, unit: str, low: float, high: float) -> None:
        """Give a variable the properties EngineeringUnits and EURange."""
        assert self._server is not None, "the fake server is not running"
        node: Any = self._server.get_node(self._variables[name][0])
        told = ua.EUInformation(DisplayName=ua.LocalizedText(unit))
        await node.add_property(0, "EngineeringUnits", told)
        await node.add_property(0, "EURange", ua.Range(Low=low, High=high))

    async def allow_history(self, name: str) -> None:
        """Say that the history of a variable may be read, though there is none."""
        assert self._server is not None, "the fake server is not running"
        node_id, _ = self._variables[name]
        node: Any = self._server.get_node(node_id)
        level = ua.DataValue(ua.Variant(5, ua.VariantType.Byte))  # CurrentRead, HistoryRead
        await node.write_attribute(ua.AttributeIds.UserAccessLevel, level)

    async def add(self, name: str, value: float) -> None:
        """Add a Double variable while the server runs."""
        assert self._server is not None, "the fake server is not running"
        index = await self._server.get_namespace_index(NAMESPACE)
        node_id, kind = ua.NodeId(name, index), ua.VariantType.Double
        await self._server.nodes.objects.add_variable(node_id, name, value, kind)
        self._variables[name] = (node_id, kind)

    def silence(self, place: int) -> None:
        """Publish nothing more of one subscription, in order of their making, and tell nobody."""
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        ids = sorted(inner.subscription_service.subscriptions)
        inner.subscription_service.subscriptions[ids[place]]._task.cancel()

    def forget_items(self, name: str) -> None:
        """Publish nothing more of a variable, and tell nobody."""
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        node_id, _ = self._variables[name]
        for subscription in inner.subscription_service.subscriptions.values():
            items = subscription.monitored_item_srv._monitored_items
            for one in items.values():
                if one.read_value_id.NodeId == node_id:
                    inner.aspace.delete_datachange_callback(one.callback_handle)

    def limit_subscriptions(self, most: int) -> None:
        """Refuse further ones."""
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        inner.max_subscriptions = most

    async def raise_event(self, event_type: int) -> None:
        """Let the Server object tell an event of a standard type."""
        assert self._server is not None, "the fake server is not running"
        generator: Any = await self._server.get_event_generator(ua.NodeId(event_type))
        await generator.trigger(message="told")

    async def set_time(self, seconds: int) -> None:
        """Stop this server's clock so many seconds ahead of now; it shows none before."""
        assert self._server is not None, "the fake server is not running"
        moment = datetime.now(UTC) + timedelta(seconds=seconds)  # noqa: TID251  # a server's own
        value = ua.DataValue(ua.Variant(moment, ua.VariantType.DateTime))
        await self._server.write_attribute_value(ua.NodeId(2258), value)

    async def set_state(self, state: int) -> None:
        """Say in which state this server is: 0 running, 3 suspended, 5 test (10000-5, 12.6)."""
        assert self._server is not None, "the fake server is not running"
        value = ua.DataValue(ua.Variant(state, ua.VariantType.Int32))
        await self._server.write_attribute_value(ua.NodeId(2259), value)

    async def set_service_level(self, level: int) -> None:
        """Say how healthy this server is, 0 to 255."""
        assert self._server is not None, "the fake server is not running"
        value = ua.DataValue(ua.Variant(level, ua.VariantType.Byte))
        await self._server.write_attribute_value(ua.NodeId(2267), value)

    async def lose(self, *, keep: bool) -> None:
        """Take the notifications that are ready out of the publish queue, as a bad link would.

        keep: whether the server can publish them again on request.
        """
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        for subscription in inner.subscription_service.subscriptions.values():
            result = subscription._pop_publish_result()
            if not keep:
                subscription.publish([result.NotificationMessage.SequenceNumber])

    def subscriptions(self) -> int:
        """How many subscriptions clients hold."""
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        return len(inner.subscription_service.subscriptions)

    def held(self) -> list[int]:
        """Sequence numbers kept for publishing again, because nobody has acknowledged them."""
        assert self._server is not None, "the fake server is not running"
        inner: Any = self._server.iserver
        subscriptions = inner.subscription_service.subscriptions.values()
        return [number for sub in subscriptions for number in sub._not_acknowledged_results]


async def _end_leftovers() -> None:
    """Cancel what asyncua's server leaves running for sessions that were open at its stop."""
    left = [task for task in asyncio.all_tasks() if "asyncua/server" in _source(task)]
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)


def _source(task: asyncio.Task[Any]) -> str:
    code = getattr(task.get_coro(), "cr_code", None)
    return getattr(code, "co_filename", "")


async def _main(port: int, items: int) -> None:
    async with OpcUaServer(items, port=port) as server:
        print(server.endpoint, flush=True)
        count = 0
        while True:
            await asyncio.sleep(1)
            count += 1
            for i in range(items):
                await server.set(f"D{i}", float(count))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=4840)
    parser.add_argument("--items", type=int, default=100)
    arguments = parser.parse_args()
    asyncio.run(_main(arguments.port, arguments.items))
