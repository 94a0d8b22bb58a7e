"""The pure core of derived streams against a model that goes sample by sample in plain Python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buffer.block import BlockDecoder, BlockEncoder, ColumnBatch
from buffer.contract import NO_HASH, Columns, Record, Stream, chain_hash
from gateway.uplink.derive import Deriver
from gateway.uplink.thin import Choice, Chosen, Thinner
from gateway.wire.v1 import uplink_pb2 as wire

POINTS = (
    wire.Point(id=1, name="gds-1/A", place="p1", hazard="h1", range_low=0, range_high=100, high=50),
    wire.Point(id=2, name="gds-1/B", place="p2", hazard="h1", deadband=2.0, low=10, high_high=80),
    wire.Point(id=3, name="dcs/C", place="p1", hazard="h2"),
    wire.Point(id=5, name="dcs/D", place="", hazard="", low_low=-1, low=0, high=0, deadband=0.5),
)
CATALOGUE = b"c" * 32
SECOND_NS = 1_000_000_000
GOOD, BAD = 0, 0x8000


@dataclass
class Model:
    """What `Thinner` promises, written down once more, one sample at a time."""

    choice: Choice
    kept: dict[int, tuple[float | str, int, int]] = field(default_factory=dict)
    """Value, quality and time of the newest that was kept, by point."""

    def keeps(self, number: int, value: float | str, quality: int, time_ns: int) -> bool:
        point = next((one for one in POINTS if one.id == number), None)
        if not self.chosen(point):
            return False
        if not self.choice.thins:
            return True
        last = self.kept.get(number)
        wanted = last is None or self.matters(point, (value, quality, time_ns), last)
        if wanted:
            self.kept[number] = (value, quality, time_ns)
        return wanted

    def chosen(self, point: wire.Point | None) -> bool:
        choice = self.choice
        if not (choice.points or choice.places or choice.hazards):
            return True
        return (
            point is not None
            and (not choice.points or any(point.name.startswith(p[:-1]) for p in choice.points))
            and (not choice.places or point.place in choice.places)
            and (not choice.hazards or point.hazard in choice.hazards)
        )

    def matters(
        self,
        point: wire.Point | None,
        now: tuple[float | str, int, int],
        last: tuple[float | str, int, int],
    ) -> bool:
        if now[1] != last[1] or type(now[0]) is not type(last[0]):
            return True
        due = True
        if self.choice.every_ns:
            due = now[2] // self.choice.every_ns != last[2] // self.choice.every_ns
        if isinstance(now[0], str) or isinstance(last[0], str):
            return now[0] != last[0] or (due and not self.choice.on_change)
        value, before = float(now[0]), float(last[0])
        edges: list[float] = []
        deadband, ranged = 0.0, False
        if point is not None:
            for name, inward in (("low_low", 1), ("low", 1), ("high", -1), ("high_high", -1)):
                if point.HasField(name):  # type: ignore[arg-type]  # names of optional fields
                    limit = getattr(point, name)
                    edges += [limit, limit + inward * point.deadband]
            ranged = point.HasField("range_low") and point.HasField("range_high")
            span = point.range_high - point.range_low if ranged else 0.0
            deadband = max(point.deadband, span * self.choice.deadband_percent / 100)
        sides = [[(x > edge) - (x < edge) for edge in edges] for x in (value, before)]
        if math.isnan(value) != math.isnan(before):
            return True
        if not math.isnan(value) and sides[0] != sides[1]:
            return True
        same = value == before or (math.isnan(value) and math.isnan(before))
        beyond = math.isnan(value) or math.isnan(before) or abs(value - before) > deadband
        changed = not same and (beyond or deadband == 0)
        whole = all(math.isinf(one) or one.is_integer() for one in (value, before))
        state = whole and not ranged and (point is None or point.deadband == 0)
        if changed and state:
            return True
        return due and (changed or not self.choice.on_change)


choices = st.builds(
    Choice,
    points=st.sampled_from([(), ("gds-1/*",), ("dcs/*", "gds-1/*")]),
    places=st.sampled_from([(), ("p1",), ("p1", "p2")]),
    hazards=st.sampled_from([(), ("h1",)]),
    on_change=st.booleans(),
    deadband_percent=st.sampled_from([0.0, 5.0]),
    every_ns=st.sampled_from([0, SECOND_NS, 10 * SECOND_NS]),
)
numbers = st.sampled_from(
    [0.0, -0.0, 1.0, 9.9, 10.0, 11.0, 12.1, 49.0, 49.9, 50.0, 50.1, 55.0, 78.0, 80.0, 81.0,
     math.nan, math.inf, -1.0, -1.5, 0.4, 0.5]
)  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> ColumnBatch:
    count = draw(st.integers(0, 6))
    points = draw(st.lists(st.sampled_from([1, 2, 3, 5, 9]), min_size=count, max_size=count))
    kind = draw(st.sampled_from("fiut"))
    values: Columns
    if kind == "f":
        values = np.array(draw(st.lists(numbers, min_size=count, max_size=count)), np.float64)
    elif kind == "t":
        values = tuple(draw(st.lists(st.sampled_from("ab"), min_size=count, max_size=count)))
    else:
        low = -3 if kind == "i" else 0
        drawn = draw(st.lists(st.integers(low, 90), min_size=count, max_size=count))
        values = np.array(drawn, np.int64) if kind == "i" else np.array(drawn, np.uint64)
    quality = draw(
        st.lists(st.sampled_from([GOOD, GOOD, GOOD, BAD]), min_size=count, max_size=count)
    )
    at_ns = draw(st.integers(0, 40)) * SECOND_NS // 2
    times: int | npt.NDArray[np.int64] = at_ns
    if draw(st.booleans()):
        steps = draw(st.lists(st.integers(-4, 4), min_size=count, max_size=count))
        times = at_ns + np.array(steps, np.int64) * (SECOND_NS // 2)
    return ColumnBatch(
        np.array(points, np.int32), values, np.array(quality, np.uint16), times, at_ns
    )


def rows(batch: ColumnBatch) -> list[tuple[int, object, int, int]]:
    times = np.broadcast_to(np.asarray(batch.source_time_ns), len(batch)).tolist()
    values = batch.values if isinstance(batch.values, tuple) else batch.values.tolist()
    return list(zip(batch.points.tolist(), values, batch.quality.tolist(), times, strict=True))


def typed(batch: ColumnBatch) -> list[float | str]:
    """Values with their column's kind, so that 1 of int64 and 1 of uint64 are told apart."""
    if isinstance(batch.values, tuple):
        return list(batch.values)
    make = {"f": float, "i": int, "u": _Unsigned}[batch.values.dtype.kind]
    return [make(value) for value in batch.values.tolist()]


class _Unsigned(int):
    """A whole number of a uint64 column."""


def same(
    left: list[tuple[int, object, int, int]], right: list[tuple[int, object, int, int]]
) -> bool:
    return repr(left) == repr(right)


@settings(max_examples=60)
@given(choices, st.lists(batches(), max_size=8))
@example(
    Choice(on_change=True),
    [
        ColumnBatch(
            np.array([1, 1, 1], np.int32), np.array([1.0, 2.0, 1.0]), np.zeros(3, np.uint16), 0, 0
        )
    ],
)
def test_what_is_kept_is_what_the_model_keeps(
    choice: Choice, given_batches: list[ColumnBatch]
) -> None:
    thinner, model = Thinner(Chosen(choice, POINTS)), Model(choice)
    for batch in given_batches:
        expected = [
            row
            for row, value in zip(rows(batch), typed(batch), strict=True)
            if model.keeps(row[0], value, row[2], row[3])
        ]
        part = thinner.feed(batch)
        assert same(rows(part) if part is not None else [], expected)


def log_of(groups: list[list[list[ColumnBatch]]]) -> list[Record]:
    """The telemetry records that a log makes of groups of commits of batches."""
    made: list[Record] = []
    previous, encoder, sequence = NO_HASH, BlockEncoder(), 0
    for group in groups:
        first = sequence + 1
        for commit in group:
            sequence += 1
            payload = encoder.encode(commit, key=sequence == first, catalogue=CATALOGUE)
            digest = chain_hash(previous, Stream.TELEMETRY, sequence, payload)
            made.append(
                Record(Stream.TELEMETRY, sequence, sequence, sequence, b"b" * 16, 0, True, previous,
                       digest, payload, first, CATALOGUE, 0, 0, sum(map(len, commit)))
            )  # fmt: skip
            previous = digest
    return made


commits = st.lists(batches(), min_size=1, max_size=3)
groups = st.lists(st.lists(commits, min_size=1, max_size=5), min_size=1, max_size=4)


def derived(choice: Choice, records: list[Record]) -> list[Record]:
    deriver = Deriver({CATALOGUE: Chosen(choice, POINTS)})
    return [one for record in records for one in deriver.feed(record)]


@settings(max_examples=30)
@given(choices, groups)
def test_a_derived_stream_covers_its_log_and_reads_back_as_the_model(
    choice: Choice, made: list[list[list[ColumnBatch]]]
) -> None:
    records = log_of(made)
    out = derived(choice, records)
    following, decoder, read = 1, BlockDecoder(), []
    for record in out:
        assert record.first == following
        following = record.sequence + 1
        assert record.hash == chain_hash(
            record.previous_hash, Stream.TELEMETRY, record.sequence, record.payload
        )
        found = [row for batch in decoder.feed(record.payload) for row in rows(batch)]
        assert record.samples == len(found)
        read += found
    expected = []
    for group in made:
        model = Model(choice)  # a group stands for itself
        for batch in (batch for commit in group for batch in commit):
            expected += [
                row
                for row, value in zip(rows(batch), typed(batch), strict=True)
                if model.keeps(row[0], value, row[2], row[3])
            ]
    last_key = records[-1].group
    assert same(read, expected), "nothing more and nothing less than what is promised"
    assert following > last_key, "all but the empty end of the open group is covered"


@settings(max_examples=25)
@given(choices, groups, st.data())
def test_it_comes_out_the_same_from_any_key_and_after_any_cut(
    choice: Choice, made: list[list[list[ColumnBatch]]], data: st.DataObject
) -> None:
    records = log_of(made)
    whole = {one.sequence: one for one in derived(choice, records)}
    start = data.draw(
        st.sampled_from([one.sequence for one in records if one.group == one.sequence])
    )
    stop = data.draw(st.integers(start, len(records)))
    part = derived(choice, records[start - 1 : stop])
    assert all(whole[one.sequence] == one for one in part)
    lost = data.draw(st.integers(1, len(records)))
    without = derived(choice, [one for one in records if one.sequence != lost])
    assert all(not one.first <= lost <= one.sequence for one in without), "a hole is never covered"
    keys = {one.group for one in records if one.group > lost or one.sequence < lost}
    assert {one.sequence for one in without if one.sequence == one.group} >= keys - {lost}


def test_what_scaled_a_point_in_a_former_group_changes_no_byte() -> None:
    def of(*values: float) -> ColumnBatch:
        points = np.ones(len(values), np.int32)
        return ColumnBatch(points, np.array(values), np.zeros(len(values), np.uint16), 0, 0)

    records = log_of([[[of(0.0, 0.4)]], [[of(0.0, 0.0)], [of(1.0)]]])
    whole = derived(Choice(), records)
    assert derived(Choice(), records[1:]) == whole[1:]


def test_a_record_that_does_not_decode_is_covered_by_nothing() -> None:
    batch = ColumnBatch(np.array([1], np.int32), np.array([1.0]), np.zeros(1, np.uint16), 0, 0)
    records = log_of([[[batch], [batch]], [[batch]]])
    records[1] = replace(records[1], payload=b"nonsense" * 3)
    out = derived(Choice(points=("gds-1/*",)), records)
    assert [(one.first, one.sequence) for one in out] == [(1, 1), (3, 3)]


def test_alarms_are_left_out_only_where_they_name_what_was_not_chosen() -> None:
    chosen = Chosen(Choice(hazards=("h1",)), POINTS)
    assert chosen.takes_alarm(wire.Alarm(source="gds-1/A"))
    assert not chosen.takes_alarm(wire.Alarm(source="dcs/C"))
    assert chosen.takes_alarm(wire.Alarm(source="unit1-east/hot-work-1"))
    assert not chosen.takes_alarm(wire.Alarm(source="unit1-east/hot-work-1", hazard="h2"))
    assert chosen.takes_alarm(wire.Alarm(source="unit1-east/hot-work-1", hazard="h1", place="p9"))


def test_the_words_of_a_choice_tell_what_is_left_out() -> None:
    choice = Choice(
        points=("b/*", "a/*"), on_change=True, deadband_percent=0.5, every_ns=60 * SECOND_NS
    )
    assert choice.words() == (
        "only points a/*, b/*; only changes beyond the deadband or 0.5 % of range;"
        " at most one sample in 60 s"
    )
    assert Choice().words() == "nothing"
