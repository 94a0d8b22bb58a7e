"""The log: one JSON or console line an occurrence, libraries included."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway.observe.log import configure, logger


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_json_line_has_time_level_part_and_event() -> None:
    early = logger("app")
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    early.info("running", points=3, site="厂.toml")
    early.debug("not shown")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"level": "info", "part": "app", "event": "running", "points": 3,
                     "site": "厂.toml"}  # fmt: skip
    assert "厂" in line


def test_an_exception_is_one_line_with_its_traceback() -> None:
    stream = io.StringIO()
    configure("info", "json", stream=stream)
    try:
        int("a bug")
    except ValueError as error:
        logger("source").warning("source failed", exc_info=error)
    (line,) = stream.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_libraries_come_out_the_same_way_from_warning_upwards() -> None:
    stream = io.StringIO()
    configure("debug", "json", stream=stream)
    logging.getLogger("some.library").warning("lost %s", "it")
    logging.getLogger("some.library").info("not shown")
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["part"], entry["level"], entry["event"]) == (
        "some.library", "warning", "lost it",
    )  # fmt: skip


def test_console() -> None:
    stream = io.StringIO()
    configure("error", "console", stream=stream)
    logger("app").warning("not shown")
    logger("app").error("broken", code=3)
    assert "broken" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "not shown" not in stream.getvalue()


@pytest.mark.parametrize(("level", "form"), [("loud", "json"), ("info", "xml")])
def test_unknown_settings_are_refused(level: str, form: str) -> None:
    with pytest.raises(ValueError, match="log level"):
        configure(level, form)
