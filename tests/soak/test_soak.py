"""The soak in small: every kind of fault once, each shown and healed, nothing left over."""

from __future__ import annotations

import pytest

from tests.soak.campaign import UnseenError, run, until
from tests.soak.watch import Watch

KINDS = 33


@pytest.mark.timeout(900)
async def test_every_kind_of_fault_shows_and_heals() -> None:
    result = await run(KINDS, 1, lambda _line: None)
    assert len(result.seen()) == KINDS
    assert len(result.resident) == KINDS
    assert result.unexpected == []
    assert result.tasks[1] <= result.tasks[0]
    assert result.descriptors[1] <= result.descriptors[0]


async def test_a_fault_that_does_not_show_is_an_error() -> None:
    watch = Watch()
    watch.quality[1] = 0
    with pytest.raises(UnseenError, match="it does not show"):
        await until(lambda: watch.each_in([1], frozenset({0x8005})), "it does not show", 0.1)
