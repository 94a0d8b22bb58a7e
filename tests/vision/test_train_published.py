"""The weights that training begins with: the published file and no other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vision.labels import LabelsError
from vision.train.published import SHA256, SOURCE, published


def test_the_file_with_that_digest_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    assert published(file, hashlib.sha256(b"weights").hexdigest()) == file


@pytest.mark.parametrize("content", [b"", b"weights of another network"])
def test_another_file_is_refused_in_one_sentence_that_names_the_right_one(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(LabelsError) as refused:
        published(file)
    words = str(refused.value)
    assert words.startswith(str(file))
    assert SOURCE in words
    assert SHA256 in words
    assert hashlib.sha256(content).hexdigest() in words
    assert "\n" not in words


def test_a_file_that_is_not_there_or_is_a_folder_is_said_to_be_unreadable(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pth", tmp_path):
        with pytest.raises(LabelsError, match="cannot be read: "):
            published(path)
