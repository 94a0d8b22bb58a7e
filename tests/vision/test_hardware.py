"""Hardware decoding: said where there is none, used where it works, left where it is broken."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import pytest

from tests.clips import drawn_clip
from tests.vision.recorder import camera, running
from vision.capture import VideoSource
from vision.hardware import Decoding, Video

LONGEST_S = 120.0  # a bound against hanging, never an expectation
DEVICE = "/dev/dri/renderD128"


class Driver:
    """Opens as OpenCV does on a machine whose driver is `state`: none, works, or broken."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked: list[int] = []

    def __call__(self, source: str, options: Sequence[int]) -> Video:
        pairs = dict(zip(options[::2], options[1::2], strict=True))
        asked = pairs[cv2.CAP_PROP_HW_ACCELERATION]
        self.asked.append(asked)
        software = [*options[:-1], cv2.VIDEO_ACCELERATION_NONE]
        video = cv2.VideoCapture(source, cv2.CAP_FFMPEG, software)
        if asked == cv2.VIDEO_ACCELERATION_NONE or self.state == "none":
            return video
        return _Accelerated(video, self.state)


class _Accelerated:
    """A capture that says it decodes by VA-API."""

    def __init__(self, video: cv2.VideoCapture, state: str) -> None:
        self._video = video
        self._state = state

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        return self._state == "unshown" or (self._state == "works" and self._video.grab())

    def retrieve(self, buffer: Any = None, flag: int = 0) -> tuple[bool, Any]:
        return (False, None) if self._state == "unshown" else self._video.retrieve(buffer, flag)

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_HW_ACCELERATION:
            return float(cv2.VIDEO_ACCELERATION_VAAPI)
        return self._video.get(what)

    def release(self) -> None:
        self._video.release()


class Hurried:
    """A clock that runs fast only while a driver gives no picture, however long it is waited for.

    Where pictures come it is the real one: a machine that stalls a moment has lost none of them.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._seen_ns = self._now_ns = time.monotonic_ns()

    def __call__(self) -> int:
        now_ns = time.monotonic_ns()
        waits = self._driver.state in {"broken", "unshown"} and 0 not in self._driver.asked
        self._now_ns += (20 if waits else 1) * (now_ns - self._seen_ns)
        self._seen_ns = now_ns
        return self._now_ns


def first_picture(clip: Path, decoding: Decoding, driver: Driver) -> None:
    """Read until a picture comes."""
    source = VideoSource(camera(str(clip)), Hurried(driver), time.time_ns, decoding)
    source.start()
    source.request()
    end = time.monotonic() + LONGEST_S
    while source.take() is None:
        assert time.monotonic() < end, source.link().problem
        time.sleep(0.01)
    source.close()
    assert source.ended(LONGEST_S)


@pytest.mark.parametrize(
    ("wanted", "there", "state", "asked", "decoder", "reason"),
    [
        ("auto", [], "works", [0], "software", "this machine has no /dev/dri/renderD*"),
        ("software", [DEVICE], "works", [0], "software", 'decode = "software"'),
        ("auto", [DEVICE], "works", [1], "vaapi", DEVICE),
        ("auto", [DEVICE], "none", [1], "software",
         f"OpenCV's FFmpeg drives no {DEVICE} for this stream"),
        ("auto", [DEVICE], "broken", [1, 1, 0], "software",
         f"{DEVICE} opened 2 times and gave no picture"),
        ("auto", [DEVICE], "unshown", [1, 1, 0], "software",
         f"{DEVICE} opened 2 times and gave no picture"),
    ],
)  # fmt: skip
def test_pictures_come_whatever_the_driver_does(
    tmp_path: Path,
    wanted: str,
    there: list[str],
    state: str,
    asked: list[int],
    decoder: str,
    reason: str,
) -> None:
    driver = Driver(state)
    decoding = Decoding(wanted, there, driver)
    first_picture(drawn_clip(tmp_path / "yard.avi"), decoding, driver)
    assert driver.asked == asked
    assert (decoding.decoder, decoding.reason) == (decoder, reason)


def test_a_driver_that_hangs_under_one_reader_is_not_tried_for_ever_by_the_next() -> None:
    driver = Driver("works")
    decoding = Decoding("auto", [DEVICE], driver)
    for _ in range(3):  # each hangs, so no picture is told
        decoding.open("clip", [cv2.CAP_PROP_N_THREADS, 1])
    assert driver.asked == [1, 1, 0]


async def test_a_camera_says_what_it_decodes_with(tmp_path: Path) -> None:
    clip = str(drawn_clip(tmp_path / "yard.avi"))
    async with running(camera(clip, decode="software")) as seen:
        await seen.until(lambda: "vision.decoding" in seen.kinds())
        await seen.until(lambda: "hardware_decoding" in seen.source.statistics())
    said = seen.event("vision.decoding")
    assert said.attributes == {"decoder": "software", "reason": 'decode = "software"'}
    assert "decoded in software 软件解码" in said.text
    assert seen.source.statistics()["hardware_decoding"] == 0
