"""A picture of now: a person at the platform asks, a camera's process takes it, it arrives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np

from tests.clips import drawn_clip
from tests.e2e.watched import Watched
from tests.e2e.world import GATEWAY_ID, stop, until


def test_a_snapshot_arrives_as_evidence_and_what_cannot_be_is_said(tmp_path: Path) -> None:
    with Watched(tmp_path) as world:
        world.write_site(
            f"""evidence = "thumbnail"
evidence_bytes_per_day = 1000000

[[camera]]
name = "east"
source = "{drawn_clip(tmp_path / "yard.avi")}"
analyse_fps = 4
[[camera.zone]]
name = "yard"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
"""
        )
        world.start_receiver()
        gateway = world.start_gateway()
        until(lambda: world.metric("source_frames_decoded", "east") > 0, what="it sees")
        until(lambda: world.metric("uplink_connected", "province"), what="it is connected")
        shown = tmp_path / "now.jpg"
        said = ask(world, "east", "--output", str(shown))
        assert said["accepted"], said
        content = shown.read_bytes()
        assert hashlib.sha256(content).hexdigest() == said["sha256"]
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert np.asarray(picture).shape == (240, 320, 3)

        west = world.plantgate(*asking(world, "west"), check=False)
        assert (west.returncode, west.stderr) == (
            1, "plantgate request: the gateway refused: there is no camera 'west' here; there are"
            " east\n"
        )  # fmt: skip
        events = until(
            lambda: [one for one in world.notices("events") if one["kind"] == "uplink.snapshot"],
            what="it is on record at the receiver",
        )  # fmt: skip
        assert "camera east was taken for province" in events[0]["text"]
        asked = [one for one in world.notices("events") if one["kind"] == "uplink.request"]
        assert len(asked) == 2
        attached = [one for one in world.notices("events") if one["kind"] == "evidence_attached"]
        assert any(said["sha256"][:16] in one["text"] for one in attached)
        assert stop(gateway) == 0


def asking(world: Watched, camera: str) -> tuple[str, ...]:
    return ("request", "snapshot", camera, "--store", str(world.store), "--gateway", GATEWAY_ID)


def ask(world: Watched, camera: str, *more: str) -> dict[str, str]:
    answer = world.plantgate(*asking(world, camera), "--json", *more, check=False)
    assert answer.returncode == 0, answer.stderr
    said: dict[str, str] = json.loads(answer.stdout)
    return said
