"""Who comes and who leaves: once each, however they stand on the border."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vision.config import CameraConfig, ZoneConfig
from vision.passages import SETTLE_NS, Passages
from vision.tags import camera_tags
from vision.track import Track
from vision.zones import BAD_CANNOT_JUDGE, GOOD, SAMPLE_NS, Headcount, Zones

STEP_NS = SETTLE_NS // 2
LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


def after(frames: list[set[int]], passages: Passages | None = None) -> tuple[int, int, int]:
    """Who came, who left, the longest stay after frames half a second apart."""
    watch = passages or Passages()
    for number, ids in enumerate(frames):
        watch.feed(ids, number * STEP_NS)
    return watch.came, watch.left, watch.longest_s((len(frames) - 1) * STEP_NS)


def test_somebody_comes_stays_and_leaves() -> None:
    assert after([set(), {7}, {7}]) == (0, 0, 0), "not settled yet"
    assert after([set(), {7}, {7}, {7}]) == (1, 0, 1)
    assert after([set(), *[{7}] * 9, set(), set()]) == (1, 0, 5)
    assert after([set(), *[{7}] * 9, set(), set(), set()]) == (1, 1, 0)


def test_who_stands_on_the_border_comes_once_and_who_was_there_has_not_come() -> None:
    assert after([set(), {7}, {7}, {7}, *[set(), {7}] * 20]) == (1, 0, 21)
    assert after([set(), *[{7}, set()] * 20]) == (0, 0, 0), "never in it for long enough"
    assert after([{7}, {7}, {7}, {7, 8}, {7, 8}, {7, 8}]) == (1, 0, 2)


def test_nobody_comes_or_leaves_while_nothing_can_be_judged() -> None:
    passages = Passages()
    assert after([{7}] * 5, passages) == (0, 0, 2)
    passages.blind()
    assert passages.longest_s(10**12) == 0
    assert after([{9}] * 5, passages) == (0, 0, 2)


@given(st.lists(st.sets(st.integers(0, 4), max_size=4), max_size=80))
def test_nobody_leaves_who_has_not_come_or_was_there(frames: list[set[int]]) -> None:
    passages = Passages()
    for number, ids in enumerate(frames):
        before = passages.came, passages.left
        passages.feed(ids, number * STEP_NS)
        assert (passages.came, passages.left) >= before
        there = len(frames[0])
        assert passages.left <= passages.came + there
        assert passages.longest_s(number * STEP_NS) <= number * STEP_NS // 10**9


def test_they_are_points_of_the_camera_in_the_order_of_its_tags() -> None:
    zone = ZoneConfig(name="gate", polygon=LEFT, require=("helmet",), passages=True)
    config = CameraConfig(name="cam", source="clip.avi", zones=(zone,))
    assert camera_tags(config) == [
        "gate.headcount", "gate.no_helmet", "gate.helmet_undecided",
        "gate.came", "gate.left", "gate.longest_stay", "analysed_fps",
    ]  # fmt: skip
    zones = Zones([zone], start_ns=0)
    samples: list[Headcount] = []
    for number in range(9):
        tracks = [Track(1, (10.0, 20.0, 14.0, 40.0), (0.0, 0.0), 0.9, 3, 0, True, 0, 0.9)]
        found = zones.feed(tracks[: number > 1], 100, 100, now_ns=number * STEP_NS)
        samples += [one for one in found if isinstance(one, Headcount)]
    assert samples[-1].wearing[2:] == ((1, GOOD), (0, GOOD), (3, GOOD))
    zones.blind(BAD_CANNOT_JUDGE)
    [lost] = zones.tick(99 * SAMPLE_NS)
    assert isinstance(lost, Headcount)
    assert lost.wearing == ((None, BAD_CANNOT_JUDGE),) * 5
