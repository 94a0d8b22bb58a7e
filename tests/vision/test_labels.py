"""Folders of labels as others make them: read whole, or told of in one sentence."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vision.labels import LabelsError, parse_map, read_folder


def folder_of(root: Path, labels: dict[str, bytes], classes: bytes | None) -> Path:
    """A folder with one small picture for each label file."""
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for name, content in labels.items():
        stem = name.rpartition(".")[0]
        cv2.imwrite(str(root / "images" / f"{stem}.png"), np.zeros((20, 40, 3), np.uint8))
        (root / "labels" / name).write_bytes(content)
    if classes is not None:
        (root / "classes.txt").write_bytes(classes)
    return root


def test_yolo_boxes_polygons_and_scores(tmp_path: Path) -> None:
    text = b"0 0.5 0.5 0.5 0.5\n1 0.1 0.1 0.3 0.1 0.3 0.4\n0 0.2 0.2 0.2 0.2 0.9\n"
    read = read_folder(folder_of(tmp_path, {"a.txt": text}, b"helmet\nNo-Helmet\n"), {})
    labels = read.images[0].labels
    assert [label.name for label in labels] == ["helmet", "no_helmet", "helmet"]
    expected = [[10, 5, 30, 15], [4, 2, 12, 8], [4, 2, 12, 6]]
    assert np.array([label.pixels(40, 20) for label in labels]) == pytest.approx(np.array(expected))
    assert read.names == {"helmet", "no_helmet"}


def test_odd_lines_are_told_of_and_nothing_stops(tmp_path: Path) -> None:
    lines = [
        b"0 nan 0.5 0.1 0.1",
        b"7 0.5 0.5 0.1 0.1",
        b"0 0.5 0.5",
        b"x y",
        b"",
        b"0 0.5 0.5 0 0",
    ]
    lines += [b"0 300 200 50 50", b"0 0.5 0.5 0.2 0.2"]
    read = read_folder(folder_of(tmp_path, {"a.txt": b"\r\n".join(lines)}, b"person"), {})
    assert len(read.images[0].labels) == 1
    assert read.bad_lines == 6
    assert any("not pixels" in note for note in read.notes)
    assert all("a.txt line" in note for note in read.notes)


def test_an_empty_file_shows_nobody_and_a_missing_one_is_unlabelled(tmp_path: Path) -> None:
    root = folder_of(tmp_path, {"a.txt": b""}, b"person\n")
    cv2.imwrite(str(root / "images" / "b.jpg"), np.zeros((9, 9, 3), np.uint8))
    read = read_folder(root, {})
    assert [image.labels for image in read.images] == [()]
    assert read.unlabelled == 1
    assert "1 images have no label file" in read.sentences()[0]


def test_their_names_are_mapped_and_others_left_out(tmp_path: Path) -> None:
    classes = "安全帽\nhead\ndog\n".encode("gb18030")
    text = b"0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n2 0.5 0.5 0.1 0.1\n"
    root = folder_of(tmp_path, {"a.txt": text}, classes)
    read = read_folder(root, parse_map("安全帽=helmet, head = no_helmet"))
    assert [label.name for label in read.images[0].labels] == ["helmet", "no_helmet"]
    assert read.left_out == {"dog": 1}
    with pytest.raises(LabelsError, match="name them with --map"):
        read_folder(root, {})


def test_pascal_voc_with_broken_files(tmp_path: Path) -> None:
    whole = (
        b"<annotation><object><name>hat</name><bndbox><xmin>1</xmin><ymin>2</ymin>"
        b"<xmax>11</xmax><ymax>99</ymax></bndbox></object>"
        b"<object><name>hat</name></object></annotation>"
    )
    entity = b"<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>"
    labels = {"a.xml": whole, "b.xml": b"<annotation>", "c.xml": entity, "d.xml": b""}
    read = read_folder(folder_of(tmp_path, labels, None), {"hat": "helmet"})
    assert read.images[0].labels[0].pixels(40, 20) == (1, 2, 11, 20)
    assert len(read.images) == 4
    assert read.bad_lines == 3


@pytest.mark.parametrize(
    ("classes", "expected"),
    [("names: [person, 'no helmet']\n", 2), ("nc: 2\nnames:\n  0: person\n  1: no_helmet\n", 2)],
)
def test_names_from_a_yaml(tmp_path: Path, classes: str, expected: int) -> None:
    root = folder_of(tmp_path, {"a.txt": b"1 0.5 0.5 0.1 0.1"}, None)
    (root / "data.yaml").write_text(classes)
    read = read_folder(root, {})
    assert len(read.names) == expected
    assert read.images[0].labels[0].name == "no_helmet"


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="not a folder"):
        read_folder(tmp_path / "none", {})
    with pytest.raises(LabelsError, match="has no images/"):
        read_folder(tmp_path, {})
    root = folder_of(tmp_path, {"a.txt": b"0 0.5 0.5 0.1 0.1"}, None)
    with pytest.raises(LabelsError, match=r"no classes\.txt"):
        read_folder(root, {})
    with pytest.raises(LabelsError, match="our names are"):
        parse_map("a=b")
    with pytest.raises(LabelsError, match="write theirs=ours"):
        parse_map("a")
