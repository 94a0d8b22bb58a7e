"""Wrong passwords: each costs more, none costs memory, nobody is locked out for long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.console.throttle import (
    FORGET_S,
    FREE,
    MOST_ADDRESS_S,
    MOST_KEYS,
    MOST_NAME_S,
    Allowance,
    S,
    Throttle,
)

HERE = "192.0.2.7"


def fail(throttle: Throttle, count: int, name: str = "王芳", address: str = HERE) -> None:
    for _ in range(count):
        throttle.failed(name, address, now_ns=0)


def test_the_first_wrong_ones_are_free_then_each_doubles_the_wait() -> None:
    throttle = Throttle()
    fail(throttle, FREE - 1)
    assert throttle.wait_s("王芳", HERE, now_ns=0) == 0
    waits = []
    for _ in range(6):
        fail(throttle, 1)
        waits.append(throttle.wait_s("王芳", HERE, now_ns=0))
    assert waits == [1, 2, 4, 8, 16, 32]


def test_the_wait_is_over_one_step_after_it() -> None:
    throttle = Throttle()
    fail(throttle, FREE)
    assert throttle.wait_s("王芳", HERE, now_ns=S - 1) == 1
    assert throttle.wait_s("王芳", HERE, now_ns=S) == 0


def test_a_person_is_locked_out_for_seconds_an_address_for_minutes() -> None:
    throttle = Throttle()
    fail(throttle, 40)
    assert throttle.wait_s("王芳", "198.51.100.1", now_ns=0) == MOST_NAME_S
    assert throttle.wait_s("李四", HERE, now_ns=0) == MOST_ADDRESS_S


def test_the_right_password_makes_up_for_the_wrong_ones_and_time_does() -> None:
    throttle = Throttle()
    fail(throttle, 40)
    assert throttle.wait_s("王芳", HERE, now_ns=FORGET_S * S) == 0
    throttle.succeeded("王芳", HERE)
    assert throttle.wait_s("王芳", HERE, now_ns=0) == 0


def test_an_ipv6_machine_cannot_change_its_address() -> None:
    throttle = Throttle()
    for last in range(40):
        throttle.failed(f"name {last}", f"2001:db8::{last:x}", now_ns=0)
    assert throttle.wait_s("another", "2001:db8::ffff", now_ns=0) == MOST_ADDRESS_S
    assert throttle.wait_s("another", "2001:db8:0:1::1", now_ns=0) == 0
    throttle = Throttle()
    fail(throttle, 40, address="::ffff:192.0.2.7")
    assert throttle.wait_s("another", "::ffff:192.0.2.8", now_ns=0) == 0


@given(st.lists(st.tuples(st.text(max_size=300), st.text(max_size=300)), max_size=50))
def test_any_name_and_address_can_fail(tries: list[tuple[str, str]]) -> None:
    throttle = Throttle()
    for name, address in tries:
        throttle.failed(name, address, now_ns=0)
        assert throttle.wait_s(name, address, now_ns=0) <= MOST_ADDRESS_S
    assert len(throttle) <= 2 * len(tries)


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for number in range(MOST_KEYS):
        throttle.failed(f"n{number}", f"10.{number >> 8}.{number & 255}.1", now_ns=number)
    assert len(throttle) == MOST_KEYS


def test_an_allowance_refills_and_counts_what_it_refused() -> None:
    allowance = Allowance(2, 10)
    assert [allowance.take(now_ns=100) for _ in range(4)] == [0, 0, None, None]
    assert allowance.take(now_ns=110) == 2
    assert allowance.take(now_ns=119) is None
    assert [allowance.take(now_ns=1000) for _ in range(3)] == [1, 0, None]
