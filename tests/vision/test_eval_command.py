"""`plantgate vision eval` on a folder of odd pictures, as a script would run it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from click.testing import CliRunner

from gateway.cli.vision import command


def test_odd_pictures_are_measured_and_the_keys_are_those_promised(tmp_path: Path) -> None:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(1)
    sizes = {"grey": (90, 160), "tiny": (3, 5), "tall": (700, 40)}
    for name, size in sizes.items():
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), rng.integers(0, 255, size))
        (tmp_path / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.4 0.4\n1 0.2 0.2 0.1 0.1\n")
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "labels" / "broken.txt").write_text("")
    (tmp_path / "classes.txt").write_text("hat\nno-helmet\n")
    arguments = ["eval", str(tmp_path), "--map", "hat=helmet", "--json", "--rounds", "10"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert document["images"] == 3
    assert document["unreadable"] == ["broken.jpg"]
    assert {"headcount_mae", "exact_share"} <= set(document["person"])
    assert "ap50" not in document["person"]
    for item in ("helmet", "no_helmet"):
        assert {"precision", "recall", "f1", "support", "undecided"} <= set(document[item])
        assert document[item]["support"] == 3


def test_a_wrong_folder_is_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["eval", str(tmp_path)])
    assert result.exit_code == 2
    assert "must hold images/ and labels/" in result.output
