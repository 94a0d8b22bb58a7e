"""Trains what reads the digits of a clock on a picture: `python -m vision.train.clock_digits`.

Needs Pillow, and fonts in /usr/share/fonts. Draws clocks as cameras draw them (many faces, outlined
or boxed or bare, over any background, small, blurred, noisy, coded coarsely), cuts cells out of
them, a little misplaced, and has a network of one hidden layer tell which digit a cell shows, or
that it shows none. Writes vision/fonts/clock_digits.npz: weights only, no glyph of any font.

HELD_OUT faces are never drawn: `--measure` says how well digits of those are told.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.clock_face import CELL_HIGH, CELL_WIDE, DIGITS_FILE, Digits, cut, normalised

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
FONTS = Path("/usr/share/fonts")
FACES = ("*Mono*", "*Sans*", "*Regular*", "*Bold*", "*Medium*")
HELD_OUT = ("DejaVuSans", "wqy", "Hack")
"""Parts of file names; and Hershey's and Noto's faces, with which tests draw."""
LEFT_OUT = ("Italic", "Oblique", "Light", "Thin", "Math", "Symbol", "Emoji", "Dingbat", "Fallback")
NONE = 10
PIXELS = (
    "01110 10001 10011 10101 11001 10001 01110", "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00010 00100 01000 11111", "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010", "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110", "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110", "01110 10001 10001 01111 00001 00010 01100",
)  # fmt: skip
"""Digits of 5 x 7 dots, as character generators have them."""


@dataclass(frozen=True)
class Drawn:
    """A line as coverage 0 to 255, and of each digit its value and its cell x1, y1, x2, y2."""

    cover: Grey
    digits: list[tuple[int, tuple[float, float, float, float]]]


def words(rng: np.random.Generator) -> str:
    """A date and a time, in one of the ways cameras write them."""
    year, month, day = rng.integers(1970, 2100), rng.integers(1, 13), rng.integers(1, 32)
    hour, minute, second = rng.integers(0, 24), rng.integers(0, 60), rng.integers(0, 60)
    separator = "-/.:"[rng.integers(0, 4)]
    dates = [(year, month, day), (day, month, year), (month, day, year)][rng.integers(0, 3)]
    date = separator.join(f"{part:02}" for part in dates)
    between = [" ", "  ", " Fri ", " MON "][rng.integers(0, 4)]
    return f"{date}{between}{hour:02}:{minute:02}:{second:02}"


def drawn(text: str, face: object) -> Drawn:
    """Draw a line with a face of Pillow at its own size, or with dots where it is None."""
    if face is None:
        return _dotted(text)
    from PIL import Image, ImageDraw

    at, digits = 8.0, []
    advance = face.getlength("0")  # type: ignore[attr-defined]  # a FreeTypeFont
    _, top, _, bottom = face.getbbox("0")  # type: ignore[attr-defined]  # as above
    size = (int(face.getlength(text)) + 64, bottom + top + 24)  # type: ignore[attr-defined]  # as above
    canvas = Image.new("L", size)
    pen = ImageDraw.Draw(canvas)
    for letter in text:
        wide = face.getlength(letter)  # type: ignore[attr-defined]  # as above
        pen.text((at, 8), letter, font=face, fill=255)
        if letter.isdigit():
            middle = at + wide / 2
            cell = (middle - advance / 2, top + 8.0, middle + advance / 2, bottom + 8.0)
            digits.append((int(letter), cell))
        at += wide
    return Drawn(np.asarray(canvas, np.uint8), digits)


def _dotted(text: str) -> Drawn:
    dot = 6
    cover = np.zeros((7 * dot + 24, (6 * dot) * len(text) + 32), np.uint8)
    digits = []
    for number, letter in enumerate(text):
        left = 8 + 6 * dot * number
        if letter.isdigit():
            rows = PIXELS[int(letter)].split()
            dots = np.array([[int(one) * 255 for one in row] for row in rows], np.uint8)
            cover[12 : 12 + 7 * dot, left : left + 5 * dot] = np.kron(
                dots, np.ones((dot, dot), np.uint8)
            )
            digits.append((int(letter), (left - dot / 2, 12.0, left + 5.5 * dot, 12.0 + 7 * dot)))
        elif letter in "-:./":
            high = {"-": (3, 4), ":": (2, 5), ".": (6, 7), "/": (1, 6)}[letter]
            for row in high if letter == ":" else range(*high):
                x = left + (1 if letter == "-" else 2) * dot
                wide = 3 * dot if letter == "-" else dot
                cover[12 + row * dot : 12 + (row + 1) * dot, x : x + wide] = 255
    return Drawn(cover, digits)


def background(shape: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Something that a camera may see behind the letters, 0 to 255."""
    height, width = shape
    coarse = rng.uniform(0, 255, (rng.integers(1, 8), rng.integers(2, 24))).astype(np.float32)
    way = cv2.INTER_CUBIC if rng.random() < 0.7 else cv2.INTER_NEAREST
    scene = cv2.resize(coarse, (width, height), interpolation=way)
    level, spread = rng.uniform(0, 200), rng.uniform(0, 0.8)
    return np.asarray(np.clip(level + (scene - 128) * spread, 0, 255), np.float32)


def on_camera(line: Drawn, high: float, rng: np.random.Generator) -> tuple[Grey, float]:
    """The line as it arrives from a camera, its digits `high` pixels high; and its scale."""
    own = line.digits[0][1][3] - line.digits[0][1][1]
    scale = high / own
    size = (max(8, round(line.cover.shape[1] * scale)), max(8, round(line.cover.shape[0] * scale)))
    cover = cv2.resize(line.cover, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    scene = background(cover.shape, rng)
    ink = rng.uniform(170, 255)
    if rng.random() < 0.25:  # on a box
        scene[:] = rng.uniform(0, 60)
    elif rng.random() < 0.5 or scene.mean() > ink - 70:  # with a rim
        grown = cv2.dilate(cover, np.ones((3, 3), np.uint8))
        scene *= 1 - grown * rng.uniform(0.7, 1.0)
    picture = np.asarray(scene * (1 - cover) + ink * cover, np.float64)
    if rng.random() < 0.5:
        blurred = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 0.05 * high + 0.3))
        picture = np.asarray(blurred, np.float64)
    picture += rng.normal(0, rng.uniform(0, 10), picture.shape)
    if rng.random() < 0.15:
        picture = 255 - picture
    grey = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.7:
        packed = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 95))])
        grey = np.asarray(cv2.imdecode(packed[1], cv2.IMREAD_GRAYSCALE), np.uint8)
    return grey, size[0] / line.cover.shape[1]


def samples(
    faces: list[object], lines: int, rng: np.random.Generator
) -> Iterator[tuple[Floats, int]]:
    """Cells with what they show."""
    for _ in range(lines):
        line = drawn(words(rng), faces[rng.integers(0, len(faces))])
        grey, scale = on_camera(line, float(rng.uniform(8, 30)), rng)
        for value, cell in line.digits:
            x1, y1, x2, y2 = (side * scale for side in cell)
            wide, high = x2 - x1, y2 - y1
            dx, dy = rng.uniform(-0.1, 0.1) * wide, rng.uniform(-0.07, 0.07) * high
            gx, gy = rng.uniform(-0.07, 0.07) * wide, rng.uniform(-0.06, 0.06) * high
            yield cut(grey, x1 + dx - gx, y1 + dy - gy, x2 + dx + gx, y2 + dy + gy), value
            if rng.random() < 0.6:  # beside the digit, above or below it, too large, too small
                away = rng.uniform(0.35, 0.65) * rng.choice([-1, 1])
                case = rng.integers(0, 4)
                if case < 2:
                    yield cut(grey, x1 + away * wide, y1 + dy, x2 + away * wide, y2 + dy), NONE
                elif case == 2:
                    drop = rng.uniform(0.25, 0.7) * rng.choice([-1, 1]) * high
                    yield cut(grey, x1 + dx, y1 + drop, x2 + dx, y2 + drop), NONE
                else:
                    grow = rng.choice([rng.uniform(0.22, 0.6), rng.uniform(-0.32, -0.2)])
                    yield (
                        cut(grey, x1 - grow * wide, y1 - grow * high, x2 + grow * wide,
                            y2 + grow * high),
                        NONE,
                    )  # fmt: skip
        x = float(rng.uniform(0, max(1.0, grey.shape[1] - high)))
        yield cut(grey, x, y1, x + wide, y2), _shown(line, scale, x, wide)
        empty = background((24, 48), rng).astype(np.uint8)
        yield cut(empty, 6, 4, 6 + float(rng.uniform(8, 20)), 22), NONE


def _shown(line: Drawn, scale: float, x: float, wide: float) -> int:
    """What a cell at x shows: a digit if it is nearly where one is."""
    for value, cell in line.digits:
        if abs(cell[0] * scale - x) < 0.15 * wide:
            return value
    return NONE


def gathered(faces: list[object], lines: int, seed: int) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Inputs [n, cell] and classes [n]."""
    rng = np.random.default_rng(seed)
    pairs = list(samples(faces, lines, rng))
    return (
        normalised(np.stack([cell for cell, _ in pairs])),
        np.array([value for _, value in pairs], np.int64),
    )


def learn(x: Floats, y: npt.NDArray[np.int64], hidden: int, rounds: int, seed: int) -> list[Floats]:
    """Weights and offsets of both layers, by Adam on the cross-entropy."""
    rng = np.random.default_rng(seed)
    sizes = [(x.shape[1], hidden), (hidden,), (hidden, NONE + 1), (NONE + 1,)]
    kept = [
        (rng.normal(0, (2 / size[0]) ** 0.5, size) if len(size) == 2 else np.zeros(size)).astype(
            np.float32
        )
        for size in sizes
    ]
    first, second = [np.zeros_like(one) for one in kept], [np.zeros_like(one) for one in kept]
    step, batch = 0, 256
    total = rounds * (len(x) // batch)
    for _ in range(rounds):
        order = rng.permutation(len(x))
        for start in range(0, len(x) - batch + 1, batch):
            chosen = order[start : start + batch]
            part, wanted = x[chosen], y[chosen]
            middle = np.maximum(part @ kept[0] + kept[1], 0)
            raw = middle @ kept[2] + kept[3]
            share = np.exp(raw - raw.max(1, keepdims=True))
            share /= share.sum(1, keepdims=True)
            share[np.arange(batch), wanted] -= 1
            share /= batch
            back = (share @ kept[2].T) * (middle > 0)
            slopes = [part.T @ back, back.sum(0), middle.T @ share, share.sum(0)]
            step += 1
            rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * step / total))
            for i, bare in enumerate(slopes):
                slope = bare + 1e-4 * kept[i]
                first[i] += 0.1 * (slope - first[i])
                second[i] += 0.001 * (slope * slope - second[i])
                fair = second[i] / (1 - 0.999**step)
                kept[i] -= (rate * first[i] / (1 - 0.9**step) / (np.sqrt(fair) + 1e-8)).astype(
                    np.float32
                )
    return kept


def found_faces(*, held_out: bool) -> list[object]:
    """Faces of this machine, each with its name."""
    from PIL import ImageFont

    paths = sorted({p for pattern in FACES for p in FONTS.rglob(f"{pattern}.tt[fc]")})
    kept = [
        ImageFont.truetype(str(path), 40)
        for path in paths
        if not any(word in path.name for word in LEFT_OUT)
        and any(word in path.name for word in HELD_OUT) == held_out
    ]
    if not kept:
        raise SystemExit(f"clock_digits: no font under {FONTS}")
    usable = [face for face in kept if face.getlength("0") > 0]
    return [*usable, *([] if held_out else [None] * max(1, len(usable) // 6))]


def main() -> None:
    """Train and write, or measure what is there on faces held out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=24_000)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--measure", action="store_true", help="only measure")
    given = parser.parse_args()
    if not given.measure:
        faces = found_faces(held_out=False)
        x, y = gathered(faces, given.lines, given.seed)
        kept = learn(x, y, given.hidden, given.rounds, given.seed)
        a, b, c, d = (one.astype(np.float16) for one in kept)
        np.savez_compressed(DIGITS_FILE, a=a, b=b, c=c, d=d)
        print(f"{len(faces)} faces, {len(x)} cells of {CELL_WIDE} x {CELL_HIGH}")
    x, y = gathered(found_faces(held_out=True), 1500, given.seed + 1)
    share = Digits.shipped().shares(x)
    told, sure = share.argmax(1), share.max(1) >= 0.9
    digit = y < NONE
    print(
        f"held out: {np.mean(told[digit] == y[digit]):.4f} of {digit.sum()} digits right,"
        f" {np.mean((told != y)[sure & digit]):.4f} of the sure ones wrong,"
        f" {np.mean(told[~digit] == NONE):.4f} of {(~digit).sum()} others told to be none"
    )


if __name__ == "__main__":
    main()
