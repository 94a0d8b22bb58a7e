"""Each shipped profile against its case file: registers as on the wire, expected points.

The whole way is taken that a site takes: site keys, expansion, planner, decoder, rules, and the
gateway's scale. A profile without cases fails. The cases come from the documents that the profile
names: none was seen on a device, and each profile says so.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.contract import DriverPoint, ValueKind, quality_word
from drivers.modbus import ModbusAddress, ModbusConfig
from drivers.modbus.config import check, resolve
from drivers.modbus.decode import Decoder, Layout, Value
from drivers.modbus.plan import plan
from drivers.modbus.profile_files import load, names
from drivers.modbus.status import Judge
from drivers.point_table import PointRow

CASES = Path(__file__).parent / "profile_cases"
Memory = dict[str, dict[int, int]]


def _cases() -> list[tuple[str, int]]:
    found = []
    for name in names():
        path = CASES / f"{name}.toml"
        text = path.read_text(encoding="utf-8") if path.is_file() else "case = [{}]"
        found += [(name, index) for index in range(len(tomllib.loads(text)["case"]))]
    return found


def _config(name: str, raw: dict[str, Any]) -> ModbusConfig:
    keys = {key: raw[key] for key in raw if key != "case"}
    return ModbusConfig.model_validate({"host": "192.0.2.1", "profile": name, **keys})


def _memory(case: dict[str, Any]) -> Memory:
    return {
        area: {
            int(first, 0) + at: word
            for first, words in case.get(area, {}).items()
            for at, word in enumerate(words)
        }
        for area in ("discrete", "input", "holding")
    }


def _points(config: ModbusConfig) -> tuple[list[PointRow[ModbusAddress]], list[DriverPoint[Any]]]:
    rows, problems = config.own_rows(())
    assert not [p for p in problems if not p.message.startswith("warning: ")]
    points = [DriverPoint(at, row.tag, row.address) for at, row in enumerate(rows, start=1)]
    assert check(config, points) == []
    return rows, points


def _answer(decoder: Decoder, blocks: list[Any], memory: Memory) -> None:
    """Put what the device would answer into the decoder's buffer."""
    for block, offset in zip(blocks, decoder.offsets, strict=True):
        words = memory[block.area.name.lower()]
        wanted = [words.get(at, 0) for at in range(block.start, block.end)]
        if block.area.bits:
            content = np.packbits(np.array(wanted, np.uint8), bitorder="little").tobytes()
        else:
            content = np.array(wanted, ">u2").tobytes()
        decoder.buffer[offset : offset + len(content)] = content


@pytest.mark.parametrize(("name", "index"), _cases())
def test_registers_become_the_points_that_the_document_means(name: str, index: int) -> None:
    raw = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    case = raw["case"][index]
    config = _config(name, raw)
    rows, points = _points(config)
    values = [
        Value(point.id, target.span, target.type, target.order)
        for point in points
        for target in (resolve(point.address, config.base),)
    ]
    layout = Layout(values)
    blocks = plan(layout.spans(), config.limits())
    decoder = Decoder(layout, blocks)
    _answer(decoder, blocks, _memory(case))
    judge = Judge.of(points, layout.points)
    for second in case.get("seconds", [0]):
        columns = decoder.decode({})
        if judge is not None:
            columns = judge.judged(columns, int(second * 1e9))
    ((ids, numbers, marks),) = columns
    assert not isinstance(numbers, tuple)
    assert ids is layout.points[ValueKind.FLOAT]
    found = {}
    for number, value, quality in zip(ids.tolist(), numbers.tolist(), marks.tolist(), strict=True):
        row = rows[number - 1]
        scaled = value * row.settings.scale + row.settings.offset
        found[row.tag] = (scaled, quality_word(quality))
    for tag, (value, word) in case["expect"].items():
        assert found[tag][1] == word, f"{case['says']}: {tag}"
        same = math.isnan(found[tag][0]) if math.isnan(value) else None
        assert same or found[tag][0] == pytest.approx(value, rel=1e-6), f"{case['says']}: {tag}"
    kinds = [notice.kind for notice in judge.notices()] if judge else []
    assert kinds == case.get("notices", [])


@pytest.mark.parametrize("name", names())
def test_a_shipped_profile_says_where_it_was_read_and_that_no_device_was_seen(name: str) -> None:
    head = load(name).profile
    assert head.source
    assert not head.verified
    assert head.origin == "from documents, not yet seen on a device"
    assert (CASES / f"{name}.toml").is_file(), f"{name} has no golden cases"
