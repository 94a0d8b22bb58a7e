"""Commands on cameras over the real socket: a picture of now, a view learned anew."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

from click.testing import CliRunner

from buffer.memory import MemoryLog
from gateway.cli.main import main
from gateway.control.cameras import camera_handlers
from gateway.control.server import ControlServer
from gateway.model.sight import NoPictureError, Sight
from gateway.sources.album import Album
from tests.gateway.flow_rig import HandClock, events, pipeline

JPEG = b"\xff\xd8 a picture \xff\xd9"


class Cameras:
    """One camera that runs."""

    def __init__(self) -> None:
        self.relearned: list[str] = []

    async def look(self, camera: str) -> Sight:
        """Give a picture."""
        if camera != "cam":
            raise NoPictureError(f"there is no camera {camera!r} here; there are cam")
        return Sight(camera, JPEG, 1_000)

    def relearn(self, camera: str) -> None:
        """Note it."""
        if camera != "cam":
            raise NoPictureError(f"there is no camera {camera!r} here; there are cam")
        self.relearned.append(camera)


async def test_a_picture_and_a_view_are_on_record_with_who_asked(tmp_path: Path) -> None:
    clock = HandClock()
    log = MemoryLog(clock=clock)
    flow, cameras = pipeline(log, clock), Cameras()
    album = Album(flow)
    folder, digest = str(tmp_path), hashlib.sha256(JPEG).hexdigest()

    async def run(*arguments: str) -> tuple[int, str]:
        done = await asyncio.to_thread(CliRunner().invoke, main, ["camera", *arguments])
        return done.exit_code, done.output

    async with ControlServer(tmp_path, camera_handlers(flow, album)):
        code, said = await run("snapshot", folder, "cam")
        assert (code, "the gateway starts or stops" in said) == (1, True)
        album.cameras = cameras
        code, said = await run("snapshot", folder, "cam", "--person", "王芳", "--json")
        assert code == 0
        assert json.loads(said)["sha256"] == digest
        assert f"evidence/{digest[:2]}/{digest[2:]}" in said
        code, said = await run("snapshot", folder, "north")
        assert (code, "there are cam" in said) == (1, True)
        code, said = await run("relearn", folder, "cam", "--person", "王芳", "--reason", "重画区域")
        assert (code, cameras.relearned) == (0, ["cam"])
        code, said = await run("relearn", folder, "north", "--reason", "x")
        assert (code, "there are cam" in said) == (1, True)
        code, said = await run("relearn", folder, "cam")
        assert (code, "--reason" in said) == (2, True)
    audit = {event.kind: event for event in await events(log) if event.kind.startswith("audit.")}
    assert dict(audit["audit.snapshot"].attributes) == {"person": "王芳", "sha256": digest}
    assert dict(audit["audit.view"].attributes) == {"person": "王芳", "reason": "重画区域"}
