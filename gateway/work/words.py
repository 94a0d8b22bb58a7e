"""Numbers and times as the work record and its alarms write them, in plant time. Pure."""

from __future__ import annotations

import datetime as dt

from gateway.rules.rulebook import PLANT_TIME, SourceState


def local(time_ns: int) -> str:
    """Local date and time to the second; a dash for 0."""
    if not time_ns:
        return "–"
    moment = dt.datetime.fromtimestamp(time_ns // 1_000_000_000, PLANT_TIME)
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def minutes(span_ns: int) -> str:
    """A span in minutes, with one decimal where it matters."""
    return f"{span_ns / 60e9:.1f}".removesuffix(".0")


def number(value: float) -> str:
    """A number in at most five digits."""
    return f"{value:.5g}"


def cited(citation: str, state: SourceState) -> str:
    """Mark a citation whose text was not read in the document itself."""
    return citation if state is SourceState.VERIFIED else f"{citation}; {state.words}"
