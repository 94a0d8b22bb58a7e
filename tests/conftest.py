"""Fixtures for all tests: the repository root on the path, no task left alive, no silent skip."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

# No test asserts on time, so no example has a deadline, and none is too slow to make on a machine
# that stalls. CI repeats itself: a red run can be run again as it was; developers get new examples
# each time.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("here", _PATIENT)
settings.register_profile("ci", _PATIENT, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


@pytest.fixture(autouse=True)
async def _no_task_left() -> AsyncIterator[None]:
    """Fail a test that leaves an asyncio task alive.

    gRPC's server ends some of its own a moment after it has stopped; a task that ends by itself
    within seconds was not left.
    """
    before = asyncio.all_tasks()
    yield
    own = {asyncio.current_task()}
    for nap in range(500):  # naps are counted, not seconds: the machine may stall
        left = [task for task in asyncio.all_tasks() - before - own if not task.done()]
        if not left:
            break
        await asyncio.sleep(0 if nap < 20 else 0.01)
    assert not left, f"tasks left alive: {left}"


def _left_out(terminal: pytest.TerminalReporter) -> list[str]:
    reports = terminal.stats.get("skipped", [])
    return [f"{report.nodeid}: {report.longrepr[2]}" for report in reports]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every test that was left out, and why."""
    left_out = _left_out(terminalreporter)
    if left_out:
        terminalreporter.section("tests left out on this machine")
        for line in left_out:
            terminalreporter.line(line)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a left-out test is a failure."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") == "true" and terminal is not None and _left_out(terminal):
        session.exitstatus = 6  # pytest's own end at 5; tests/halves.py repeats what ends with 1
