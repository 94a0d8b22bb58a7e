"""What the console says of a camera: up once pictures come, and covered until it is not."""

from __future__ import annotations

from gateway.control.links import Links


def test_a_process_that_has_started_is_no_camera_that_delivers() -> None:
    links = Links()
    links.feed("vision.worker_lost", "cam", 1, "its process is lost", {})
    links.feed("vision.started", "cam", 2, "", {"standing": ""})
    assert links.of("cam").connected is False
    links.feed("vision.delivering", "cam", 3, "", {"view": "doubtful"})
    assert (links.of("cam").connected, links.of("cam").text) == (True, "")


def test_a_camera_that_delivers_again_may_be_covered_still() -> None:
    links = Links()
    links.feed("vision.delivering", "cam", 1, "", {"view": "clear"})
    links.feed("vision.view", "cam", 2, "", {"view": "covered"})
    links.feed("vision.camera_lost", "cam", 3, "no route", {})
    links.feed("vision.camera_recovered", "cam", 4, "", {})
    assert (links.of("cam").connected, links.of("cam").view) == (True, "covered")
    links.feed("vision.worker_lost", "cam", 5, "lost", {})
    links.feed("vision.delivering", "cam", 6, "", {"view": "clear"})
    assert (links.of("cam").connected, links.of("cam").view) == (True, "")
