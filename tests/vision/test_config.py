"""Configuration: every mistake has its sentence, no password gets through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from vision.config import DEFAULT_MODEL, CameraConfig, redacted, with_login

SQUARE = [[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]]


def camera(**changes: Any) -> CameraConfig:
    return CameraConfig.model_validate(
        {"name": "cam", "source": "rtsp://127.0.0.1:8554/unit1", **changes}
    )


def zone(**changes: Any) -> CameraConfig:
    return camera(zone=[{"name": "hot-work-1", "polygon": SQUARE, **changes}])


def test_defaults_and_the_toml_shape() -> None:
    config = zone(max_people=6, require=["helmet"])
    assert (config.analyse_fps, config.score, config.model_path) == (4.0, 0.45, DEFAULT_MODEL)
    assert config.zones[0].hold_s == 3.0
    assert CameraConfig.model_validate_json(config.model_dump_json()) == config


def test_what_is_not_judged_is_said() -> None:
    (warning,) = zone(require=["helmet", "vest"]).warnings()
    assert "judged as workwear" in warning
    assert zone(require=["helmet", "workwear"]).warnings() == []
    assert zone().warnings() == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"polygon": SQUARE[:2]}, "at least 3 corners"),
        ({"polygon": [[0.1, 0.1], [320, 0.1], [0.5, 0.9]]}, "not pixels"),
        ({"polygon": [[0.1, 0.1], [float("nan"), 0.1], [0.5, 0.9]]}, "from 0 to 1"),
        ({"polygon": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "edge 1-2 meets edge 3-4"),
        ({"polygon": [[0, 0], [0, 0], [1, 1], [1, 0]]}, "in order around the zone"),
        ({"polygon": [[0, 0], [0.5, 0.0001], [1, 0]]}, "no area"),
        ({"polygon": [["0", "0"], [1, 1], [1, 0]]}, "valid number"),
        ({"max_people": -1}, "greater than or equal"),
        ({"max_people": 2.5}, "valid integer"),
        ({"name": "a/b"}, "pattern"),
        ({"require": ["hat"]}, "helmet"),
        ({"maximum": 5}, "not permitted"),
    ],
)
def test_wrong_zones_are_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        zone(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source": "ftp://127.0.0.1/x"}, "not supported"),
        ({"source": "rtsp:///x"}, "no host"),
        ({"source": "rtsp://admin:secret@127.0.0.1/x"}, "do not belong in the URL"),
        ({"source": "rtsp://nvr..plant/x"}, "nvr..plant is no host name"),
        ({"source": "rtsp://10.0.0.7:55400554/x"}, "a number from 1 to 65535"),
        ({"source": "rtsp://10.0.0.7:554ch1/x"}, "a number from 1 to 65535"),
        ({"user": "admin"}, "belong together"),
        ({"analyse_fps": 0.05}, "greater than or equal"),
        ({"score": "0.5"}, "valid number"),
        ({"fps": 4}, "not permitted"),
        (
            {"zone": [{"name": "a", "polygon": SQUARE}, {"name": "a", "polygon": SQUARE}]},
            "two zones",
        ),
    ],
)
def test_wrong_cameras_are_named(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        camera(**changes)


def test_login_is_encoded_for_the_camera_and_gone_for_people() -> None:
    url = with_login("rtsp://127.0.0.1:8554/unit1?a=1", "admin", "p@ss:/w#1")
    assert url == "rtsp://admin:p%40ss%3A%2Fw%231@127.0.0.1:8554/unit1?a=1"
    assert redacted(url) == "rtsp://127.0.0.1:8554/unit1?a=1"
    assert redacted("clips/a@b.avi") == "clips/a@b.avi"


def test_relative_paths_hang_on_the_site_file() -> None:
    config = camera(source="clips/a.avi", model="m.onnx", user="u", password_file="p")
    there = config.resolved(Path("/site"))
    assert (there.source, there.model, there.password_file) == (
        "/site/clips/a.avi",
        "/site/m.onnx",
        "/site/p",
    )
    assert camera().resolved(Path("/site")).source == "rtsp://127.0.0.1:8554/unit1"


@pytest.mark.parametrize(
    ("kind", "side", "warned"),
    [("ptz", 0.5, True), ("mobile", 0.5, True), ("ptz", 1.0, False), ("fixed", 0.5, False)],
)
def test_a_zone_of_a_camera_that_turns_is_warned_of(kind: str, side: float, warned: bool) -> None:
    """It lies on the picture: turned elsewhere, it counts another place."""
    zone = {"name": "z", "polygon": [[0, 0], [side, 0], [side, 1], [0, 1]]}
    config = CameraConfig.model_validate(
        {"name": "cam", "source": "a.avi", "kind": kind, "zone": [zone]}
    )
    assert any("lies on the picture" in text for text in config.warnings()) is warned
