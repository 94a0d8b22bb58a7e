"""Matching and figures: by hand, and against properties that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.measure import Answer, Fate, ImageMarks, Truth, average_precision, bootstrap, f1, mark
from vision.ppe import Judgement, Seen, Verdict

ALL = frozenset({"person", "helmet", "no_helmet"})
NOBODY = np.zeros((0, 4), np.float32)


def rows(*boxes: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def someone(
    x: float, verdict: Verdict = Verdict.UNDECIDED, *, head: bool = True, size: float = 30
) -> Seen:
    box = (x - 20, 0.0, x + 20 + size, 200.0)
    found = (x, 5.0, x + size, 5 + size)
    return Seen(box, 0.9, found if head else None, box, helmet=Judgement(verdict, 0.5))


def answer(*seen: Seen) -> Answer:
    boxes = rows(*(one.box for one in seen))
    return Answer(boxes, np.array([one.score for one in seen], np.float32), seen)


def test_each_way_to_lose_a_label_is_told_apart() -> None:
    heads = rows(*((x, 5, x + 30, 35) for x in (100, 200, 300, 400, 500)))
    seen = (
        someone(100, Verdict.MISSING),
        someone(200, Verdict.WORN),
        someone(300),
        someone(400, head=False),
    )
    marks = mark(Truth({"no_helmet": heads}), answer(*seen), frozenset({"helmet", "no_helmet"}))
    fates = marks.items["no_helmet"].fates[1]
    assert fates == dict.fromkeys(Fate, 1)
    assert marks.items["helmet"].wrong == [0, 1, 0, 0]
    assert marks.items["no_helmet"].hits == [0, 1, 0, 0]
    assert (marks.people, marks.counted, marks.labelled_people) == (5, 4, None)


def test_a_verdict_where_nothing_is_labelled_is_kept_apart() -> None:
    marks = mark(Truth({}), answer(someone(100, Verdict.MISSING, size=50)), ALL)
    assert marks.items["no_helmet"].unmatched == [0, 0, 1, 0]
    assert marks.items["no_helmet"].wrong == [0, 0, 0, 0]


def test_one_label_takes_one_person_only() -> None:
    twice = (someone(100, Verdict.WORN), someone(104, Verdict.WORN))
    marks = mark(Truth({"helmet": rows((100, 5, 130, 35))}), answer(*twice), ALL)
    assert (sum(marks.items["helmet"].hits), sum(marks.items["helmet"].unmatched)) == (1, 1)


def test_a_label_around_the_whole_person_matches_the_person() -> None:
    one = someone(100, Verdict.MISSING)
    marks = mark(Truth({"no_helmet": rows(one.box)}), answer(one), ALL)
    assert sum(marks.items["no_helmet"].hits) == 1


def marked(scores: list[float], hits: list[bool], people: int) -> ImageMarks:
    return ImageMarks(people, 0, people, scores, hits)


def test_average_precision_by_hand() -> None:
    marks = [marked([0.9, 0.8, 0.7], [True, False, True], 4)]
    # precision 1 up to recall 1/4, 2/3 up to 1/2, nothing beyond
    assert average_precision(marks) == pytest.approx(0.25 + 0.25 * 2 / 3)
    assert average_precision([marked([0.9], [True], 1)]) == 1.0
    assert average_precision([marked([0.9], [False], 0)]) is None


@given(
    st.lists(st.tuples(st.floats(0, 1, allow_nan=False), st.booleans()), min_size=1, max_size=20),
    st.integers(1, 30),
)
def test_average_precision_lies_between_nothing_and_recall(
    found: list[tuple[float, bool]], more: int
) -> None:
    hits = sum(hit for _, hit in found)
    marks = [marked([s for s, _ in found], [h for _, h in found], hits + more)]
    value = average_precision(marks)
    assert value is not None
    assert -1e-9 <= value <= hits / (hits + more) + 1e-9


@given(st.lists(st.booleans(), min_size=2, max_size=40))
def test_the_interval_holds_the_share_or_its_edge(hits: list[bool]) -> None:
    values = np.array(hits, np.float64)
    figure = bootstrap(len(hits), lambda w: float((values * w).sum() / w.sum()), seed=1, rounds=50)
    assert figure.value == pytest.approx(values.mean())
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.high <= 1


def test_f1_without_verdicts_is_nothing_and_without_labels_is_unknown() -> None:
    assert f1(None, 0.0) == 0.0
    assert f1(1.0, None) is None
    assert f1(0.5, 0.5) == 0.5


def test_the_same_people_in_another_order_get_the_same_marks() -> None:
    heads = rows(*((x, 5, x + 30, 35) for x in (100, 200, 300)))
    truth = Truth({"helmet": heads, "person": rows(someone(100).box)})
    seen = [someone(x, Verdict.WORN) for x in (100, 200, 300)]
    one, other = mark(truth, answer(*seen), ALL), mark(truth, answer(*reversed(seen)), ALL)
    assert one.items == other.items
    assert one.count_error == other.count_error == 2
    assert NOBODY.shape == (0, 4)
