"""Alarms on their way to the disk: told once, when the disk does not take them, and never after."""

from __future__ import annotations

import hashlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from buffer.contract import VolatileRecord
from buffer.volatile import VolatileAlarms

PATIENCE_NS = 1_000


class AlarmsMachine(RuleBasedStateMachine):
    """Tokens are numbers; the model is which of them are told, and which are done with."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms = VolatileAlarms(patience_ns=PATIENCE_NS)
        self.now_ns = 0
        self.given_ns: dict[int, int] = {}
        self.told: set[int] = set()
        self.done: set[int] = set()

    def take(self, found: list[VolatileRecord]) -> None:
        for one in found:
            token = int(one.payload)
            assert token not in self.told, "told twice"
            assert token not in self.done, "told although it was durable"
            assert one.key == hashlib.sha256(one.payload).digest()
            assert one.monotonic_ns == self.given_ns[token]
            self.told.add(token)

    @rule(failing=st.booleans())
    def give(self, failing: bool) -> None:
        token = len(self.given_ns)
        self.given_ns[token] = self.now_ns
        payload = str(token).encode()
        self.take(self.alarms.given(token, payload, time_ns=7, now_ns=self.now_ns, failing=failing))
        assert (token in self.told) == failing

    @rule(token=st.integers(0, 20))
    def durable(self, token: int) -> None:
        found = self.alarms.durable(token)
        assert (found is not None) == (token in self.told - self.done)
        self.done.add(token) if token in self.given_ns else None

    @rule(token=st.integers(0, 20))
    def fail(self, token: int) -> None:
        self.take(self.alarms.failed(token))
        assert token in self.told or token in self.done or token not in self.given_ns

    @rule(token=st.integers(0, 20))
    def give_up(self, token: int) -> None:
        self.alarms.forget(token)
        self.done.add(token) if token in self.given_ns else None

    @rule(span=st.integers(0, 2 * PATIENCE_NS))
    def wait(self, span: int) -> None:
        self.now_ns += span
        due_ns = self.alarms.next_deadline_ns()
        self.take(self.alarms.tick(self.now_ns))
        late = {
            token for token, at in self.given_ns.items()
            if at + PATIENCE_NS <= self.now_ns and token not in self.done
        }  # fmt: skip
        assert late <= self.told
        later_ns = self.alarms.next_deadline_ns()
        assert later_ns is None or later_ns > self.now_ns
        assert due_ns is None or later_ns is None or later_ns >= due_ns

    @invariant()
    def what_is_listed_was_told_and_is_not_durable(self) -> None:
        listed = [int(one.payload) for one in self.alarms.told()]
        assert listed == sorted(self.told - self.done)


TestAlarmsMachine = AlarmsMachine.TestCase
TestAlarmsMachine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)


def test_the_oldest_is_forgotten_where_too_many_wait() -> None:
    alarms = VolatileAlarms(most=2)
    for token in range(3):
        alarms.given(token, b"%d" % token, time_ns=0, now_ns=token, failing=True)
    assert [one.payload for one in alarms.told()] == [b"1", b"2"]
