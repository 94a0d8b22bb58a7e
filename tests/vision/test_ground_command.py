"""`plantgate vision ground`: what an integrator sees of a calibration, right or wrong."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from gateway.cli.vision import command
from tests.vision.walkers import HEIGHT, WIDTH, Mast
from vision.ground_config import GroundPoints
from vision.ground_grid import Standing, draw, standing

BAY = [(-2.0, 8.0), (2.0, 8.0), (2.0, 20.0), (-2.0, 20.0), (0.0, 12.0), (-1.0, 16.0)]
MAST = Mast(6.0, 0.35)


def points(metres: list[tuple[float, float]], where: list[tuple[float, float]]) -> str:
    rows = [
        f"  {{ picture = [{u / WIDTH:.4f}, {v / HEIGHT:.4f}], metres = [{x}, {y}] }}"
        for (u, v), (x, y) in zip((MAST.see(x, y, 0.0) for x, y in where), metres, strict=True)
    ]
    return "[camera.ground]\npoints = [\n" + ",\n".join(rows) + "\n]\n"


def run(folder: Path, ground: str, *options: str, camera: str = "cam") -> Result:
    """Run on a site that is not right in other ways: only the ground counts."""
    site, picture = folder / "site.toml", folder / "now.png"
    site.write_text(f'[[camera]]\nname = "cam"\n{ground}', encoding="utf-8")
    if not picture.exists():
        cv2.imwrite(str(picture), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    return CliRunner().invoke(command, ["ground", str(site), camera, str(picture), *options])


def test_a_right_calibration_is_printed_and_drawn(tmp_path: Path) -> None:
    result = run(tmp_path, points(BAY, BAY), "--out", str(tmp_path / "grid.png"))
    assert result.exit_code == 0, result.output
    assert result.output.count("pixels") == len(BAY)
    assert "Four points" not in result.output
    assert "0.00 m" in result.output
    drawn = cv2.imread(str(tmp_path / "grid.png"))
    yellow = np.asarray((np.abs(np.asarray(drawn, int) - (0, 220, 255)) < 30).all(axis=2))
    horizon = round(HEIGHT / 2 - MAST.focal * np.tan(MAST.down))
    assert yellow[HEIGHT // 2 :].mean() > 0.03
    assert not yellow[: max(0, horizon)].any()
    four = run(tmp_path, points(BAY[:4], BAY[:4]))
    assert "Four points always fit" in four.output


def test_one_wrong_point_is_named_and_shown_all_the_same(tmp_path: Path) -> None:
    wrong = [*BAY[:5], (-1.0, 11.0)]
    result = run(tmp_path, points(wrong, BAY), "--json", "--out", str(tmp_path / "grid.png"))
    assert result.exit_code == 2
    document, _ = json.JSONDecoder().raw_decode(result.output)
    assert "without point 6 the others fit" in document["refused"]
    assert len(document["points"]) == len(BAY)
    assert max(row["off_m"] for row in document["points"]) > 1.0
    assert (tmp_path / "grid.png").exists()


@pytest.mark.parametrize(
    ("ground", "camera", "sentence"),
    [
        ("", "cam", "no [camera.ground]"),
        ("", "other", "has no camera 'other', but cam"),
        (points(BAY[:3], BAY[:3]), "cam", "at least 4 points"),
        (points([(-x, y) for x, y in BAY], BAY), "cam", "mirrored"),
        ("[camera.ground]\npoints = 3\n", "cam", "ground.points"),
        ("[camera.ground]\npoints = [{ picture = [300, 0], metres = [0, 0] }]\n", "cam", "pixels"),
        ("[camera", "cam", "is no TOML file"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    tmp_path: Path, ground: str, camera: str, sentence: str
) -> None:
    result = run(tmp_path, ground, camera=camera)
    assert result.exit_code == 2
    assert sentence in result.output
    assert len(result.output.strip().splitlines()) == 1, result.output


def test_people_stand_where_they_stand_and_have_their_height(tmp_path: Path) -> None:
    measured = GroundPoints.model_validate(
        {"points": [
            {"picture": [u / WIDTH, v / HEIGHT], "metres": [x, y]}
            for x, y in BAY for u, v in [MAST.see(x, y, 0.0)]
        ]}
    )  # fmt: skip
    (u, low), (_, high) = MAST.see(1.0, 15.0, 0.0), MAST.see(1.0, 15.0, 1.7)
    boxes = np.array([[u - 12, high, u + 12, low], [u - 12, high, u + 12, HEIGHT]])
    stands, cut = standing(measured.fitted(), boxes, WIDTH, HEIGHT)
    assert isinstance(stands, Standing)
    assert stands.metres == pytest.approx((1.0, 15.0), abs=0.01)
    assert 1.4 < stands.stature_m < 1.75
    assert cut.metres is None
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert draw(picture, measured, measured.fitted(), [stands, cut]).any()
    assert not picture.any()
