"""Limit alarms against a slow scalar model, written as one reads the rule."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.contract import Quality, quality_word
from gateway.model.point import Limits, Point
from gateway.rules.limit_table import CONDITIONS, of_conditions
from gateway.rules.open_alarm import decode_open
from tests.gateway.rules.test_limits import ACTIVE, S, alarms, batch


class Model:
    """One condition of one point, written as one reads it."""

    def __init__(self, point: Point, number: int) -> None:
        self.point, self.condition = point, CONDITIONS[number]
        self.limit = of_conditions(point.limits)[number]
        self.sign = 1.0 if number < 2 else -1.0
        self.active, self.since, self.known = False, -1, True

    def asks(self, value: float) -> bool:
        assert self.limit is not None
        value, limit = value * self.sign, self.limit * self.sign
        return value < limit - self.point.limits.deadband if self.active else value >= limit

    def due(self, now: int) -> list[tuple[str, str, bool]]:
        limits = self.point.limits
        delay = limits.off_delay_s if self.active else limits.on_delay_s
        if self.since < 0 or not self.known or now < self.since + delay * S:
            return []
        self.active, self.since = not self.active, -1
        return [(self.point.name, self.condition, self.active)]

    def sample(self, value: float, code: int, now: int) -> list[tuple[str, str, bool]]:
        if self.limit is None:
            return []
        word = quality_word(code)
        self.known = not (
            word.startswith("bad")
            or math.isnan(value)
            or word.endswith(("simulated", "inhibited", "warm_up", "calibrating", "under_test"))
        )
        if not self.known:
            return []
        if not self.asks(value) or (self.active and word.endswith("stale")):
            self.since = -1
            return []
        if self.since < 0:
            self.since = now
        return self.due(now)


HALVES = st.integers(-8, 8).map(lambda number: number / 2)
LIMITS = st.builds(
    Limits,
    low_low=st.none() | HALVES,
    low=st.none() | HALVES,
    high=st.none() | HALVES,
    high_high=st.none() | HALVES,
    deadband=st.sampled_from([0.0, 0.0, 0.5, 2.0]),
    on_delay_s=st.sampled_from([0.0, 0.0, 1.0, 3.0]),
    off_delay_s=st.sampled_from([0.0, 0.0, 2.0]),
)
VALUES = st.one_of(HALVES, HALVES.map(lambda v: math.nextafter(v, 99)), st.just(math.nan),
                   HALVES.map(lambda v: math.nextafter(v, -99)), st.just(math.inf))  # fmt: skip
CODES = st.sampled_from([0, 0, 0, 0, 0x4000, *(int(code) for code in Quality)])


@settings(max_examples=300)
@given(st.data())
def test_agrees_with_a_slow_scalar_model(data: st.DataObject) -> None:
    some = data.draw(st.lists(LIMITS, min_size=1, max_size=4))
    points = [Point(i, f"d/{i}", limits=limits) for i, limits in enumerate(some, 1)]
    judge = alarms(*points)
    model = {point.id: [Model(point, number) for number in range(4)] for point in points}
    every = [condition for conditions in model.values() for condition in conditions]
    now = 0
    for _ in range(data.draw(st.integers(1, 8))):
        now += data.draw(st.sampled_from([0, S // 2, S, 2 * S, 5 * S]))
        expected = [change for one in every for change in one.due(now)]
        if data.draw(st.booleans()):
            changes = judge.tick(now)
        else:
            ids = data.draw(st.lists(st.integers(0, len(points) + 1), max_size=8))
            values = [data.draw(VALUES) for _ in ids]
            codes = [data.draw(CODES) for _ in ids]
            changes = judge.feed(batch(ids, values, codes), now_ns=now)
            for i, value, code in zip(ids, values, codes, strict=True):
                for one in model.get(i, []):
                    expected += one.sample(value, code, now)
        got = [(c.source, c.condition, c.state is ACTIVE) for c in changes]
        for point in points:  # the order between points is free, that within one is not
            assert [g for g in got if g[0] == point.name] == [
                e for e in expected if e[0] == point.name
            ]
        waiting = [one for one in every if one.since >= 0 and one.known]
        assert (judge.next_deadline_ns() is None) == (not waiting)
        assert judge.open_count == sum(one.active for one in every)
        assert len(decode_open(judge.open_alarms())) == judge.open_count
