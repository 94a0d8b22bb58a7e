"""Declared tests and outages: marked, counted apart, ended by themselves, and nothing is hidden."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffer.block import BlockDecoder
from buffer.contract import Stream
from buffer.memory import MemoryLog
from drivers.contract import Quality
from gateway.model.point import Point
from gateway.rules.declarations import (
    HOUR_NS,
    MOST_NS,
    Declaration,
    DeclarationError,
    DeclarationKind,
    Declarations,
)
from tests.gateway.flow_rig import (
    WALL_NS,
    HandClock,
    S,
    alarms,
    batch,
    events,
    judge,
    pipeline,
    records,
)

POINTS = [Point(1, "gds/a", place="north"), Point(2, "gds/b"), Point(3, "dcs/c", place="north")]
WANTED = Declaration("", DeclarationKind.SPAN_GAS, "point", "gds/a", "王芳", "月度标定", WALL_NS,
                     WALL_NS + HOUR_NS)  # fmt: skip


NUMBERS = itertools.count(1)


def declarations() -> Declarations:
    return Declarations(POINTS, new_id=lambda: next(NUMBERS).to_bytes(16, "little"))


def declare(rules: Declarations, at_ns: int = 0, **changes: object) -> Declaration:
    wanted = replace(WANTED, **changes)  # type: ignore[arg-type] # keys of the dataclass
    return rules.declare(wanted, now_ns=at_ns, wall_ns=WALL_NS + at_ns)


@pytest.mark.parametrize(("scope", "name", "marked"), [
    ("point", "gds/a", [1]), ("device", "gds", [1, 2]), ("place", "north", [1, 3]),
])  # fmt: skip
def test_good_values_of_what_is_declared_are_marked(
    scope: str, name: str, marked: list[int]
) -> None:
    rules = declarations()
    values = batch({1: 1.0, 2: 2.0, 3: 3.0})
    assert rules.mark(values) is values
    made = declare(rules, scope=scope, name=name)
    found = rules.mark(values)
    assert found.points[found.quality == Quality.UNCERTAIN_UNDER_TEST].tolist() == marked
    assert np.array_equal(found.values, values.values)
    assert rules.listed() == [(made, True, len(marked), 0)]
    bad = rules.mark(batch({1: 1.0}, quality=Quality.BAD_COMM_FAILURE))
    assert bad.quality.tolist() == [Quality.BAD_COMM_FAILURE]


WRONG = [
    ({"name": "gds/x"}, "no point gds/x"),
    ({"scope": "plant"}, "a point, a device or a place"),
    ({"person": " "}, "name of a person and a reason"),
    ({"reason": ""}, "name of a person and a reason"),
    ({"end_ns": WALL_NS}, "must end after it begins"),
    ({"end_ns": WALL_NS + MOST_NS[DeclarationKind.SPAN_GAS] + 1}, "at most 8 h"),
    ({"kind": DeclarationKind.MAINTENANCE, "end_ns": WALL_NS + 721 * HOUR_NS}, "at most 720 h"),
]


@pytest.mark.parametrize(("changes", "said"), WRONG)
def test_a_declaration_that_is_not_complete_is_refused(
    changes: dict[str, object], said: str
) -> None:
    rules = declarations()
    with pytest.raises(DeclarationError, match=said):
        declare(rules, 0, **changes)
    assert rules.listed() == []
    declare(rules, end_ns=WALL_NS + MOST_NS[DeclarationKind.SPAN_GAS])


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 6)), max_size=8),
       st.lists(st.integers(0, 12), max_size=8))  # fmt: skip
def test_each_runs_from_its_beginning_to_its_end_over_restarts(
    wanted: list[tuple[int, int, int]], looks: list[int]
) -> None:
    """wanted: hour of declaring, hours until it begins, hours it lasts (at most 8)."""
    rules, spans = declarations(), list[tuple[int, int]]()
    todo = sorted(wanted)
    for hour in range(14):
        now_ns = hour * HOUR_NS
        rules.tick(now_ns)
        while todo and todo[0][0] == hour:
            _, later, lasts = todo.pop(0)
            start = hour + later
            declare(rules, now_ns, start_ns=WALL_NS + start * HOUR_NS,
                    end_ns=WALL_NS + (start + lasts) * HOUR_NS)  # fmt: skip
            spans.append((start, start + lasts))
        if hour in looks:
            before = rules.listed()
            stored = rules.encode()
            rules = declarations()
            rules.restore(stored, now_ns=now_ns, wall_ns=WALL_NS + now_ns)
            assert rules.listed() == before
        running = any(start <= hour < end for start, end in spans)
        assert bool(rules.of("gds/a")) == running
        assert len(rules.listed()) == sum(hour < end for _, end in spans)


def test_a_clock_set_back_over_a_restart_neither_stops_a_test_nor_begins_it_later() -> None:
    """@example: a test of 1 h that ran began anew 3 h later, and marked real alarms as tests."""
    rules = declarations()
    declare(rules, 0, start_ns=WALL_NS, end_ns=WALL_NS + HOUR_NS)
    rules.tick(HOUR_NS // 2)
    stored = rules.encode()
    after = declarations()
    after.restore(stored, now_ns=5, wall_ns=WALL_NS - 3 * HOUR_NS)
    assert after.of("gds/a")
    assert after.next_deadline_ns() == 5 + HOUR_NS
    assert len(after.tick(5 + HOUR_NS)) == 1
    assert not after.of("gds/a")


async def test_an_alarm_under_test_is_marked_and_real_once_the_test_is_over() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow = pipeline(log, clock)
    await flow.begin()
    made = flow.declare(replace(WANTED, end_ns=WALL_NS + 60 * S))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flow.run())
        await flow.accept(batch({1: 11.0, 4: -1.0}))
        clock.advance(60)
        for _ in range(20):
            await asyncio.sleep(0)
        task.cancel()
    found = [(c.source, c.declaration, c.state == c.previous_state) for c in await alarms(log)]
    assert found == [("gds/a", made.id, False), ("gds/d", "", False), ("gds/a", "", True)]
    kinds = [event.kind for event in await events(log)]
    assert kinds == ["declaration.taken", "declaration.begun", "declaration.ended"]
    ended = (await events(log))[-1]
    assert (ended.attributes["alarms"], ended.attributes["values"]) == ("1", "1")
    assert ended.attributes["person"] == "王芳"
    [block, *_] = await records(log, Stream.TELEMETRY)
    [stored] = BlockDecoder().feed(block.payload)
    assert stored.quality.tolist() == [Quality.UNCERTAIN_UNDER_TEST, 0]
    assert log.states("declarations") == {}


async def test_a_declaration_survives_a_restart_and_a_real_alarm_returns_as_real() -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow = pipeline(log, clock)
    await flow.begin()
    await flow.accept(batch({1: 11.0}))
    made = flow.declare(WANTED)
    again = pipeline(log, clock, judge(dict(log.states("alarm.desk/"))))
    await again.begin()
    assert [one.id for one, *_ in again.declarations()] == [made.id]
    await again.accept(batch({1: 1.0}))
    await again.accept(batch({1: 12.0}))
    again.end_declaration(made.id, "王芳")
    found = [(c.state.name, c.declaration) for c in await alarms(log)]
    assert found == [
        ("UNACKNOWLEDGED_ACTIVE", ""), ("RETURNED_UNACKNOWLEDGED", ""),
        ("UNACKNOWLEDGED_ACTIVE", made.id), ("UNACKNOWLEDGED_ACTIVE", ""),
    ]  # fmt: skip
