"""Nothing old is shown as if it were now: pictures, people, votes, hold times of before a break."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from vision.analyser import Analyser, Output
from vision.config import CameraConfig
from vision.frames import Frame, LinkState
from vision.link_watch import STARTUP_NS, LinkChange
from vision.postprocess import Detections
from vision.sightings import Sighting, Sightings
from vision.zones import BAD_NOT_CONNECTED, GOOD, UNCERTAIN, Headcount, OverCount, TooFew

S = 1_000_000_000
WHOLE = [[0, 0], [1, 0], [1, 1], [0, 1]]
NOISE = np.random.default_rng(5)
ZONE = {"name": "post", "polygon": WHOLE, "min_people": 1, "max_people": 1, "clear_s": 2}


class Rig:
    """An analyser that finds as many people as the test says; a quarter of a second a frame."""

    def __init__(
        self, *, active: Iterable[str] = (), sightings: Sightings | None = None, **changes: object
    ) -> None:
        said = {"name": "cam", "source": "rtsp://192.0.2.7/1", "motion_floor_s": 0, "zone": [ZONE]}
        config = CameraConfig.model_validate({**said, **changes})
        self.people = 1
        self.number = 0
        self.analyser = Analyser(
            config, self.detect, start_ns=0, active=list(active), sightings=sightings
        )

    def detect(self, _: np.ndarray, __: float) -> tuple[Detections, npt.NDArray[np.uint8]]:
        boxes = [[10 + 30 * n, 10, 20 + 30 * n, 40] for n in range(self.people)]
        found = Detections(
            np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), 0.9, np.float32)
        )
        return found, NOISE.integers(0, 255, (24, 24), np.uint8)

    def feed(self, at_s: float, *, first: bool = False) -> list[Output]:
        now_ns = round(at_s * S)
        image = NOISE.integers(0, 255, (50, 200, 3), np.uint8)
        frame = Frame(image, self.number, now_ns, now_ns, first or not self.number)
        self.number += 1
        return self.analyser.feed(frame, now_ns=now_ns)

    def span(self, from_s: float, to_s: float) -> list[Output]:
        outputs = []
        for quarter in range(round(4 * from_s), round(4 * to_s)):
            outputs += self.feed(quarter / 4)
            outputs += self.tick(quarter / 4, frame_s=quarter / 4)
        return outputs

    def tick(self, at_s: float, *, frame_s: float | None) -> list[Output]:
        frame_ns = None if frame_s is None else round(frame_s * S)
        return self.analyser.tick(LinkState(frame_ns, round(at_s * S), ""), round(at_s * S))


def samples(outputs: Sequence[Output]) -> list[Headcount]:
    return [one for one in outputs if isinstance(one, Headcount)]


def test_frames_that_come_and_cannot_be_turned_into_pictures_make_the_count_bad() -> None:
    """The stream goes on and nothing of it is decoded: the last count must not stand as good."""
    rig = Rig()
    assert samples(rig.span(0, 3))[-1].quality == GOOD
    said = [one for at_s in range(3, 20) for one in rig.tick(at_s, frame_s=at_s)]
    (lost,) = [one for one in said if isinstance(one, LinkChange)]
    assert (lost.lost, "none of them" in lost.reason) == (True, True)
    assert samples(said)[-1] == Headcount((None,), BAD_NOT_CONNECTED)
    back = rig.feed(20)
    assert back[0] == LinkChange(lost=False, reason="")
    assert samples(rig.span(20.25, 22))[-1].quality == GOOD


def test_a_stream_of_which_no_picture_ever_came_is_a_lost_camera() -> None:
    rig = Rig()
    assert not [one for one in rig.tick(7, frame_s=7) if isinstance(one, LinkChange)]
    late_s = STARTUP_NS / S + 1
    (lost,) = [one for one in rig.tick(late_s, frame_s=late_s) if isinstance(one, LinkChange)]
    assert "none of them" in lost.reason


@pytest.mark.parametrize("fps", [0.1, 1.0, 4.0])
def test_a_camera_that_is_analysed_seldom_is_not_lost(fps: float) -> None:
    rig = Rig(analyse_fps=fps)
    period_s = 1 / fps
    said = []
    for number in range(6):
        said += rig.feed(number * period_s)
        for step in range(1, 4):
            at_s = (number + step / 4) * period_s
            said += rig.tick(at_s, frame_s=at_s)
    assert not [one for one in said if isinstance(one, LinkChange)]
    assert {one.quality for one in samples(said)} == {GOOD}


def test_a_picture_that_waited_too_long_is_not_judged() -> None:
    """The loop stood still (a gateway that does not read): what it finds then is of before."""
    rig = Rig()
    rig.feed(1)
    frame = Frame(np.zeros((50, 200, 3), np.uint8), 5, 2 * S, 2 * S, False)
    assert not rig.analyser.too_old(frame, now_ns=7 * S)
    assert rig.analyser.too_old(frame, now_ns=7 * S + 1)


def test_two_frames_a_minute_apart_raise_nothing_that_must_hold() -> None:
    """A process that was stopped or starved for minutes: what was between was not seen."""
    rig = Rig()
    rig.span(0, 3)
    rig.people = 0
    rig.span(3, 4)
    said = rig.feed(4 + 600)
    assert not [one for one in said if isinstance(one, TooFew | OverCount)]
    rig.people = 2
    said = rig.span(605, 606) + rig.feed(606 + 60)
    assert not [one for one in said if isinstance(one, TooFew | OverCount)]


def test_who_was_there_before_a_break_is_not_counted_after_it() -> None:
    rig = Rig()
    rig.people = 2
    rig.span(0, 3)
    rig.people = 0
    rig.feed(63)
    assert rig.analyser.counts == (0,)


def test_votes_of_before_a_break_raise_nothing_after_it() -> None:
    """Two flames of three needed were seen, the camera restarts an hour later, one is seen."""
    detector = {"alarm": "flame", "model": "flame.onnx", "hits": 3, "of": 5}
    shown = [True]

    def see(_: np.ndarray, __: float) -> Detections:
        count = int(shown[0])
        return Detections(
            np.full((count, 4), (1, 1, 9, 9), np.float32), np.full(count, 0.9, np.float32)
        )

    def rig(active: Sequence[str] = ()) -> Rig:
        config = CameraConfig.model_validate(
            {"name": "cam", "source": "a.avi", "zone": [ZONE], "detector": [detector]}
        )
        return Rig(sightings=Sightings(config, [see], active=active), detector=[detector])

    opened = rig()
    said = [*opened.feed(0), *opened.feed(0.25), *opened.feed(3600, first=True)]
    assert not [one for one in said if isinstance(one, Sighting)]
    starved = rig()
    said = [*starved.feed(0), *starved.feed(0.25), *starved.feed(3600)]
    assert not [one for one in said if isinstance(one, Sighting)]
    (raised,) = [
        one for one in [*starved.feed(3600.25), *starved.feed(3600.5)] if isinstance(one, Sighting)
    ]
    assert raised.active
    shown[0] = False
    standing = rig(["picture/flame"])
    said = [*standing.span(0, 1), *standing.feed(3600, first=True)]
    assert not [one for one in said if isinstance(one, Sighting)], "it stood: five frames clear it"


def test_counts_of_a_view_that_cannot_be_judged_are_not_drawn() -> None:
    rig = Rig()
    rig.span(0, 2)
    assert list(rig.analyser.counts) == [1]
    rig.tick(20, frame_s=1.75)
    assert list(rig.analyser.counts) == []


def test_counts_of_few_of_the_usual_pictures_are_uncertain_and_alarms_go_on() -> None:
    rig = Rig()
    number = 0

    def span(from_s: float, to_s: float, *, every_s: float) -> list[Output]:
        nonlocal number
        outputs: list[Output] = []
        last_s = from_s
        for quarter in range(round(4 * from_s), round(4 * to_s)):
            at_s = quarter / 4
            if (at_s - from_s) % every_s == 0:
                outputs += rig.feed(at_s)
                number, last_s = number + 1, at_s
            link = LinkState(round(last_s * S), round(at_s * S), "", number)
            outputs += rig.analyser.tick(link, round(at_s * S))
        return outputs

    assert {one.quality for one in samples(span(0, 20, every_s=0.25))} == {GOOD}
    rig.people = 3
    outputs = span(20, 40, every_s=4)
    assert {one.quality for one in samples(outputs)[7:]} == {UNCERTAIN}
    assert any(isinstance(one, OverCount) for one in outputs), "three are seen where one may be"
    assert samples(span(40, 60, every_s=0.25))[-1].quality == GOOD


def qualities(rig: Rig, from_s: float, to_s: float, *, firsts: Sequence[float]) -> set[int]:
    """Of the counts while streams begin at `firsts`."""
    found: set[int] = set()
    for quarter in range(round(4 * from_s), round(4 * to_s)):
        at_s = quarter / 4
        outputs = rig.feed(at_s, first=at_s in firsts)
        outputs += rig.tick(at_s, frame_s=at_s)
        found |= {one.quality for one in samples(outputs)}
    return found


def test_counts_of_a_stream_that_breaks_off_again_and_again_are_uncertain() -> None:
    """A garbled line let a picture through every few seconds: counts were good for 17 s."""
    rig = Rig()
    assert qualities(rig, 0, 20, firsts=[10]) == {GOOD}
    assert qualities(rig, 20, 29, firsts=[20, 24]) == {GOOD, UNCERTAIN}
    assert qualities(rig, 29, 30, firsts=[29]) == {UNCERTAIN}
    assert qualities(rig, 30, 60, firsts=[]) == {GOOD}
    clip = Rig(source="clip.mp4")
    assert qualities(clip, 0, 20, firsts=[4, 8, 12]) == {GOOD}, "a clip that is played in a loop"
