"""Search over a catalogue, against a plain scan of its points."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.control.point_index import PointIndex
from gateway.model.catalogue import Catalogue
from gateway.model.point import Point

WORDS = ["tank", "TANK-farm", "罐区", "压力", "a", "gds-1", "x\ty", "line\nbreak", "ſ", "İ"]
TEXT = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)


def made(descriptions: list[str]) -> tuple[PointIndex, list[Point]]:
    points = [Point(n * 3 + 1, f"dev/{n}", description=d) for n, d in enumerate(descriptions)]
    index = PointIndex(Catalogue.of(points).encoded)
    while not index.grow(2):
        pass
    return index, points


@given(st.lists(TEXT, max_size=12), TEXT, st.integers(0, 3), st.integers(1, 5))
def test_a_page_is_that_of_a_plain_scan(
    descriptions: list[str], search: str, page: int, size: int
) -> None:
    index, points = made(descriptions)
    words = search.lower().split()
    wanted = [
        point
        for point in points
        if all(w in f"{point.name}\t{point.description}\t\t".lower() for w in words)
    ]
    found, more = index.find(search, page * size, size)
    assert [one.id for one in found] == [p.id for p in wanted[page * size : (page + 1) * size]]
    assert more == (len(wanted) > (page + 1) * size)


@given(st.integers(1, 30))
def test_points_are_found_by_their_exact_names(count: int) -> None:
    index, points = made(["same"] * count)
    names = [point.name for point in points]
    found = index.named([*names, "dev", "dev/", "DEV/0", "x"])
    assert [one.name if one is not None else None for one in found] == [*names, *[None] * 4]


def test_an_empty_catalogue_has_nothing() -> None:
    index, _ = made([])
    assert index.find("a", 0, 5) == ([], False)
    assert index.find("", 0, 5) == ([], False)
    assert index.named(["a"]) == [None]
