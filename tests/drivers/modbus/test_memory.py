"""What was learned survives a restart, and a spoilt file does no harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.contract import Quality
from drivers.modbus import ModbusConfig
from drivers.modbus.client import ModbusDriver
from drivers.modbus.codec import Area
from drivers.modbus.learn import FIRST_JOIN_NS, Cut, Lessons
from drivers.modbus.memory import Memory
from drivers.modbus.plan import Span
from gateway.runtime.clock import SystemClock
from tests.drivers.modbus.rig import ModbusServer, holding, make, running


def _lessons() -> Lessons:
    lessons = Lessons()
    lessons.recall([Span(Area.HOLDING, 30, 2)], {Cut(Area.INPUT, 7): 240 * 10**9}, 0)
    return lessons


def test_what_was_saved_is_recalled(tmp_path: Path) -> None:
    Memory(tmp_path / "state", "gds 1/北").save({17: _lessons(), 18: Lessons()})
    again = {17: Lessons(), 18: Lessons()}
    Memory(tmp_path / "state", "gds 1/北").recall(again, 0)
    assert again[17].illegal == {Span(Area.HOLDING, 30, 2)}
    assert again[17].pauses_ns == {Cut(Area.INPUT, 7): 240 * 10**9}
    assert not again[18].illegal
    (file,) = (tmp_path / "state").iterdir()
    assert "/" not in file.name


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    text = (
        '{"version": 1, "units": {"17": {"illegal": [["HOLDING", 30, 2]], "cuts": [["INPUT", 7]]}}}'
    )
    (tmp_path / "modbus-d.json").write_text(text, encoding="utf-8")
    lessons = Lessons()
    Memory(tmp_path, "d").recall({17: lessons}, 0)
    assert lessons.illegal == {Span(Area.HOLDING, 30, 2)}
    assert lessons.pauses_ns == {Cut(Area.INPUT, 7): FIRST_JOIN_NS}
    assert lessons.due_cut(FIRST_JOIN_NS) == Cut(Area.INPUT, 7)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version": 3}', '{"version": 1, "units": {"x": 1}}',
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
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


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


class _LaterClock(SystemClock):
    """The real clock, some time ahead."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        await super().sleep_until(monotonic_ns - self.ahead_ns)


async def test_a_plan_that_was_cut_grows_back_and_costs_no_value(tmp_path: Path) -> None:
    clock = _LaterClock()
    config = {"host": "127.0.0.1", "poll_ms": 10, "timeout_ms": 60_000, "state_dir": tmp_path}
    file = tmp_path / "modbus-plc.json"
    async with ModbusServer(100) as server:
        server.device.forbid("holding", 30, 31, code=4)
        keys = ModbusConfig.model_validate({**config, "port": server.port})
        driver = ModbusDriver("plc", keys, holding(100), clock)
        async with running(driver) as sink:
            await sink.until(lambda: driver.statistics()["requests_per_poll"] == 3)
            await sink.until(lambda: file.exists() and '["HOLDING", 30, 60]' in file.read_text())
            clock.ahead_ns += FIRST_JOIN_NS  # each cut is tried, refused, and waits longer
            await sink.until(lambda: '["HOLDING", 30, 120]' in file.read_text())
            await sink.until(lambda: '["HOLDING", 31, 120]' in file.read_text())
            assert driver.statistics()["cuts"] == 2
            server.device.allow_all()
            clock.ahead_ns += 2 * FIRST_JOIN_NS
            await sink.until(lambda: driver.statistics()["requests_per_poll"] == 1)
            await sink.until(lambda: "HOLDING" not in file.read_text())
            whole = len(sink.batches)
            await sink.until(lambda: len(sink.batches) > whole + 1)
    assert not sink.errors
    others = [at for at in range(100) if at != 30]
    for batch in sink.batches:  # no try of what was joined cost a good value
        assert not batch.quality[others].any()
    assert not sink.batches[-1].quality.any()
