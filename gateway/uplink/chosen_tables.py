"""What a destination's choice makes of each catalogue of a log, at hand while records are judged.

Guarantees: what cannot be read, or whose catalogue is not held, passes: nothing is left out by
mistake. Tables are made off the loop, and few are kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from google.protobuf.message import DecodeError

from buffer.contract import Log, Record, Stream
from gateway.uplink.thin import Choice, Chosen
from gateway.wire.v1 import uplink_pb2 as wire

CATALOGUES = 8
"""Catalogues kept as tables; 100,000 points are some 20 MB each."""


class Tables:
    """Of one log and one choice. chosen: by catalogue, as far as they are at hand."""

    def __init__(self, source: Log, choice: Choice) -> None:
        self._source = source
        self._choice = choice
        self.chosen: dict[bytes, Chosen] = {}

    def takes_alarm(self, payload: bytes) -> bool:
        """Tell whether an alarm (plantgate.wire.v1.Alarm) is sent; what cannot be read is."""
        try:
            alarm = wire.Alarm.FromString(payload)
        except DecodeError:
            return True
        chosen = self.chosen.get(alarm.catalogue) or self.chosen.get(self._newest())
        return chosen is None or chosen.takes_alarm(alarm)

    def passes(self, record: Record) -> bool:
        """Tell whether an alarm or an evidence record is sent."""
        if not self._choice.selects:
            return True
        if record.stream is Stream.ALARM:
            return self.takes_alarm(record.payload)
        try:
            file = wire.EvidenceFile.FromString(record.payload)
        except DecodeError:
            return True
        return self.takes_source(file.source)

    def takes_source(self, name: str) -> bool:
        """Tell whether evidence of a source is sent."""
        chosen = self.chosen.get(self._newest()) if self._choice.selects else None
        return chosen is None or chosen.takes_name(name) is not False

    def _newest(self) -> bytes:
        """Newest catalogue of the log, empty where there is none."""
        held = self._source.catalogue_records()
        return max(held, key=lambda one: held[one], default=b"")

    async def know(self, records: Iterable[Record]) -> None:
        """Have the catalogues at hand that these records are judged by."""
        needed: dict[bytes, None] = {}
        tables = self.chosen
        for record in records:
            if record.stream is not Stream.TELEMETRY:
                needed[self._newest()] = None
            elif record.group == record.sequence:
                needed[record.catalogue] = None
        for name in needed:
            if name not in tables:
                tables[name] = await self._table(name)
        for name in [one for one in tables if one not in needed]:
            if len(tables) > CATALOGUES:
                del tables[name]

    async def _table(self, name: bytes) -> Chosen:
        """Choice over a catalogue; where that is not held everything passes."""
        at = self._source.catalogue_records().get(name)
        held = [] if at is None else await self._source.read(Stream.EVENT, at, last=at, max_bytes=1)
        if not held:
            return Chosen(Choice(), ())
        catalogue = wire.Event.FromString(held[0].payload).catalogue
        return await asyncio.to_thread(Chosen, self._choice, catalogue.points)
