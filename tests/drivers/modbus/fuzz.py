"""A million hostile answers for each parser: no exception but the named one, no wrong value.

    python -m tests.drivers.modbus.fuzz [--frames 1000000] [--seed 0]        (make fuzz)

Each frame is the right answer to a random request, changed at random: bits, bytes, cuts, additions,
two answers run together, noise around it, sums made right again after a change. The judge knows
nothing of the parsers: a frame that is taken must carry a check sum that is right bit by bit, and
the value must be what that frame says about exactly the registers that were asked for.
`tests/drivers/modbus/test_fuzz.py` runs 20,000 for each parser in CI.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

from drivers.modbus import ascii as ascii_framing
from drivers.modbus import rtu
from drivers.modbus.codec import Area as _Area
from drivers.modbus.codec import (
    ExceptionReplyError,
    FramingError,
    MalformedReplyError,
    Request,
    adu_payload,
    frame_bytes,
    payload,
    read,
    read_device_identification,
    report_server_id,
)
from drivers.modbus.exchange import Exchange, Outcome
from drivers.modbus.line import Framing
from drivers.modbus.sniff import Sniffer
from tests.drivers.fuzzing import Parse, campaign
from tests.fakes import modbus_line
from tests.fakes.spoil import spoilt


def _request(rng: random.Random) -> Request:
    area = _Area(rng.randint(1, 4))
    unit = rng.choice((0, 1, 17, 247, 255))
    if rng.random() < 0.03:
        return rng.choice((report_server_id(unit), read_device_identification(unit)))
    return read(area, unit, rng.choice((0, 5, 0x300, 40_000)), rng.choice((1, 2, 3, 16, 125)))


def _answer(request: Request, rng: random.Random) -> bytes:
    """Unit, function and content of an answer that is right, or an exception."""
    head = bytes((request.unit, request.function))
    if rng.random() < 0.1:
        return bytes((request.unit, request.function | 0x80, rng.choice((1, 2, 4, 6, 11))))
    if request.function == 43:
        return head + bytes((14, 1, 1, 0, 0, 1, 0, 3)) + b"ABB"
    size = request.payload_bytes if request.payload_bytes >= 0 else 4
    return head + bytes((size,)) + rng.randbytes(size)


def _mutate_line(adu: bytes, frame: Callable[[bytes], bytes], rng: random.Random) -> bytes:
    """Change the frame, or what is in it before the sum is made."""
    inside = rng.random() < 0.4
    stream = frame(spoilt(adu, rng)[:254] or b"\0\0") if inside else spoilt(frame(adu), rng)
    if rng.random() < 0.3:
        stream = rng.randbytes(rng.randint(1, 20)) + stream
    return stream


def mbap(rng: random.Random) -> None:
    """One answer to a pipelined exchange in random pieces, and to `payload` as a whole."""
    request = _request(rng)
    transaction = rng.randrange(65536)
    adu = _answer(request, rng)
    frame = transaction.to_bytes(2, "big") + len(adu).to_bytes(4, "big") + adu
    stream = spoilt(frame, rng)
    try:
        content = payload(request, transaction, stream)
    except (MalformedReplyError, ExceptionReplyError):
        pass
    else:
        assert stream[:2] == frame[:2]
        assert stream[2:6] == (len(stream) - 6).to_bytes(4, "big")
        assert stream[6:8] == bytes((request.unit, request.function))
        assert request.payload_bytes in (-1, len(content))
        assert stream.endswith(content)
    with contextlib.suppress(FramingError):
        assert 0 <= frame_bytes(stream, 0) <= len(stream)
    if request.payload_bytes < 0:
        return
    exchange, buffer = Exchange(1, 10**9, 2), bytearray(request.payload_bytes)
    own = exchange.begin([request], buffer, [0], 0)
    stream = spoilt(own[:2] + frame[2:], rng)
    cut = rng.randrange(len(stream) + 1)
    try:
        exchange.feed(stream[:cut], 1)
        exchange.feed(stream[cut:], 2)
    except FramingError:
        pass
    if exchange.outcomes[0] == Outcome.READ:
        head = own[:2] + (3 + len(buffer)).to_bytes(4, "big")
        head += bytes((request.unit, request.function, len(buffer)))
        assert head + buffer in stream


def _line(framing: Framing, frame: Callable[[bytes], bytes], rng: random.Random) -> None:
    request = _request(rng)
    stream = _mutate_line(_answer(request, rng), frame, rng)
    found = framing.find(request, stream)
    framing.garbled(request, stream)
    if found is None:
        return
    assert found.code in {Outcome.READ, Outcome.MALFORMED} or 0 <= found.code <= 255
    if found.code != Outcome.READ:
        return
    assert request.payload_bytes in (-1, len(found.content))
    head = bytes((request.unit, request.function))
    if request.payload_bytes >= 0:
        head += bytes((request.payload_bytes,))
    else:
        head += bytes((len(found.content),)) if request.function == 17 else b"\x0e"
    whole = frame(head + found.content)
    assert whole.lower() in stream.lower() if framing is ascii_framing else whole in stream
    assert adu_payload(request, head + found.content) == found.content


def rtu_frames(rng: random.Random) -> None:
    """One RTU answer."""
    _line(rtu, modbus_line.rtu, rng)


def ascii_frames(rng: random.Random) -> None:
    """One ASCII answer."""
    _line(ascii_framing, modbus_line.ascii_frame, rng)


def sniffed(rng: random.Random) -> None:
    """One request and answer of another master."""
    request = _request(rng)
    adu = _answer(request, rng)
    stream = rtu.encode(request) + _mutate_line(adu, modbus_line.rtu, rng)
    for seen in Sniffer().feed(stream, 0):
        head = bytes((seen.unit, seen.area, len(seen.content)))
        assert modbus_line.rtu(head + seen.content) in stream


PARSERS: dict[str, Parse] = {
    "mbap": mbap, "rtu": rtu_frames, "ascii": ascii_frames, "sniff": sniffed,
}  # fmt: skip


if __name__ == "__main__":
    campaign("answers", PARSERS)
