"""The clock watch against a machine whose true time the test knows."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.model.clock import DRIFT, LEAST_SHIFT_NS, Anchor, ServerTime
from gateway.rules.clock_watch import (
    ANCHOR_EVERY_NS,
    STEP_NS,
    ClockQuality,
    ClockWatch,
    Reading,
    Stepped,
)

BOOT = b"b" * 16
SECOND_NS = 10**9
TRUE_AT_BOOT_NS = 1_790_000_000 * SECOND_NS


@dataclass
class Machine:
    """Both clocks of a machine that has just booted with its wall clock at 1970."""

    watch: ClockWatch = field(default_factory=lambda: ClockWatch(BOOT))
    monotonic_ns: int = SECOND_NS
    wall_error_ns: int = -TRUE_AT_BOOT_NS
    kernel: bool = False

    @property
    def true_ns(self) -> int:
        return TRUE_AT_BOOT_NS + self.monotonic_ns

    @property
    def wall_ns(self) -> int:
        return self.true_ns + self.wall_error_ns

    def look(self) -> list[Stepped | Anchor | ClockQuality]:
        error_ns = abs(self.wall_error_ns) if self.kernel else None
        return self.watch.feed(Reading(self.wall_ns, self.monotonic_ns, error_ns))

    def hear(self, there_ns: int, back_ns: int, source: str = "province") -> None:
        """A ping that takes so long each way; the receiver's clock is right."""
        sent_ns = self.monotonic_ns
        server_ns = self.true_ns + there_ns
        self.monotonic_ns += there_ns + back_ns
        self.watch.heard(ServerTime(source, sent_ns, server_ns, self.monotonic_ns))


def of(found: list[Stepped | Anchor | ClockQuality], kind: type) -> list[object]:
    return [one for one in found if isinstance(one, kind)]


def test_a_dead_clock_is_unknown_until_a_receiver_speaks() -> None:
    machine = Machine()
    assert machine.look() == [
        ClockQuality(0, synchronised=False, wall_less_monotonic_ns=-SECOND_NS + SECOND_NS)
    ]
    machine.monotonic_ns += SECOND_NS
    assert machine.look() == []
    machine.hear(100_000_000, 200_000_000)
    quality, anchor = machine.look()
    assert isinstance(quality, ClockQuality)
    assert not quality.synchronised
    assert abs(quality.offset_ns - TRUE_AT_BOOT_NS) <= 150_000_000
    assert isinstance(anchor, Anchor)
    assert abs(anchor.true_ns - machine.true_ns) <= anchor.uncertainty_ns <= 150_000_001
    assert anchor.source == "province"


def test_a_step_is_told_once_and_followed_by_an_anchor() -> None:
    machine = Machine(wall_error_ns=0, kernel=True)
    machine.look()
    machine.monotonic_ns += SECOND_NS
    machine.wall_error_ns = 3_600 * SECOND_NS
    machine.kernel = False
    assert of(machine.look(), Stepped) == [
        Stepped(3_600 * SECOND_NS, machine.true_ns, machine.wall_ns)
    ]
    machine.monotonic_ns += SECOND_NS
    assert machine.look() == []  # nobody knows the true time
    machine.wall_error_ns = 0
    machine.kernel = True
    stepped, quality, anchor = machine.look()
    assert isinstance(stepped, Stepped)
    assert stepped.by_ns == -3_600 * SECOND_NS
    assert quality == ClockQuality(0, True, machine.wall_ns - machine.monotonic_ns)
    assert isinstance(anchor, Anchor)
    assert anchor.true_ns == machine.true_ns


def test_a_slewed_clock_has_not_stepped() -> None:
    machine = Machine(wall_error_ns=0, kernel=True)
    machine.look()
    for _ in range(1_000):
        machine.monotonic_ns += SECOND_NS
        machine.wall_error_ns += 500_000  # 500 ppm, the most that adjtime(3) does
        assert not of(machine.look(), Stepped)


def test_a_right_clock_that_nobody_disciplines_is_confirmed_until_it_may_have_drifted() -> None:
    machine = Machine(wall_error_ns=40_000_000)
    machine.hear(5_000_000, 5_000_000)
    machine.look()
    assert machine.watch.quality is not None
    assert machine.watch.quality.synchronised
    machine.monotonic_ns += round(LEAST_SHIFT_NS / DRIFT)
    machine.look()
    assert not machine.watch.quality.synchronised


def test_anchors_come_hourly_while_nobody_disciplines_the_clock_and_at_once_when_better() -> None:
    machine = Machine()
    machine.hear(2 * SECOND_NS, 2 * SECOND_NS)
    assert of(machine.look(), Anchor)
    machine.hear(SECOND_NS, SECOND_NS)
    assert not of(machine.look(), Anchor)
    machine.hear(100_000_000, 100_000_000)
    assert of(machine.look(), Anchor)
    machine.monotonic_ns += ANCHOR_EVERY_NS
    machine.hear(100_000_000, 100_000_000)
    assert of(machine.look(), Anchor)


def test_a_receiver_whose_clock_was_set_is_believed_anew() -> None:
    machine = Machine()
    early_ns = machine.monotonic_ns
    machine.watch.heard(ServerTime("province", early_ns, machine.true_ns - 10**12, early_ns))
    machine.hear(10_000_000, 10_000_000)
    [anchor] = of(machine.look(), Anchor)
    assert isinstance(anchor, Anchor)
    assert abs(anchor.true_ns - machine.true_ns) <= anchor.uncertainty_ns


class ClockMachine(RuleBasedStateMachine):
    """Whatever happens: no anchor is further off than it says, no step untold or told twice."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.steps_due = 0
        self.seen = False

    @rule(span_s=st.floats(0.01, 10_000))
    def wait(self, span_s: float) -> None:
        self.machine.monotonic_ns += int(span_s * 1e9)

    @rule(there_s=st.floats(0, 5), back_s=st.floats(0, 5), source=st.sampled_from("ab"))
    def hear(self, there_s: float, back_s: float, source: str) -> None:
        self.machine.hear(int(there_s * 1e9), int(back_s * 1e9), source)

    @precondition(lambda self: self.seen)
    @rule(by_ns=st.integers(STEP_NS, 10**18), back=st.booleans())
    def step(self, by_ns: int, back: bool) -> None:
        self.look()
        self.machine.kernel = False
        self.machine.wall_error_ns += -by_ns if back else by_ns
        self.steps_due = 1
        self.look()

    @rule()
    def ntp_sets_the_clock(self) -> None:
        self.look()
        self.steps_due = int(abs(self.machine.wall_error_ns) >= STEP_NS)
        self.machine.wall_error_ns, self.machine.kernel = 0, True
        self.look()

    @rule()
    def look(self) -> None:
        found = self.machine.look()
        assert len(of(found, Stepped)) == (self.steps_due if self.seen else 0)
        self.seen, self.steps_due = True, 0
        for anchor in of(found, Anchor):
            assert isinstance(anchor, Anchor)
            assert anchor.monotonic_ns == self.machine.monotonic_ns
            assert abs(anchor.true_ns - self.machine.true_ns) <= anchor.uncertainty_ns + 2

    @invariant()
    def what_is_called_synchronised_is_right(self) -> None:
        quality = self.machine.watch.quality
        if quality is not None and quality.synchronised:
            base_ns = quality.wall_less_monotonic_ns
            assert abs(base_ns - TRUE_AT_BOOT_NS) <= LEAST_SHIFT_NS


TestClockMachine = ClockMachine.TestCase
TestClockMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(there_ns=st.integers(0, 10**10), back_ns=st.integers(0, 10**10))
def test_the_error_of_an_answer_is_at_most_half_its_round_trip(there_ns: int, back_ns: int) -> None:
    machine = Machine()
    machine.hear(there_ns, back_ns)
    [anchor] = of(machine.look(), Anchor)
    assert isinstance(anchor, Anchor)
    assert abs(anchor.true_ns - machine.true_ns) <= anchor.uncertainty_ns + 1
    assert anchor.uncertainty_ns <= (there_ns + back_ns) / 2 + 1
