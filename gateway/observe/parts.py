"""How the buffer is shown in the metrics."""

from __future__ import annotations

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
