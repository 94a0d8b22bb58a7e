"""Values of one unit out of what another master reads, whatever blocks it reads them in.

Guarantees: a value is taken only whole, from one answer that covers all of its registers; a value
that has not passed for `stale_ns` is bad, and one that never passed says that it is waited for.
Pure: answers and monotonic ns in.
"""

from __future__ import annotations

from typing import NamedTuple

from drivers.contract import Quality
from drivers.modbus.codec import Area
from drivers.modbus.decode import Decoder, Layout
from drivers.modbus.learn import covering
from drivers.modbus.sniff import Seen

_MOST_PLANS = 256  # blocks of a master that are remembered; a master has far fewer


class _Copy(NamedTuple):
    """One value: its number, where it is in the answer (bit for bits), place and bytes here."""

    number: int
    source: int
    target: int
    size: int


class Tap:
    """Collects the values of one unit. decoder: decodes them with `failed`; a block is a value."""

    def __init__(self, layout: Layout, stale_ns: int) -> None:
        self._spans = sorted(layout.spans())
        self.decoder = Decoder(layout, [covering([span]) for span in self._spans])
        self._stale_ns = stale_ns
        self._seen_ns: list[int | None] = [None] * len(self._spans)
        self._plans: dict[tuple[Area, int, int], list[_Copy]] = {}

    def take(self, seen: Seen, now_ns: int) -> None:
        """Take the values that an answer holds."""
        buffer, content = self.decoder.buffer, seen.content
        for number, source, target, size in self._plan(seen):
            if seen.area.bits:
                buffer[target] = content[source // 8] >> source % 8 & 1
            else:
                buffer[target : target + size] = content[source : source + size]
            self._seen_ns[number] = now_ns

    def failed(self, now_ns: int) -> dict[int, Quality]:
        """Quality of each value that cannot be given now."""
        reasons: dict[int, Quality] = {}
        for number, at_ns in enumerate(self._seen_ns):
            if at_ns is None:
                reasons[number] = Quality.BAD_WAITING
            elif now_ns - at_ns > self._stale_ns:
                reasons[number] = Quality.BAD_COMM_FAILURE
        return reasons

    def forget(self) -> None:
        """Begin anew, as after a lost line."""
        self._seen_ns = [None] * len(self._spans)

    def _plan(self, seen: Seen) -> list[_Copy]:
        """Where the values of such an answer are."""
        key = (seen.area, seen.begin, seen.wanted)
        copies = self._plans.get(key)
        if copies is None:
            copies = []
            for number, span in enumerate(self._spans):
                inside = seen.begin <= span.start and span.end <= seen.begin + seen.wanted
                if span.area is seen.area and inside:
                    offset = span.start - seen.begin
                    source = offset if seen.area.bits else 2 * offset
                    target = self.decoder.offsets[number]
                    copies.append(_Copy(number, source, target, 2 * span.count))
            if len(self._plans) < _MOST_PLANS:
                self._plans[key] = copies
        return copies
