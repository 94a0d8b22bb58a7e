"""A labelled folder is made of packages with portraits, and can be read as one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

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
    assert box is not None
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
    boxes = [box for _, _, box in rows if box is not None]
    assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for x1, y1, x2, y2 in boxes)
    empty = [row[:2] for row in rows if row[2] is None]
    assert empty
    assert all(pictures.count(picture) == 1 for picture in empty), "nobody, or heads"


def test_a_picture_without_anybody_has_no_label_and_an_incomplete_archive_is_refused(
    tmp_path: Path,
) -> None:
    tarball = next(row[0] for row in portraits.rows() if row[2] is None)
    named = {row[1]: row[2] for row in portraits.rows() if row[0] == tarball}

    def archive(members: list[str]) -> None:
        with tarfile.open(tmp_path / tarball, "w:gz") as made:
            for name in members:
                made.addfile(tarfile.TarInfo(name), io.BytesIO())

    archive(list(named))
    assert portraits.make(tmp_path / "out", [tmp_path / tarball]) == len(named)
    labels = list((tmp_path / "out" / "labels").iterdir())
    assert len(labels) == len(named), "no two pictures of one name"
    nobody = sum(box is None for box in named.values())
    assert sum(not path.read_text(encoding="utf-8") for path in labels) == nobody
    archive(list(named)[1:])
    with pytest.raises(ValueError, match="lacks 1 of the pictures"):
        portraits.make(tmp_path / "less", [tmp_path / tarball])
