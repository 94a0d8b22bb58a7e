"""A simulated server with the nodes of a table, read by asyncua's own client."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from asyncua.client.client import Client
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaStatusCodeError

from drivers.sim.site_opcua import NodeSpot, OpcUaSite, OpcUaSiteError

GUID = uuid.UUID("5f0ab1a4-1e44-4d0c-9d06-6e4f5b5e0001")
SPOTS = (
    NodeSpot(0, "TI-1", "urn:plant:dcs", "TI-1.PV", "float"),
    NodeSpot(1, "TI-2", 3, 77, "int"),
    NodeSpot(2, "FQ-3", "urn:plant:other", GUID, "uint"),
    NodeSpot(3, "XV-4", "urn:plant:dcs", b"\x01\x02\x03", "bool"),
    NodeSpot(4, "MODE-5", "urn:plant:dcs", "MODE", "text"),
    NodeSpot(5, "LI-6", 0, ((0, "Objects"), ("urn:plant:dcs", "Tank1"), (2, "Level")), "float"),
    NodeSpot(6, "again", "urn:plant:dcs", "TI-1.PV", "float"),
)
RAW = np.array([1.5, -7.0, 2.0**40, 1.0, 1.0, 44.0, 1.5])


async def test_nodes_are_where_the_table_says() -> None:
    site = OpcUaSite(SPOTS, 0, path="/UA/Plant")
    await site.start(RAW)
    try:
        async with Client(site.endpoint, timeout=60) as client:
            dcs = await client.get_namespace_index("urn:plant:dcs")
            other = await client.get_namespace_index("urn:plant:other")
            ids = (
                f"ns={dcs};s=TI-1.PV", "ns=3;i=77", f"ns={other};g={GUID}", f"ns={dcs};b=AQID",
                f"ns={dcs};s=MODE",
            )  # fmt: skip
            nodes = [client.get_node(text) for text in ids]
            nodes.append(
                await client.nodes.root.get_child(["0:Objects", f"{dcs}:Tank1", "2:Level"])
            )
            values = await client.read_values(nodes)
            assert values == [1.5, -7, 2**40, True, "MANUAL", 44.0]
            types = [await node.read_data_type_as_variant_type() for node in nodes]
            assert [kind.name for kind in types] == [
                "Double", "Int64", "UInt64", "Boolean", "String", "Double",
            ]  # fmt: skip
            with pytest.raises(UaStatusCodeError):
                await nodes[0].write_value(3.0)
            later = RAW + np.array([1.0, 0, 0, -1.0, -1.0, 0, 1.0])
            assert await site.show(later, frozenset({1})) == 5
            assert await site.show(later, frozenset({1})) == 0
            assert await client.read_values(nodes) == [2.5, -7, 2**40, False, "AUTO", 44.0]
            status = (await nodes[1].read_data_value(raise_on_bad_status=False)).StatusCode
            assert status is not None
            assert status.value == StatusCodes.UncertainSensorCalibration
    finally:
        await site.stop()


async def test_a_namespace_index_beyond_reason_is_refused() -> None:
    site = OpcUaSite([NodeSpot(0, "x", 65535, 1, "float")], 0)
    with pytest.raises(OpcUaSiteError, match="65535"):
        await site.start(RAW)
