"""Leak check of the Modbus tests: no task and no transport outlives a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves an asyncio task alive (the fixture's own is not one)."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    own = {asyncio.current_task()}
    left = [task for task in asyncio.all_tasks() - before - own if not task.done()]
    assert not left, f"tasks left alive: {left}"
