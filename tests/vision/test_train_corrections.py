"""Corrections of labels: what they replace, what they add, which files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision.labels import Label, LabelledImage, LabelsError
from vision.train import corrections as module
from vision.train.corrections import WHAT, corrected, read_corrections

SHIPPED = Path(module.__file__).parent / "shwd_corrections.csv"
HEAD = "image,what,x1,y1,x2,y2\n"


def image(*labels: Label) -> LabelledImage:
    return LabelledImage(Path("a.jpg"), labels)


def test_a_row_over_a_label_takes_its_place_and_others_stay() -> None:
    helmet = Label("helmet", (0.1, 0.1, 0.3, 0.3), relative=True)
    far = Label("no_helmet", (0.6, 0.1, 0.8, 0.3), relative=True)
    wear = Label("workwear", (0.1, 0.1, 0.3, 0.3), relative=True)
    row = Label("cannot_tell", (0.1, 0.12, 0.3, 0.3), relative=True)
    after = corrected(image(helmet, far, wear), 640, 480, {"a.jpg": [row]})
    assert after.labels == (far, wear, row)


def test_labels_in_pixels_are_compared_in_pixels() -> None:
    helmet = Label("helmet", (64, 48, 192, 144), relative=False)
    row = Label("no_helmet", (0.1, 0.1, 0.3, 0.3), relative=True)
    assert corrected(image(helmet), 640, 480, {"a.jpg": [row]}).labels == (row,)
    assert corrected(image(helmet), 640, 480, {"b.jpg": [row]}).labels == (helmet,)


unit = st.floats(0, 1)


@given(st.lists(st.tuples(st.sampled_from(WHAT), unit, unit, unit, unit), max_size=5))
def test_every_row_is_there_afterwards(rows: list[tuple[str, float, float, float, float]]) -> None:
    some = [Label(what, (x1, y1, x2, y2), relative=True) for what, x1, y1, x2, y2 in rows]
    helmet = Label("helmet", (0.2, 0.2, 0.4, 0.4), relative=True)
    after = corrected(image(helmet), 100, 100, {"a.jpg": some}).labels
    assert list(after[len(after) - len(some) :]) == some
    assert set(after) <= {helmet, *some}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image,x1\n", "line 1"),
        (HEAD + "a.jpg,helmet,0,0,1\n", "line 2"),
        (HEAD + "a.jpg,helmet,0,0,1,1\na.jpg,hat,0,0,1,1\n", "line 3"),
        (HEAD + "a.jpg,helmet,0.5,0,0.4,1\n", "line 2"),
        (HEAD + "a.jpg,helmet,0,0,nan,1\n", "line 2"),
        (HEAD + "a.jpg,helmet,0,0,2,1\n", "line 2"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "corrections.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelsError, match=said):
        read_corrections(path)


def test_the_corrections_of_the_shipped_models_data_can_be_read() -> None:
    rows = [label for some in read_corrections(SHIPPED).values() for label in some]
    assert {one.name for one in rows} == set(WHAT)
    assert len(rows) >= 400
