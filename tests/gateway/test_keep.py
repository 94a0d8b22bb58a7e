"""Parts are kept running, and end when told to, whatever a library does with their cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from gateway.sources.keep import end, keep_running
from tests.gateway.flow_rig import HandClock


class LibrarysOwnCancel(asyncio.CancelledError):
    """What wait_for2 makes of a cancellation that meets a result."""


def note(kind: str, source: str, text: str, attributes: Mapping[str, str]) -> None:
    raise AssertionError(f"nothing failed: {kind} {source} {text} {attributes}")


async def _wrapping() -> None:
    async with asyncio.TaskGroup():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            raise LibrarysOwnCancel from cancelled


async def test_a_cancellation_that_a_library_wrapped_is_one_all_the_same() -> None:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(keep_running("dcs", _wrapping, note=note, clock=HandClock()))
        await asyncio.sleep(0)
        await end([task])
    assert task.cancelled()


async def test_a_part_that_does_not_end_is_cancelled_again() -> None:
    cancels = 0

    async def saying_farewell() -> None:
        nonlocal cancels
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(2):
                cancels += 1
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue

    async with asyncio.TaskGroup() as group:
        task = group.create_task(saying_farewell(), name="dcs")
        await asyncio.sleep(0)
        await end([task], patience_s=0.01)
    assert cancels == 2


async def test_nobody_is_waited_for_who_has_ended() -> None:
    await end([])


async def test_a_mixed_group_is_passed_on() -> None:
    async def broken() -> None:
        raise BaseExceptionGroup("", [LibrarysOwnCancel(), KeyboardInterrupt()])

    with pytest.raises(BaseExceptionGroup):
        await keep_running("dcs", broken, note=note, clock=HandClock())
