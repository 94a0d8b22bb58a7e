"""What a serial receiver makes of a line whose baud rate or parity it does not share, bit by bit.

A character is a start bit (0), eight data bits with the lowest first, a parity bit where there is
one, and a stop bit (1); the receiver starts at a falling edge and looks at the middle of each bit.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.modbus.line_verdict import Setting

_OVERSAMPLING = 16  # looks a bit time for the falling edge, as usual UARTs have


def _parity_bits(byte: int, parity: str) -> list[int]:
    ones = byte.bit_count() % 2
    return {"none": [], "even": [ones], "odd": [1 - ones]}[parity]


def waveform(frame: bytes, setting: Setting, idle_bits: int = 40) -> list[int]:
    """Levels of the line, one a bit time of the sender, with idle line behind."""
    bits = [1] * 4
    for byte in frame:
        bits += [0, *(byte >> at & 1 for at in range(8)), *_parity_bits(byte, setting.parity), 1]
    return bits + [1] * idle_bits


@dataclass
class Received:
    """Good bytes, and how many came with an error of parity or framing."""

    good: bytes
    marked: int


def receive(frame: bytes, sent: Setting, read: Setting) -> Received:
    """Receive a frame that was sent at one setting with a port at another."""
    if sent == read:
        return Received(frame, 0)
    bits = waveform(frame, sent)
    good, marked, time = bytearray(), 0, 0.0
    bit_time = sent.baud / read.baud  # of the reader, in bits of the sender

    def level(at: float) -> int:
        return bits[int(at)] if at < len(bits) else 1

    while time < len(bits):
        if level(time):
            time += bit_time / _OVERSAMPLING
            continue
        looks = [level(time + (at + 0.5) * bit_time) for at in range(11)]
        byte = sum(bit << at for at, bit in enumerate(looks[1:9]))
        parity = _parity_bits(byte, read.parity)
        stop = 9 + len(parity)
        if looks[9:stop] == parity and looks[stop]:
            good.append(byte)
        else:
            marked += 1
        time += (stop + 0.5) * bit_time
    return Received(bytes(good), marked)
