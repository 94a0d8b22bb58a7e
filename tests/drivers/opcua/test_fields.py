"""Fields of structures from a real server (asyncua's): watched once, polled, refused one by one."""

from __future__ import annotations

from typing import Any

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.opcua import DRIVER
from drivers.opcua.address import OpcUaAddress
from drivers.opcua.config import OpcUaConfig
from drivers.opcua.field_path import FieldStep, field_path_text, parse_field_path
from gateway.runtime.clock import SystemClock
from tests.fakes.opcua_collector import Collector, running
from tests.fakes.opcua_server import OpcUaServer
from tests.waiting import until

STATUS = "i=2256"  # Server_ServerStatus (OPC 10000-5, 8.2)
ROWS = (
    {"node": STATUS, "field": "BuildInfo.ProductName", "type": "text"},
    {"node": STATUS, "field": "State", "type": "int"},
    {"node": STATUS, "field": "CurrentTime", "type": "text"},
    {"node": STATUS, "field": "BuildInfo.NoSuch"},
    {"node": STATUS, "field": "BuildInfo"},
    {"node": STATUS, "field": "State.Value"},
    {"node": "nsu=urn:plantgate:fake;s=D0", "field": "State"},
    {"node": "nsu=urn:plantgate:fake;s=D0"},
)


def config(endpoint: str, **more: Any) -> OpcUaConfig:
    return OpcUaConfig.model_validate(
        {"endpoint": endpoint, "security": "None", "insecure": True, "publish_ms": 50}
        | {"timeout_ms": 15_000, "retry_s": 1}
        | more
    )


def rows(*addresses: dict[str, str]) -> list[DriverPoint[OpcUaAddress]]:
    return [
        DriverPoint(100 + i, f"T{i}", OpcUaAddress.model_validate_strings(row))
        for i, row in enumerate(addresses)
    ]


@pytest.mark.parametrize("reading", ["subscribe", "poll"])
async def test_fields_of_the_servers_own_status(reading: str) -> None:
    emit = Collector()
    async with OpcUaServer(1) as server:
        driver = DRIVER.open(
            "dcs", config(server.endpoint, reading=reading), rows(*ROWS), SystemClock()
        )
        async with running(driver, emit) as task:
            await until(lambda: task.done() or all(emit.samples(100 + i) for i in range(len(ROWS))))
            await until(
                lambda: sum(event.kind == "device.config_error" for event in emit.events) > 3
            )
            assert not task.done()
        assert driver.statistics()["subscribed"] == len(ROWS)
    assert "FreeOpcUa" in emit.samples(100)[0][0]
    assert emit.samples(101)[0][:2] == (0, Quality.GOOD)
    assert emit.samples(102)[0][0].startswith("20")
    for place in (103, 104, 105, 106):
        assert {sample[1] for sample in emit.samples(place)} == {Quality.BAD_CONFIG_ERROR}
    assert emit.samples(107)[0][:2] == (0.0, Quality.GOOD)
    told = " ".join(event.text for event in emit.events)
    assert "no value for T3 at i=2256: type BuildInfo has no field 'NoSuch'" in told
    assert "BuildInfo is a structure: name one of its fields" in told
    assert "State is Int32, which has no fields" in told
    assert "no value for T6 at nsu=urn:plantgate:fake;s=D0: its value is no structure" in told


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("a", (FieldStep("a"),)),
        ("BuildInfo.ProductName", (FieldStep("BuildInfo"), FieldStep("ProductName"))),
        ("sub[2].value", (FieldStep("sub", (2,)), FieldStep("value"))),
        ("grid[1, 2]", (FieldStep("grid", (1, 2)),)),
        ("flow&.rate.&[x", (FieldStep("flow.rate"), FieldStep("[x"))),
        ("流量.值", (FieldStep("流量"), FieldStep("值"))),
    ],
)
def test_paths_are_read_and_written_alike(text: str, steps: tuple[FieldStep, ...]) -> None:
    assert parse_field_path(text) == steps
    assert parse_field_path(field_path_text(steps)) == steps


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "a name is missing"),
        ("a.", "a name is missing"),
        ("a..b", "a name is missing"),
        ("[2]", "a name is missing"),
        ("a[x]", "the place of one element"),
        ("a[1", "the place of one element"),
        ("a]", "] without ["),
        ("a[1]b", "a . is missing before 'b'"),
        (".".join("a" * 17), "at most 16 names, not 17"),
    ],
)
def test_a_wrong_path_is_one_sentence(text: str, why: str) -> None:
    with pytest.raises(ValueError, match="must be field names with dots") as told:
        parse_field_path(text)
    assert why in str(told.value)


def test_a_deadband_is_not_for_structures() -> None:
    with pytest.raises(ValueError, match="server_deadband is for numbers"):
        OpcUaAddress(node=STATUS, field="State", server_deadband="1")
