"""Bisection: finds exactly what is illegal, and no more; asks again rarely."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import Area
from drivers.modbus.learn import (
    FIRST_JOIN_NS,
    FIRST_PROBE_NS,
    HOLD_NS,
    LAST_JOIN_NS,
    LAST_PROBE_NS,
    PATIENCE,
    Cut,
    Lessons,
    Search,
    bridging,
    covering,
)
from drivers.modbus.plan import Block, Limits, Span, plan


def _refuses(block: Block, illegal: dict[int, int], most: int) -> int:
    """Answer of a device with illegal registers that takes at most so many a request."""
    if block.count > most:
        return 3
    codes = [illegal[at] for at in range(block.start, block.end) if at in illegal]
    return codes[0] if codes else 0


def _settle(
    wanted: set[Span], limits: Limits, illegal: dict[int, int], most: int = 125
) -> tuple[Lessons, list[Block], int]:
    """Poll until nothing is refused any more; returns lessons, plan and reads of all searches."""
    lessons, reads = Lessons(), 0
    for _ in range(20):
        blocks = plan(wanted, limits, lessons.illegal, lessons.cuts())
        refused = [(b, _refuses(b, illegal, most)) for b in blocks]
        suspects = [b for b, code in refused if lessons.may_search(b, code, 0)]
        if not suspects:
            return lessons, blocks, reads
        for block in suspects:
            search = Search(block)
            while search.read is not None:
                reads += 1
                search.answer(_refuses(search.read, illegal, most))
            lessons.learn(search, 0)
    raise AssertionError("the plan never settles")


@given(
    st.sets(st.integers(0, 300), min_size=1, max_size=120),
    st.dictionaries(st.integers(0, 300), st.sampled_from([2, 3]), max_size=12),
    st.integers(0, 16),
    st.sampled_from([125, 60, 10]),
)
def test_exactly_the_illegal_ones_are_left_out(
    addresses: set[int], illegal: dict[int, int], gap: int, most: int
) -> None:
    wanted = {Span(Area.HOLDING, at, 1) for at in addresses}
    lessons, blocks, _ = _settle(wanted, Limits(max_gap=gap), illegal, most)
    assert {span.start for span in lessons.illegal} == addresses & illegal.keys()
    read = {span.start for block in blocks for span in block.spans}
    assert read == addresses - illegal.keys()
    assert all(_refuses(block, illegal, most) == 0 for block in blocks)


def test_ten_of_a_thousand_take_few_reads() -> None:
    illegal = dict.fromkeys(range(3, 1000, 100), 2)
    lessons, blocks, reads = _settle(
        {Span(Area.HOLDING, at, 1) for at in range(1000)}, Limits(), illegal
    )
    assert len(lessons.illegal) == 10
    assert reads <= 10 * 2 * 7 + 10  # two halves a level, seven levels, one confirmation each
    assert len(blocks) <= 8 + 10


def test_a_failed_channel_is_cut_off_and_read_on() -> None:
    wanted = {Span(Area.HOLDING, at, 1) for at in range(10)}
    lessons, blocks, _ = _settle(wanted, Limits(), {4: 4})
    assert not lessons.illegal
    assert [(block.start, block.end) for block in blocks] == [(0, 4), (4, 5), (5, 10)]
    assert not lessons.may_search(blocks[1], 4, 0)


def test_a_failed_device_is_no_lesson() -> None:
    block = covering([Span(Area.HOLDING, at, 1) for at in range(4)])
    lessons, search = Lessons(), Search(block)
    while search.read is not None:
        search.answer(4)
    assert lessons.learn(search, 0) == []
    assert lessons.version == 0
    assert not lessons.may_search(block, 4, 1)
    assert lessons.may_search(block, 4, HOLD_NS)


def test_a_busy_answer_lasts_only_after_several_searches() -> None:
    lessons, block = Lessons(), covering([Span(Area.HOLDING, at, 1) for at in range(4)])
    assert [lessons.is_lasting(block) for _ in range(PATIENCE + 1)] == [False] * PATIENCE + [True]
    search = Search(block)
    for code in (2, 6, 2, 6, 0, 0, 2):  # whole, [0, 1], [2, 3], 0, 1, 2, 3
        search.answer(code)
    assert search.read is None
    assert lessons.learn(search, 0) == [Span(Area.HOLDING, 3, 1)]
    blocks = plan(block.spans, Limits(), lessons.illegal, lessons.cuts())
    assert [(one.start, one.end) for one in blocks] == [(0, 1), (1, 3)]
    assert not lessons.is_lasting(block)


def test_a_passing_refusal_teaches_nothing() -> None:
    search = Search(covering([Span(Area.HOLDING, at, 1) for at in range(4)]))
    search.answer(0)
    assert search.read is None
    assert not search.findings.refused
    assert not search.findings.cuts


def test_probes_grow_rare_and_end_with_success() -> None:
    span = Span(Area.HOLDING, 7, 1)
    lessons, search = Lessons(), Search(covering([span]))
    search.answer(2)
    assert lessons.learn(search, 0) == [span]
    assert lessons.due(FIRST_PROBE_NS - 1) == []
    now, pauses = 0, []
    for _ in range(10):
        due = next(at for at in range(now, now + 2 * LAST_PROBE_NS, 10**9) if lessons.due(at))
        pauses.append((due - now) // 10**9)
        now = due
        assert not lessons.probed(span, 2, now)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
    lessons.probe_all(now)
    assert lessons.due(now) == [span]
    version = lessons.version
    assert lessons.probed(span, 0, now)
    assert not lessons.illegal
    assert lessons.version != version


def test_few_probes_a_poll() -> None:
    lessons = Lessons()
    for at in range(20):
        search = Search(covering([Span(Area.HOLDING, at, 1)]))
        search.answer(2)
        lessons.learn(search, 0)
    assert len(lessons.due(FIRST_PROBE_NS)) == 8


def test_only_telling_exceptions_start_a_search() -> None:
    block = covering([Span(Area.HOLDING, 1, 1), Span(Area.HOLDING, 2, 1)])
    assert [code for code in range(260) if Lessons().may_search(block, code, 0)] == [2, 3, 4]


class _Plant:
    """Polls one device as a unit does, minute by minute; every poll must read what is legal."""

    def __init__(self, wanted: set[Span], limits: Limits) -> None:
        self.wanted, self.limits = wanted, limits
        self.lessons = Lessons()
        self.now_ns = 0
        self.failed_tries: dict[Cut, int] = {}

    def poll(self, illegal: dict[int, int], most: int) -> list[Block]:
        """One poll, after a try of what a cut keeps apart; returns the plan that it ended with."""
        self.now_ns += 60 * 10**9
        lessons = self.lessons
        for span in lessons.due(self.now_ns):
            lessons.probed(span, _refuses(covering([span]), illegal, most), self.now_ns)
        cut = lessons.due_cut(self.now_ns)
        if cut is not None:
            joined = bridging(self._plan(cut), cut)
            code = 0 if joined is None else _refuses(joined, illegal, most)
            if not lessons.tried(cut, code, self.now_ns):
                self.failed_tries[cut] = self.failed_tries.get(cut, 0) + 1
        for _ in range(40):
            blocks = self._plan()
            refused = [(block, _refuses(block, illegal, most)) for block in blocks]
            suspects = [b for b, code in refused if lessons.may_search(b, code, self.now_ns)]
            if not suspects:
                return blocks
            for block in suspects:
                search = Search(block)
                while search.read is not None:
                    search.answer(_refuses(search.read, illegal, most))
                lessons.learn(search, self.now_ns)
        raise AssertionError("the plan never settles")

    def _plan(self, but: Cut | None = None) -> list[Block]:
        return plan(self.wanted, self.limits, self.lessons.illegal, self.lessons.cuts(but))


@given(
    st.sets(st.integers(0, 120), min_size=1, max_size=60),
    st.dictionaries(st.integers(0, 120), st.sampled_from([2, 3, 4]), max_size=6),
    st.sampled_from([125, 60, 10, 4]),
    st.integers(1, 90),
)
def test_a_plan_that_was_cut_grows_back(
    addresses: set[int], faults: dict[int, int], most: int, minutes: int
) -> None:
    wanted = {Span(Area.HOLDING, at, 1) for at in addresses}
    plant = _Plant(wanted, Limits(max_gap=16))
    for _ in range(minutes):
        blocks = plant.poll(faults, most)
        read = {
            span.start
            for block in blocks
            for span in block.spans
            if not _refuses(block, faults, most)
        }
        # A device in which every value fails at once is no lesson (HOLD_NS): nothing to read.
        assert read == addresses - faults.keys()
    # Tries while the fault lasts: after 1, 2, 4 … 60 minutes, so few, however many cuts there are.
    assert all(tries <= 6 + minutes / 60 for tries in plant.failed_tries.values())
    whole = plan(wanted, Limits(max_gap=16))
    cuts = len(plant.lessons.pauses_ns)
    for _ in range(60 + 60 + cuts):  # the longest pause of cuts, that of illegal ones, one a poll
        blocks = plant.poll({}, 125)
    assert blocks == whole
    assert not plant.lessons.pauses_ns
    assert not plant.lessons.probing


def test_a_cut_that_stays_is_tried_ever_more_rarely() -> None:
    wanted = {Span(Area.HOLDING, 0, 1), Span(Area.HOLDING, 9, 1)}
    lessons, _, _ = _settle(wanted, Limits(), {5: 2})  # illegal, in the gap: for ever
    (cut,) = lessons.pauses_ns
    now, pauses, news = 0, [], lessons.news
    for _ in range(9):
        now = next(at for at in range(now, now + 2 * LAST_JOIN_NS, 10**9) if lessons.due_cut(at))
        pauses.append(lessons.pauses_ns[cut] // 10**9)
        assert not lessons.tried(cut, 2, now)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert lessons.news == news + 6  # what the file says changes no more
    version = lessons.version
    assert not lessons.tried(cut, 6, now, firm=False)  # busy: no later than before
    assert lessons.due_cut(now + LAST_JOIN_NS) == cut
    assert lessons.version == version
    assert lessons.tried(cut, 0, now)
    assert lessons.version != version
    assert not lessons.probing


def test_a_cut_that_comes_back_waits_longer() -> None:
    wanted = {Span(Area.HOLDING, 0, 1), Span(Area.HOLDING, 9, 1)}
    plant = _Plant(wanted, Limits())
    pauses = []
    for minute in range(200):
        if plant.poll({5: 2} if minute % 2 else {}, 125) and plant.lessons.pauses_ns:
            pauses.append(next(iter(plant.lessons.pauses_ns.values())))
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_JOIN_NS
