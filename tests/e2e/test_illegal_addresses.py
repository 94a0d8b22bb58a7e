"""1,000 registers, ten of them illegal, through the whole path: no value under a wrong tag.

One device has a point for each register; a second has values of two registers, so that a hole
may be either half of one. Every value at the receiver is compared, not a sample of them.
"""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from tests.e2e.illegal_device import STEPS
from tests.e2e.world import Row, World, by_point, free_port, listens, stop, until

REGISTERS = 1000
HOLES = (0, 124, 125, 126, 333, 500, 502, 640, 875, 999)
"""Both ends, both sides of a request's limit (125 registers), neighbours, a pair, and single."""

POLLS = 25
ILLEGAL = "bad:illegal_address"
UNSETTLED = "bad:device_exception"
"""Quality of a block that is being searched, should the search outlast the first poll."""

pytestmark = pytest.mark.e2e


def write_site(world: World, words_port: int, pairs_port: int) -> None:
    """Write the tables and a site of both devices."""
    words = [f"r{address},holding,{address},u16" for address in range(REGISTERS)]
    pairs = [f"r{address},holding,{address},u32" for address in range(0, REGISTERS, 2)]
    for name, lines in (("words", words), ("pairs", pairs)):
        text = "\n".join(["name,area,address,type", *lines]) + "\n"
        (world.folder / f"{name}.csv").write_text(text, encoding="utf-8")
    world.write_site(
        "".join(
            f"""
[[device]]
name = "{name}"
driver = "modbus"
host = "127.0.0.1"
port = {port}
poll_ms = 500
timeout_ms = 20000
points = "{name}.csv"
"""
            for name, port in (("words", words_port), ("pairs", pairs_port))
        )
    )


def start_device(world: World) -> int:
    """Start a device with HOLES; returns its port."""
    port = free_port()
    holes = [str(hole) for hole in HOLES]
    process = world.start(
        "device",
        [sys.executable, "-m", "tests.e2e.illegal_device", str(port), str(REGISTERS), *holes],
    )
    world.until_ready(process, lambda: listens(port), "the device listens")
    return port


def check_word(address: int, rows: list[Row]) -> None:
    """Compare every value of a one-register point."""
    for row in rows:
        assert int(row.value) // STEPS == address, f"{row.point} holds {row.value}"
    moved = sum(before.value != after.value for before, after in pairwise(rows))
    assert moved >= 0.9 * (len(rows) - 1), f"{rows[0].point} repeats what was read before"


def check_pair(address: int, rows: list[Row]) -> None:
    """Compare every value of a two-register point; both halves are of one moment."""
    for row in rows:
        high, low = divmod(int(row.value), 1 << 16)
        assert (high // STEPS, low // STEPS) == (address, address + 1), f"{row.point}: {row.value}"
        assert high % STEPS == low % STEPS, f"{row.point} is made of two reads: {row.value}"


def settled(rows: list[Row]) -> list[Row]:
    """Rows of one point without those from before the search had ended."""
    begin = next((i for i, row in enumerate(rows) if row.quality != UNSETTLED), len(rows))
    assert len(rows) - begin >= POLLS, f"{rows[0].point}: {begin} of {len(rows)} rows unsettled"
    return rows[begin:]


def test_only_the_illegal_registers_are_bad_and_no_value_moves(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        write_site(world, start_device(world), start_device(world))
        world.start_receiver()
        gateway = world.start_gateway()
        until(
            lambda: all(
                len(world.query("--point", point)) > POLLS + 2
                for point in ("words/r1", "words/r999", "pairs/r2")
            ),
            what=f"{POLLS} polls of both devices arrive",
        )
        assert stop(gateway) == 0
        rows = world.query()
    points = dict(by_point(rows))
    assert len(points) == REGISTERS + REGISTERS // 2
    illegal: dict[str, set[int]] = {"words": set(), "pairs": set()}
    compared = 0
    for point, all_rows in points.items():
        device, _, tag = point.partition("/r")
        address = int(tag)
        samples = settled(all_rows)
        qualities = {row.quality for row in samples}
        assert len(qualities) == 1, f"{point} is sometimes {qualities}"
        assert not any(row.historical for row in samples)
        compared += len(samples)
        if qualities == {ILLEGAL}:
            illegal[device].add(address)
            assert all(math.isnan(row.value) for row in samples), f"{point}: a value that is none"
            continue
        assert qualities == {"good"}, point
        (check_word if device == "words" else check_pair)(address, samples)
    assert illegal["words"] == set(HOLES)
    assert illegal["pairs"] == {hole - hole % 2 for hole in HOLES}
    print(f"\n{compared} of {len(rows)} values compared, 0 under a wrong tag, 10 illegal registers")
