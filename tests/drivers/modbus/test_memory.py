"""What was learned survives a restart, and a spoilt file does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.contract import Quality
from drivers.modbus.codec import Area
from drivers.modbus.learn import Lessons
from drivers.modbus.memory import Memory
from drivers.modbus.plan import Span
from tests.drivers.modbus.rig import ModbusServer, holding, make, running


def _lessons() -> Lessons:
    lessons = Lessons()
    lessons.recall([Span(Area.HOLDING, 30, 2)], [(Area.INPUT, 7)], 0)
    return lessons


def test_what_was_saved_is_recalled(tmp_path: Path) -> None:
    Memory(tmp_path / "state", "gds 1/北").save({17: _lessons(), 18: Lessons()})
    again = {17: Lessons(), 18: Lessons()}
    Memory(tmp_path / "state", "gds 1/北").recall(again, 0)
    assert again[17].illegal == {Span(Area.HOLDING, 30, 2)}
    assert again[17].cuts == {Area.INPUT: {7}}
    assert not again[18].illegal
    (file,) = (tmp_path / "state").iterdir()
    assert "/" not in file.name


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 2}', '{"version": 1, "units": {"x": 1}}',
     '{"version": 1, "units": {"17": {"illegal": [["NOWHERE", 1, 1]], "cuts": []}}}'],
)  # fmt: skip
def test_a_spoilt_file_is_no_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "modbus-d.json").write_text(text, encoding="utf-8")
    lessons = Lessons()
    Memory(tmp_path, "d").recall({17: lessons}, 0)
    assert not lessons.illegal


def test_a_folder_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    Memory(tmp_path / "file" / "state", "d").save({1: _lessons()})
    Memory(None, "d").save({1: _lessons()})


async def test_a_restart_does_not_search_again(tmp_path: Path) -> None:
    async with ModbusServer(1000) as server:
        for address in (5, 130, 131, 700):
            server.device.forbid("holding", address, address + 1)
        first = make(server.port, holding(1000), state_dir=tmp_path)
        async with running(first) as sink:
            await sink.until(lambda: "device.illegal_address" in sink.kinds())
            await sink.until(lambda: bool(list(tmp_path.glob("*.json"))))
        second = make(server.port, holding(1000), state_dir=tmp_path)
        requests = second.statistics()["requests_per_poll"]
        assert second.statistics()["illegal_values"] == 4
        asked = server.device.requests
        async with running(second) as again:
            await again.until(lambda: len(again.batches) >= 1)
        assert server.device.requests - asked <= requests + 4 + requests  # probes, a poll begun
    bad = {point - 1 for point, (_, quality) in again.last().items() if quality}
    assert bad == {5, 130, 131, 700}
    assert "device.illegal_address" not in again.kinds()
    assert again.last()[6][1] == Quality.BAD_ILLEGAL_ADDRESS
