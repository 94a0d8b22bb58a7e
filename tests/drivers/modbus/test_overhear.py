"""Listening to a line: every byte accounted for, masters and devices told apart, settings found."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus import rtu
from drivers.modbus.codec import Area, read
from drivers.modbus.line_verdict import (
    USUAL,
    Finding,
    Setting,
    answer_ms,
    best,
    decodes,
    judge,
    rows,
    settled,
)
from drivers.modbus.overhear import Asked, Ear, Heard, unmark
from tests.fakes import modbus_line
from tests.fakes.modbus_server import Device
from tests.fakes.uart import receive

MS = 10**6


def talk(unit: int, area: Area, start: int, count: int) -> tuple[bytes, bytes]:
    """A master's request and its answer; registers hold their address."""
    request = read(area, unit, start, count)
    adu = bytes((unit,)) + request.pdu
    answer = Device(1000).answer(len(adu).to_bytes(6, "big") + adu)[6:]
    return rtu.encode(request), modbus_line.rtu(answer)


def codes(heard: Heard) -> set[str]:
    return {finding.code for finding in judge(heard, serial=True)}


TALKS = st.lists(
    st.tuples(st.integers(1, 247), st.sampled_from(list(Area)), st.integers(0, 800),
              st.integers(1, 125)),
    min_size=1, max_size=6,
)  # fmt: skip


@given(TALKS, st.lists(st.integers(0, 3000), max_size=6))
def test_a_clean_line_is_understood_in_any_pieces(
    talks: list[tuple[int, Area, int, int]], cuts: list[int]
) -> None:
    stream = b"".join(b"".join(talk(*one)) for one in talks)
    ear = Ear()
    edges = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    for begin, end in itertools.pairwise(edges):
        ear.feed(stream[begin:end], begin)
    heard = ear.end(10**10)
    assert (heard.requests, heard.answers) == (len(talks), len(talks))
    assert (heard.noise_bytes, heard.other, heard.bytes) == (0, 0, len(stream))
    assert heard.asked.total() == len(talks)
    assert not heard.unanswered


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.integers(1, 400 * MS))
def test_hostile_bytes_are_counted_once_and_break_nothing(
    chunks: list[bytes], step_ns: int
) -> None:
    ear = Ear()
    for number, chunk in enumerate(chunks):
        ear.feed(chunk, number * step_ns)
    heard = ear.end(len(chunks) * step_ns)
    assert heard.bytes == sum(map(len, chunks))
    assert 0 <= heard.noise_bytes <= heard.bytes
    assert heard.frames or heard.noise_bytes == heard.bytes
    judge(heard, serial=True)


@given(st.binary(max_size=60), st.integers(1, 20))
def test_noise_before_a_frame_never_hides_it(noise: bytes, unit: int) -> None:
    ear = Ear()
    ear.feed(noise, 0)
    for frame in talk(unit, Area.HOLDING, 7, 3):
        ear.feed(frame, 500 * MS)
    heard = ear.end(10**9)
    assert heard.asked[Asked(unit, 3, 7, 3)] == 1
    assert heard.answering_units[unit] == 1


def _line(*pieces: tuple[int, bytes]) -> Heard:
    """Pieces at milliseconds."""
    ear = Ear()
    for at_ms, frame in pieces:
        ear.feed(frame, at_ms * MS)
    return ear.end(60_000 * MS)


A, A_SAYS = talk(5, Area.HOLDING, 10, 4)
B, B_SAYS = talk(6, Area.INPUT, 20, 2)


def test_one_master_is_found_and_is_no_second_one() -> None:
    heard = _line((0, A), (12, A_SAYS), (20, B), (45, B_SAYS), (500, A), (512, A_SAYS))
    assert codes(heard) == {"master"}
    assert answer_ms(heard) == (12.0, 25.0)
    table = rows(heard, 1000 * MS)
    assert [(row.asked.unit, row.times, row.each_ms) for row in table] == [
        (5, 2, 500.0), (6, 1, 1000.0),
    ]  # fmt: skip


def test_two_masters_are_told_from_a_late_answer() -> None:
    two = _line((0, A), (4, B), (20, A_SAYS), (30, B_SAYS))
    assert "second_master" in codes(two)
    late = _line((0, A), (1000, B), (1010, A_SAYS), (1020, B_SAYS))
    assert codes(late) == {"master"}
    hurried = _line((0, A), (4, B), (30, B_SAYS))
    assert "second_master_suspected" in codes(hurried)


def test_echo_writes_exceptions_and_silence() -> None:
    assert "echo" in codes(_line((0, A), (1, A), (12, A_SAYS), (500, A), (501, A), (512, A_SAYS)))
    write = modbus_line.rtu(b"\x05\x06\x00\x01\x00\x02")
    many = modbus_line.rtu(b"\x05\x10\x00\x01\x00\x01\x02\x00\x07")
    said = modbus_line.rtu(b"\x05\x10\x00\x01\x00\x01")
    heard = _line((0, write), (10, write), (100, many), (110, said))
    assert (heard.requests, heard.answers, heard.writes, heard.repeated) == (2, 2, 2, 0)
    assert "writes" in codes(heard)
    refused = modbus_line.rtu(b"\x05\x83\x02")
    assert _line((0, A), (10, refused)).exceptions == 1
    silent = _line((0, A), (1000, A), (2000, A))
    assert silent.unanswered[Asked(5, 3, 10, 4)] == 3
    assert "unanswered" in codes(silent)
    assert codes(_line()) == {"silent"}
    assert codes(_line((0, A_SAYS), (100, B_SAYS))) == {"one_way"}


def test_a_broken_frame_is_a_crc_error() -> None:
    broken = A_SAYS[:-1] + bytes((A_SAYS[-1] ^ 1,))
    heard = _line((0, A), (10, broken), (500, B), (520, B_SAYS))
    assert heard.noise_bytes == len(broken)
    assert heard.noise_runs == 1
    assert "crc_errors" in codes(heard)


def test_identification_and_other_functions_are_frames() -> None:
    identify = modbus_line.rtu(b"\x05\x2b\x0e\x01\x00")
    said = modbus_line.rtu(b"\x05\x2b\x0e\x01\x01\x00\x00\x01\x00\x03abc")
    status = modbus_line.rtu(b"\x05\x07")
    status_said = modbus_line.rtu(b"\x05\x07\x6d")
    heard = _line((0, identify), (10, said), (100, status), (110, status_said))
    assert (heard.requests, heard.answers, heard.noise_bytes) == (2, 2, 0)


def test_ascii_is_named() -> None:
    frames = [modbus_line.ascii_frame(b"\x05\x03\x00\x0a\x00\x04")] * 5
    assert codes(_line(*((at * 100, frame) for at, frame in enumerate(frames)))) == {"ascii"}


@pytest.mark.parametrize(
    "sent",
    [Setting(9600), Setting(9600, "even"), Setting(19200, "odd"), Setting(4800, "even"),
     Setting(115200), Setting(2400)],
    ids=str,
)  # fmt: skip
def test_the_setting_that_decodes_is_the_one_that_was_sent(sent: Setting) -> None:
    trials = {}
    for setting in USUAL:
        ear = Ear()
        for number in range(6):
            for at_ms, frame in ((0, A), (40, A_SAYS), (200, B), (240, B_SAYS)):
                came = receive(frame, sent, setting)
                ear.feed(came.good, (number * 1000 + at_ms) * MS, came.marked)
        trials[setting] = ear.end(60_000 * MS)
        assert decodes(trials[setting]) == (setting == sent), setting
        assert not decodes(trials[setting]) or settled(trials[setting])
    assert best(trials) == sent
    wrong = [heard for setting, heard in trials.items() if setting.baud != sent.baud]
    assert best(dict(zip(USUAL, wrong, strict=False))) is None


def test_wrong_parity_shows_as_marked_bytes() -> None:
    came = receive(A + A_SAYS, Setting(9600, "even"), Setting(9600, "odd"))
    assert came.marked == len(A + A_SAYS)
    ear = Ear()
    ear.feed(A, 0)
    ear.feed(b"", 5 * MS, 3)
    assert "parity_errors" in codes(ear.end(10**9))


@given(st.lists(st.one_of(st.integers(0, 255), st.none()), max_size=60), st.integers(1, 7))
def test_marks_of_the_port_are_undone_in_any_pieces(marks: list[int | None], piece: int) -> None:
    raw = b"".join(
        b"\xff\x00\x07" if one is None else b"\xff\xff" if one == 255 else bytes((one,))
        for one in marks
    )
    good, count, rest = b"", 0, b""
    for at in range(0, len(raw), piece):
        more, marked, rest = unmark(rest + raw[at : at + piece])
        good, count = good + more, count + marked
    assert (good, count, rest) == (bytes(m for m in marks if m is not None), marks.count(None), b"")


def test_findings_are_in_both_languages() -> None:
    heard = _line((0, A), (4, B), (20, A_SAYS), (30, B_SAYS), (40, b"\x99" * 9))
    for finding in judge(heard, serial=True):
        assert isinstance(finding, Finding)
        assert finding.text.isascii()
        assert not finding.chinese.isascii()
