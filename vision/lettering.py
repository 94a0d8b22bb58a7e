"""Writes text on pictures, Chinese included, from glyphs that are shipped: no font of the system.

Guarantees: every text can be drawn; a character that is not among the glyphs becomes 〓; text
that would leave the picture is moved in, and cut off at the right edge.

`fonts/glyphs.npz` holds grey bitmaps of HEIGHT rows, drawn once from Noto Sans CJK SC (SIL Open
Font License 1.1, fonts/OFL.txt): ASCII, common punctuation and the 3,755 characters of GB 2312
level 1, with what names of plants use beyond it (vision/train/glyphs.py makes it).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vision.frames import Image

HEIGHT = 22
MISSING = "〓"
Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
_FILE = Path(__file__).resolve().parent / "fonts" / "glyphs.npz"


@cache
def _glyphs() -> dict[str, npt.NDArray[np.uint8]]:
    """Bitmap uint8[HEIGHT, advance] of each character."""
    with np.load(_FILE) as stored:
        text, widths = str(stored["characters"]), stored["widths"].tolist()
        packed = stored["pixels"]
    pixels = np.empty(packed.size * 2, np.uint8)
    pixels[0::2], pixels[1::2] = (packed >> 4) * 17, (packed & 15) * 17
    found, start = {}, 0
    for character, width in zip(text, widths, strict=True):
        size = HEIGHT * width
        found[character] = pixels[start : start + size].reshape(HEIGHT, width)
        start += size
    return found


def knows(character: str) -> bool:
    """Tell whether a character is among the glyphs."""
    return character in _glyphs()


def strip(text: str) -> npt.NDArray[np.uint8]:
    """Coverage uint8[HEIGHT, width] of one line."""
    glyphs = _glyphs()
    parts = [
        glyphs.get(character, glyphs[MISSING]) for character in text if character.isprintable()
    ]
    return np.concatenate(parts, axis=1) if parts else np.zeros((HEIGHT, 0), np.uint8)


def write(picture: Image, text: str, at: tuple[int, int], colour: Colour = WHITE) -> None:
    """One line with a dark rim; `at` is its lower left corner in pixels."""
    line = np.pad(strip(text), 2)
    height, width = picture.shape[:2]
    left = max(0, min(at[0], width - line.shape[1]))
    top = max(0, min(at[1] - HEIGHT - 2, height - line.shape[0]))
    part = picture[top : top + line.shape[0], left : left + line.shape[1]]
    if not part.size:
        return
    line = line[: part.shape[0], : part.shape[1]]
    rim = cv2.dilate(line, np.ones((3, 3), np.uint8))
    dark = part * (1 - rim[..., None] / 255.0)
    share = line[..., None] / 255.0
    part[:] = (dark * (1 - share) + np.array(colour) * share).round().astype(np.uint8)


__all__ = ["HEIGHT", "knows", "strip", "write"]
