"""Modbus units with exactly the registers of their point tables, and whatever ails them.

Guarantees: a unit answers for the registers that its points name and for no other (exception 2); a
unit that no device of the site has is answered as by a bus gateway, with exception 11. One answer
shows one second. Wire as in modbus_wire, value types and byte orders as in point tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from drivers.sim.faults import Disturbance
from drivers.sim.modbus_wire import (
    COIL,
    DISCRETE,
    HOLDING,
    INPUT,
    NO_SUCH_UNIT,
    Reply,
    answer,
    refusal,
)
from drivers.sim.signals import Floats
from drivers.sim.site_signals import WORDS

ADDRESSES = 65_536

_FORMS: Mapping[str, str] = {
    "u16": ">u2", "s16": ">i2", "u32": ">u4", "s32": ">i4", "f32": ">f4",
    "u64": ">u8", "s64": ">i8", "f64": ">f8",
}  # fmt: skip
_BYTES_SWAPPED = frozenset({"BADC", "DCBA"})
_WORDS_SWAPPED = frozenset({"CDAB", "DCBA"})
_TEXT = "text:"
_EXACT = 2.0**53  # a simulated 64-bit integer is made of a float64

LIMITS: Mapping[str, tuple[float, float]] = {
    "bool": (0, 1), "u8hi": (0, 255), "u8lo": (0, 255), "s8hi": (-128, 127), "s8lo": (-128, 127),
    "bcd16": (0, 9999),
    "u16": (0, 65_535), "s16": (-32_768, 32_767), "u32": (0, 2**32 - 1),
    "s32": (-(2**31), 2**31 - 1), "u64": (0, _EXACT), "s64": (-_EXACT, _EXACT),
    "f32": (-1e30, 1e30), "f64": (-1e30, 1e30),
    **{f"bit{number}": (0, 1) for number in range(16)},
}  # fmt: skip
"""Least and greatest raw value of each type; a text:N is 0 or 1, see WORDS."""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the raw value of a signal stands.

    signal: its place among all values.  area: function that reads it.  type, order: as in a table.
    """

    signal: int
    area: int
    start: int
    type: str
    order: str = "ABCD"


@dataclass(frozen=True, slots=True, eq=False)
class UnitMemory:
    """Registers of one second and which of them exist: words as two bytes, bits as one."""

    words: Mapping[int, Bytes]
    present: Mapping[int, npt.NDArray[np.bool_]]

    def read(self, area: int, start: int, end: int) -> bytes | None:
        """Content of an answer, or None where the unit lacks one of the addresses."""
        present = self.present.get(area)
        if present is None or end > ADDRESSES or not present[start:end].all():
            return None
        if area <= DISCRETE:
            return np.packbits(self.words[area][start:end], bitorder="little").tobytes()
        return self.words[area][2 * start : 2 * end].tobytes()


class UnitMap:
    """How raw values become the registers of one unit. Pure."""

    def __init__(self, spots: Sequence[Spot]) -> None:
        # Wider values first: a bit or byte inside a word that is a point, too, is then right.
        self._spots = sorted(spots, key=lambda spot: (-registers(spot.type), _is_part(spot.type)))
        self._groups: list[tuple[Spot, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
        grouped: dict[tuple[int, str, str], list[Spot]] = {}
        for spot in self._spots:
            grouped.setdefault((spot.area, spot.type, spot.order), []).append(spot)
        for members in grouped.values():
            signals = np.array([spot.signal for spot in members], np.int64)
            starts = np.array([spot.start for spot in members], np.int64)
            self._groups.append((members[0], signals, starts))
        self._present = {area: np.zeros(ADDRESSES, np.bool_) for area in self._areas()}
        for spot in spots:
            self._present[spot.area][spot.start : spot.start + registers(spot.type)] = True

    def fill(self, raw: Floats) -> UnitMemory:
        """Registers for the raw values of all signals."""
        words = {
            area: np.zeros(ADDRESSES * (1 if area <= DISCRETE else 2), np.uint8)
            for area in self._areas()
        }
        for spot, signals, starts in self._groups:
            _store(words[spot.area], spot, raw[signals], starts)
        return UnitMemory(words, self._present)

    def _areas(self) -> list[int]:
        return sorted({spot.area for spot in self._spots})


class UnitsOnOnePort:
    """All units behind one address; `respond` is what a ModbusListener asks."""

    def __init__(self, maps: Mapping[int, UnitMap]) -> None:
        self._maps = maps
        self._memories: dict[int, UnitMemory] = {}
        self._ails: dict[int, Disturbance] = {}

    def show(self, raw: Floats, ails: Mapping[int, Disturbance]) -> None:
        """Let the registers hold these raw values, and the units ail so, from now on."""
        self._memories = {unit: of_unit.fill(raw) for unit, of_unit in self._maps.items()}
        self._ails = dict(ails)

    def respond(self, unit: int, request: bytes) -> Reply:
        """Answer a request to one unit."""
        memory = self._memories.get(unit)
        if memory is None:
            return refusal(request[0], NO_SUCH_UNIT), 0.0
        ail = self._ails.get(unit, Disturbance())
        if ail.dead:
            return None, 0.0
        return answer(_Ailing(memory, ail), request), ail.delay_s


@dataclass(frozen=True, slots=True)
class _Ailing:
    memory: UnitMemory
    ail: Disturbance

    def read(self, area: int, start: int, end: int) -> bytes | None:
        for bad, first, last in self.ail.illegal:
            if bad == area and first < end and start < last:
                return None
        return self.memory.read(area, start, end)


def limits(word: str) -> tuple[float, float]:
    """Least and greatest raw value of a type."""
    return (0, 1) if word.startswith(_TEXT) else LIMITS[word]


def registers(word: str) -> int:
    """Registers (or bits, for bool) that a value of a type takes."""
    if word.startswith(_TEXT):
        return (int(word.removeprefix(_TEXT)) + 1) // 2
    form = _FORMS.get(word)
    return np.dtype(form).itemsize // 2 if form else 1


def _is_part(word: str) -> bool:
    return word.startswith(("bit", "u8", "s8"))


def _store(words: Bytes, spot: Spot, raw: Floats, starts: npt.NDArray[np.int64]) -> None:
    """Write raw values of one type and byte order to where they stand."""
    if spot.area <= DISCRETE:
        words[starts] = raw.astype(np.uint8)
        return
    if _is_part(spot.type):
        _store_parts(words, spot, raw.astype(np.int64).astype(np.uint16), starts)
        return
    if spot.type.startswith(_TEXT):
        content = _texts(raw, int(spot.type.removeprefix(_TEXT)))
    elif spot.type == "bcd16":
        digits = raw.astype(np.int64)
        coded = sum(digits // 10**place % 10 << 4 * place for place in range(4))
        content = np.asarray(coded).astype(">u2")
    else:
        content = raw.astype(_FORMS[spot.type])
    octets = content.view(np.uint8).reshape(len(raw), -1, 2)
    if spot.order in _WORDS_SWAPPED:
        octets = octets[:, ::-1]
    if spot.order in _BYTES_SWAPPED:
        octets = octets[:, :, ::-1]
    flat = octets.reshape(len(raw), -1)
    words[2 * starts[:, None] + np.arange(flat.shape[1])] = flat


def _store_parts(
    words: Bytes, spot: Spot, raw: npt.NDArray[np.uint16], starts: npt.NDArray[np.int64]
) -> None:
    """Set bits or bytes inside words, leaving the rest of the word."""
    if spot.type.startswith("bit"):
        shift, mask = int(spot.type.removeprefix("bit")), 1
    else:
        shift, mask = (8 if spot.type.endswith("hi") else 0), 0xFF
    view = words.view("<u2" if spot.order in _BYTES_SWAPPED else ">u2")
    cleared = view[starts] & np.uint16(0xFFFF & ~(mask << shift))
    view[starts] = cleared | ((raw & np.uint16(mask)) << np.uint16(shift))


def _texts(raw: Floats, length: int) -> Bytes:
    """Words as ASCII, cut or filled with NUL to whole registers."""
    texts = [WORDS[int(value) % len(WORDS)].encode()[:length] for value in raw]
    width = 2 * ((length + 1) // 2)
    return np.frombuffer(b"".join(text.ljust(width, b"\0") for text in texts), np.uint8)


__all__ = [
    "COIL",
    "DISCRETE",
    "HOLDING",
    "INPUT",
    "LIMITS",
    "Spot",
    "UnitMap",
    "UnitMemory",
    "UnitsOnOnePort",
    "limits",
    "registers",
]
