"""Simulated OPC UA server: one variable a signal, without security, on loopback only.

Guarantees: variables are read-only for clients; namespace NAMESPACE, string node ids that are the
tags (`nsu=urn:plantgate:sim;s=TI-00001`) under Objects/Plant; contacts are Boolean, all others
Double; only changed values are written, with the time of the change as source time.

asyncua serves every item in Python, about 20 µs a change for each subscriber: fit for a few
thousand variables.
"""

from __future__ import annotations

import logging

import numpy as np
from asyncua import ua
from asyncua.common.ua_utils import value_to_datavalue
from asyncua.server.server import Server

from drivers.sim.signals import NAMESPACE, Floats, Form, Plant

PATH = "/UA/Plant"


class OpcUaSimulator:
    """`async with OpcUaSimulator(plant, port) as server: await server.show(values)`."""

    def __init__(self, plant: Plant, port: int, *, host: str = "127.0.0.1") -> None:
        """Port 0 takes any free one."""
        self._plant = plant
        self._host = host
        self._wanted_port = port
        self._server = Server()
        self._ids: list[ua.NodeId] = []
        self._types = [
            ua.VariantType.Boolean if signal.form is Form.CONTACT else ua.VariantType.Double
            for signal in plant.signals
        ]
        self._shown = plant.values(0)

    @property
    def port(self) -> int:
        """Port it listens on; raises RuntimeError before it does."""
        if self._server.bserver is None:
            raise RuntimeError("the simulated server is not listening")
        return int(self._server.bserver.port)

    @property
    def endpoint(self) -> str:
        """URL for clients."""
        return f"opc.tcp://{self._host}:{self.port}{PATH}"

    async def __aenter__(self) -> OpcUaSimulator:
        """Build the address space and listen. Raises OSError if the port is taken."""
        logging.getLogger("asyncua").setLevel(logging.ERROR)
        server = self._server
        await server.init()
        server.set_server_name("plantgate simulated plant")
        server.set_endpoint(f"opc.tcp://{self._host}:{self._wanted_port}{PATH}")
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await server.register_namespace(NAMESPACE)
        plant = await server.nodes.objects.add_object(_node("Plant", index), f"{index}:Plant")
        values = self._shown.tolist()
        for signal, kind, value in zip(self._plant.signals, self._types, values, strict=True):
            node = _node(signal.tag, index)
            await plant.add_variable(node, f"{index}:{signal.tag}", _variant(value, kind), kind)
            self._ids.append(node)
        await server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server and drop its clients."""
        await self._server.stop()

    async def show(self, values: Floats) -> int:
        """Let the variables hold these values; returns how many changed.

        The source time is that of asyncua's own clock: this is a device, not part of the gateway.
        """
        changed = np.flatnonzero(values != self._shown)
        self._shown = values
        for place in changed.tolist():
            value = value_to_datavalue(_variant(float(values[place]), self._types[place]))
            await self._server.write_attribute_value(self._ids[place], value)
        return len(changed)


def _variant(value: float, kind: ua.VariantType) -> ua.Variant:
    return ua.Variant(bool(value) if kind is ua.VariantType.Boolean else value, kind)


def _node(tag: str, namespace: int) -> ua.NodeId:
    return ua.NodeId(ua.String(tag), ua.Int16(namespace))
