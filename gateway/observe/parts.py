"""How parts that know nothing of metrics and health are shown in them."""

from __future__ import annotations

from collections.abc import Callable

from buffer.contract import Log, Stream


def buffer_statistics(log: Log) -> dict[str, float]:
    """Bytes held, hours held, and hours the quota lasts at the present rate, by stream."""
    found: dict[str, float] = {}
    for stream in Stream:
        capacity, name = log.capacity(stream), stream.name.lower()
        found[f"used_bytes_{name}"] = float(capacity.used_bytes)
        found[f"held_hours_{name}"] = capacity.held_hours
        found[f"capacity_hours_{name}"] = capacity.capacity_hours
    return found


def check_of(state: Callable[[], tuple[str, str]]) -> Callable[[], tuple[bool, str]]:
    """Make a health check of a part that says ok, degraded or failed, and one sentence."""

    def check() -> tuple[bool, str]:
        word, text = state()
        return word == "ok", text

    return check
