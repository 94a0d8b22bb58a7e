"""Heads in every picture that leaves a camera's process: hidden by default, measured unhidden."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vision.shown import Shown
from vision.analyser import Analyser
from vision.clip import middle_picture
from vision.config import CameraConfig
from vision.events import AnyMessage, Capture, Happened, Look, MessageDecoder, Seen, Stop, encode
from vision.link import Link
from vision.loop import Around, CameraLoop
from vision.postprocess import Detections
from vision.privacy import Box, Recognisable
from vision.snapshot import small_jpeg
from vision.track import Track

S = 1_000_000_000
LONGEST_S = 120.0  # a bound against hanging, never an expectation
PERSON = (100.0, 60.0, 164.0, 220.0)
HEAD = (slice(66, 88), slice(116, 148))
"""Rows and columns inside the head of PERSON, away from what is drawn around him."""
BODY = (slice(120, 200), slice(116, 148))
EDGES = 60.0
"""Standard deviation of grey levels that a board of black and white squares has, and no blur."""


def board() -> np.ndarray:
    """Squares of 4 pixels, all over a picture of 320 × 240: what is blurred there is seen to be."""
    rows, columns = np.indices((240, 320)) // 4
    return np.repeat((((rows + columns) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2)


def edges(picture: np.ndarray, where: tuple[slice, slice]) -> float:
    return float(picture[where].std())


class Camera:
    """A camera's loop in a thread, and what it sent; the person network is a box that is known."""

    def __init__(
        self, blur_heads: bool, motion_floor_s: float, clip_s: float = 0.5, gives: bool = True
    ) -> None:
        config = CameraConfig.model_validate(
            {
                "name": "cam", "source": "clip.avi", "analyse_fps": 20, "clip_fps": 10,
                "clip_before_s": 2 * clip_s, "clip_after_s": clip_s, "memory_mb": 100_000,
                "motion_floor_s": motion_floor_s,
                "zone": [{"name": "all", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]]}],
            }
            | ({} if blur_heads else {"blur_heads": False})
        )  # fmt: skip
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(LONGEST_S)
        self._decoder = MessageDecoder()
        self._sent: list[AnyMessage] = []
        self.touched = 0
        self.source = Shown(board() if gives else None)
        self._link = Link(theirs.detach())
        analyser = Analyser(config, self._detect, start_ns=time.monotonic_ns())
        loop = CameraLoop(self._link, config, analyser, lambda: self.source, Around())
        self._thread = threading.Thread(target=loop.run)

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.say(Stop())
        self._thread.join(LONGEST_S)
        self._link.close()
        self._ours.close()
        assert not self._thread.is_alive()

    def _detect(self, image: np.ndarray, _: float) -> tuple[Detections, np.ndarray]:
        self.touched += not np.array_equal(image, board())
        pixels = np.random.default_rng().integers(0, 255, (24, 24), np.uint8)
        return Detections(np.array([PERSON], np.float32), np.array([0.9], np.float32)), pixels

    def say(self, message: AnyMessage) -> None:
        self._ours.sendall(encode(message))

    def wait(self, wanted: Callable[[AnyMessage], bool]) -> AnyMessage:
        """Read until a message that is wanted has come; the socket's time-out is the bound."""
        while True:
            for message in self._sent:
                if wanted(message):
                    return message
            received = self._ours.recv(1 << 20)
            assert received, "the loop ended"
            self._sent += self._decoder.feed(received)

    def evidence(self, kind: str) -> bytes:
        found = self.wait(lambda one: isinstance(one, Happened) and one.kind == kind)
        assert isinstance(found, Happened)
        return found.blob


def decoded(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return np.asarray(picture)


@pytest.mark.parametrize("motion_floor_s", [0.0, 1.0], ids=["every-frame", "nothing-moves"])
@pytest.mark.parametrize("blur_heads", [True, False])
def test_every_picture_that_leaves(blur_heads: bool, motion_floor_s: float) -> None:
    """Of an alarm, of its clip, on request: heads blurred by default; the network sees all."""
    with Camera(blur_heads, motion_floor_s) as camera:
        camera.say(Look(number=1))
        seen = camera.wait(lambda one: isinstance(one, Seen))
        assert isinstance(seen, Seen)
        camera.say(Capture(alarm_id="0" * 32))
        clip = camera.evidence("vision.clip")
        pictures = {
            "asked for": seen.blob,
            "of an alarm": camera.evidence("vision.snapshot"),
            "of a clip": middle_picture(clip),
            "first of a clip": clip[clip.index(b"\xff\xd8") : clip.index(b"\xff\xd9") + 2],
        }
    for name, jpeg in pictures.items():
        picture = decoded(jpeg)
        assert (edges(picture, HEAD) < EDGES / 2) is blur_heads, name
        assert edges(picture, BODY) > EDGES, name
    assert camera.touched == 0
    assert np.array_equal(np.asarray(camera.source.picture), board())


def test_a_camera_without_clips_still_has_a_picture_of_an_alarm() -> None:
    with Camera(blur_heads=True, motion_floor_s=0.0, clip_s=0.0) as camera:
        camera.say(Look(number=1))
        camera.wait(lambda one: isinstance(one, Seen))
        camera.say(Capture(alarm_id="0" * 32))
        assert edges(decoded(camera.evidence("vision.snapshot")), HEAD) < EDGES / 2


def test_a_camera_that_never_gave_a_frame_says_that_it_has_no_picture() -> None:
    with Camera(blur_heads=True, motion_floor_s=0.0, gives=False) as camera:
        camera.say(Capture(alarm_id="0" * 32))
        kind = "vision.snapshot"
        found = camera.wait(lambda one: isinstance(one, Happened) and one.kind == kind)
    assert isinstance(found, Happened)
    assert (found.blob, found.text) == (b"", "Camera cam: no picture of an alarm could be made.")


def rows(*boxes: Box) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


def holds(regions: tuple[Box, ...], box: Box) -> bool:
    return any(
        r[0] <= box[0] and r[1] <= box[1] and r[2] >= box[2] and r[3] >= box[3] for r in regions
    )


TRACK = Track(1, PERSON, (0.0, 0.0), 0.9, 5, 0, True, 0, 0.9)
FACE = (120.0, 62.0, 144.0, 92.0)


SIZE = (640, 480)


def test_a_head_that_was_found_and_the_top_of_the_box_are_hidden() -> None:
    known = Recognisable()
    aside = (165.0, 100.0, 185.0, 120.0)  # of somebody who leans out of his box
    known.looked(rows(PERSON), [TRACK], [aside], SIZE)
    assert holds(known.regions, FACE)
    assert holds(known.regions, aside)


def test_somebody_close_seated_or_lying_is_hidden_by_the_width_of_his_box() -> None:
    known = Recognisable()
    known.looked(rows((0, 0, 200, 220), (300, 100, 500, 160)), [], [], SIZE)
    assert holds(known.regions, (60, 0, 140, 100))
    assert holds(known.regions, (300, 100, 500, 160))


def test_the_face_of_somebody_whom_the_picture_cuts_is_hidden() -> None:
    """In front of the camera; boxes and chin as found on a clip of 848 × 480."""
    known = Recognisable()
    known.looked(rows((674, 124, 847, 475), (226, 26, 724, 473)), [], [], (848, 480))
    assert holds(known.regions, (770, 124, 847, 274))
    assert holds(known.regions, (380, 26, 580, 290))


def test_a_picture_that_is_not_looked_at_hides_more_not_less() -> None:
    known = Recognisable()
    known.looked(rows(PERSON), [TRACK], [FACE], SIZE)
    before = known.regions
    known.not_looked()
    assert all(holds(known.regions, region) for region in before)
    once = known.regions
    known.not_looked()
    assert known.regions == once  # it does not grow without end
    other = (10.0, 10.0, 30.0, 70.0)
    known.not_judged(rows(other), SIZE)
    assert all(holds(known.regions, region) for region in (*once, (10, 10, 30, 23)))


def test_who_is_found_no_more_is_hidden_for_another_look_and_while_he_is_tracked() -> None:
    known = Recognisable()
    known.looked(rows(PERSON), [], [], SIZE)
    known.looked(rows(), [], [], SIZE)
    assert holds(known.regions, FACE)
    known.looked(rows(), [replace(TRACK, missed=4)], [], SIZE)
    assert holds(known.regions, FACE)
    known.looked(rows(), [], [], SIZE)
    assert known.regions == ()


def test_who_walks_on_leaves_no_patch_behind() -> None:
    known = Recognisable()
    known.looked(rows(PERSON), [TRACK], [], SIZE)
    known.looked(rows((108.0, 60.0, 172.0, 220.0)), [replace(TRACK, hits=6)], [], SIZE)
    assert len(known.regions) == 1


def test_another_scene_begins_with_nobody() -> None:
    known = Recognisable()
    known.looked(rows(PERSON), [TRACK], [FACE], SIZE)
    known.forget()
    assert known.regions == ()
    known.not_looked()
    assert known.regions == ()


SIDES = st.floats(-500, 900, width=32)


@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=6), st.sampled_from([320, 1280]))
def test_whatever_the_boxes_the_frame_is_left_as_it_was(hidden: list[Box], width: int) -> None:
    image = np.ascontiguousarray(np.resize(board(), (240, width, 3)))
    before = image.copy()
    jpeg, across, down = small_jpeg(image, hidden)
    assert np.array_equal(image, before)
    assert decoded(jpeg).shape == (down, across)
