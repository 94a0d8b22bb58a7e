"""A source that fails without a word: its values do not stay good."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from drivers.contract import Batch, DeviceError, Emit, Quality, Receipt, SourceEvent
from gateway.sources.last_word import LastWord
from tests.gateway.flow_rig import WALL_NS, HandClock, batch


class Heard:
    """Takes what is emitted."""

    def __init__(self) -> None:
        self.items: list[Batch | SourceEvent] = []

    async def __call__(self, item: Batch | SourceEvent) -> Receipt:
        self.items.append(item)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def bad(self) -> dict[int, object]:
        found: dict[int, object] = {}
        for item in self.items:
            assert isinstance(item, Batch)
            values = item.values if isinstance(item.values, tuple) else item.values.tolist()
            codes = item.quality.tolist()
            for point, value, code in zip(item.points.tolist(), values, codes, strict=True):
                found.pop(point, None)
                if code == Quality.BAD:
                    found[point] = value
        return found


async def given(emit: Emit) -> None:
    """Columns of every kind; 300 arrays of points that are new each time."""
    for _ in range(300):
        await emit(batch({7: 1.0, 3: 2.0}))
    ids = np.array([4], np.int32)
    whole = Batch(ids, np.array([5], np.int64), np.zeros(1, np.uint16), WALL_NS, WALL_NS, 0)
    await emit(whole)
    await emit(replace(whole, points=ids + 1, values=np.array([5], np.uint64)))
    await emit(replace(whole, points=ids + 2, values=("open",)))
    await emit(replace(whole, points=ids[:0], values=np.empty(0), quality=np.empty(0, np.uint16)))


@pytest.mark.parametrize("end", [ValueError("a fault of ours"), None])
async def test_a_source_that_fails_without_a_word_leaves_no_good_value(
    end: Exception | None,
) -> None:
    """@example: a driver that met a fault of ours left its last values good, and no alarm."""

    async def run(emit: Emit) -> None:
        await given(emit)
        if end is not None:
            raise end

    heard = Heard()
    source = LastWord(run, heard, HandClock())
    if end is None:
        await source.run()
    else:
        with pytest.raises(ValueError, match="a fault of ours"):
            await source.run()
    bad = heard.bad()
    assert sorted(bad) == [3, 4, 5, 6, 7]
    assert str(bad[7]) == "nan"
    assert (bad[4], bad[5], bad[6]) == (0, 0, "")


@pytest.mark.parametrize("end", [DeviceError("lost"), asyncio.CancelledError()])
async def test_a_source_that_spoke_or_was_ended_has_the_last_word(end: BaseException) -> None:
    async def run(emit: Emit) -> None:
        await given(emit)
        raise end

    heard = Heard()
    with pytest.raises(type(end)):
        await LastWord(run, heard, HandClock()).run()
    assert heard.bad() == {}
