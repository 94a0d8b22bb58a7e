"""Requests and answers under any fragmentation, order, delay and falsehood."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import Area, FramingError, Request, read
from drivers.modbus.exchange import Exchange, Outcome
from tests.fakes.modbus_server import Device

SECOND = 10**9


def _requests(count: int) -> tuple[list[Request], bytearray, list[int]]:
    wanted = [read(Area.HOLDING, 1, 10 * at, 10) for at in range(count)]
    return wanted, bytearray(20 * count), [20 * at for at in range(count)]


def _frames(stream: bytes) -> list[bytes]:
    return [stream[at : at + 12] for at in range(0, len(stream), 12)]


def _image(count: int) -> bytes:
    return b"".join(at.to_bytes(2, "big") for at in range(10 * count))


@given(st.integers(1, 12), st.integers(1, 16), st.data())
def test_any_fragmentation_and_order_gives_the_same_values(
    count: int, in_flight: int, data: st.DataObject
) -> None:
    device = Device(1000)
    exchange = Exchange(in_flight, SECOND, 2)
    wanted, buffer, offsets = _requests(count)
    open_frames = _frames(exchange.begin(wanted, buffer, offsets, 0))
    while not exchange.done:
        assert len(open_frames) <= in_flight
        taken = data.draw(st.permutations(open_frames))
        stream = b"".join(device.answer(frame) for frame in taken)
        open_frames = []
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            open_frames += _frames(exchange.feed(stream[begin:end], 1))
    assert exchange.outcomes == [Outcome.READ] * count
    assert bytes(buffer) == _image(count)
    assert exchange.requests == exchange.answered == count


@given(st.lists(st.binary(max_size=40), max_size=10))
def test_noise_never_becomes_a_value(chunks: list[bytes]) -> None:
    exchange = Exchange(1, SECOND, 2)
    wanted, buffer, offsets = _requests(1)
    exchange.begin(wanted, buffer, offsets, 0)
    for chunk in chunks:
        try:
            exchange.feed(chunk, 1)
        except FramingError:
            break
    if exchange.outcomes != [Outcome.READ]:
        assert not any(buffer)


def test_a_late_answer_is_nobodys() -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 3)
    wanted, buffer, offsets = _requests(2)
    first = exchange.begin(wanted, buffer, offsets, 0)
    assert exchange.deadline_ns() == SECOND
    assert exchange.tick(SECOND - 1) == b""
    second = exchange.tick(SECOND)
    assert exchange.outcomes[0] == Outcome.TIMED_OUT
    device.holding[:] = 0xFFFF
    assert exchange.feed(device.answer(first), SECOND + 1) == b""
    assert exchange.unmatched == 1
    exchange.feed(device.answer(second), SECOND + 2)
    assert exchange.done
    assert exchange.outcomes == [Outcome.TIMED_OUT, Outcome.READ]
    assert not any(buffer[:20])
    assert exchange.deadline_ns() is None


def test_an_answer_to_an_abandoned_exchange_is_nobodys() -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 3)
    wanted, buffer, offsets = _requests(1)
    old = exchange.begin(wanted, buffer, offsets, 0)
    exchange.begin(wanted, buffer, offsets, 1)
    exchange.feed(device.answer(old), 2)
    assert exchange.outcomes == [Outcome.UNANSWERED]


def test_silence_loses_the_link_and_an_answer_between_does_not() -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 2)
    wanted, buffer, offsets = _requests(4)
    exchange.begin(wanted, buffer, offsets, 0)
    second = exchange.tick(SECOND)
    exchange.feed(device.answer(second), SECOND)
    lost = []
    for at in (2, 3):
        exchange.tick(at * SECOND)
        lost.append(exchange.lost)
    exchange.restart()
    assert [*lost, exchange.lost] == [False, True, False]


def test_requests_that_were_out_together_are_one_silence() -> None:
    exchange = Exchange(8, SECOND, 2)
    wanted, buffer, offsets = _requests(12)
    exchange.begin(wanted, buffer, offsets, 0)
    assert len(_frames(exchange.tick(SECOND))) == 4
    assert not exchange.lost
    assert exchange.timeouts == 8


@pytest.mark.parametrize("fault", ["wrong_unit", "wrong_function", "short"])
def test_a_foreign_or_short_answer_is_refused_at_once(fault: str) -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 2)
    setattr(device.faults, fault, True)
    wanted, buffer, offsets = _requests(1)
    exchange.feed(device.answer(exchange.begin(wanted, buffer, offsets, 0)), 1)
    assert exchange.outcomes == [Outcome.MALFORMED]
    assert exchange.malformed == 1
    assert not any(buffer)


def test_a_wrong_transaction_is_nobodys() -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 2)
    device.faults.wrong_transaction = True
    wanted, buffer, offsets = _requests(1)
    exchange.feed(device.answer(exchange.begin(wanted, buffer, offsets, 0)), 1)
    assert exchange.outcomes == [Outcome.UNANSWERED]
    assert not any(buffer)


def test_an_exception_is_an_outcome() -> None:
    device, exchange = Device(1000), Exchange(1, SECOND, 2)
    device.forbid("holding", 5, 6, code=4)
    wanted, buffer, offsets = _requests(2)
    following = exchange.feed(device.answer(exchange.begin(wanted, buffer, offsets, 0)), 1)
    exchange.feed(device.answer(following), 2)
    assert exchange.outcomes == [4, Outcome.READ]
    assert exchange.exceptions == 1


def test_transaction_ids_come_round_only_after_all_others() -> None:
    device, exchange = Device(10), Exchange(1, SECOND, 2)
    wanted, buffer, offsets = [read(Area.HOLDING, 1, 0, 1)], bytearray(2), [0]
    seen = set()
    for _ in range(65536):
        frame = exchange.begin(wanted, buffer, offsets, 0)
        seen.add(frame[:2])
        exchange.feed(device.answer(frame), 1)
    assert len(seen) == 65536
    assert exchange.round_trip_total_ns == exchange.answered == 65536


def test_nothing_to_read_is_done_at_once() -> None:
    exchange = Exchange(1, SECOND, 2)
    assert exchange.begin([], bytearray(), [], 0) == b""
    assert exchange.done


def test_an_exception_without_a_code_is_no_value() -> None:
    exchange = Exchange(1, SECOND, 2)
    wanted, buffer, offsets = _requests(1)
    exchange.begin(wanted, buffer, offsets, 0)
    exchange.feed(bytes.fromhex("000100000003018300"), 1)
    assert exchange.outcomes == [Outcome.MALFORMED]
