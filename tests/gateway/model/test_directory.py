"""The directory answers as a search through all points does."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.model.directory import Directory
from gateway.model.point import Point

NAMES = st.text("ab/报", min_size=1, max_size=5)
POINTS = st.lists(
    st.tuples(st.integers(0, 1000), NAMES, st.sampled_from(["", "北区", "south"])),
    unique_by=(lambda row: row[0], lambda row: row[1]), max_size=20,
).map(lambda rows: [Point(number, name, place=place) for number, name, place in rows])  # fmt: skip


@given(POINTS, st.sampled_from(["point", "device", "place"]), NAMES)
@example([Point(1, "a/b"), Point(2, "b/a")], "point", "bb")
@example([Point(1, "a/b"), Point(2, "a/bb")], "point", "a/b")
@example([Point(1, "a/b")], "place", "")
def test_it_answers_as_a_search_does(points: list[Point], scope: str, name: str) -> None:
    directory = Directory(points)
    for wanted in (name, *(point.name for point in points)):
        of_scope = {"point": "name", "device": "device", "place": "place"}[scope]
        found = [point for point in points if wanted and getattr(point, of_scope) == wanted]
        ids = directory.ids(scope, wanted)
        assert ids.tolist() == [point.id for point in found]
        assert list(directory.names(ids)) == [point.name for point in found]


def test_a_directory_may_be_empty() -> None:
    assert Directory([]).ids("device", "gds").tolist() == []
    assert list(Directory([]).names(Directory([]).ids("place", "x"))) == []
