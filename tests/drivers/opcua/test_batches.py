"""batches.py and events.py: pure, so without a server."""

from __future__ import annotations

import struct

import numpy as np

from drivers.contract import DriverPoint, Quality, ValueKind
from drivers.opcua.batches import BatchMaker
from drivers.opcua.codec import decode_data_change
from drivers.opcua.config import OpcUaAddress
from drivers.opcua.events import EventMaker, OverflowTally

SECOND = 10**9
POINTS = [
    DriverPoint(70 + i, f"T{i}", OpcUaAddress(node=f"i={i}", type=kind))
    for i, kind in enumerate(["float", "int", "uint", "text", "float"])
]


def test_all_bad_names_every_point_once_and_numbers_batches_on() -> None:
    maker = BatchMaker(POINTS)
    batches = maker.all_bad(Quality.BAD_NOT_CONNECTED, 5)
    assert sorted(int(p) for b in batches for p in b.points) == [70, 71, 72, 73, 74]
    assert [batch.sequence for batch in batches] == [0, 1, 2, 3]
    assert all((batch.quality == Quality.BAD_NOT_CONNECTED).all() for batch in batches)
    assert [type(batch.values) for batch in batches].count(tuple) == 1
    again = maker.all_bad(Quality.BAD_NOT_CONNECTED, 6)
    assert [b.points is a.points for a, b in zip(batches, again, strict=True)] == [True] * 4
    assert again[0].sequence == 4


def test_handles_become_ids_in_the_order_of_the_message() -> None:
    maker = BatchMaker(POINTS)
    items = b"".join(struct.pack("<IBBd", handle, 1, 11, handle / 2) for handle in (4, 0, 4))
    change = decode_data_change(struct.pack("<i", 3) + items + b"\xff" * 4, maker.kinds, 9)
    (batch,) = maker.of_change(change, 9)
    assert batch.points.dtype == np.int32
    assert batch.points.tolist() == [74, 70, 74]
    assert not isinstance(batch.values, tuple)
    assert batch.values.tolist() == [2.0, 0.0, 2.0]
    assert maker.kinds[1] == ValueKind.INT


def test_overflow_is_told_at_once_and_then_once_a_minute() -> None:
    tally = OverflowTally()
    assert tally.due(100, 0) is None
    tally.add(3, 100)
    assert tally.due(200, 0) == (100, 3)
    tally.add(2, 300)
    tally.add(4, 400)
    assert tally.due(500, 59 * SECOND) is None
    assert tally.due(600, 60 * SECOND) == (300, 6)
    assert tally.due(700, 600 * SECOND) is None


def test_events_name_at_most_five_points() -> None:
    maker = EventMaker("dcs", "opc.tcp://h:1")
    refused = maker.refused(1, dict.fromkeys((f"T{i}" for i in range(9)), 0x8034), 60)
    assert "9 points (9 bad:illegal_address): T0, T1, T2, T3, T4, …" in refused.text
    gap = maker.gap(3 * SECOND, SECOND, cause="link lost")
    assert "2.0 s" in gap.text
    assert gap.attributes == {
        "from_ns": SECOND,
        "to_ns": 3 * SECOND,
        "cause": "link lost",
        "count": 0,
        "points": 0,
    }
