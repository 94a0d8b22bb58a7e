"""Telemetry records as a gateway's log would hold them, for tests of query."""

from __future__ import annotations

import numpy as np

from buffer.block import BlockEncoder, ColumnBatch
from buffer.contract import Columns, Stream
from drivers.contract import ValueKind
from gateway.model.catalogue import Catalogue
from gateway.model.event import catalogue_event
from gateway.model.point import Point
from gateway.wire.v1 import uplink_pb2 as wire
from tests.fakes.wire_gateway import Chain

START_NS = 1_767_225_600_000_000_000
"""2026-01-01T00:00:00Z"""
CATALOGUE = Catalogue.of(
    [
        Point(id=1, name="gds-1/AT-101", unit="%LEL"),
        Point(id=2, name="gds-1/总量, t", kind=ValueKind.UINT),
        Point(id=3, name="gds-1/delta", kind=ValueKind.INT),
        Point(id=4, name="gds-1/state", kind=ValueKind.TEXT),
    ]
)


def batch(
    ids: list[int],
    values: Columns,
    *,
    quality: list[int] | None = None,
    source_ms: int | list[int] = 0,
    gateway_ms: int = 0,
) -> ColumnBatch:
    """One batch; times in ms after START_NS."""
    source = (
        START_NS + source_ms * 1_000_000
        if isinstance(source_ms, int)
        else START_NS + np.array(source_ms, np.int64) * 1_000_000
    )
    return ColumnBatch(
        np.array(ids, np.int32),
        values,
        np.array(quality or [0] * len(ids), np.uint16),
        source,
        START_NS + gateway_ms * 1_000_000,
    )


class Telemetry:
    """The telemetry stream of one log, and the event that announces its catalogue."""

    def __init__(self, catalogue: Catalogue = CATALOGUE) -> None:
        self.catalogue = catalogue
        self.chain = Chain(Stream.TELEMETRY)
        self._encoder = BlockEncoder()
        self._key = 0

    def event(self) -> wire.Record:
        """Record 1 of the event stream."""
        return Chain(Stream.EVENT).record(catalogue_event(self.catalogue, START_NS))

    def record(
        self, *batches: ColumnBatch, key: bool = False, historical: bool = False
    ) -> wire.Record:
        """Return the next record; the first is a key."""
        key = key or not self._key
        if key:
            self._key = self.chain.sequence
        block = self._encoder.encode(batches, key=key, catalogue=self.catalogue.hash)
        return self.chain.record(
            block,
            key=self._key,
            catalogue=self.catalogue.hash if key else b"",
            historical=historical,
            samples=sum(map(len, batches)),
        )
