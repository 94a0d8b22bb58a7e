"""What browsers are told, whatever they missed: they always end with the gateway's own picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.follower import BEAT_NS, Follower
from gateway.console.view import MOST_ROWS, NEVER, STALE_NS, Frame, View


class Browser:
    """Applies frames as the pages do."""

    def __init__(self) -> None:
        self.seen = NEVER
        self.alarms: dict[str, Any] = {}
        self.sections: dict[str, dict[str, Any]] = {}
        self.counts: Any = None

    def apply(self, frame: Frame) -> None:
        content = frame.content
        self.seen = frame.revision
        if frame.event == "state":
            self.alarms = {row["key"]: row for row in content["alarms"]}
            self.sections = {name: dict(held) for name, held in content["sections"].items()}
            self.counts = content["alarm_count"]
            return
        for key in content.get("alarms", {}).get("gone", ()):
            self.alarms.pop(key, None)
        for row in content.get("alarms", {}).get("changed", ()):
            self.alarms[row["key"]] = row
        for name, held in content.get("sections", {}).items():
            for item, value in held.items():
                if value is None:
                    self.sections.get(name, {}).pop(item, None)
                else:
                    self.sections.setdefault(name, {})[item] = value
        self.counts = content.get("alarm_count", self.counts)

    def picture(self) -> tuple[Any, ...]:
        kept = {name: held for name, held in self.sections.items() if held}
        return self.alarms, kept, self.counts


def row(key: str, state: str = "active") -> dict[str, Any]:
    return {"key": key, "state": state}


def state(*keys: str, **sections: Mapping[str, Any]) -> dict[str, Any]:
    return {"ok": True, "kind": "state", "revision": 1, "time_ns": 1, "site": {"gateway": "G"},
            "alarms": [row(key) for key in keys], "alarm_count": {"total": len(keys)},
            "sections": sections}  # fmt: skip


def test_the_first_frame_is_the_whole_picture_and_then_nothing() -> None:
    view = View()
    assert view.since(NEVER) is None
    view.feed(state("a", sources={"gds-1": {"connected": True}}), now_ns=0)
    frame = view.since(NEVER)
    assert frame is not None
    assert frame.event == "state"
    assert frame.content["site"] == {"gateway": "G"}
    assert frame.content["sections"] == {"sources": {"gds-1": {"connected": True}}}
    assert "ok" not in frame.content
    assert view.since(frame.revision) is None


def test_a_change_holds_the_newest_of_all_that_was_missed() -> None:
    view = View()
    view.feed(state("a", "b"), now_ns=0)
    seen = view.revision
    for word in ("one", "two", "three"):
        view.feed({"alarms": {"changed": [row("a", word)], "gone": []}}, now_ns=0)
    view.feed({"alarms": {"changed": [], "gone": ["b"]}, "alarm_count": {"total": 1}}, now_ns=0)
    frame = view.since(seen)
    assert frame is not None
    assert frame.event == "change"
    assert frame.content["alarms"] == {"changed": [row("a", "three")], "gone": ["b"]}
    assert frame.content["alarm_count"] == {"total": 1}


def test_a_heartbeat_is_life_and_no_change() -> None:
    view = View()
    view.feed(state("a"), now_ns=0)
    seen = view.revision
    view.feed({"kind": "heartbeat", "revision": 1, "time_ns": 2}, now_ns=STALE_NS)
    assert view.since(seen) is None
    assert not view.stale(2 * STALE_NS)
    assert view.stale(2 * STALE_NS + 1)


def test_who_comes_back_after_the_gateway_was_gone_gets_everything() -> None:
    view = View()
    view.feed(state("a"), now_ns=0)
    seen = view.revision
    view.lost("the gateway is not running")
    assert view.stale(0)
    with pytest.raises(ValueError, match="whole state"):
        view.feed({"alarms": {"changed": [row("b")], "gone": []}}, now_ns=1)
    view.feed(state("c"), now_ns=2)
    frame = view.since(seen)
    assert frame is not None
    assert frame.event == "state"
    assert [one["key"] for one in frame.content["alarms"]] == ["c"]


def test_an_unknown_place_gets_everything() -> None:
    view = View()
    view.feed(state("a"), now_ns=0)
    for seen in (NEVER, view.revision + 7):
        frame = view.since(seen)
        assert frame is not None
        assert frame.event == "state"


def test_a_flood_is_bounded_and_who_missed_it_gets_everything() -> None:
    view = View()
    view.feed(state("first"), now_ns=0)
    seen = view.revision
    for start in range(0, 4 * MOST_ROWS, 500):
        changed = [row(f"r{n}") for n in range(start, start + 500)]
        view.feed({"alarms": {"changed": changed, "gone": []}}, now_ns=0)
    frame = view.since(seen)
    assert frame is not None
    assert frame.event == "state"
    assert len(frame.content["alarms"]) == MOST_ROWS


LINES = st.lists(
    st.one_of(
        st.builds(
            lambda keys, item, value: state(*keys, part={item: value}),
            st.lists(st.sampled_from("abcdef"), unique=True, max_size=4),
            st.sampled_from("xyz"),
            st.integers(0, 3),
        ),
        st.builds(
            lambda changed, gone, item, value: {
                "alarms": {"changed": [row(k, w) for k, w in changed.items()], "gone": gone},
                "alarm_count": {"total": len(changed)},
                "sections": {"part": {item: value}},
            },
            st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["one", "two"]), max_size=3),
            st.lists(st.sampled_from("gh"), unique=True, max_size=2),
            st.sampled_from("xyz"),
            st.one_of(st.none(), st.integers(0, 3)),
        ),
        st.just({"kind": "heartbeat"}),
        st.just("lost"),
    ),
    max_size=25,
)


@given(LINES, st.lists(st.integers(0, 3), min_size=25, max_size=25))
def test_browsers_of_any_speed_end_with_the_same_picture(
    lines: list[Any], speeds: list[int]
) -> None:
    view, whole = View(), Browser()
    browsers = [Browser() for _ in range(3)]
    view.feed(state("a", "g"), now_ns=0)
    for line, speed in zip(lines, speeds, strict=False):
        if line == "lost":
            view.lost("gone")
            view.feed(state("b"), now_ns=0)
        else:
            view.feed(line, now_ns=0)
        for number, browser in enumerate(browsers):
            if speed >= number and (frame := view.since(browser.seen)) is not None:
                browser.apply(frame)
    last = view.whole()
    assert last is not None
    whole.apply(last)
    for browser in browsers:
        if (frame := view.since(browser.seen)) is not None:
            browser.apply(frame)
        assert browser.picture() == whole.picture()
        assert view.since(browser.seen) is None


def test_items_that_are_gone_are_forgotten_in_bounds() -> None:
    view, browser = View(most_items=3), Browser()
    view.feed(state(part={"x": 1}), now_ns=0)
    frame = view.since(NEVER)
    assert frame is not None
    browser.apply(frame)
    for number in range(10):
        view.feed({"sections": {"part": {f"i{number}": number}}}, now_ns=0)
        view.feed({"sections": {"part": {f"i{number}": None}}}, now_ns=0)
    frame = view.since(browser.seen)
    assert frame is not None
    assert frame.event == "state"


# -- one browser's place -----------------------------------------------------------------------


def test_a_follower_tells_state_then_beats_then_the_loss_at_once_and_the_return() -> None:
    view, follower = View(), Follower(NEVER)

    def told(now_ns: int) -> str | None:
        found = follower.feed(view, now_ns=now_ns)
        return found.event if found is not None else None

    assert told(0) == "gone"
    assert told(BEAT_NS - 1) is None
    assert told(BEAT_NS) == "gone"
    view.feed(state("a"), now_ns=BEAT_NS)
    assert told(BEAT_NS) == "state"
    assert told(2 * BEAT_NS - 1) is None
    assert told(2 * BEAT_NS) == "beat"
    view.lost("the gateway is not running")
    assert told(2 * BEAT_NS + 1) == "gone"
    view.feed(state("a"), now_ns=2 * BEAT_NS)
    assert told(2 * BEAT_NS + 2) == "state"
    assert told(BEAT_NS + STALE_NS + 2 * BEAT_NS) == "gone"


def test_a_follower_that_was_told_everything_is_told_once() -> None:
    view, follower = View(), Follower(NEVER)
    view.feed(state("a"), now_ns=0)
    assert follower.feed(view, now_ns=0)
    view.feed({"alarms": {"changed": [row("a", "two")], "gone": []}}, now_ns=1)
    told = follower.feed(view, now_ns=1)
    assert told is not None
    assert told.event == "change"
    assert follower.feed(view, now_ns=2) is None
