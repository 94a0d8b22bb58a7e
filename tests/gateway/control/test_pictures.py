"""A camera is asked once for all who look; one that gives none is a sentence."""

from __future__ import annotations

import asyncio
import base64

import pytest

from gateway.control.pictures import Pictures
from gateway.model.sight import NoPictureError, Sight
from tests.gateway.flow_rig import HandClock


async def test_one_picture_serves_everybody_for_a_while() -> None:
    clock, asked = HandClock(), list[str]()
    clock.advance(100)

    async def look(camera: str) -> Sight:
        asked.append(camera)
        await asyncio.sleep(0)
        if camera != "cam":
            raise NoPictureError(f"there is no camera {camera!r} here")
        return Sight(camera, b"jpeg %d" % len(asked), clock.wall_ns())

    pictures = Pictures(look, clock)

    async def picture() -> bytes:
        return base64.b64decode((await pictures.picture({"camera": "cam"}))["jpeg"])

    async with asyncio.TaskGroup() as group:
        two = [group.create_task(picture()) for _ in range(2)]
    assert [one.result() for one in two] == [b"jpeg 1"] * 2
    clock.advance(5)
    assert await picture() == b"jpeg 2"
    with pytest.raises(ValueError, match="there is no camera 'x' here"):
        await pictures.picture({"camera": "x"})
    assert asked == ["cam", "cam", "x"]
