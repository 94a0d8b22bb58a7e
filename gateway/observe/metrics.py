"""Metrics for Prometheus, read from `statistics()` callables only when somebody scrapes.

Guarantees: counting costs the flow nothing but its own integers; a part whose statistics fail is
left out of the scrape and counted in `plantgate_scrape_failures`; the registry is our own, so
nothing else of the process is exported.

A part registered as `source_gds-1` with {"requests": 7} gives

    plantgate_source_requests{name="gds-1"} 7.0

a number may carry labels, {"exceptions_by_code{code=2}": 1} gives

    plantgate_source_exceptions_by_code{name="gds-1",code="2"} 1.0

and `buffer` with {"backlog_bytes": 3} gives `plantgate_buffer_backlog_bytes 3.0`: the part's name
is split at its first underscore into kind and instance. All are gauges in type: whether a number
may go down is known to the part alone, and Prometheus applies rate() to both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.observe.log import logger

Statistics = Callable[[], Mapping[str, float]]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


class Metrics(Collector):
    """The numbers of all parts of one gateway."""

    def __init__(self) -> None:
        self._parts: dict[str, Statistics] = {}
        self._failures = 0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def register(self, name: str, statistics: Statistics) -> None:
        """Add a part, called kind or kind_instance. Raises ValueError if the name is taken."""
        if name in self._parts:
            raise ValueError(f"metrics already has a part called {name!r}")
        self._parts[name] = statistics

    def unregister(self, name: str) -> None:
        """Remove a part; nothing happens if there is none of that name."""
        self._parts.pop(name, None)

    def render(self) -> bytes:
        """Write all numbers in the Prometheus text format (CONTENT_TYPE)."""
        return generate_latest(self._registry)

    def read(self) -> dict[str, Mapping[str, float]]:
        """Numbers of every part now, by the name it was registered under."""
        return {part: self._read(part, numbers) for part, numbers in list(self._parts.items())}

    def describe(self) -> list[GaugeMetricFamily]:
        """Promise no fixed set: parts come and go."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Ask every part; called by the registry at each scrape."""
        families: dict[str, GaugeMetricFamily] = {}
        for part, statistics in list(self._parts.items()):
            kind, _, instance = part.partition("_")
            for key, number in self._read(part, statistics).items():
                self._add(families, kind, instance, key, number)
        yield from families.values()
        failures = GaugeMetricFamily(
            "plantgate_scrape_failures", "Parts that could not be read, since start."
        )
        failures.add_metric([], self._failures)
        yield failures

    @staticmethod
    def _add(
        families: dict[str, GaugeMetricFamily], kind: str, instance: str, key: str, number: float
    ) -> None:
        plain, _, labels = key.partition("{")
        name = _NOT_IN_A_NAME.sub("_", f"plantgate_{kind}_{plain}")
        family = families.get(name)
        if family is None:
            family = GaugeMetricFamily(name, f"{plain} of {kind}.")
            families[name] = family
        shown = {"name": instance} if instance else {}
        for label in labels.removesuffix("}").split(",") if labels else ():
            word, _, value = label.partition("=")
            shown[_NOT_IN_A_NAME.sub("_", word)] = value
        family.add_sample(name, shown, float(number))

    def _read(self, part: str, statistics: Statistics) -> Mapping[str, float]:
        try:
            return dict(statistics())
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError,
                ValueError) as error:  # fmt: skip
            self._failures += 1
            logger("metrics").warning("part cannot be read", name=part, error=str(error))
            return {}
