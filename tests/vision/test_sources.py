"""Every kind of source gives frames: HTTP Motion JPEG, HTTP-FLV, files, folders, at either pace."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.fakes.http_camera import HttpCamera
from vision.capture import VideoSource
from vision.config import CameraConfig
from vision.frames import Frame, Image

LONGEST_S = 120.0  # a bound against hanging, never an expectation
LOGIN = ("admin", "p@ss:/1 密码")


@contextmanager
def reading(config: CameraConfig) -> Iterator[VideoSource]:
    """A reader that runs while the block does."""
    source = VideoSource(config, time.monotonic_ns, time.time_ns)
    source.start()
    try:
        yield source
    finally:
        source.close()
        assert source.ended(LONGEST_S)


async def frames(source: VideoSource, count: int) -> list[Frame]:
    """The next frames, with pictures of their own."""
    found: list[Frame] = []
    async with asyncio.timeout(LONGEST_S):
        while len(found) < count:
            source.request()
            while (frame := source.take()) is None:  # noqa: ASYNC110 - the descriptor is for select
                await asyncio.sleep(0.005)
            copy = Frame(frame.image.copy(), frame.number, frame.received_ns, 0, frame.first)
            found.append(copy)
    return found


async def problem(source: VideoSource) -> str:
    """The first problem that is reported."""
    async with asyncio.timeout(LONGEST_S):
        while not source.link().problem:  # noqa: ASYNC110 - the reader is a thread
            await asyncio.sleep(0.005)
    return source.link().problem


def pictures(count: int, width: int = 160, height: int = 120) -> list[Image]:
    """Grey pictures, each 20 levels lighter than the one before."""
    return [np.full((height, width, 3), 20 * (n + 1), np.uint8) for n in range(count)]


def jpegs(count: int) -> list[bytes]:
    return [cv2.imencode(".jpg", picture)[1].tobytes() for picture in pictures(count)]


def levels(found: list[Frame]) -> list[int]:
    """Which of `pictures` each is, from 0."""
    return [round(float(frame.image.mean()) / 20) - 1 for frame in found]


@pytest.fixture
def flv(tmp_path: Path) -> bytes:
    """A second of H.264 in FLV."""
    target = tmp_path / "live.flv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=10:duration=4",
         "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", "0", "-g", "10", str(target)],
        check=True,
    )  # fmt: skip
    return target.read_bytes()


async def test_motion_jpeg_over_http_with_a_digest_login(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text(LOGIN[1], encoding="utf-8")
    async with HttpCamera(jpegs(5), login=LOGIN) as camera:
        config = CameraConfig(
            name="cam", source=camera.url, user=LOGIN[0], password_file=str(secret)
        )
        with reading(config) as source:
            found = await frames(source, 3)
    assert found[0].first
    assert found[0].image.shape == (120, 160, 3)
    assert set(levels(found)) <= set(range(5))
    assert all(camera.logins)


async def test_flv_over_http(flv: bytes) -> None:
    async with HttpCamera(flv=flv) as camera:
        with reading(CameraConfig(name="cam", source=camera.url)) as source:
            found = await frames(source, 2)
            assert (await problem(source)) == f"{camera.url} stopped delivering frames"
    assert found[0].image.shape == (120, 160, 3)


async def test_a_refused_login_over_http_is_tried_once(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("wrong-one", encoding="utf-8")
    async with HttpCamera(jpegs(2), login=LOGIN) as camera:
        config = CameraConfig(
            name="cam", source=camera.url, user=LOGIN[0], password_file=str(secret)
        )
        with reading(config) as source:
            said = await problem(source)
            assert camera.logins == [False]
            secret.write_text(LOGIN[1], encoding="utf-8")
            await frames(source, 1)
    assert "refuses the login of admin (401 Unauthorized)" in said
    assert "wrong-one" not in said


async def test_what_http_does_not_give_is_one_sentence() -> None:
    async with HttpCamera(jpegs(2), login=LOGIN) as camera:
        with reading(CameraConfig(name="cam", source=camera.url)) as source:
            wanted = await problem(source)
    async with HttpCamera(jpegs(2)) as camera:
        with reading(CameraConfig(name="cam", source=camera.url + "/none")) as source:
            missing = await problem(source)
        camera.silent = True
        with reading(CameraConfig(name="cam", source=camera.url)) as source:
            silent = await problem(source)
    assert wanted.endswith("wants a login (401 Unauthorized): give user and password_file")
    assert missing.endswith("has no stream of this path (404 Not Found)")
    assert silent.endswith("does not answer: no answer within 3 s")


async def test_a_folder_is_played_in_the_order_of_names_and_again(tmp_path: Path) -> None:
    for number, picture in enumerate(pictures(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    (tmp_path / "1b.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("not one either", encoding="utf-8")
    config = CameraConfig(name="cam", source=str(tmp_path), pace="fast")
    with reading(config) as source:
        found = await frames(source, 7)
    assert levels(found) == [0, 1, 2, 0, 1, 2, 0]
    assert [frame.first for frame in found] == [True, False, False, True, False, False, True]


async def test_an_empty_folder_is_one_sentence(tmp_path: Path) -> None:
    with reading(CameraConfig(name="cam", source=str(tmp_path))) as source:
        assert await problem(source) == (
            f"{tmp_path} cannot be opened: it holds no picture that can be decoded"
        )


async def test_a_fast_file_gives_every_frame_and_waits_to_be_asked(tmp_path: Path) -> None:
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 0.5, (160, 120))
    for picture in pictures(5):
        writer.write(picture)
    writer.release()
    with reading(CameraConfig(name="cam", source=str(clip), pace="fast")) as source:
        found = await frames(source, 5)
        assert source.statistics()["frames_received"] <= 6
    assert levels(found) == [0, 1, 2, 3, 4]  # at real pace this would take 10 s


def test_a_camera_has_no_fast_pace() -> None:
    with pytest.raises(ValueError, match="sets its own pace"):
        CameraConfig(name="cam", source="rtsp://127.0.0.1/x", pace="fast")
