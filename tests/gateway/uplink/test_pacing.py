"""Window, pace and shares over simulated lines; delays of reconnecting."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uplink.outputs import SessionSettings
from gateway.uplink.pacing import Pace, Shares, Ticket, Window
from gateway.uplink.patience import Ended, Patience

SECOND = 1_000_000_000


def fill(window: Window, rate: int, base_ns: int, messages: int, loss: float = 0.0) -> float:
    """Keep a line of `rate` bytes/s and a base round trip full; gives the share of it used.

    loss: ratio of packets of 1,400 bytes lost. What is behind a lost one waits until it has come
    again after a round trip and a third, then all of it is acknowledged in one burst. The second
    half counts; the first is for learning.
    """
    now = line_free = arrived_ns = base_ns
    flights: list[tuple[int, Ticket]] = []
    landed = middle_ns = 0
    rng = random.Random(1)
    for number in range(messages):
        while not flights or window.room_bytes >= window.message_bytes:
            size = window.message_bytes
            line_free = max(line_free, now) + size * SECOND // rate
            again_ns = base_ns * 4 // 3 if rng.random() > (1 - loss) ** (size / 1400) else 0
            arrived_ns = max(arrived_ns, line_free + base_ns + again_ns)
            flights.append((arrived_ns, window.sent(size, now)))
        landing, ticket = flights.pop(0)
        now = max(now, landing)
        window.landed(ticket, now)
        if number == messages // 2:
            landed, middle_ns = 0, now
        else:
            landed += ticket.size_bytes
    return landed * SECOND / (now - middle_ns) / rate


@pytest.mark.parametrize(
    ("rate", "base_ms"),
    [(32_000, 50), (250_000, 20), (1_000_000, 100), (10_000_000, 5), (125_000, 600)],
)
def test_window_fills_the_line_and_keeps_the_queue_short(rate: int, base_ms: int) -> None:
    window = Window(SessionSettings())
    used = fill(window, rate, base_ms * 1_000_000, 600)
    assert 0.9 < used < 1.1, "the line is full"
    span = max(0.25, 1.5 * (base_ms / 1000 + 4096 / rate))
    assert window.limit_bytes <= max(8192, rate * span * 1.1)


def test_lost_packets_do_not_let_the_queue_grow() -> None:
    """The window grew to twice its size: the bursts after a loss looked like a faster line."""
    window = Window(SessionSettings())
    rate, base_ns = 32_000, 300_000_000
    used = fill(window, rate, base_ns, 2000, loss=0.02)
    assert 0.85 < used < 1.1, "the line is nearly full, but for what it waits for"
    assert window.limit_bytes <= rate * 1.5 * (0.3 + 4096 / rate) * 1.1


def test_messages_that_overtake_each_other_do_not_shrink_the_window() -> None:
    window = Window(SessionSettings())
    now, rate = 0, 100_000
    for _ in range(50):  # a slow stream's message is acknowledged after three of a quick one
        slow = window.sent(1_000, now)
        for _ in range(3):
            quick = window.sent(33_000, now)
            now += 33_000 * SECOND // rate
            window.landed(quick, now)
        window.landed(slow, now)
    assert 0.9 * rate < window.throughput < 1.2 * rate


def test_window_starts_at_the_floor_and_ends_at_the_ceiling() -> None:
    settings = SessionSettings()
    window = Window(settings)
    assert window.limit_bytes == settings.window_floor_bytes
    fill(window, 1_000_000_000, 1_000_000, 500)
    assert window.limit_bytes == settings.window_ceiling_bytes
    assert window.message_bytes == settings.message_ceiling_bytes


def test_receiver_limits_the_window() -> None:
    window = Window(SessionSettings())
    window.cap(100_000, 5_000)
    fill(window, 1_000_000_000, 1_000_000, 100)
    assert window.limit_bytes == 100_000
    assert window.message_bytes == 5_000


@given(
    own=st.integers(0, 10_000),
    said=st.integers(0, 10_000),
    sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=20),
)
def test_pace_never_exceeds_the_lower_limit(own: int, said: int, sizes: list[int]) -> None:
    pace = Pace(own)
    pace.throttle(said, 0, 0)
    for size in sizes:
        pace.sent(size, pace.ready_ns)
    limits = [limit for limit in (own, said) if limit]
    if limits:
        assert sum(sizes) * SECOND // min(limits) == pytest.approx(pace.ready_ns, abs=len(sizes))
    else:
        assert pace.ready_ns == 0


def test_a_class_that_was_idle_saves_up_no_claim() -> None:
    shares = Shares(0.5)
    for _ in range(100):
        shares.used(history=True, size_bytes=1000, alone=True)
    turns = []
    for _ in range(10):
        history = shares.history_first()
        turns.append(history)
        shares.used(history=history, size_bytes=1000, alone=False)
    assert sum(turns) == 5


@given(st.integers(0, 2**32))
def test_attempts_are_close_at_first_and_spread_later(seed: int) -> None:
    patience = Patience(random.Random(seed))
    now = 0
    away = Ended("cannot be reached")
    for _ in range(400):
        delay = patience.delay_ms(away, open_ns=0, now_ns=now)
        assert 0 <= delay <= (2_000 if now < 180 * SECOND else 5_000)
        now += int(delay * 1e6)


def test_what_only_a_human_can_change_is_tried_rarely_after_the_third_time() -> None:
    patience = Patience(random.Random(1))
    refused = Ended("refused", permanent=True)
    delays = [patience.delay_ms(refused, open_ns=0, now_ns=0) for _ in range(5)]
    assert max(delays[:2]) <= 2_000
    assert min(delays[2:]) >= 30_000
    assert patience.delay_ms(Ended("gone"), open_ns=60 * SECOND, now_ns=0) <= 200
