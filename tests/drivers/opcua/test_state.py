"""What survives our own end: state.py and ledger.py, without a server."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import numpy as np
import pytest

from drivers.contract import DriverPoint
from drivers.opcua.address import OpcUaAddress
from drivers.opcua.alarms import FIELDS, read_events
from drivers.opcua.codec import CodecError
from drivers.opcua.device import Counters
from drivers.opcua.ledger import Entry, Ledger
from drivers.opcua.state import Gap, SavedLink, SavedSubscription, State

POINTS = [DriverPoint(70 + i, f"T{i}", OpcUaAddress(node=f"i={i}")) for i in range(3)]


def fresh(folder: Path | None, *, rates: str = "500", count: int = 3) -> State:
    state = State(folder, "dcs", POINTS[:count], rates)
    state.load()
    return state


def filled(folder: Path) -> State:
    state = fresh(folder)
    subscription = SavedSubscription(7, 500.0, 4, 120, {0: 11, 2: 12})
    state.link = SavedLink("opc.tcp://h:1", b"\x02\x00", b"n" * 32, [subscription])
    state.source_ns[:] = [5, 0, 9]
    state.save_link()
    state.stored(7, 41)
    return state


def test_a_later_process_finds_session_position_and_times(tmp_path: Path) -> None:
    filled(tmp_path)
    later = fresh(tmp_path)
    assert later.link is not None
    assert later.link.token == b"\x02\x00"
    assert later.link.subscriptions[0].items == {0: 11, 2: 12}
    assert later.position == {7: 41}
    assert later.source_ns.tolist() == [5, 0, 9]
    assert stat.S_IMODE((tmp_path / "dcs.session.json").stat().st_mode) == 0o600


def test_a_changed_table_or_rate_does_not_go_on_with_old_items(tmp_path: Path) -> None:
    filled(tmp_path)
    assert fresh(tmp_path, rates="100").link is None
    changed = fresh(tmp_path, count=2)
    assert changed.link is None
    assert changed.stale is not None
    assert len(changed.source_ns) == 2


@pytest.mark.parametrize("name", ["dcs.session.json", "dcs.position"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\x00 x y z", b"1 2 3\n"])
def test_bent_files_are_as_none(tmp_path: Path, name: str, content: bytes) -> None:
    filled(tmp_path)
    (tmp_path / name).write_bytes(content)
    later = fresh(tmp_path)
    assert later.link is None or later.position == {}


def test_gaps_are_kept_until_they_are_filled(tmp_path: Path) -> None:
    state = fresh(tmp_path)
    since, until = np.array([1, 0, 3]), np.array([0, 0, 8])
    state.gaps.append(Gap(since, until, 77, "link lost"))
    state.save_gaps()
    (gap,) = fresh(tmp_path).gaps
    assert (gap.since.tolist(), gap.until.tolist()) == ([1, 0, 3], [0, 0, 8])
    assert (gap.from_ns, gap.cause, gap.count) == (77, "link lost", 0)
    state.gaps.clear()
    state.save_gaps()
    assert fresh(tmp_path).gaps == []


def test_without_a_folder_everything_stays_in_memory() -> None:
    state = fresh(None)
    state.stored(7, 1)
    state.save_link()
    state.save_gaps()
    assert not state.durable


def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    state = fresh(tmp_path / "file" / "below")
    assert "Not a directory" in state.trouble
    assert not state.durable


def test_times_on_a_disk_that_can_only_be_read_are_still_known(tmp_path: Path) -> None:
    filled(tmp_path)
    [times] = tmp_path.glob("*.times")
    times.write_bytes(times.read_bytes())
    (tmp_path / f"{times.name}.new").mkdir()  # nothing can take its place
    with times.open("r+b") as file:
        file.truncate(0)
        file.truncate(24)  # sparse, as former releases made it
    state = fresh(tmp_path)
    assert state.trouble
    assert state.position == {7: 41}
    assert state.source_ns.tolist() == [0, 0, 0]


async def test_only_what_is_on_disk_moves_the_position() -> None:
    state, counters = fresh(None), Counters()
    ledger = Ledger(state, counters)
    loop = asyncio.get_running_loop()
    first, second, third = (loop.create_future() for _ in range(3))
    for sequence, receipt in enumerate((first, second, third), 1):
        ledger.add(Entry(7, sequence, [receipt], ()))
    async with asyncio.TaskGroup() as tasks:
        settling = tasks.create_task(ledger.settle())
        second.set_result(None)
        await asyncio.sleep(0)
        assert state.position == {}
        first.set_result(None)
        third.set_exception(OSError("disk"))
        await settling
    assert state.position == {7: 2}
    assert ledger.due == [(7, 1), (7, 2)]
    assert counters.not_stored == 1


def test_hostile_events_raise_only_codec_error() -> None:
    head = b"\x01\x00\x00\x00" + b"\xff\xff\xff\xff"
    whole = head + len(FIELDS).to_bytes(4, "little") + b"\x00" * len(FIELDS)
    assert read_events(whole)[0].attributes == {}
    for end in range(len(whole)):
        with pytest.raises(CodecError):
            read_events(whole[:end])
    with pytest.raises(CodecError):
        read_events(head + b"\x01\x00\x00\x00" + b"\x00")
