"""`plantgate vision ground`: shows whether a camera's calibration of the ground is right.

Reads the points of one camera from a site file, that need not be right yet; the network and the
camera are not touched. Exit 0; 2 where the calibration would be refused, or for any other mistake.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vision.frames import Image
    from vision.ground import Ground
    from vision.ground_config import GroundPoints
    from vision.ground_grid import Standing


class SiteFileError(OSError):
    """What is wrong with the site file, in one sentence."""


def read_points(site: Path, camera: str) -> GroundPoints:
    """Points of a camera in a site file; raises OSError with one sentence."""
    from pydantic import ValidationError

    from vision.ground_config import GroundPoints

    try:
        found = tomllib.loads(site.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SiteFileError(f"{site} is no TOML file: {error}.") from error
    cameras = [one for one in found.get("camera", []) if isinstance(one, dict)]
    names = [str(one.get("name")) for one in cameras]
    if camera not in names:
        raise SiteFileError(f"{site} has no camera {camera!r}, but {', '.join(names) or 'none'}.")
    asked = cameras[names.index(camera)].get("ground")
    if asked is None:
        raise SiteFileError(f"camera {camera} has no [camera.ground] in {site}.")
    try:
        return GroundPoints.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in ("ground", *first["loc"]))
        raise SiteFileError(f"{site}, camera {camera}, {where}: {first['msg']}.") from error


def look(
    site: Path, camera: str, image: Image, out: tuple[Path | None, float], *, as_json: bool
) -> str:
    """Print the fit and draw it.

    out: file to draw to, and score from which a detection is a person. Returns why the points would
    be refused although there is a fit to look at, else nothing. Raises GroundError, OSError.
    """
    import cv2
    import numpy as np

    from vision.ground_grid import draw, standing
    from vision.people import PERSON, load_people

    points = read_points(site, camera)
    ground = points.fitted()
    file, score = out
    height, width = image.shape[:2]
    seen = load_people(PERSON, score).look(image).seen
    boxes = np.array([one.box for one in seen], np.float64).reshape(-1, 4)
    people = standing(ground, boxes, width, height)
    if file is not None and not cv2.imwrite(str(file), draw(image, points, ground, people)):
        raise SiteFileError(f"{file} cannot be written.")
    rows = _rows(points, ground, width, height)
    if as_json:
        said = {"points": rows, "refused": ground.misfit, "people": [_person(p) for p in people]}
        print(json.dumps(said, ensure_ascii=False, indent=2))
    else:
        _print(rows, points, people)
    return ground.misfit


def _rows(points: GroundPoints, ground: Ground, width: int, height: int) -> list[dict[str, Any]]:
    import numpy as np

    metres = np.array([one.metres for one in points.points])
    there = ground.picture_of(metres) * (width, height)
    pixels = np.array([one.picture for one in points.points]) * (width, height)
    off = np.linalg.norm(there - pixels, axis=1)
    return [
        {
            "picture": list(one.picture),
            "metres": list(one.metres),
            "off_pixels": round(float(off[row]), 1),
            "off_m": round(float(ground.fit.off_m[row]), 2),
        }
        for row, one in enumerate(points.points)
    ]


def _person(one: Standing) -> dict[str, Any]:
    known = one.metres is not None
    return {
        "metres": None if one.metres is None else [round(v, 2) for v in one.metres],
        "error_m": round(one.error_m, 2) if known else None,
        "stature_m": round(one.stature_m, 2) if known else None,
    }


def _print(rows: list[dict[str, Any]], points: GroundPoints, people: list[Standing]) -> None:
    print("point  picture          metres              off")
    for number, row in enumerate(rows, start=1):
        (u, v), (x, y) = row["picture"], row["metres"]
        print(f"{number:>5}  {u:.3f}, {v:.3f}   {x:>7.2f}, {y:>7.2f}"
              f"   {row['off_pixels']:>5.1f} pixels {row['off_m']:>6.2f} m")  # fmt: skip
    if len(rows) == 4:
        print("Four points always fit, whatever was measured: add a fifth to see errors.")
    print(f"Places are told up to {points.reach_m:g} m outside of the points, and to within"
          f" {points.error_m:g} m: where the grid is drawn.")  # fmt: skip
    for one in people:
        if one.metres is None:
            print("somebody: no position")
            continue
        x, y = one.metres
        print(
            f"somebody at {x:.1f}, {y:.1f} m ± {one.error_m:.1f} looks {one.stature_m:.2f} m tall"
        )
    if people:
        print(
            "People should look 1.4 to 1.9 m tall, less only where the camera looks steeply down."
        )


__all__ = ["look", "read_points"]
