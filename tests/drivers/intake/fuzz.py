"""A million hostile documents for the intake: no exception but the named one, no bent row.

    python -m tests.drivers.intake.fuzz [--frames 1000000] [--seed 0]        (make fuzz)

Documents of rows, changed at random as bytes and as values, go through the reader of JSON and the
mapping. The judge reads with Python's own json: a row that is accepted must stand in the document
with that id, time and level, and rows and answers must be as many.
"""

from __future__ import annotations

import json
import random
from datetime import datetime

from drivers.intake.document import DocumentError, read_json
from drivers.intake.mapping import MappingConfig, build
from drivers.intake.rows import Accepted, RowReader
from tests.drivers.fuzzing import campaign

_NOW_NS = 1_777_593_600_000_000_000
_MAPPING = build(MappingConfig(source="s"))
_READER = RowReader("d", _MAPPING)
_ODD: tuple[object, ...] = (
        "", "x", 0, -1, 1e300, None, True, [], {}, [1], {"a": 1}, "\0", "2026-13-01T00:00:00Z",
        "2026-05-01T00:00:00Z", "red", "blue", "1", 10**30, "紧急", "\ud800")  # fmt: skip


def _document(rng: random.Random) -> object:
    rows: list[dict[str, object]] = [
        {"id": f"L{number}", "time": "2026-05-01T00:00:00+08:00", "level": "red"}
        for number in range(rng.randint(1, 3))
    ]
    for row in rows:
        for _ in range(rng.randint(0, 2)):
            row[rng.choice(("id", "time", "level", "text", "zone"))] = rng.choice(_ODD)
    return rows if rng.random() < 0.9 else rng.choice((rows[0], {"rows": rows}, _ODD))


def _bytes(document: object, rng: random.Random) -> bytes:
    raw = bytearray(json.dumps(document).encode())
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def rows(rng: random.Random) -> None:
    """One document."""
    raw = _bytes(_document(rng), rng)
    try:
        found = read_json(raw)
        read = _READER.read(_MAPPING.tables["lightning"], found, "x", _NOW_NS)
    except DocumentError:
        return
    plain = json.loads(raw.decode("utf-8-sig"))
    given = plain if isinstance(plain, list) else None
    for number, row in enumerate(read):
        if isinstance(row, Accepted):
            assert len(row.digest) == 16
            if given is not None:
                assert len(given) == len(read)
                _judge(row, given[number])
        else:
            assert row.reason


def _judge(row: Accepted, given: dict[str, object]) -> None:
    assert str(given["id"]).strip() == row.id
    assert str(given["level"]).strip() == str(row.event.attributes["level"])
    if isinstance(given["time"], str):
        when = datetime.fromisoformat(given["time"])
        assert when.tzinfo is None or when.timestamp() * 10**9 == row.event.time_ns


if __name__ == "__main__":
    campaign("documents", {"intake": rows})
