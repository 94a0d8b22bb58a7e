"""A million hostile lines for the serial frames: no exception but the named one, no wrong value.

    python -m tests.drivers.serial_line.fuzz [--frames 1000000] [--seed 0]        (make fuzz)

Frames of the gas example, changed at random, come in random pieces. The judge knows nothing of the
parser: a frame that is taken must stand in the stream as it is, with a check sum that the fake's
own code makes, and its value must be the digits that stand there.
"""

from __future__ import annotations

import math
import random
from pathlib import Path

from drivers.serial_line.codec import FrameError, FrameFormat
from drivers.serial_line.description import parse_description
from drivers.serial_line.splitter import Splitter
from tests.drivers.fuzzing import campaign
from tests.fakes.serial_device import gas_frame, lrc
from tests.fakes.spoil import spoilt

_CASES = Path(__file__).parents[3] / "drivers" / "serial_line" / "cases"
GAS = parse_description((_CASES / "gas_example.toml").read_text(encoding="utf-8"))


def gas(rng: random.Random) -> None:
    """A line with two changed frames."""
    frames = [gas_frame("01", rng.choice("NFWC"), rng.randint(0, 9999), rng.randint(0, 3))
              for _ in range(2)]  # fmt: skip
    stream = b"".join(spoilt(frame, rng) for frame in frames)
    splitter, parser = Splitter(GAS), FrameFormat(GAS, "01")
    cut = rng.randrange(len(stream) + 1)
    for piece in (stream[:cut], stream[cut:]):
        for frame in splitter.feed(piece):
            assert frame in stream
            try:
                found = parser.parse(frame)
            except FrameError:
                splitter.refuse()
                continue
            _judge(frame, found["gas"].value)


def _judge(frame: bytes, value: object) -> None:
    """Compare with what the frame's own letters say, read by place."""
    assert frame[:3] == b"\x0201"
    assert frame[10:11] == b"\x03"
    assert frame[11:].upper() == lrc(frame[1:11])
    assert isinstance(value, float)
    known = frame[3:4] in {b"N", b"W", b"C"}  # a fault and an unknown state leave no value
    assert math.isnan(value) or (known and value == int(frame[4:8]) / 10)


if __name__ == "__main__":
    campaign("lines", {"serial_line": gas})
