"""The gateway's own log: structured lines on standard error.

Guarantees: configured once, at start; one line an occurrence, as JSON or for a console; every line
carries time (ISO 8601 UTC), level, part and event. Nothing is logged per sample or per batch: what
flows is counted (metrics.py). Libraries that use the standard logging come out the same way, from
warning upwards.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import FilteringBoundLogger, Processor

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
FORMATS = ("json", "console")


def configure(level: str = "info", form: str = "json", *, stream: TextIO | None = None) -> None:
    """Set level (debug, info, warning, error) and format (json, console) for the process.

    Writes to standard error unless a stream is given. A second call replaces the first. Raises
    ValueError for an unknown level or format.
    """
    if level not in LEVELS or form not in FORMATS:
        raise ValueError(f"log level is one of {', '.join(LEVELS)} and format json or console")
    output = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    last: list[Processor]
    if form == "json":
        last = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=output.isatty())]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(output),
        cache_logger_on_first_use=False,  # else a logger made before `configure` keeps its default
    )
    _take_standard_logging(output, shared, last, max(LEVELS[level], logging.WARNING))


def logger(part: str) -> FilteringBoundLogger:
    """Return the log of one part of the gateway: app, uplink, source ..."""
    bound: FilteringBoundLogger = structlog.get_logger(part=part)
    return bound


def _take_standard_logging(
    output: TextIO, shared: list[Processor], last: list[Processor], level: int
) -> None:
    """Libraries log through the standard module: same lines, warnings and worse."""
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_library_part, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


def _library_part(
    _logger: object, _name: str, entry: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    entry["part"] = entry["_record"].name
    return entry
