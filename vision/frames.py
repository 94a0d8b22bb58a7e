"""What a frame is and where frames come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""uint8[height, width, 3], blue, green, red."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    image: BGR; belongs to the source, which may overwrite it once the next frame is requested.
    number: count of frames received since the source started, from 0.
    received_ns: monotonic time at which it came out of the decoder.
    wall_ns: wall-clock time of the same moment, ns since 1970 UTC.
    first: what came before is no picture of the same scene a moment ago (start, reopened camera,
        another resolution, a file that begins again), so tracks must not continue into it.
    """

    image: Image
    number: int
    received_ns: int
    wall_ns: int
    first: bool


@dataclass(frozen=True, slots=True)
class LinkState:
    """What is known about a source without waiting for it.

    last_frame_ns: monotonic time of the newest frame received, analysed or not; None: none yet.
    alive_ns: monotonic time at which the reader last returned from native code.
    problem: one sentence if the source is not delivering, else empty.
    received: frames received since the reader was made, analysed or not; 0 where nobody counts.
    """

    last_frame_ns: int | None
    alive_ns: int
    problem: str
    received: int = 0


class FrameSource(Protocol):
    """A camera or a file. The newest frame wins: nothing is queued."""

    def start(self) -> None:
        """Begin to open and read, in the background."""
        ...

    def request(self) -> None:
        """Ask for one frame, the next that arrives; gives the previous one back."""
        ...

    def take(self) -> Frame | None:
        """Return the requested frame once it is there; never waits."""
        ...

    def fileno(self) -> int:
        """Descriptor that is readable while a requested frame waits to be taken."""
        ...

    def link(self) -> LinkState:
        """How the source is doing; never waits."""
        ...

    def statistics(self) -> dict[str, float]:
        """Counters: frames_received, frames_decoded (converted to pictures), reopened."""
        ...

    def close(self) -> None:
        """Stop reading. Returns at once; a reader stuck in native code is abandoned."""
        ...
