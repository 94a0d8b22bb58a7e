"""Makes vision/fonts/glyphs.npz: `python -m vision.train.glyphs FONT.ttc`; needs Pillow.

FONT: NotoSansCJK-Regular.ttc of Debian's fonts-noto-cjk (SIL Open Font License 1.1).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from vision.lettering import HEIGHT, MISSING

EXTRA = "·—…‘’“”、。《》「」【】（），．：；？！％℃°±×÷≤≥≠→←↑↓●○"
EXTRA += "■□▲△〓㎡³²µΩ№酚醛氨苯硫烃烷烯炔酮酯"
EXTRA += "醚酐酰羟羧氯氟溴碘氢氧氮氩氦甲乙丙丁戊己庚辛壬癸釜塔罐泵阀槽瀑煅炉焦砷汞铬镉"
EXTRA += "镍钴钒钛锆铪钽铌钨钼裂化氰氨酸碱盐罐"
EXTRA += "煤焦沥渣烟囱硝磺酞腈肼胺脲铵吡啶呋喃噻苄萘蒽菲醌甙苷糠莰岗哨岔隘闸泄漏焊瞭镂"


def characters() -> str:
    """ASCII, punctuation and GB 2312 level 1 (rows 16 to 55)."""
    level = bytearray()
    for row in range(16, 56):
        for cell in range(1, 95):
            if row == 55 and cell > 89:
                break
            level += bytes((row + 0xA0, cell + 0xA0))
    text = "".join(map(chr, range(32, 127))) + level.decode("gb2312") + EXTRA + MISSING
    return "".join(dict.fromkeys(text))


def main(font_path: str) -> None:
    """Draw every character and write the file."""
    from PIL import Image, ImageDraw, ImageFont

    face = next(
        face
        for index in range(10)
        if "SC" in (face := ImageFont.truetype(font_path, 17, index=index)).getname()[0]
    )
    widths, pixels = [], []
    for character in characters():
        wide = max(1, round(face.getlength(character)))
        canvas = Image.new("L", (wide, HEIGHT))
        ImageDraw.Draw(canvas).text((0, -3), character, font=face, fill=255)
        widths.append(wide)
        pixels.append(np.asarray(canvas, np.uint8).reshape(-1))
    flat = np.concatenate(pixels)
    flat = np.append(flat, np.zeros(len(flat) % 2, np.uint8))
    grey = np.minimum(15, (flat.astype(np.uint16) + 8) // 17).astype(np.uint8)
    out = Path(__file__).resolve().parent.parent / "fonts" / "glyphs.npz"
    out.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        out,
        characters=np.array(characters()),
        widths=np.array(widths, np.uint8),
        pixels=grey[0::2] << 4 | grey[1::2],
    )


if __name__ == "__main__":
    main(sys.argv[1])
