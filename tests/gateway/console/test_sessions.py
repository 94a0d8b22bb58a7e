"""Sessions against a plain model: who is signed in, and until when."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.sessions import MOST, MOST_OF_ONE, Sessions

IDLE_NS, ABSOLUTE_NS = 60, 600


def test_a_session_ends_one_step_after_its_idle_time() -> None:
    for passed, there in ((IDLE_NS - 1, True), (IDLE_NS, False)):
        sessions = Sessions(IDLE_NS, ABSOLUTE_NS)
        sessions.begin("token", "王芳", 1, now_ns=0)
        assert (sessions.find("token", now_ns=passed, touch=True) is not None) is there


def test_requests_keep_it_but_not_beyond_the_absolute_limit() -> None:
    sessions = Sessions(IDLE_NS, ABSOLUTE_NS)
    sessions.begin("token", "王芳", 1, now_ns=0)
    for now_ns in range(0, ABSOLUTE_NS, IDLE_NS - 1):
        assert sessions.find("token", now_ns=now_ns, touch=True)
    assert sessions.find("token", now_ns=ABSOLUTE_NS - 1, touch=True)
    assert sessions.find("token", now_ns=ABSOLUTE_NS, touch=True) is None


def test_looking_without_touching_keeps_nobody_in() -> None:
    sessions = Sessions(IDLE_NS, ABSOLUTE_NS)
    sessions.begin("token", "王芳", 1, now_ns=0)
    for now_ns in range(IDLE_NS):
        assert sessions.find("token", now_ns=now_ns, touch=False)
    assert sessions.find("token", now_ns=IDLE_NS, touch=False) is None
    assert sessions.next_deadline_ns() is None


@pytest.mark.parametrize("stamps", [{}, {"王芳": 2}])
def test_who_is_removed_or_has_another_password_is_signed_out(stamps: dict[str, int]) -> None:
    sessions = Sessions(IDLE_NS, ABSOLUTE_NS)
    sessions.begin("token", "王芳", 1, now_ns=0)
    sessions.begin("other", "李四", 1, now_ns=0)
    sessions.keep(stamps | {"李四": 1})
    assert sessions.find("token", now_ns=1, touch=True) is None
    assert sessions.find("other", now_ns=1, touch=True)


def test_there_is_a_bound_for_one_person_and_for_all() -> None:
    sessions = Sessions(IDLE_NS, ABSOLUTE_NS)
    for number in range(MOST_OF_ONE + 3):
        sessions.begin(f"t{number}", "王芳", 1, now_ns=number)
    assert len(sessions) == MOST_OF_ONE
    assert sessions.find("t2", now_ns=20, touch=True) is None
    assert sessions.find("t3", now_ns=20, touch=True)
    for number in range(MOST + 5):
        sessions.begin(f"u{number}", f"user {number}", 1, now_ns=21)
    assert len(sessions) == MOST


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "find", "look", "end", "keep"]),
            st.integers(0, 3),
            st.integers(0, 40),
        ),
        max_size=40,
    )
)
def test_as_the_model(steps: list[tuple[str, int, int]]) -> None:
    sessions, now_ns, made = Sessions(IDLE_NS, ABSOLUTE_NS), 0, 0
    model: dict[str, tuple[int, int, int]] = {}
    tokens: list[str] = ["", "", "", ""]
    for step, person, passed in steps:
        now_ns += passed
        model = {
            token: (who, began, seen)
            for token, (who, began, seen) in model.items()
            if now_ns < min(seen + IDLE_NS, began + ABSOLUTE_NS)
        }
        token = tokens[person]
        if step == "begin":
            made += 1
            token = tokens[person] = f"token {made}"
            sessions.begin(token, f"p{person}", 1, now_ns=now_ns)
            own = [key for key, (who, _, _) in model.items() if who == person]
            for key in own[: max(0, len(own) + 1 - MOST_OF_ONE)]:
                del model[key]
            model[token] = (person, now_ns, now_ns)
        elif step == "end":
            sessions.end(token)
            model.pop(token, None)
        elif step == "keep":
            sessions.keep({f"p{n}": 1 for n in range(4) if n != person})
            model = {key: held for key, held in model.items() if held[0] != person}
        else:
            found = sessions.find(token, now_ns=now_ns, touch=step == "find")
            assert (found is not None) == (token in model)
            if found is not None and step == "find":
                who, began, _ = model[token]
                model[token] = (who, began, now_ns)
