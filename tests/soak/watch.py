"""What the soak sees of one source: the newest quality of each point, and how often each event."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable

from drivers.contract import Batch, Receipt, SourceEvent


class Watch:
    """An Emit that keeps next to nothing, however long it runs."""

    def __init__(self) -> None:
        self.quality: dict[int, int] = {}
        self.events: Counter[str] = Counter()
        self.samples = 0

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        if isinstance(item, SourceEvent):
            self.events[item.kind] += 1
        else:
            self.samples += len(item)
            self.quality.update(zip(item.points.tolist(), item.quality.tolist(), strict=True))
        receipt: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        receipt.set_result(None)
        return receipt

    def good(self, points: Iterable[int]) -> bool:
        """Tell whether all of these are good now."""
        return all(self.quality.get(point) == 0 for point in points)

    def each_in(self, points: Iterable[int], qualities: frozenset[int]) -> bool:
        """Tell whether each of these has one of the qualities now."""
        return all(self.quality.get(point) in qualities for point in points)
