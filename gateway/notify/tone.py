"""Alarm tones as WAV files, by priority: the more urgent, the higher and the more often. Pure.

16 bit, mono, 16 kHz; two frequencies in turn. The pattern is our own choice: no standard asks for
one here; sites with a standard signal give a file of theirs.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping

import numpy as np

RATE_HZ = 16_000
PATTERNS: Mapping[int, tuple[tuple[int, int], int]] = {
    1: ((1400, 1000), 8), 2: ((1000, 800), 6), 3: ((800, 650), 4), 4: ((650, 650), 2),
}  # fmt: skip
"""Two frequencies in Hz, and how many times a quarter of a second each."""
_PART_S = 0.25
_FADE_S = 0.01


def tone(priority: int) -> bytes:
    """WAV of a priority, 1 to 4."""
    (first, second), times = PATTERNS[min(max(priority, 1), 4)]
    time_s = np.arange(round(RATE_HZ * _PART_S)) / RATE_HZ
    edge = np.minimum(1.0, np.minimum(time_s, _PART_S - time_s) / _FADE_S)
    parts = [np.sin(2 * np.pi * hertz * time_s) * edge for hertz in (first, second)]
    samples = np.concatenate([parts[number % 2] for number in range(2 * times)])
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples * 0.8 * 32767).astype("<i2").tobytes())
    return content.getvalue()
