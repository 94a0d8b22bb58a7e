"""What strangers send is one line with a count; everything else is written as it is."""

from __future__ import annotations

import logging

import pytest

from drivers.intake.counted_log import EVERY_NS, CountedLog
from tests.gateway.flow_rig import HandClock


def known(record: logging.LogRecord) -> str:
    return "10.1.2.3 sent rubbish" if "rubbish" in record.getMessage() else ""


def test_one_line_with_a_count_and_mistakes_of_our_own_whole(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = HandClock()
    log = CountedLog("intake_http.tickets", known, clock, logging.DEBUG)
    for _ in range(5):
        log.error("rubbish from %s", "somebody", exc_info=ValueError("no HTTP"))
    log.debug("rubbish of a scanner")  # aiohttp tells some of it at debug level only
    log.debug("a step that nobody asked for")
    log.error("our own mistake", exc_info=RuntimeError("a bug"))
    clock.advance(EVERY_NS / 1e9 - 1)
    log.error("rubbish")
    clock.advance(1.0)
    log.error("rubbish")
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [
        ("WARNING", "10.1.2.3 sent rubbish (once since the last such line, 1 since start)"),
        ("ERROR", "our own mistake"),
        ("WARNING", "10.1.2.3 sent rubbish (7 times since the last such line, 8 since start)"),
    ]
    assert [record.exc_info is not None for record in caplog.records] == [False, True, False]
    assert log.total == 8
