"""A labelled folder is made of packages with portraits, and can be read as one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from vision.labels import read_folder
from vision.train import portraits


def test_what_the_list_names_is_taken_out_and_labelled(tmp_path: Path) -> None:
    tarball, member, box = next(portraits.rows())
    with tarfile.open(tmp_path / tarball, "w:gz") as archive:
        for name in dict.fromkeys(row[1] for row in portraits.rows() if row[0] == tarball):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    made = portraits.make(tmp_path / "out", [tmp_path / tarball])
    folder = read_folder(tmp_path / "out", {})
    assert (
        len(folder.images) == made == len({row[1] for row in portraits.rows() if row[0] == tarball})
    )
    labels = [one.labels for one in folder.images if one.path.name.endswith(Path(member).name)]
    assert any(
        len(some) == 1
        and some[0].name == "no_helmet"
        and max(abs(a - b) for a, b in zip(some[0].box, box, strict=True)) < 1e-3
        for some in labels
    )


def test_every_head_of_the_list_lies_in_its_picture() -> None:
    rows = list(portraits.rows())
    assert len(set(rows)) == len(rows)
    pictures = [row[:2] for row in rows]
    assert pictures == sorted(pictures, key=list(dict.fromkeys(pictures)).index), "heads of one"
    assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for _, _, (x1, y1, x2, y2) in rows)
