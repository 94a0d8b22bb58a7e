"""What `plantgate check --connect` prints: a table, a sentence for each problem, or JSON."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from gateway.cli.demo_clip import cache_folder
from gateway.config.site import Site
from gateway.doctor.finding import Finding, State, all_good, worst_first
from gateway.doctor.visit import Manner, visit
from gateway.runtime.clock import SystemClock

_STATE, _ABOUT = 11, 18


def tried(site: Site, patience_s: float, *, beside: bool) -> list[Finding]:
    """Try everything of a site; blocks until it is done."""
    if site.cameras:
        from vision import ffmpeg

        ffmpeg.set_up()
    software = f"plantgate/{version('plantgate')}"
    manner = Manner(patience_s, software, cache_folder(), beside)
    return asyncio.run(visit(site, SystemClock(), manner))


def beginning(site: Site, patience_s: float) -> str:
    """What is about to happen, and how long it may take."""
    counted = ", ".join(
        f"{len(found)} {word}{'s' if len(found) > 1 else ''} {chinese}"
        for found, word, chinese in (
            (site.devices, "device", "设备"), (site.cameras, "camera", "摄像机"),
            (site.uplinks, "receiver", "接收端"),
        )
        if found
    )  # fmt: skip
    return (
        f"{site.gateway.id}: trying {counted or 'this machine'} once, each at most"
        f" {patience_s:g} s; nothing is changed 逐项试连,不改动现场"
    )


def lines(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    """Table of all findings, then what to do about those that are not good, worst first.

    columns: of the terminal; what stands in full further down is shortened to it in the table.
    """
    wide = max((_columns(one.part) for one in findings), default=0)
    width = max(20, columns - _STATE - wide - 2 - _ABOUT)
    for one in findings:
        head = (
            f"{_filled(one.state.words, _STATE)}{_filled(one.part, wide + 2)}"
            f"{_filled(one.about.words, _ABOUT)}"
        )
        yield head + (one.text if one.state is State.GOOD else _short(one.text, width))
    wrong = worst_first(findings)
    if wrong:
        yield ""
        yield "What to do 处理建议:"
    for number, one in enumerate(wrong, start=1):
        yield f"{number:2}. {one.part}, {one.about.words}: {one.text}"
        if one.chinese and one.chinese != one.text:
            yield f"    {one.chinese}"
        if one.advice:
            yield f"    → {one.advice}"
            yield f"    → {one.chinese_advice}"
    yield ""
    yield summary(findings)


def summary(findings: Sequence[Finding]) -> str:
    """One line at the end."""
    counts = {state: sum(one.state is state for one in findings) for state in State}
    said = (
        f"{counts[State.GOOD]} good 正常, {counts[State.DOUBTFUL]} to look at 存疑,"
        f" {counts[State.FAULT]} faults 故障, {counts[State.NOT_TRIED]} not tried 未试"
    )
    return f"{'OK' if all_good(findings) else 'FAILED'}: {said}"


def facts(findings: Sequence[Finding]) -> dict[str, Any]:
    """For programs."""
    return {
        "ok": all_good(findings),
        "findings": [
            asdict(one) | {"about": one.about.value[0], "state": one.state.value}
            for one in findings
        ],
    }


def _columns(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese takes two each."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _short(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) >= columns:
        text = text[:-1]
    return f"{text}…"


def _filled(text: str, columns: int) -> str:
    return text + " " * max(1, columns - _columns(text))


__all__ = ["beginning", "facts", "lines", "summary", "tried"]
