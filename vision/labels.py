"""Reads a folder of labelled images: YOLO text with classes.txt, or Pascal VOC XML.

    DIR/images/**.jpg|png|bmp|webp|tif      DIR/labels/**.txt + classes.txt (or data.yaml's names)
    (or DIR/JPEGImages, DIR/Annotations)    DIR/labels/**.xml

Guarantees:

- Files made elsewhere are taken as they are: any letter case, other encodings of class names, a
  byte-order mark, polygons instead of boxes (their bounding box), boxes over the edge (clipped).
  A line that cannot be read is left out and told of, with file and line; nothing stops at it.
- An image without a label file is unlabelled and left out; one with an empty file shows nobody.
- A name is one of ours after `--map`, or when only its case, spaces, hyphens and underscores
  differ. No other name is guessed: it is left out and told of with its count.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

OURS = ("person", "helmet", "no_helmet", "workwear", "no_workwear")
IGNORE = "-"
_PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_MOST_NOTES = 20


class LabelsError(Exception):
    """The folder cannot be used; the message is one sentence for a person."""


@dataclass(frozen=True, slots=True)
class Label:
    """One labelled thing. box: x1, y1, x2, y2, fractions of the picture if `relative`, else px."""

    name: str
    box: tuple[float, float, float, float]
    relative: bool

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The box in pixels of a width × height picture, clipped to it."""
        x1, y1, x2, y2 = self.box
        sx, sy = (width, height) if self.relative else (1, 1)
        return (
            min(max(x1 * sx, 0.0), width),
            min(max(y1 * sy, 0.0), height),
            min(max(x2 * sx, 0.0), width),
            min(max(y2 * sy, 0.0), height),
        )


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image and what is labelled in it, in our names."""

    path: Path
    labels: tuple[Label, ...]


@dataclass(slots=True)
class LabelledFolder:
    """What was read. names: the classes of ours that the folder labels at all.

    unlabelled: images without a label file.  left_out: count per name that is not ours.
    notes: sentences about lines that could not be read, the first few.
    """

    images: list[LabelledImage] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    unlabelled: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    bad_lines: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Remember a line that could not be read."""
        self.bad_lines += 1
        if len(self.notes) < _MOST_NOTES:
            self.notes.append(sentence)

    def keep(self, names: Sequence[str]) -> None:
        """Keep the images with these names only; raises LabelsError if none is left."""
        wanted = set(names)
        self.images = [image for image in self.images if image.path.name in wanted]
        if not self.images:
            raise LabelsError("none of the names given is the name of a labelled image.")

    def sentences(self, unreadable: Sequence[str] = ()) -> list[str]:
        """What was not used, for a person."""
        said = []
        if self.left_out:
            names = ", ".join(f"{name} ({count})" for name, count in self.left_out.most_common(12))
            said.append(f"Left out, not our names: {names}; use --map theirs=ours.")
        if self.unlabelled:
            said.append(f"{self.unlabelled} images have no label file and were left out.")
        if unreadable:
            said.append(f"{len(unreadable)} images cannot be read: {', '.join(unreadable[:5])}.")
        if self.bad_lines:
            said.append(f"{self.bad_lines} labels cannot be read: {' '.join(self.notes[:5])}")
        one = self.names & {"helmet", "no_helmet"}
        if len(one) == 1 and "person" not in self.names:
            said.append(f"Only {next(iter(one))} is labelled: the headcount is judged against it.")
        return said


def parse_map(text: str) -> dict[str, str]:
    """`theirs=ours,…` as a table; raises LabelsError. `theirs=-` leaves a class out."""
    table: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        theirs, equals, ours = part.rpartition("=")
        if not equals or not theirs.strip():
            raise LabelsError(f"--map has {part!r}: write theirs=ours, for example hat=helmet.")
        if ours.strip() not in {*OURS, IGNORE}:
            raise LabelsError(
                f"--map names {ours.strip()!r}: our names are {', '.join(OURS)}, or - to leave out."
            )
        table[theirs.strip()] = ours.strip()
    return table


def read_folder(folder: Path, mapping: Mapping[str, str]) -> LabelledFolder:
    """Read all of it; raises LabelsError if there is nothing to measure on."""
    if not folder.is_dir():
        raise LabelsError(f"{folder} is not a folder: give one that holds images/ and labels/.")
    pictures = _first(folder, ("images", "JPEGImages"))
    marks = _first(folder, ("labels", "Annotations"))
    if pictures is None or marks is None:
        lacking = "images/" if pictures is None else "labels/"
        raise LabelsError(f"{folder} has no {lacking}: it must hold images/ and labels/.")
    classes = _class_names(folder, marks)
    result = LabelledFolder()
    named = _Names(mapping, result)
    for path in sorted(pictures.rglob("*")):
        if path.suffix.lower() not in _PICTURES or path.name.startswith("."):
            continue
        stem = marks / path.relative_to(pictures).with_suffix("")
        text, xml = _with_suffix(stem, ".txt"), _with_suffix(stem, ".xml")
        if xml.is_file():
            labels = _read_voc(xml, named)
        elif text.is_file():
            if classes is None:
                raise LabelsError(
                    f"{folder} has YOLO labels but no classes.txt: write one class name a line"
                    f" into {folder / 'classes.txt'}."
                )
            labels = _read_yolo(text, classes, named)
        else:
            result.unlabelled += 1
            continue
        result.images.append(LabelledImage(path, tuple(labels)))
    if not result.images:
        raise LabelsError(
            f"{folder} has no image with a label file"
            f" ({result.unlabelled} images without one were found)."
        )
    known = classes if classes is not None else []
    result.names |= {ours for name in known if (ours := named.ours(name)) in OURS}
    if not result.names:
        seen = ", ".join(sorted({*known, *result.left_out})[:12]) or "none"
        raise LabelsError(
            f"none of the classes of {folder} ({seen}) is one of ours ({', '.join(OURS)}):"
            " name them with --map theirs=ours,…"
        )
    return result


class _Names:
    """Turns their class names into ours and keeps count of the rest."""

    def __init__(self, mapping: Mapping[str, str], result: LabelledFolder) -> None:
        self._table = {plain(theirs): ours for theirs, ours in mapping.items()}
        self.result = result

    def ours(self, theirs: str) -> str:
        """One of ours, IGNORE, or empty if it is not known."""
        key = plain(theirs)
        return self._table.get(key, key if key in OURS else "")

    def take(self, theirs: str) -> str:
        """The same, counting what is left out; empty if it is."""
        name = self.ours(theirs)
        if name in {"", IGNORE}:
            self.result.left_out[theirs] += 1
            return ""
        self.result.names.add(name)
        return name


def plain(name: str) -> str:
    """A class name without the differences that do not matter."""
    return re.sub(r"[\s_\-]+", "_", name.strip().casefold())


def decode(content: bytes) -> str:
    """Text in UTF-8 or, failing that, GB 18030, as Chinese labelling tools write."""
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    there = {entry.name.casefold(): entry for entry in folder.iterdir() if entry.is_dir()}
    return next((there[n.casefold()] for n in names if n.casefold() in there), None)


def _with_suffix(stem: Path, suffix: str) -> Path:
    path = stem.parent / (stem.name + suffix)
    upper = stem.parent / (stem.name + suffix.upper())
    return upper if not path.is_file() and upper.is_file() else path


def _class_names(folder: Path, marks: Path) -> list[str] | None:
    for path in (folder / "classes.txt", marks / "classes.txt", folder / "obj.names"):
        if path.is_file():
            lines = [line.strip() for line in decode(path.read_bytes()).splitlines()]
            while lines and not lines[-1]:
                lines.pop()
            return lines
    for path in (folder / "data.yaml", folder / "dataset.yaml"):
        if path.is_file():
            return _yaml_names(decode(path.read_bytes()))
    return None


def _yaml_names(text: str) -> list[str] | None:
    """`names: [a, b]` or one entry a line; nothing else of YAML is read."""
    flow = re.search(r"^names:\s*\[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    if flow:
        return [part.strip().strip("'\"") for part in flow.group(1).split(",")]
    block = re.search(r"^names:\s*\n((?:[ \t-].*\n?)+)", text, re.MULTILINE)
    if block is None:
        return None
    lines = filter(None, (line.strip() for line in block.group(1).splitlines()))
    return [re.sub(r"^(-|\d+\s*:)\s*", "", line).strip("'\"") for line in lines]


def _read_yolo(path: Path, classes: Sequence[str], names: _Names) -> list[Label]:
    labels = []
    for number, line in enumerate(decode(path.read_bytes()).splitlines(), start=1):
        if not line.strip():
            continue
        label = _yolo_line(line.split(), classes, names)
        if isinstance(label, str):
            names.result.note(f"{path.name} line {number}: {label}.")
        elif label is not None:
            labels.append(label)
    return labels


def _yolo_line(parts: Sequence[str], classes: Sequence[str], names: _Names) -> Label | str | None:
    """A label, None if its class is left out, or what is wrong with the line."""
    try:
        index = int(float(parts[0]))
        values = [float(part) for part in parts[1:]]
    except ValueError:
        return "not numbers"
    if not 0 <= index < len(classes):
        return f"class {index} of {len(classes)}"
    if not all(map(math.isfinite, values)):
        return "a number that is none"
    if len(values) in {4, 5}:  # the fifth is a score
        x, y, width, height = values[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        return f"{len(values)} numbers after the class, not 4"
    if max(map(abs, values)) > 2.0:
        return "coordinates are fractions of the picture, not pixels"
    return _sound(names, classes[index], box, relative=True)


def _sound(
    names: _Names, theirs: str, box: tuple[float, float, float, float], *, relative: bool
) -> Label | str | None:
    if not (box[2] > box[0] and box[3] > box[1]):
        return "a box without area"
    name = names.take(theirs)
    return Label(name, box, relative) if name else None


def _read_voc(path: Path, names: _Names) -> list[Label]:
    content = path.read_bytes()
    if not content.strip():
        return []
    if b"<!ENTITY" in content:
        names.result.note(f"{path.name}: entities are not read")
        return []
    try:
        root = ElementTree.fromstring(content)  # noqa: S314  # entities were refused above
    except ElementTree.ParseError as error:
        names.result.note(f"{path.name}: not XML ({error})")
        return []
    labels = []
    for number, thing in enumerate(root.iter("object"), start=1):
        try:
            sides = [
                float(thing.findtext(f"bndbox/{s}", "")) for s in ("xmin", "ymin", "xmax", "ymax")
            ]
        except ValueError:
            names.result.note(f"{path.name} object {number}: no box of four numbers")
            continue
        if not all(map(math.isfinite, sides)):
            names.result.note(f"{path.name} object {number}: a number that is none.")
            continue
        x1, y1, x2, y2 = sides
        label = _sound(names, thing.findtext("name", ""), (x1, y1, x2, y2), relative=False)
        if isinstance(label, str):
            names.result.note(f"{path.name} object {number}: {label}.")
        elif label is not None:
            labels.append(label)
    return labels


__all__ = [
    "IGNORE",
    "OURS",
    "Label",
    "LabelledFolder",
    "LabelledImage",
    "LabelsError",
    "parse_map",
    "read_folder",
]
