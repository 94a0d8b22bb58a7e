"""Samples with OPC DA quality become columns; unknown ids and wrong values are refused by row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.contract import DriverPoint, Quality, ValueKind, quality_word
from drivers.intake.fresh import Freshness
from drivers.intake.mapping import MappingConfig, TableConfig, build
from drivers.intake.samples import SampleReader, opc_quality
from drivers.intake.settings import ExternalAddress

S = 1_000_000_000
T0 = "2026-05-01T00:00:00Z"
T0_NS = 1_777_593_600 * S
POINTS = [
    DriverPoint(11, "ti", ExternalAddress(id="TI-101"), 2),
    DriverPoint(12, "total", ExternalAddress(id="FQ-1", type="int"), 3),
    DriverPoint(13, "mode", ExternalAddress(id="M-1", type="text"), 4),
    DriverPoint(14, "records", ExternalAddress(id="#records"), 5),
]
TABLE = build(MappingConfig(source="bridge")).tables["samples"]


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (192, "good"), (0xC3, "good"), (0xFFC0, "good"), (216, "good:local_override"),
            (0xC4, "good"),
        (64, "uncertain"), (68, "uncertain:stale"), (80, "uncertain:sensor_not_accurate"),
        (84, "uncertain:out_of_range"), (88, "uncertain:sub_normal"), (76, "uncertain"),
        (0, "bad"), (4, "bad:config_error"), (8, "bad:not_connected"),
        (12, "bad:device_exception"), (16, "bad:sensor_fault"), (20, "bad:out_of_service"),
        (24, "bad:comm_failure"), (28, "bad:out_of_service"),
        (32, "bad:waiting_for_initial_data"), (0x80, "bad"), (60, "bad"),
    ],
)  # fmt: skip
def test_opc_da_quality(code: int, word: str) -> None:
    assert quality_word(opc_quality(code)) == word


@given(st.integers(0, 0xFFFF))
def test_severity_is_kept_for_every_code(code: int) -> None:
    severity = {0xC0: 0x0000, 0x40: 0x4000}.get(code & 0xC0, 0x8000)
    assert opc_quality(code) & 0xC000 == severity


def test_rows_become_one_batch_per_type_in_time_order() -> None:
    reader = SampleReader(POINTS)
    rows = reader.read(
        TABLE,
        [
            {"id": "TI-101", "time": "2026-05-01T00:00:02Z", "value": "21.5", "quality": 192},
            {"id": "FQ-1", "time": T0, "value": 2**60 + 1, "quality": "good"},
            {"id": "TI-101", "time": T0, "value": True, "quality": "64"},
            {"id": "M-1", "time": T0, "value": "AUTO"},
            {"id": "TI-101", "time": "2026-05-01T00:00:03Z", "quality": 24},
        ],
    )
    assert rows.rejected == []
    floats, ints, texts = reader.batches(rows, 77)
    assert floats.points.tolist() == [11, 11, 11]
    assert isinstance(floats.values, np.ndarray)
    assert floats.values.tolist()[:2] == [1.0, 21.5]
    assert math.isnan(floats.values[2])
    assert floats.quality.tolist() == [0x4000, 0, Quality.BAD_COMM_FAILURE]
    assert isinstance(floats.source_time_ns, np.ndarray)
    assert floats.source_time_ns.tolist() == [T0_NS, T0_NS + 2 * S, T0_NS + 3 * S]
    assert isinstance(ints.values, np.ndarray)
    assert ints.values.tolist() == [2**60 + 1]
    assert texts.values == ("AUTO",)
    assert [b.sequence for b in (floats, ints, texts)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": "TI-999"}, "id is not in the point table"),
        ({"id": "#records"}, "id is not in the point table"),
        ({"value": "n/a"}, "value must be a number, not 'n/a'"),
        ({"value": "inf"}, "value must be a number, not 'inf'"),
        ({"value": [1]}, "value must be a number"),
        ({"value": None}, "value is missing"),
        ({"quality": 70_000}, "quality must be an OPC DA quality"),
        ({"quality": "fine"}, "quality must be an OPC DA quality"),
        ({"quality": 1.5}, "quality must be an OPC DA quality"),
        ({"time": "8 o'clock"}, "must be a time as iso8601"),
        ({"time": None}, "time is missing"),
        ({"id": "FQ-1", "value": 1.5}, "value must be a whole number"),
        ({"id": "FQ-1", "value": 2**63}, "value must be a whole number"),
        ({"id": "M-1", "value": 5}, "value must be text"),
    ],
)
def test_a_wrong_row_is_refused_and_the_others_stay(change: dict[str, object], reason: str) -> None:
    good = {"id": "TI-101", "time": T0, "value": 1.0}
    rows = SampleReader(POINTS).read(TABLE, [good, {**good, **change}, good])
    assert sum(len(found) for found in rows.samples.values()) == 2
    (bad,) = rows.rejected
    assert reason in bad.reason
    assert [bool(said) for _, said in rows.receipts] == [False, True, False]


def test_a_bridges_own_field_names_are_mapped() -> None:
    config = TableConfig(
        record="samples", rows="items", time_format="epoch_ms",
        fields={"id": "n", "time": "t", "value": "v", "quality": "q"},
    )  # fmt: skip
    table = build(MappingConfig(source="bridge", table={"da": config})).tables["da"]
    document = {"items": [{"n": "TI-101", "t": T0_NS // 1_000_000, "v": 5, "q": 0}]}
    rows = SampleReader(POINTS).read(table, document)
    assert rows.samples[ValueKind.FLOAT][0].quality == Quality.BAD


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)


IDS = st.sampled_from(["TI-101", "FQ-1", "M-1", "x"])
OPTIONAL = {"time": st.just(T0) | VALUES, "value": VALUES, "quality": VALUES}


@given(st.lists(st.fixed_dictionaries({"id": IDS}, optional=OPTIONAL)))
def test_every_row_is_a_sample_or_a_reason(documents: list[dict[str, object]]) -> None:
    reader = SampleReader(POINTS)
    rows = reader.read(TABLE, documents)
    assert len(rows.receipts) == len(documents)
    batches = reader.batches(rows, 1)
    assert sum(len(b) for b in batches) + len(rows.rejected) == len(documents)
    for batch in batches:
        assert len(batch.values) == len(batch.quality) == len(batch.points)


def test_silence_is_told_once_and_again_after_the_next_sample() -> None:
    fresh = Freshness([1, 2], 10, 0)
    assert fresh.next_deadline_ns() == 10
    fresh.feed([1], 5)
    assert fresh.tick(9) == []
    assert fresh.tick(10) == [2]
    assert fresh.tick(11) == []
    assert fresh.next_deadline_ns() == 15
    assert fresh.tick(15) == [1]
    assert fresh.next_deadline_ns() is None
    fresh.feed([2], 20)
    assert fresh.next_deadline_ns() == 30
    assert fresh.tick(30) == [2]
    assert Freshness([1], 0, 0).tick(1 << 60) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20))))
def test_freshness_agrees_with_a_plain_count(steps: list[tuple[int, int]]) -> None:
    fresh, now = Freshness(range(4), 10, 0), 0
    since, told = dict.fromkeys(range(4), 0), set[int]()
    for point, wait in steps:
        now += wait
        stale = set(fresh.tick(now))
        assert stale == {p for p in since if since[p] + 10 <= now and p not in told}
        told |= stale
        fresh.feed([point], now)
        since[point] = now
        told.discard(point)
