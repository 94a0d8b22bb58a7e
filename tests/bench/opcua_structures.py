"""What fields of a structure cost: by a plan of its type, beside one walk a field (5 s)."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import numpy as np

from drivers.opcua.codec import decode_data_change
from drivers.opcua.field_path import parse_field_path
from drivers.opcua.field_table import FieldTable, structure_readers
from drivers.opcua.structures import Field, Structure, TypeBook
from tests.bench.table import Row

STRUCTURES = 500
FIELDS = (Field("a", 6), Field("b", 11), Field("c", 12))  # Int32, Double, String
ROUNDS = 15


def _message() -> bytes:
    body = struct.pack("<idi", 7, 2.5, 2) + b"\xc3\xa4"
    variant = b"\x16\x01\x03\x02\x00\x01" + struct.pack("<i", len(body)) + body
    ticks = 133_000_000_000_000_000
    items = [
        struct.pack("<IB", 3 * place, 0x0D) + variant + struct.pack("<qq", ticks, ticks)
        for place in range(STRUCTURES)
    ]
    return struct.pack("<i", STRUCTURES) + b"".join(items) + struct.pack("<i", -1)


def _table(*, planned: bool) -> FieldTable:
    root = Structure("Tank", (3, 2), 0, FIELDS)
    book = TypeBook({(3, 1): root}, {(3, 2): (3, 1)})
    readers, quick = structure_readers(book, root, [parse_field_path(one.name) for one in FIELDS])
    table = FieldTable(3 * STRUCTURES)
    for place in range(STRUCTURES):
        own = tuple((3 * place + at, reader) for at, reader in enumerate(readers))
        table.set(3 * place, own, quick if planned else None)
    return table


def rows(folder: Path) -> list[Row]:
    """One row: a notification of 500 structures, three fields each."""
    del folder
    message, kinds = _message(), np.array([1, 0, 3] * STRUCTURES, np.uint8)
    tables = [_table(planned=planned) for planned in (True, False)]
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for place, table in enumerate(tables):
            began = time.process_time()
            change = decode_data_change(message, kinds, 1, table)
            best[place] = min(best[place], time.process_time() - began)
            if len(change) != 3 * STRUCTURES or change.reasons:
                raise AssertionError("a field is missing")
    plan_us, walk_us = (seconds / STRUCTURES * 1e6 for seconds in best)
    limit = f"{plan_us / walk_us:.2f} of one walk for each field ({walk_us:.1f} µs)"
    return [Row("OPC UA structure, three fields: CPU to decode", plan_us, "µs", 12, limit=limit)]
