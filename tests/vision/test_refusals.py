"""Which cameras try one login, and when it may be tried: by properties, time passed in."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision.refusals import (
    AGAIN_NS,
    FRESH_NS,
    LOCKOUT_NS,
    NOTE_BYTES,
    TRIES,
    Decision,
    Note,
    Place,
    Step,
    after_refusal,
    after_taking,
    decide,
    decoded,
    encoded,
    is_over,
    place_of,
)

NOW_NS = 1_800_000_000_000_000_000
GO, TURN = Decision(Step.GO), Decision(Step.TURN)
TIMES = st.integers(0, (1 << 63) - 1)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
NOTES = st.builds(
    Note,
    refusals=st.integers(0, 10),
    refused_ns=TIMES,
    camera=st.just("gate"),
    answer=st.just("401 Unauthorized"),
    taken_ns=TIMES,
)


def refused_times(times: int, taken_ns: int = 0) -> Note:
    note = Note(taken_ns=taken_ns)
    for number in range(times):
        note = after_refusal(note, NOW_NS + number, "gate", "401 Unauthorized")
    return note


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("rtsp://nvr.plant/ch1", Place("nvr.plant", 554, "admin")),
        ("rtsp://NVR.plant.:554/ch2?x=1", Place("nvr.plant", 554, "admin")),
        ("rtsps://nvr.plant/ch1", Place("nvr.plant", 322, "admin")),
        ("http://10.0.0.7/video.mjpg", Place("10.0.0.7", 80, "admin")),
        ("https://10.0.0.7/video.mjpg", Place("10.0.0.7", 443, "admin")),
        ("rtsp://[FE80::1]:8554/ch1", Place("fe80::1", 8554, "admin")),
    ],
)
def test_one_place_is_one_however_its_address_is_written(source: str, place: Place) -> None:
    assert place_of(source, "admin") == place


def test_an_address_without_a_sensible_port_is_no_place() -> None:
    with pytest.raises(ValueError, match="Port"):
        place_of("rtsp://10.0.0.7:99999/x", "admin")


def test_what_nobody_tried_is_tried_by_one_at_a_time() -> None:
    assert decide(Note(), NOW_NS) == TURN


def test_a_login_that_was_just_taken_needs_no_turn() -> None:
    note = after_taking(NOW_NS)
    assert decide(note, NOW_NS + FRESH_NS - 1) == GO
    assert decide(note, NOW_NS + FRESH_NS) == TURN
    assert decide(note, NOW_NS - 1) == TURN, "by a clock that was set"


@given(st.integers(-LOCKOUT_NS, 2 * LOCKOUT_NS))
@example(-1)
@example(0)
@example(LOCKOUT_NS - 1)
@example(LOCKOUT_NS)
def test_a_refusal_holds_everybody_back_for_half_an_hour_and_no_longer(age_ns: int) -> None:
    found = decide(refused_times(1), NOW_NS + age_ns)
    if 0 <= age_ns < LOCKOUT_NS:
        assert found == Decision(Step.HOLD, LOCKOUT_NS - age_ns)
    else:
        assert found == TURN


@pytest.mark.parametrize("is_own", [True, False])
def test_a_login_that_was_taken_before_is_tried_three_times_by_all_together(is_own: bool) -> None:
    """By this camera, or, as the note tells, by any other, however long ago."""
    taken_ns = 0 if is_own else NOW_NS - 100 * LOCKOUT_NS
    for times in range(1, TRIES + 1):
        note = refused_times(times, taken_ns)
        at_ns = NOW_NS + times - 1
        wait_ns = AGAIN_NS if times < TRIES else LOCKOUT_NS
        assert decide(note, at_ns, known=is_own) == Decision(Step.HOLD, wait_ns)
        assert decide(note, at_ns + wait_ns, known=is_own) == TURN


def test_after_half_an_hour_the_count_begins_anew_and_one_tries() -> None:
    note = refused_times(TRIES)
    later_ns = note.refused_ns + LOCKOUT_NS
    assert decide(note, later_ns) == TURN
    note = after_refusal(note, later_ns, "yard", "401 No")
    assert note == Note(1, later_ns, "gate", "401 No"), "the first to be refused stays the reason"
    assert decide(note, later_ns + 1) == Decision(Step.HOLD, LOCKOUT_NS - 1)


def test_who_is_refused_while_others_are_let_in_is_refused_alone() -> None:
    """Its password is right, then: the stream is not for this user."""
    note = after_taking(NOW_NS)
    assert after_refusal(note, NOW_NS + FRESH_NS - 1, "safe", "401 Unauthorized") == note
    assert after_refusal(note, NOW_NS + FRESH_NS, "safe", "401 Unauthorized").refusals == 1


def test_a_login_that_is_taken_clears_what_was_refused() -> None:
    assert decide(after_taking(NOW_NS + 9), NOW_NS + 10) == GO
    assert after_taking(NOW_NS + 9).refusals == 0


@given(NOTES, TIMES, st.booleans())
def test_nobody_is_held_back_for_longer_than_the_lockout(
    note: Note, now_ns: int, known: bool
) -> None:
    found = decide(note, now_ns, known=known)
    assert (found.step is Step.HOLD) == (found.left_ns > 0)
    assert found.left_ns <= LOCKOUT_NS
    assert decide(note, now_ns + found.left_ns, known=known).step is not Step.HOLD


@given(st.lists(st.tuples(st.integers(0, 2 * LOCKOUT_NS), st.booleans()), max_size=40))
def test_cameras_that_keep_to_it_are_never_refused_more_than_three_times_in_half_an_hour(
    attempts: list[tuple[int, bool]],
) -> None:
    note, now_ns, refusals = Note(), NOW_NS, []
    for wait_ns, known in attempts:
        now_ns += wait_ns
        if decide(note, now_ns, known=known).step is not Step.HOLD:
            note = after_refusal(note, now_ns, "gate", "401 Unauthorized")
            refusals.append(now_ns)
    for first in refusals:
        within = [one for one in refusals if 0 <= one - first < LOCKOUT_NS]
        assert len(within) <= TRIES


@given(WORDS, st.integers(0, 1_000_000), TIMES, TIMES, WORDS)
def test_a_note_is_read_as_it_was_written(
    camera: str, refusals: int, refused_ns: int, taken_ns: int, answer: str
) -> None:
    camera = "".join(letter for letter in camera if letter.isprintable())[:64]
    note = after_refusal(Note(taken_ns=taken_ns), refused_ns, camera, answer)
    if note.refusals:
        note = Note(refusals, refused_ns, note.camera, note.answer, taken_ns)
    assert decoded(encoded(note)) == note
    assert len(encoded(note)) == NOTE_BYTES


@pytest.mark.parametrize("letter", ['"', "\\", "密", "\U0001f600"])
def test_the_longest_note_has_room(letter: str) -> None:
    note = after_refusal(Note(taken_ns=(1 << 63) - 1), (1 << 62), letter * 64, letter * 300)
    assert len(encoded(note)) == NOTE_BYTES
    assert decoded(encoded(note)) == note


@given(st.binary(max_size=300))
@example(b"")
@example(b"\xff\xfe")
@example(b"[]")
@example(b"[" * 300)
def test_what_is_no_note_counts_as_an_empty_one(content: bytes) -> None:
    assert decoded(content) == Note()


@pytest.mark.parametrize(
    "change",
    [
        {"refusals": -1}, {"refusals": "1"}, {"refused_ns": 1 << 63}, {"taken_ns": 1.5},
        {"camera": "x" * 65}, {"camera": "a\nb"}, {"answer": "\x1b[2J"}, {"more": 1},
        {"refusals": True},
    ],
)  # fmt: skip
def test_a_note_that_was_tampered_with_counts_as_an_empty_one(change: dict[str, object]) -> None:
    said = {**json.loads(encoded(refused_times(1))), **change}
    assert decoded(json.dumps(said).encode()) == Note()


def test_what_was_neither_refused_nor_taken_lately_may_be_forgotten() -> None:
    assert is_over(Note(), NOW_NS)
    assert not is_over(after_taking(NOW_NS), NOW_NS + LOCKOUT_NS - 1)
    assert is_over(after_taking(NOW_NS), NOW_NS + LOCKOUT_NS)
    assert not is_over(refused_times(1), NOW_NS)
