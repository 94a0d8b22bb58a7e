"""Words the driver's SourceEvents, and counts values that a server's queues dropped. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from drivers.contract import SourceEvent, quality_word

_NAMED_POINTS = 5
_OVERFLOW_PERIOD_NS = 60 * 10**9

Attributes = Mapping[str, str | int | float | bool]


class EventMaker:
    """Makes the events of one device."""

    def __init__(self, device: str, endpoint: str) -> None:
        self._device = device
        self._endpoint = endpoint

    def link_up(self, now_ns: int, *, publishing_ms: float, points: int) -> SourceEvent:
        """The session and subscription stand."""
        return self._event(
            "link.up",
            now_ns,
            f"{self._device}: connected to {self._endpoint}, {points} points subscribed every"
            f" {publishing_ms:g} ms.",
            {"publishing_ms": publishing_ms, "points": points},
        )

    def link_down(self, now_ns: int, why: str) -> SourceEvent:
        """The server cannot be reached, or is lost."""
        return self._event("link.down", now_ns, f"{self._device}: {why}.", {})

    def gap(self, now_ns: int, from_ns: int, *, cause: str, count: int = 0) -> SourceEvent:
        """Values from `from_ns` to now may be missing; count 0 where nobody knows how many."""
        seconds = (now_ns - from_ns) / 1e9
        counted = f"{count} notifications" if count else "values"
        return self._event(
            "opcua.gap",
            now_ns,
            f"{self._device}: {counted} of {seconds:.1f} s may be missing ({cause}).",
            {"from_ns": from_ns, "to_ns": now_ns, "cause": cause, "count": count},
        )

    def overflow(self, now_ns: int, from_ns: int, count: int) -> SourceEvent:
        """The server's item queues ran over."""
        return self._event(
            "opcua.gap",
            now_ns,
            f"{self._device}: the server dropped values of its own queues {count} times; raise"
            " queue_size or sampling_ms.",
            {"from_ns": from_ns, "to_ns": now_ns, "cause": "queue_overflow", "count": count},
        )

    def refused(self, now_ns: int, tags: Mapping[str, int]) -> SourceEvent:
        """The server refused to watch these tags; `tags` gives each one's quality."""
        words = Counter(quality_word(quality) for quality in tags.values())
        counted = ", ".join(f"{count} {word}" for word, count in words.most_common())
        return self._event(
            "device.illegal_address",
            now_ns,
            f"{self._device}: the server refused {len(tags)} points ({counted}):"
            f" {_named(list(tags))}; asked again every minute.",
            {"points": len(tags)},
        )

    def misfits(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """Values that do not fit the declared type."""
        return self._event(
            "device.config_error",
            now_ns,
            f"{self._device}: values of {len(tags)} points do not fit their type:"
            f" {_named(tags)}; compare column `type` with the server.",
            {"points": len(tags)},
        )

    def bare_index(self, now_ns: int, tags: Sequence[str]) -> SourceEvent:
        """Points named by a namespace index, which a server may change at any restart."""
        return self._event(
            "device.warning",
            now_ns,
            f"{self._device}: {len(tags)} points use a bare ns= index: {_named(tags)}; write"
            " nsu=<URI> instead, since a server may number its namespaces anew.",
            {"points": len(tags)},
        )

    def _event(self, kind: str, now_ns: int, text: str, attributes: Attributes) -> SourceEvent:
        return SourceEvent(kind, self._device, now_ns, text, attributes)


class OverflowTally:
    """Gathers overflow marks: the first is told at once, further ones once a minute."""

    __slots__ = ("_count", "_from_ns", "_told_ns")

    def __init__(self) -> None:
        self._count = 0
        self._from_ns = 0
        self._told_ns: int | None = None

    def add(self, count: int, now_ns: int) -> None:
        """Note overflowed values. now_ns: wall clock."""
        if count and not self._count:
            self._from_ns = now_ns
        self._count += count

    def due(self, now_ns: int, monotonic_ns: int) -> tuple[int, int] | None:
        """Give (since when, how many) if it is time to tell, and begin anew."""
        if not self._count:
            return None
        if self._told_ns is not None and monotonic_ns - self._told_ns < _OVERFLOW_PERIOD_NS:
            return None
        told = (min(self._from_ns, now_ns), self._count)
        self._count = 0
        self._told_ns = monotonic_ns
        return told


def _named(tags: Sequence[str]) -> str:
    more = ", …" if len(tags) > _NAMED_POINTS else ""
    return ", ".join(tags[:_NAMED_POINTS]) + more


__all__ = ["EventMaker", "OverflowTally"]
