"""A real stream whose key pictures are far apart, and which makes none for whoever comes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drivers.contract import Quality
from tests.vision.recorder import LONGEST_S, camera, running
from vision import ffmpeg

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "tests" / "peers" / "live_camera.py"
pytestmark = pytest.mark.peer


@asynccontextmanager
async def platform() -> AsyncIterator[str]:
    """The server as a process of its own; gives its URL."""
    process = await asyncio.create_subprocess_exec(
        *("/usr/bin/python3", str(SERVER), "--codec", "h264", "--passed-on"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(LONGEST_S):
            word, _, port = (await process.stdout.readline()).decode().partition(" ")
        if word != "ready":
            code = await process.wait()
            raise AssertionError(f"the platform ended with exit code {code}; its words are above")
        yield f"rtsp://127.0.0.1:{int(port)}/live"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.contextmanager
def looked_at(url: str) -> Iterator[None]:
    """Somebody who looks on already, so that the stream is in the middle of its pictures."""
    ffmpeg.set_up()
    import cv2  # after the variables that it reads

    for _ in range(10):
        first = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        if first.isOpened():
            break
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set() and first.grab():
            pass
        first.release()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


async def test_the_first_key_picture_is_waited_for() -> None:
    """It was given up after 3 s, again and again: a key picture was met by chance, or never."""
    async with platform() as url:
        with looked_at(url):
            watching = camera(url, analyse_fps=2.0)
            async with running(watching) as seen:
                await seen.until(lambda: Quality.GOOD in seen.qualities())
                assert seen.source.statistics()["reopened"] <= 1
                assert "vision.view" not in seen.kinds(), "no half picture was taken for a view"
