"""Simulated Modbus TCP device of the demo: the registers of a plant, any unit id.

Guarantees: the wire is that of modbus_wire. One answer shows one second: `Memory` is replaced as a
whole.

The map (wire addresses):

| area | signals | type |
|---|---|---|
| holding | analogs and steps, in order | s16, tenths (scale 0.1) |
| input | gas detectors, in order | f32 ABCD, two registers each |
| discrete | contacts, in order | bool |
| coil | the same contacts again | bool |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.sim.modbus_wire import DISCRETE, HOLDING, ModbusListener, Reply, answer
from drivers.sim.signals import Floats, Form, Plant, Signal

MOST_POINTS = 80_000  # 8 in 10 are holding registers, of which there are 65,536


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Registers of one second: words big-endian, bits one byte each."""

    holding: bytes
    input: bytes
    bits: npt.NDArray[np.uint8]

    def read(self, area: int, start: int, end: int) -> bytes | None:
        """Content of an answer, or None where the addresses leave the map."""
        if area <= DISCRETE:
            if end > len(self.bits):
                return None
            return np.packbits(self.bits[start:end], bitorder="little").tobytes()
        words = self.holding if area == HOLDING else self.input
        return None if 2 * end > len(words) else words[2 * start : 2 * end]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signal is: columns of a point table."""

    signal: Signal
    area: str
    address: int
    type: str
    scale: float


class RegisterMap:
    """Which signal is where, and how values become registers. Pure."""

    def __init__(self, plant: Plant) -> None:
        """Raises ValueError if the plant has more points than there are registers."""
        if len(plant) > MOST_POINTS:
            raise ValueError(f"a Modbus device holds at most {MOST_POINTS} of these points")
        self._words = np.sort(np.concatenate([plant.analog, plant.step]))
        self._gas = plant.gas
        self._contacts = plant.contact
        self.places = tuple(_places(plant.signals))

    def fill(self, values: Floats) -> Memory:
        """Registers for the values of all signals."""
        return Memory(
            np.rint(values[self._words] * 10.0).astype(">i2").tobytes(),
            values[self._gas].astype(">f4").tobytes(),
            values[self._contacts].astype(np.uint8),
        )


class ModbusSimulator(ModbusListener):
    """`async with ModbusSimulator(plant, port) as device: device.port; device.show(values)`."""

    def __init__(self, plant: Plant, port: int, *, host: str = "127.0.0.1") -> None:
        """Port 0 takes any free one."""
        super().__init__(self._reply, port, host=host)
        self.map = RegisterMap(plant)
        self.memory = self.map.fill(plant.values(0))

    def show(self, values: Floats) -> None:
        """Let the registers hold these values from now on."""
        self.memory = self.map.fill(values)

    async def __aenter__(self) -> ModbusSimulator:
        """Listen. Raises OSError if the port is taken."""
        await super().__aenter__()
        return self

    def _reply(self, unit: int, request: bytes) -> Reply:
        del unit  # any is this device
        return answer(self.memory, request), 0.0


def _places(signals: tuple[Signal, ...]) -> list[Place]:
    following = {"holding": 0, "input": 0, "discrete": 0}
    found = []
    for signal in signals:
        if signal.form is Form.GAS:
            area, word, size, scale = "input", "f32", 2, 1.0
        elif signal.form is Form.CONTACT:
            area, word, size, scale = "discrete", "bool", 1, 1.0
        else:
            area, word, size, scale = "holding", "s16", 1, 0.1
        found.append(Place(signal, area, following[area], word, scale))
        following[area] += size
    return found
