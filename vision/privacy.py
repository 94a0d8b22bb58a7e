"""Where in a camera's newest picture somebody could be recognised: what evidence must hide. Pure.

Guarantees:

- Everybody found in the newest picture is covered, found weakly or not yet counted too: his head
  where it was found, and always the top of his box.
- Who was there and was not found this time (hidden, turned away, or the picture was not looked at
  because nothing moved, or cannot be judged) is covered where he was last, with room around.
- Nothing of a scene before is carried over (`forget`).

Whoever was never found is not covered: what is hidden is as good as the person model.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from vision.postprocess import overlaps
from vision.track import Track

Float32Array = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]
Size = tuple[int, int]
"""Width and height of a picture in pixels."""

HEAD_OF_HEIGHT = 0.22
"""A head, bent forward and in a helmet too, of a person who stands: a seventh to a fifth."""
HEAD_OF_WIDTH = 0.6
"""The same where the box is wide: somebody close (shoulders are two to three heads wide), seated or
bent. Of somebody who lies, whose head may be at either end, it hides the whole box."""
HEAD_OF_CUT = 0.45
"""The same of a box that the picture's lower edge cuts; what a side cuts counts as twice as wide.
Seen on people in front of the camera, whose mouths the shares above left in the picture."""
EDGE = 0.02
"""Of the picture: so near an edge a box is cut by it."""
ABOVE = 0.04
"""Of the height, over the box: boxes of the person model may begin at the forehead."""
HEAD_ROOM = 0.1
ROOM = 0.25
"""Of each side, around a place where a head was last."""
GONE = 0.1
"""Boxes of two pictures that share less than this are of two people."""


def grown(box: Box, share: float) -> Box:
    """The box, larger by `share` of its width and height on each side."""
    x1, y1, x2, y2 = box
    across, down = share * (x2 - x1), share * (y2 - y1)
    return x1 - across, y1 - down, x2 + across, y2 + down


def top(box: Box, size: Size) -> Box:
    """Where the head of the person in a box may be, in a picture of width × height."""
    x1, y1, x2, y2 = box
    across, down = x2 - x1, y2 - y1
    if x1 < EDGE * size[0] or x2 > (1 - EDGE) * size[0]:
        across *= 2
    of_height = HEAD_OF_CUT if y2 > (1 - EDGE) * size[1] else HEAD_OF_HEIGHT
    deep = min(down, max(of_height * down, HEAD_OF_WIDTH * across))
    return x1, y1 - ABOVE * down, x2, y1 + deep


class Recognisable:
    """regions: boxes x1, y1, x2, y2 in pixels of the newest frame, which may reach beyond it."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: the next picture is of another scene."""
        self.regions: tuple[Box, ...] = ()
        self._known: tuple[Box, ...] = ()
        self._found = np.zeros((0, 4), np.float32)

    def looked(
        self, found: Float32Array, tracks: Iterable[Track], heads: Sequence[Box], size: Size
    ) -> None:
        """A picture was judged. found: boxes[n, 4] of people in it; tracks: all that live."""
        gone = self._found[~_again(self._found, found)]
        unseen = [*_boxes(gone), *(track.box for track in tracks if track.missed)]
        self._known = (
            *(grown(head, HEAD_ROOM) for head in heads),
            *(top(box, size) for box in _boxes(found)),
            *(grown(top(box, size), ROOM) for box in unseen),
        )
        self._found = found.copy()
        self.regions = self._known

    def not_looked(self) -> None:
        """A picture was not looked at."""
        self.regions = tuple(grown(box, ROOM) for box in self._known)

    def not_judged(self, found: Float32Array, size: Size) -> None:
        """A picture cannot be judged; found: what was seen in it anyway."""
        self.not_looked()
        self.regions += tuple(top(box, size) for box in _boxes(found))


def _again(before: Float32Array, now: Float32Array) -> npt.NDArray[np.bool_]:
    """Which boxes of before[n, 4] have one of now[m, 4] in their place."""
    if not len(before) or not len(now):
        return np.zeros(len(before), np.bool_)
    return np.asarray((overlaps(before, now) >= GONE).any(axis=1), np.bool_)


def _boxes(rows: Float32Array) -> list[Box]:
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in rows.tolist()]
