"""When a silent unit is asked again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.silence import FIRST_PAUSE_NS, LAST_PAUSE_NS, Silence

SECOND = 10**9


def test_pauses_double_from_two_seconds_to_a_minute() -> None:
    silence, pauses = Silence(2), []
    silence.silent(0)
    assert (silence.due(0), silence.down) == (True, False)
    for _ in range(8):
        silence.silent(0)
        pauses.append(next(s for s in range(100) if silence.due(s * SECOND)))
    assert silence.down
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def test_one_answer_ends_it() -> None:
    silence = Silence(1)
    silence.silent(0)
    silence.answered()
    assert silence.due(0)
    assert not silence.down
    silence.silent(0)
    assert silence.due(FIRST_PAUSE_NS)


def test_a_line_without_transaction_ids_settles_first() -> None:
    silence = Silence(3, settle_ns=SECOND)
    silence.silent(0)
    assert not silence.due(SECOND - 1)
    assert silence.due(SECOND)


def test_a_new_connection_asks_at_once() -> None:
    silence = Silence(1)
    silence.silent(0)
    silence.ask_again()
    assert silence.due(0)
    assert silence.down


@given(st.integers(1, 10), st.integers(1, 200))
def test_no_pause_is_longer_than_a_minute(patience: int, silences: int) -> None:
    silence = Silence(patience)
    for _ in range(silences):
        silence.silent(0)
    assert silence.due(LAST_PAUSE_NS)
