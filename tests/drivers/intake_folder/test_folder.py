"""The watched folder: complete files only, moved only when durable, read again after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers import registry
from drivers.contract import Clock, DeviceError, DriverPoint, Quality
from drivers.intake.settings import ExternalAddress
from drivers.intake_folder.client import DONE, LEDGER, REJECTED, Folder
from drivers.intake_folder.config import FolderIntakeConfig, check
from drivers.intake_folder.driver import FolderIntake
from drivers.intake_folder.watch import FileTables, Seen, Settled, is_wanted
from gateway.runtime.clock import SystemClock
from tests.background import background
from tests.fakes.intake_store import IntakeStore, ManualClock
from tests.waiting import until

CASES = Path(__file__).parents[3] / "drivers" / "intake_folder" / "cases"
POINTS = [
    DriverPoint(1, "ti", ExternalAddress(id="TI-101"), 2),
    DriverPoint(2, "records", ExternalAddress(id="#records"), 3),
]
PERMITS = "id,time,ticket_no,work,status\nt1,2026-05-01T08:00:00+08:00,DH-1,hot_work,已批准\n"


def make(folder: Path, clock: Clock | None = None, **keys: object) -> FolderIntake:
    given = {"folder": str(folder), "look_ms": 20, **keys}
    config = FolderIntakeConfig.model_validate_json(json.dumps(given))
    return FolderIntake("gate", config, POINTS, clock or SystemClock())


def running(
    driver: FolderIntake, store: IntakeStore
) -> contextlib.AbstractAsyncContextManager[asyncio.Task[None]]:
    return background(driver.run(store.emit))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()} if folder.exists() else set()


@pytest.mark.parametrize(
    "case", json.loads((CASES / "names.json").read_text(encoding="utf-8")), ids=lambda c: c["name"]
)
def test_file_names_say_the_table(case: dict[str, Any]) -> None:
    files = {"DH": "fire", "DHX": "gas", "气体分析": "gas"}
    tables = FileTables(["permit", "fire", "fire_alarm", "gas", "samples"], files)
    assert tables.table(case["name"]) == case["table"]


@pytest.mark.parametrize("name", ["a.tmp", "a.csv.part", ".a.csv", "a.xlsx", ".plantgate-seen"])
def test_other_names_are_left_alone(name: str) -> None:
    assert not is_wanted(name)


LOOKS = st.lists(
    st.dictionaries(st.sampled_from(["a.csv", "b.json", "c.tmp"]), st.integers(0, 2)), max_size=12
)


@given(LOOKS)
def test_ready_is_what_was_the_same_in_two_looks(looks: list[dict[str, int]]) -> None:
    settled, before = Settled(), dict[str, int]()
    for look in looks:
        ready = settled.feed(Seen(name, size, 0) for name, size in look.items())
        same = [name for name in look if before.get(name) == look[name] and name != "c.tmp"]
        assert [seen.name for seen in ready] == sorted(same)
        before = look


def test_the_ledger_survives_a_torn_line_and_stays_bounded(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.open()
    folder.remember("a" * 64, rejected=False)
    folder.remember("b" * 64, rejected=True)
    with (tmp_path / LEDGER).open("a") as file:
        file.write("c" * 30)
    again = Folder(tmp_path)
    again.open()
    assert (again.knows("a" * 64), again.was_rejected("a" * 64)) == (True, False)
    assert (again.knows("b" * 64), again.was_rejected("b" * 64)) == (True, True)
    assert not again.knows("c" * 64)
    with (tmp_path / LEDGER).open("a") as file:
        file.writelines(f"{number:064x}\n" for number in range(12_000))
    bounded = Folder(tmp_path)
    bounded.open()
    assert not bounded.knows("a" * 64)
    assert bounded.knows(f"{11_999:064x}")
    assert len((tmp_path / LEDGER).read_text().splitlines()) == 10_000


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.open()
    for number in range(3):
        (tmp_path / "a.csv").write_text(str(number))
        folder.finish("a.csv", "")
    assert names(tmp_path / DONE) == {"a.csv", "a.1.csv", "a.2.csv"}


async def test_files_are_taken_in_order_and_moved(tmp_path: Path) -> None:
    (tmp_path / "permit_2.csv").write_bytes(PERMITS.replace("t1", "t2").encode("gb18030"))
    (tmp_path / "permit_1.csv").write_text(PERMITS, encoding="utf-8")
    (tmp_path / "permit_3.csv.part").write_text(PERMITS, encoding="utf-8")
    (tmp_path / "samples_1.csv").write_text(
        "id,time,value,quality\nTI-101,2026-05-01T00:00:00Z,7.5,64\n", encoding="utf-8"
    )
    store = IntakeStore()
    async with running(make(tmp_path), store):
        await until(lambda: len(names(tmp_path / DONE)) == 3)
    events = store.events("intake.permit")
    assert [event.attributes["id"] for event in events] == ["t1", "t2"]
    assert events[0].attributes["status"] == events[1].attributes["status"] == "已批准"
    assert events[0].attributes["sender"] == "permit_1.csv"
    assert store.last_value(1) == (7.5, Quality.UNCERTAIN)
    assert names(tmp_path) == {"permit_3.csv.part", LEDGER}


async def test_nothing_moves_before_it_is_durable(tmp_path: Path) -> None:
    (tmp_path / "permit.csv").write_text(PERMITS, encoding="utf-8")
    store = IntakeStore(held=True)
    async with running(make(tmp_path), store):
        await until(lambda: store.events("intake.permit"))
        await asyncio.sleep(0.1)
        assert "permit.csv" in names(tmp_path)
        assert (tmp_path / LEDGER).read_text() == ""
        store.release()
        await until(lambda: names(tmp_path / DONE) == {"permit.csv"})


async def test_a_growing_file_is_left_alone(tmp_path: Path) -> None:
    store, clock, file = IntakeStore(), ManualClock(), tmp_path / "permit.csv"
    driver = make(tmp_path, clock=clock)

    async def look() -> None:
        looks = driver.statistics()["looks"]
        await clock.advance_s(1)
        await until(lambda: driver.statistics()["looks"] > looks)

    async with running(driver, store):
        await until(lambda: driver.statistics()["looks"] == 1)
        for end in range(10, len(PERMITS), 10):
            file.write_text(PERMITS[:end], encoding="utf-8")
            await look()
            assert "permit.csv" in names(tmp_path)
        file.write_text(PERMITS, encoding="utf-8")
        await look()
        assert not store.events("intake.permit")
        await look()
        await until(lambda: names(tmp_path / DONE) == {"permit.csv"})
    assert store.events("intake.permit")


async def test_wrong_rows_and_files_go_to_rejected_with_reasons(tmp_path: Path) -> None:
    (tmp_path / "permit.csv").write_text(PERMITS + "t2,?,DH-2,hot_work,x\n", encoding="utf-8")
    (tmp_path / "lightning.json").write_text("{", encoding="utf-8")
    (tmp_path / "other.csv").write_text("a\n1\n", encoding="utf-8")
    (tmp_path / "samples.csv").write_text("id,time,value\n" + "x" * 2000, encoding="utf-8")
    store = IntakeStore()
    async with running(make(tmp_path, max_file_kb=1), store):
        await until(lambda: len(names(tmp_path / REJECTED)) == 8)
    assert [e.attributes["id"] for e in store.events("intake.permit")] == ["t1"]
    reasons = {
        path.name: path.read_text(encoding="utf-8")
        for path in (tmp_path / REJECTED).glob("*.reason")
    }
    assert reasons["permit.csv.reason"].startswith("t2: time must be a time as iso8601, not '?'")
    assert "is no JSON at line 1" in reasons["lightning.json.reason"]
    assert "begins with no table's name" in reasons["other.csv.reason"]
    assert "is larger than 1 KB" in reasons["samples.csv.reason"]
    assert len(store.events("intake.rejected")) == 3


async def test_what_cannot_be_stored_stays_and_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "permit.csv").write_text(PERMITS, encoding="utf-8")
    store, driver = IntakeStore(), make(tmp_path)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_lost(driver, store))
        await until(lambda: store.events("link.up"))
        store.fail_next = 1
        assert "not stored (the disk is full)" in await task
    assert "permit.csv" in names(tmp_path)
    async with running(driver, store):
        await until(lambda: names(tmp_path / DONE) == {"permit.csv"})
    assert len(store.durable_events("intake.permit")) == 1


@pytest.mark.parametrize("rejected", [False, True])
async def test_a_crash_before_the_move_stores_nothing_twice(
    tmp_path: Path, *, rejected: bool
) -> None:
    content = PERMITS + ("t2,?,DH-2,hot_work,x\n" if rejected else "")
    (tmp_path / "permit.csv").write_text(content, encoding="utf-8")
    async with running(make(tmp_path), IntakeStore()):
        await until(lambda: not (tmp_path / "permit.csv").exists())
    (tmp_path / "permit.csv").write_text(content, encoding="utf-8")  # as if it had not moved
    store, driver = IntakeStore(), make(tmp_path)
    async with running(driver, store):
        await until(lambda: not (tmp_path / "permit.csv").exists())
    assert not store.events("intake.permit")
    assert driver.statistics()["files_known"] == 1
    where = tmp_path / (REJECTED if rejected else DONE)
    assert {"permit.csv", "permit.1.csv"} <= names(where)


async def test_a_missing_folder_is_data_and_a_reason(tmp_path: Path) -> None:
    store, driver = IntakeStore(), make(tmp_path / "none")
    for _ in range(2):
        assert "No such file or directory" in await _lost(driver, store)
    assert store.last_value(1)[1] == store.last_value(2)[1] == Quality.BAD_NOT_CONNECTED
    assert len(store.events("link.down")) == 1
    (tmp_path / "none").mkdir()
    async with running(driver, store):
        await until(lambda: store.events("link.up"))


async def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text(PERMITS, encoding="utf-8")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "permit.csv").symlink_to(secret)
    (folder / "permit_2.csv").write_text(PERMITS, encoding="utf-8")
    store = IntakeStore()
    async with running(make(folder), store):
        await until(lambda: names(folder / DONE) == {"permit_2.csv"})
    assert (folder / "permit.csv").is_symlink()
    with pytest.raises(OSError, match=r"symbolic links|loop"):
        Folder(folder).read("permit.csv")


async def test_done_is_emptied_after_keep_days(tmp_path: Path) -> None:
    (tmp_path / DONE).mkdir()
    old, new = tmp_path / DONE / "old.csv", tmp_path / DONE / "new.csv"
    for path in (old, new):
        path.write_text("x")
    os.utime(old, (946_684_800, 946_684_800))
    async with running(make(tmp_path, keep_days=1), IntakeStore()):
        await until(lambda: not old.exists())
    assert new.exists()


async def _lost(driver: FolderIntake, store: IntakeStore) -> str:
    with pytest.raises(DeviceError) as caught:
        await driver.run(store.emit)
    return str(caught.value)


def test_check_looks_at_folder_and_tables(tmp_path: Path) -> None:
    given = {"folder": str(tmp_path / "none"), "files": {"DH": "fires"}}
    config = FolderIntakeConfig.model_validate_json(json.dumps(given))
    said = {problem.column: problem.message for problem in check(config, POINTS)}
    assert "there is no folder" in said["folder"]
    assert "no table 'fires'" in said["files"]
    assert registry.find("intake_folder").name == "intake_folder"
