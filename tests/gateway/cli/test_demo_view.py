"""What the demo shows, word for word, and how it is drawn in a terminal."""

from __future__ import annotations

import io
import math
import shutil
from dataclasses import replace

import pytest

from gateway.cli.demo_terminal import Terminal
from gateway.cli.demo_view import (
    Facts,
    Reading,
    fitted,
    parse_metrics,
    plain_line,
    screen,
    values_per_s,
)

S = 1_000_000_000
FACTS = Facts(1500, "/clips/vtest.avi", "http://127.0.0.1:9/metrics", "/tmp/demo/store")  # noqa: S108  # shown only
PAST = Reading(0, 1000, 0, 0, 0, {}, 4000, 0, True, 0.0)
BEFORE = replace(PAST, monotonic_ns=9 * S, values=12_000, sent_bytes=9000)
NOW = Reading(
    10 * S, 13_300, 20, 7, 5, {"east/yard": 3, "east/gate": math.nan}, 10_163, 4, True, 1234.5
)


def test_the_line_for_a_pipe() -> None:
    assert plain_line(NOW, BEFORE, PAST) == (
        "1,300 values/s, 13,300 values, 7 alarms (5 standing), "
        "headcount east/gate cannot be judged, east/yard 3, 0.50 bytes a value, "
        "backlog 4 records, link up"
    )
    assert plain_line(replace(PAST, connected=False), None, None) == (
        "0 values/s, 1,000 values, 0 alarms (0 standing), headcount –, – bytes a value, "
        "backlog 0 records, link down"
    )


def test_the_screen() -> None:
    assert screen(NOW, BEFORE, PAST, FACTS) == [
        "plantgate demo  (Ctrl-C stops)",
        "1500 points over Modbus and OPC UA; camera: /clips/vtest.avi",
        "",
        "  values/s          采集速率  1,300",
        "  values so far     累计数值  13,300  (20 bad)",
        "  alarms            报警      7 raised, 5 standing",
        "  headcount         人数      east/gate cannot be judged, east/yard 3",
        "  bytes a value     每值字节  0.50  (last minute, pictures included)",
        "  backlog           积压      4 records",
        "  link to receiver  上行链路  up 已连接",
        "  buffer lasts      缓存可用  1,234 h at this rate",
        "",
        "metrics http://127.0.0.1:9/metrics   store /tmp/demo/store",
    ]


def test_a_rate_needs_two_readings_and_time_between_them() -> None:
    assert values_per_s(NOW, None) == 0.0
    assert values_per_s(NOW, NOW) == 0.0
    assert values_per_s(NOW, PAST) == 1230.0


@pytest.mark.parametrize(
    ("line", "columns", "cut"),
    [("报警 7", 10, "报警 7"), ("报警 7", 4, "报警"), ("报警 7", 3, "报"), ("abc", 2, "ab")],
)
def test_a_line_is_cut_where_the_terminal_ends(line: str, columns: int, cut: str) -> None:
    assert fitted(line, columns) == cut


def test_metrics_are_read_by_name_and_label() -> None:
    text = '# HELP a b\na 1.5\nb_total{name="x"} 2\nc{name="y",le="1"} +Inf\nnonsense\n'
    found = parse_metrics(text)
    assert found["a", ""] == 1.5
    assert found["b_total", "x"] == 2
    assert math.isinf(found["c", "y"]) or math.isinf(found["c", "1"])
    assert len(found) == 3


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_drawing_goes_back_over_what_was_drawn_and_blanks_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "6")
    monkeypatch.setenv("LINES", "3")
    assert shutil.get_terminal_size() == (6, 3)
    stream = Tty()
    with Terminal(stream) as terminal:
        terminal.draw(["报警 12", "b", "dropped: no line is left"])
        first = stream.getvalue()
        terminal.draw(["c"])
    assert first == "\x1b[?25l\r报警 \x1b[K\nb\x1b[K\n\x1b[J"
    assert stream.getvalue()[len(first) :] == "\r\x1b[2Ac\x1b[K\n\x1b[J\x1b[?25h"


def test_nothing_is_drawn_into_a_pipe() -> None:
    stream = io.StringIO()
    with Terminal(stream) as terminal:
        assert not terminal.live
        terminal.draw(["a"])
    assert stream.getvalue() == ""
