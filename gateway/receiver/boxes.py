"""Whether two boxes speak with one gateway id. Pure.

Guarantees: two boxes are only ever reported on proof, which is one of

- a boot id that comes back after another one had taken its place: one box never reboots to it;
- an older connection of another log that still speaks RIVAL_NS after a newer one came.

A restart, a renewed log or a replaced disk gives neither.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

RIVAL_NS = 5_000_000_000
"""Longer than what a dead box left in the line takes to arrive; a living one speaks every 3 s."""
_BOOTS = 8


@dataclass(slots=True)
class _Gateway:
    boots: deque[bytes] = field(default_factory=lambda: deque(maxlen=_BOOTS))
    rivals: dict[bytes, int] = field(default_factory=dict)  # log id that was there, since when not


class Boxes:
    """What was seen of each gateway, by its id. Memory: some 300 bytes a gateway."""

    def __init__(self) -> None:
        self._gateways: dict[str, _Gateway] = {}

    def greeted(self, gateway: str, boot_id: bytes) -> str:
        """Take a Hello; says what proves two boxes, or nothing."""
        boots = self._gateways.setdefault(gateway, _Gateway()).boots
        if boots and boots[-1] == boot_id:
            return ""
        returned = boot_id in boots
        boots.append(boot_id)
        return "a boot came back after another one had spoken" if returned else ""

    def outdone(self, gateway: str, log_id: bytes, now_ns: int) -> None:
        """Note that a connection of another log came while this log was connected."""
        self._gateways.setdefault(gateway, _Gateway()).rivals.setdefault(log_id, now_ns)

    def spoke(self, gateway: str, log_id: bytes, now_ns: int) -> str:
        """Take any message of a connection; says what proves two boxes, or nothing."""
        known = self._gateways.get(gateway)
        if known is None or log_id not in known.rivals:
            return ""
        if now_ns - known.rivals[log_id] < RIVAL_NS:
            return ""
        del known.rivals[log_id]
        return "two logs speak at the same time"

    def left(self, gateway: str, log_id: bytes) -> None:
        """Note the end of a log's connection."""
        if (known := self._gateways.get(gateway)) is not None:
            known.rivals.pop(log_id, None)
