"""Whoever merges every change set holds the whole picture; whoever missed one gets the newest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.control.coalesce import Alarm, Change, Picture, Revisions, apply, difference

KEYS = st.sampled_from([f"gds/{n}|high" for n in range(6)])
ALARMS = st.dictionaries(KEYS, st.integers(0, 3).map(lambda mark: Alarm(mark, {"mark": mark})))
ITEMS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2), max_size=4)
SECTIONS = st.dictionaries(st.sampled_from(["sources", "work"]), ITEMS, max_size=2)
COUNTS = st.fixed_dictionaries({"total": st.integers(0, 3)})
PICTURES = st.builds(Picture, ALARMS, COUNTS, SECTIONS)


def plain(picture: Picture) -> tuple[object, ...]:
    """What is shown: an empty section is none."""
    sections = {name: dict(items) for name, items in picture.sections.items() if items}
    return dict(picture.alarms), dict(picture.counts), sections


@given(PICTURES, PICTURES)
def test_a_change_leads_from_one_picture_to_the_next(old: Picture, new: Picture) -> None:
    change = difference(old, new)
    assert plain(apply(old, change)) == plain(new)
    assert change.any() == (plain(old) != plain(new))
    for key, alarm in change.changed.items():  # nothing that stayed is told again
        assert old.alarms.get(key) != alarm


@given(st.lists(st.tuples(PICTURES, st.booleans(), st.booleans()), max_size=12))
def test_watchers_of_any_pace_hold_the_newest_picture(
    steps: list[tuple[Picture, bool, bool]],
) -> None:
    """The first is asked after every step or not, the second likewise; both end up right."""
    revisions = Revisions()
    held = [Picture(), Picture()]
    seen = [-1, -1]
    told = [0, 0]

    def ask(who: int) -> None:
        owed = revisions.owed(seen[who])
        if isinstance(owed, Change):
            held[who] = apply(held[who], owed)
        elif owed is not None:
            held[who] = owed
        told[who] += owed is not None
        seen[who] = revisions.number

    for picture, first, second in steps:
        before = revisions.number
        assert revisions.take(picture) == (revisions.number == before + 1)
        for who, asks in enumerate((first, second)):
            if asks:
                ask(who)
                assert plain(held[who]) == plain(revisions.picture)
    for who in (0, 1):
        ask(who)
        assert plain(held[who]) == plain(revisions.picture)
        assert revisions.owed(seen[who]) is None
        assert told[who] <= revisions.number + 1  # never more lines than revisions
