"""The desk where intakes hand rows in: stored once, told when durable, silence noticed.

Guarantees:

- `hand_in` returns only after everything accepted is durable, so that its caller may acknowledge to
  the sender; if anything could not be stored it raises NotDurableError and the sender must send
  the whole again. Nothing is acknowledged by halves.
  What was stored of it counts as a repeat then.
- What says the same as something already durable is not stored again as long as it is remembered
  (some 65,536 records and documents of samples: remembered.py); twice at the same time is stored
  once, and both wait. After a restart a repeat is stored again, with the same id and
  `content_sha256`, by which the receiver's consumer knows it: durable de-duplication is the
  consumer's.
- A point without samples for `stale_after_s` becomes uncertain:stale (bad:waiting if it never had
  one); when the intake cannot receive, all points become bad:not_connected, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from drivers.contract import (
    Batch,
    Clock,
    DriverPoint,
    Emit,
    Quality,
    Receipt,
    SourceEvent,
    ValueKind,
)
from drivers.intake.fresh import Freshness
from drivers.intake.remembered import Remembered
from drivers.intake.rows import Accepted, Rejected
from drivers.intake.samples import Sample, SampleReader, SampleRows
from drivers.intake.settings import ExternalAddress

CHUNK_ROWS = 500
"""Rows stored at once: a document of 10,000 must fill neither the buffer's queues nor the loop."""
BREATH_ROWS = 50
MAX_REASONS = 20
"""Refused rows that are told one by one in an event; the count is always told."""
MAX_REASON_TEXT = 2000


class NotDurableError(Exception):
    """Something could not be stored; the sender must be told to send it again."""


@dataclass(slots=True)
class Counters:
    """Since start. repeats: rows that were stored before and sent again."""

    records: int = 0
    samples: int = 0
    pictures: int = 0
    repeats: int = 0
    rejected_rows: int = 0
    refused_documents: int = 0
    not_stored: int = 0
    stale_points: int = 0


class Desk:
    """One device's desk; lives as long as the driver, `emit` is given anew by every run."""

    def __init__(
        self,
        device: str,
        points: Sequence[DriverPoint[ExternalAddress]],
        clock: Clock,
        stale_after_s: float,
    ) -> None:
        self.counters = Counters()
        self.samples = SampleReader(points)
        self._device = device
        self._clock = clock
        self._own = {point.address.id: point.id for point in points if point.address.own}
        self._kinds = {point.id: point.address.kind() for point in self.samples.points}
        self._last: dict[int, Sample] = {}
        self._fresh = Freshness(list(self._kinds), round(stale_after_s * 1e9), clock.monotonic_ns())
        self._stored = Remembered()
        self._under_way: dict[bytes, asyncio.Future[None]] = {}
        self._stored_times = self._stored_total_ns = 0
        self._lost_why: str | None = ""
        self._woken = asyncio.Event()

    def statistics(self) -> dict[str, float]:
        """Counters as metrics; store_ms is the mean time from handing in to durable."""
        found = {name: float(count) for name, count in asdict(self.counters).items()}
        mean_ns = self._stored_total_ns / self._stored_times if self._stored_times else 0.0
        return found | {"store_ms": mean_ns / 1e6}

    async def hand_in(self, emit: Emit, rows: Iterable[Accepted | Rejected]) -> None:
        """Store the accepted rows; durable on return. Raises NotDurableError."""
        taken = list(rows)
        accepted = [row for row in taken if isinstance(row, Accepted)]
        self.counters.rejected_rows += len(taken) - len(accepted)
        for first in range(0, len(accepted), CHUNK_ROWS):
            items = [(row.digest, row.event) for row in accepted[first : first + CHUNK_ROWS]]
            new = await self._once(emit, items)
            self.counters.records += new
            self.counters.pictures += new if accepted[first].event.picture else 0
            self.counters.repeats += len(items) - new
        await self._tell_own(emit)

    async def hand_in_samples(self, emit: Emit, rows: SampleRows, digest: bytes) -> None:
        """Store samples; durable on return. digest: of the document.

        Raises NotDurableError.
        """
        self.counters.rejected_rows += len(rows.rejected)
        count = sum(len(samples) for samples in rows.samples.values())
        if not await self._once(emit, [(digest, rows)]):
            self.counters.repeats += count
        else:
            self.counters.samples += count
            now_ns = self._clock.monotonic_ns()
            for samples in rows.samples.values():
                for sample in samples:
                    last = self._last.get(sample.point)
                    if last is None or sample.time_ns >= last.time_ns:  # history may come late
                        self._last[sample.point] = sample
                self._fresh.feed({sample.point for sample in samples}, now_ns)
            self._woken.set()
        await self._tell_own(emit)

    async def tell_rejected(
        self, emit: Emit, where: str, rejected: Sequence[Rejected], content: bytes = b""
    ) -> None:
        """Store what was refused as an event, for senders that take no answer; durable on return.

        where: topic or file.  content: what was sent, its first 4,000 characters are kept.
        """
        if not rejected:
            return
        reasons = "; ".join(f"{row.id}: {row.reason}" for row in rejected[:MAX_REASONS])
        attributes: dict[str, str | int | float | bool] = {
            "where": where,
            "rows": len(rejected),
            "reasons": reasons[:MAX_REASON_TEXT],
        }
        if content:
            attributes["content"] = content[:4000].decode("utf-8", "replace").replace("\0", "�")
        text = f"{len(rejected)} rows of {where} were refused: {reasons[:200]}"
        await self._durable([await emit(self._event("intake.rejected", text, attributes))])

    async def tell_up(self, emit: Emit, text: str, attributes: dict[str, str]) -> None:
        """Say that the intake can receive; silence counts from now."""
        self._lost_why = None
        self._fresh.feed(list(self._kinds), self._clock.monotonic_ns())
        await emit(self._event("link.up", text, dict(attributes)))
        await self._tell_own(emit)

    async def tell_down(self, emit: Emit, why: str) -> None:
        """Say that it cannot: all points bad once per outage, why as often as it changes.

        why: a sentence without its full stop.
        """
        if why == self._lost_why:
            return
        if not self._lost_why:
            for batch in self._all_bad(Quality.BAD_NOT_CONNECTED):
                await emit(batch)
        self._lost_why = why
        await emit(self._event("link.down", f"{why}.", {}))

    async def watch(self, emit: Emit) -> None:
        """Tell points that fall silent, until cancelled."""
        while True:
            deadline_ns = self._fresh.next_deadline_ns()
            self._woken.clear()
            if deadline_ns is None:
                await self._woken.wait()
                continue
            await self._clock.sleep_until(deadline_ns)
            stale = self._fresh.tick(self._clock.monotonic_ns())
            self.counters.stale_points += len(stale)
            for batch in self._silent(stale):
                await emit(batch)

    async def _once(
        self, emit: Emit, items: Sequence[tuple[bytes, SourceEvent | SampleRows]]
    ) -> int:
        """Emit what is new and wait for all of it; gives how many were new."""
        receipts: list[Receipt] = []
        waits: list[asyncio.Future[None]] = []
        ours: dict[bytes, asyncio.Future[None]] = {}
        error: NotDurableError | None = NotDurableError("the intake was stopped")
        try:
            for number, (digest, item) in enumerate(items):
                if number % BREATH_ROWS == BREATH_ROWS - 1:
                    await asyncio.sleep(0)  # acquisition shares the loop
                if digest in self._stored:
                    self._stored.add(digest)
                elif digest in self._under_way:
                    waits.append(self._under_way[digest])
                else:
                    future = asyncio.get_running_loop().create_future()
                    ours[digest] = self._under_way[digest] = future
                    for part in self._parts(item):
                        receipts.append(await emit(part))
            await self._durable(receipts)
            error = None
        except NotDurableError as failure:
            error = failure
            raise
        finally:
            self._settle(ours, error)
        for wait in waits:
            await asyncio.wait([wait])
            if wait.cancelled() or wait.exception() is not None:
                raise NotDurableError("the same was being stored and failed")
        return len(ours)

    def _settle(
        self, ours: dict[bytes, asyncio.Future[None]], error: NotDurableError | None
    ) -> None:
        for digest, future in ours.items():
            del self._under_way[digest]
            if error is None:
                self._stored.add(digest)
                future.set_result(None)
            else:
                future.set_exception(error)
                future.exception()  # looked at: nobody else may be waiting

    def _parts(self, item: SourceEvent | SampleRows) -> list[Batch | SourceEvent]:
        if isinstance(item, SourceEvent):
            return [item]
        return list(self.samples.batches(item, self._clock.wall_ns()))

    async def _durable(self, receipts: Sequence[Receipt]) -> None:
        failed = ""
        asked_ns = self._clock.monotonic_ns()
        for receipt in receipts:
            if isinstance(receipt, asyncio.Future):
                await asyncio.wait([receipt])
                if receipt.cancelled():
                    failed = "the buffer was closed"
                elif (reason := receipt.exception()) is not None:
                    failed = str(reason)
            else:
                await receipt
        if failed:
            self.counters.not_stored += 1
            raise NotDurableError(failed)
        if receipts:
            self._stored_times += 1
            self._stored_total_ns += self._clock.monotonic_ns() - asked_ns

    async def _tell_own(self, emit: Emit) -> None:
        values = {"#records": self.counters.records, "#rejected": self.counters.rejected_rows}
        now_ns = self._clock.wall_ns()
        own = [Sample(point, now_ns, float(values[name]), 0) for name, point in self._own.items()]
        if own:
            await emit(self.samples.batch(ValueKind.FLOAT, own, now_ns))

    def _silent(self, points: Iterable[int]) -> list[Batch]:
        now_ns = self._clock.wall_ns()
        found: dict[ValueKind, list[Sample]] = {}
        for point in points:
            kind, last = self._kinds[point], self._last.get(point)
            quality = Quality.BAD_WAITING if last is None else Quality.UNCERTAIN_STALE
            value = _nothing(kind) if last is None else last.value
            if last is not None and last.quality & 0x8000:
                quality = Quality.BAD_NOT_CONNECTED
            found.setdefault(kind, []).append(Sample(point, now_ns, value, int(quality)))
        return [self.samples.batch(kind, samples, now_ns) for kind, samples in found.items()]

    def _all_bad(self, quality: Quality) -> list[Batch]:
        now_ns = self._clock.wall_ns()
        found: dict[ValueKind, list[Sample]] = {}
        kinds = {**self._kinds, **dict.fromkeys(self._own.values(), ValueKind.FLOAT)}
        for point, kind in kinds.items():
            sample = Sample(point, now_ns, _nothing(kind), int(quality))
            found.setdefault(kind, []).append(sample)
        return [self.samples.batch(kind, samples, now_ns) for kind, samples in found.items()]

    def _event(
        self, kind: str, text: str, attributes: dict[str, str | int | float | bool] | dict[str, str]
    ) -> SourceEvent:
        return SourceEvent(kind, self._device, self._clock.wall_ns(), text, dict(attributes))


def _nothing(kind: ValueKind) -> float | int | str:
    if kind is ValueKind.TEXT:
        return ""
    return 0 if kind is ValueKind.INT else float(np.nan)


__all__ = ["Counters", "Desk", "NotDurableError"]
