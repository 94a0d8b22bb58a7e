"""Fixtures of the OPC UA tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves an asyncio task alive (the fixture's own teardown excepted)."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    alive = asyncio.all_tasks() - before - {asyncio.current_task()}
    left = [task for task in alive if task is not None and not task.done()]
    assert not left, f"tasks left alive: {left}"
