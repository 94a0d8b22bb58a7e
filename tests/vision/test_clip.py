"""The ring of the last seconds and the AVI made of it, read back by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vision.clip import (
    MOST_AGE_NS,
    MOST_CLIP_BYTES,
    MOST_ORDERS,
    MOST_RING_BYTES,
    Picture,
    Ring,
    avi,
)

S = 1_000_000_000


def picture(second: float, shade: int = 0, size: tuple[int, int] = (64, 48)) -> Picture:
    image = np.full((size[1], size[0], 3), shade, np.uint8)
    _, encoded = cv2.imencode(".jpg", image)
    return Picture(encoded.tobytes(), round(second * S), *size)


def read_back(content: bytes, path: Path) -> tuple[list[int], float]:
    """Mean shade of each picture, and the rate, as OpenCV's FFmpeg sees the file."""
    path.write_bytes(content)
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    fps, shades = float(capture.get(cv2.CAP_PROP_FPS)), []
    while True:
        done, image = capture.read()
        if not done:
            break
        shades.append(round(float(np.asarray(image).mean())))
    capture.release()
    return shades, fps


def test_a_clip_is_ten_seconds_before_and_twenty_after(tmp_path: Path) -> None:
    ring = Ring(10, 20, 2)
    for half in range(60):
        if half == 40:
            assert ring.order("a", 20 * S)
        ring.add(picture(half / 2, half * 4))
    assert ring.due(40 * S - 1) == []
    for half in range(60, 80):
        ring.add(picture(half / 2, half * 3))
    (clip,) = ring.due(40 * S)
    assert (clip.order, clip.pictures, clip.seconds) == ("a", 60, 29.5)
    shades, fps = read_back(clip.content, tmp_path / "a.avi")
    assert len(shades) == 60
    assert abs(shades[0] - 80) <= 2  # the picture of second 10, ten before the order
    assert fps == 2.0
    assert ring.due(41 * S) == []


def test_a_camera_that_is_lost_gives_what_there_was(tmp_path: Path) -> None:
    ring = Ring(10, 20, 2)
    ring.add(picture(1, 99))
    ring.order("a", 2 * S)
    (clip,) = ring.due(22 * S)
    assert clip.pictures == 1
    assert read_back(clip.content, tmp_path / "a.avi")[0] == [99]


def test_a_picture_of_long_ago_is_no_evidence_of_an_alarm_of_now() -> None:
    """The camera was lost two hours ago, and its last picture was stored with the alarm."""
    ring = Ring(10, 20, 2)
    assert ring.recent(0) is None
    ring.add(picture(1, 99))
    assert ring.recent(1 * S + MOST_AGE_NS) is ring.newest
    assert ring.recent(1 * S + MOST_AGE_NS + 1) is None


def test_without_a_picture_the_clip_is_empty() -> None:
    ring = Ring(10, 20, 2)
    ring.order("a", 0)
    (clip,) = ring.due(20 * S)
    assert (clip.content, clip.pictures) == (b"", 0)


def test_pictures_of_another_size_begin_anew(tmp_path: Path) -> None:
    ring = Ring(10, 20, 2)
    ring.add(picture(1, 10))
    ring.order("a", 1 * S)
    ring.add(picture(2, 200, (32, 24)))
    (clip,) = ring.due(21 * S)
    assert read_back(clip.content, tmp_path / "a.avi")[0] == [200]


def test_orders_are_bounded_and_one_name_is_one_clip() -> None:
    ring = Ring(1, 1, 2)
    assert ring.order("0", 0)
    assert not ring.order("0", 0)
    assert [ring.order(str(n), 0) for n in range(1, MOST_ORDERS + 1)][-2:] == [True, False]
    assert len(ring.due(S)) == MOST_ORDERS


def test_the_rate_is_kept() -> None:
    ring = Ring(10, 20, 2)
    taken = 0
    for tick in range(100):
        if ring.wants(tick * S // 10):
            ring.add(Picture(b"x", tick * S // 10, 1, 1))
            taken += 1
    assert taken == 20


@given(st.lists(st.integers(0, 3 << 20), min_size=1, max_size=40))
def test_ring_and_clips_are_bounded_in_bytes(sizes: list[int]) -> None:
    ring = Ring(60, 1, 1)
    ring.order("a", 0)
    for second, size in enumerate(sizes):
        ring.add(Picture(bytes(size), second * S, 64, 48))
    held = sum(len(p.jpeg) for p in ring._pictures)
    assert held <= max(MOST_RING_BYTES, sizes[-1])
    (clip,) = ring.due(100 * S)
    assert len(clip.content) <= max(MOST_CLIP_BYTES, max(sizes) + 32) + 1024


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=9))
def test_sizes_in_the_file_add_up(jpegs: list[bytes]) -> None:
    content = avi([Picture(jpeg, n * S, 16, 16) for n, jpeg in enumerate(jpegs)])
    assert content[:4] == b"RIFF"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    index = content.rindex(b"idx1")  # a picture may hold the same letters
    assert int.from_bytes(content[index + 4 : index + 8], "little") == 16 * len(jpegs)
    movi = content.index(b"movi")
    for number, jpeg in enumerate(jpegs):
        entry = content[index + 8 + 16 * number : index + 24 + 16 * number]
        offset, size = int.from_bytes(entry[8:12], "little"), int.from_bytes(entry[12:], "little")
        assert content[movi + offset + 8 : movi + offset + 8 + size] == jpeg
