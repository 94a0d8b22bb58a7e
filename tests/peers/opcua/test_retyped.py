"""A server that gives a watched node another data type: the right value or a bad one, told why."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from drivers.contract import DriverPoint, Quality
from drivers.opcua import DRIVER
from drivers.opcua.address import OpcUaAddress
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.opcua_collector import Collector
from tests.fakes.opcua_node import install_node_opcua, node, serving
from tests.waiting import until

pytestmark = pytest.mark.peer

BAD = int(Quality.BAD_CONFIG_ERROR)
KINDS = ("float", "int", "uint", "text")
# What Changing becomes in server.js, as each kind has it; then its first and second element, as
# float and as text. BAD: bad:config_error.  A dash: the server itself refuses the element.
CHANGING: tuple[tuple[Any, ...], ...] = (
    (5.0, 5, 5, "5", BAD, BAD, BAD, BAD),  # Int32
    (5.5, BAD, BAD, "5.5", BAD, BAD, BAD, BAD),  # Double
    (BAD, BAD, BAD, BAD, 1.5, "1.5", 2.5, "2.5"),  # three Doubles
    (BAD, BAD, BAD, "abc", BAD, BAD, BAD, BAD),  # String, of which a range would be one letter
    (-9007199254740992.0, -9007199254740993, BAD, "-9007199254740993", BAD, BAD, BAD, BAD),  # Int64
    (BAD, BAD, BAD, BAD, 9.5, "9.5", "-", "-"),  # one Double
    (1.0, 1, 1, "true", BAD, BAD, BAD, BAD),  # Boolean
    (BAD, BAD, BAD, BAD, BAD, "x", BAD, "yes"),  # three Strings
    (BAD, BAD, BAD, BAD, BAD, BAD, BAD, BAD),  # ByteString
    (6.0, 6, 6, "6", BAD, BAD, BAD, BAD),  # Int32
)
# Shape: field Value, field Level, and the node by itself
SHAPES: tuple[tuple[Any, ...], ...] = (
    (1.5, BAD, BAD), (BAD, 2.5, BAD), (BAD, BAD, 3.5), (4.5, BAD, BAD),
)  # fmt: skip


def table(rows: list[dict[str, str]]) -> list[DriverPoint[OpcUaAddress]]:
    return [
        DriverPoint(100 + i, f"T{i}", OpcUaAddress.model_validate_strings(row))
        for i, row in enumerate(rows)
    ]


def changing() -> list[dict[str, str]]:
    plain = [{"node": node("Changing"), "type": kind} for kind in KINDS]
    return plain + [
        {"node": node("Changing"), "type": kind, "index": index}
        for index in ("0", "1")
        for kind in ("float", "text")
    ]


def latest(emit: Collector) -> dict[int, tuple[Any, int]]:
    """Value and quality that each point had last."""
    found: dict[int, tuple[Any, int]] = {}
    for batch in emit.batches[-200:]:
        places = zip(batch.points.tolist(), batch.values, batch.quality.tolist(), strict=True)
        found |= {point: (value, quality) for point, value, quality in places}
    return found


def right(value: object, quality: int, wanted: object) -> bool:
    if wanted is BAD:
        return quality == BAD
    if wanted == "-":
        return quality in (0x8036, 0x8037)  # BadIndexRangeInvalid, BadIndexRangeNoData
    return quality == 0 and value == wanted


@pytest.mark.parametrize("reading", ["subscribe", "poll"])
async def test_each_kind_and_element_has_the_value_or_is_bad(tmp_path: Path, reading: str) -> None:
    rows = changing()
    rows += [{"node": node("Shape"), "field": name} for name in ("Value", "Level")]
    rows += [{"node": node("Shape")}, {"node": node("Int64"), "type": "int"}]
    steady = 100 + len(rows) - 1
    steps = [CHANGING[i] + SHAPES[i % len(SHAPES)] for i in range(len(CHANGING))]
    emit = Collector()
    install_node_opcua()
    with serving(tmp_path, period=100, anonymous=True, structures=True, retype=True) as peer:
        config = peer.plain(reading=reading, retry_s=1, heartbeat_s=0)
        driver = DRIVER.open("dcs", config, table(rows), SystemClock())

        def arrived(step: tuple[Any, ...]) -> bool:
            last = latest(emit)
            return len(last) == len(rows) and all(
                right(*last[100 + place], wanted) for place, wanted in enumerate(step)
            )

        async with background(driver.run(emit)):
            for place, step in enumerate(steps):
                if place:
                    peer.signal(signal.SIGHUP)
                await until(lambda step=step: arrived(step))  # type: ignore[misc]  # mypy and defaults
        held = peer.held()
    for place in range(len(steps[0])):
        had = {step[place] for step in steps} - {BAD, "-"}
        good = {value for value, quality, _ in emit.samples(100 + place) if not quality & 0x8000}
        assert good == had, rows[place]  # nor was there anything else in between
    for value, quality, time_ns in emit.samples(steady):
        text, status = held["Int64", time_ns // 10**6]
        assert (quality, value) == (status >> 16, 0 if quality & 0x8000 else int(text))
    told = [event.text for event in emit.events if event.kind == "device.config_error"]
    for why in (
        "is an array: name one element in column `index`",
        "is no array: leave column `index` empty",
        "its value is no structure: leave column `field` empty",
        "type TankType has no field 'Value'",
        "do not fit their type",
    ):
        assert any(why in text for text in told), why
