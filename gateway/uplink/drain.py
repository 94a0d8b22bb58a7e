"""The last moment of a stop: connected uplinks send what was read; the rest stays in the buffer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from drivers.contract import Clock

DRAIN_S = 3.0
_LOOK_NS = 20_000_000


async def drain(uplinks: Collection[Callable[[], Mapping[str, float]]], clock: Clock) -> None:
    """Wait until no connected uplink has a backlog; each tells its statistics."""
    while any(_is_sending(tell()) for tell in uplinks):
        await clock.sleep_until(clock.monotonic_ns() + _LOOK_NS)


def _is_sending(uplink: Mapping[str, float]) -> bool:
    return uplink["connected"] > 0 and uplink["backlog_records"] > 0
