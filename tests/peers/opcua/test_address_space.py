"""node-opcua's conformance address space, browsed and read; ranges, deadbands, paths, limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.opcua import DRIVER
from drivers.opcua.address import OpcUaAddress
from drivers.opcua.client import Link
from drivers.opcua.inspect import Found, Walk, browse, probe
from drivers.opcua.services import Place, read_attributes, surroundings
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.opcua_collector import Collector
from tests.fakes.opcua_node import NAMESPACE, NodeServer, install_node_opcua, node, serving
from tests.waiting import until

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeServer]:
    install_node_opcua()
    folder = tmp_path_factory.mktemp("space")
    with serving(
        folder, period=200, anonymous=True, conformance=True, analog=True, perSubscription=200
    ) as peer:
        yield peer


def table(*rows: dict[str, str]) -> list[DriverPoint[OpcUaAddress]]:
    return [
        DriverPoint(100 + i, f"T{i}", OpcUaAddress.model_validate_strings(row))
        for i, row in enumerate(rows)
    ]


async def found(peer: NodeServer, *globs: str) -> list[Found]:
    return await browse(peer.plain(), Walk(globs), SystemClock())


async def as_asyncua_reads(peer: NodeServer, names: list[str]) -> dict[str, Any]:
    """Values by name, decoded by asyncua: another decoder than ours."""
    link = Link(peer.plain(), peer.endpoint, "test")
    await link.open(SystemClock().wall_ns())
    try:
        index = (await surroundings(link)).namespaces.index("urn://node-opcua-simulator")
        places = [Place(index, f"Static_Scalar_{name}") for name in names]
        values = await read_attributes(link, places, 13)
    finally:
        await link.close()
    return {name: value for name, (value, _) in zip(names, values, strict=True)}


async def test_every_builtin_type_is_right_or_said_to_be_unsupported(shared: NodeServer) -> None:
    scalars = await found(shared, "/Objects/Simulation/Static/All Profiles/Scalars/*")
    names = [one.path.rpartition("/")[2] for one in scalars]
    assert {"Boolean", "Byte", "Double", "Guid", "Int64", "UInt64", "String"} <= set(names)
    truth = await as_asyncua_reads(shared, names)
    emit = Collector()
    rows = table(*[{"node": one.node, "type": "text"} for one in scalars])
    driver = DRIVER.open("dcs", shared.plain(), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: all(emit.samples(100 + i) for i in range(len(rows))))
    for place, name in enumerate(names):
        value, quality, _ = emit.samples(100 + place)[0]
        right = truth[name]
        if name == "BaseDataType":  # a Variant in a Variant, which asyncua unwraps
            assert quality == Quality.GOOD
            assert float(value) == right
        elif isinstance(right, bool):
            assert value == ("true" if right else "false"), name
        elif isinstance(right, int):
            assert value == str(int(right)), name
        elif isinstance(right, float):
            assert float(value) == right, name
        elif isinstance(right, str):
            assert value == right, name
        elif name in ("DateTime", "UtcTime"):  # before 1970 there is no time
            assert (quality == Quality.BAD_CONFIG_ERROR) == (right.year < 1970), name
        elif name in ("Guid", "LocalizedText", "QualifiedName", "XmlElement"):
            assert quality & 0x8000 == 0, name
        else:
            assert quality in (Quality.BAD_CONFIG_ERROR, Quality.BAD_WAITING) or value == "", name


async def test_every_variable_of_the_space_yields_a_sample_and_stops_nothing(
    shared: NodeServer,
) -> None:
    everything = await found(shared, "/Objects/Simulation/*")
    assert len(everything) > 300
    rows = table(*[{"node": one.node, "type": one.type} for one in everything])
    emit = Collector()
    driver = DRIVER.open("dcs", shared.plain(), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(
            lambda: len({int(p) for batch in emit.batches for p in batch.points}) == len(rows)
        )
    good = sum(any(s[1] == 0 for s in emit.samples(100 + i)) for i in range(len(rows)))
    assert good > 150


async def test_elements_paths_and_deadbands_as_the_server_does_them(shared: NodeServer) -> None:
    arrays = await found(shared, "/Objects/Simulation/Static/All Profiles/Arrays/Double")
    rows = table(
        {"node": arrays[0].node, "index": "1"},
        {"node": f"/Objects/nsu={NAMESPACE};Plant/nsu={NAMESPACE};Double"},
        {"node": node("Analog"), "server_deadband": "2%"},
        {"node": node("Double"), "server_deadband": "2%"},  # has no EURange
        {"node": node("Float"), "server_deadband": "1.0"},
        {"node": arrays[0].node},
    )
    emit = Collector()
    driver = DRIVER.open("dcs", shared.plain(), rows, SystemClock())
    async with background(driver.run(emit)):
        await until(lambda: len(emit.samples(104)) > 3 and len(emit.samples(101)) > 10)
        await until(lambda: all(emit.samples(100 + i) for i in range(6)))
    assert emit.samples(100)[0][1] == 0
    assert emit.samples(102)[0][1] == 0
    assert emit.samples(105)[0][1] == Quality.BAD_CONFIG_ERROR
    values = [value for value, quality, _ in emit.samples(104) if not quality & 0x8000]
    assert len(values) < len(emit.samples(101)), "the deadband leaves nothing out"
    assert any("refused the deadband" in event.text for event in emit.events)
    assert any("are arrays" in event.text for event in emit.events)


async def test_a_probe_lists_policies_limits_and_the_certificate(shared: NodeServer) -> None:
    seen = await probe(shared.plain(), SystemClock().wall_ns())
    policies = {(one.policy, one.mode) for one in seen.endpoints}
    assert ("Basic256Sha256", "SignAndEncrypt") in policies
    assert all(len(one.thumbprint) == 64 for one in seen.endpoints)
    assert seen.state == "running"
    assert seen.limits is not None
    assert seen.limits.items_per_call == 100
    assert seen.limits.items_per_subscription == 200
