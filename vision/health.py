"""Tells a view that can be judged from one that cannot. Pure.

| state        | when                                                                           |
|--------------|--------------------------------------------------------------------------------|
| BLACK        | hardly any contrast and dark: spread < 6 of 255 grey levels, mean < 40; or     |
|              | nine tenths of a dark picture (median < 40) within 12 grey levels: what shows  |
|              | then is a clock, a name or the words of a recorder that has no picture         |
| COVERED      | hardly any contrast and not dark, or most of what had structure has none       |
| OVER_EXPOSED | more than half of the pixels at the end of the scale (≥ 250)                   |
| BLURRED      | the coarse picture is the learned one, its fine edges have gone                |
| MOVED        | structure as before, but not where it was: another view                        |
| FROZEN       | every pixel equal without a break for `frozen_s`                               |
| CLEAR        | otherwise                                                                      |

A frame that is not CLEAR is not judged at once, so a lens being covered never gives a count of 0;
an event follows only when it lasts (vision/analyser.py).

How it works: the scaled frame's grey levels are cut down to coarse tiles; edges are judged against
a reference that is learned over LEARN_NS of clear frames, and that follows slowly only while the
view is the learned one, so that daylight moves it and a hand does not. Correlations are of edges
with their mean taken away, so that brightness, contrast and the change to infrared matter little;
people who walk about change a few tiles of many.

Real sensors have noise, so a picture that is equal to the last bit for half a minute does not come
from a live camera. What the thresholds catch and what they wrongly say is measured in
tests/vision/test_health_clips.py on real clips, bent in many ways.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

FLAT_SPREAD = 6.0
"""Standard deviation in grey levels. A capped lens gives 1 to 3, fog over a plant 15 and more."""
DARK_MEAN = 40.0
DARK_SPREAD = 12
"""Grey levels between the twentieth and the last twentieth of a dark picture: noise alone gives 3
to 10. A lamp lights more than a twentieth of a place that it makes fit to be seen."""
BRIGHT_LEVEL = 250
BRIGHT_RATIO = 0.5

LEARN_NS = 5_000_000_000
"""Clear frames of one view so long make the first reference."""
FOLLOW_NS = 120_000_000_000
"""Time constant with which the reference follows daylight."""
LOOK_NS = 900_000_000
"""Structure is looked at about once a second: what is told takes seconds anyway."""

SHARP_RATIO = 0.5
"""Fine edges below this share of the learned ones are blurred, or covered."""
SAME_VIEW = 0.55
"""Correlation of edges with the reference from which a view counts as the learned one."""
OTHER_VIEW = 0.35
"""Correlation below which it counts as another one; between the two the last verdict stays."""
TURNED = 0.15
"""A larger shift that explains the picture by so much more is a camera that was turned."""
COARSE_SAME = 0.6
"""Correlation of coarse grey levels from which a picture without edges is blurred, not covered."""
_COARSE = 4  # pixels of the scaled frame a side of a cell; 416 wide gives 104 cells
_EDGE_NOISE = 2.0  # edges weaker than a sensor's noise carry nothing
_GROWN_CELLS = 2  # a camera that shakes by so many cells still shows the same view
_FEWEST_NS = 1_000_000
_NEAREST_FIRST = sorted(
    ((down, across) for down in range(2 * _GROWN_CELLS + 1)
     for across in range(2 * _GROWN_CELLS + 1)),
    key=lambda shift: (shift[0] - _GROWN_CELLS) ** 2 + (shift[1] - _GROWN_CELLS) ** 2,
)  # fmt: skip
_LEVELS = np.arange(256, dtype=np.float64)
_SPARSE = 4  # contrast and equality are judged by every fourth pixel each way


class Levels:
    """How often each grey level occurs in uint8[h, w], and what follows: a fifth of numpy's time.

    mean, spread (standard deviation): grey levels.
    """

    def __init__(self, grey: Grey) -> None:
        counts = np.bincount(grey.ravel(), minlength=256)
        self._below = np.cumsum(counts)
        self._total = grey.size
        self.mean = float(counts @ _LEVELS) / self._total
        self.spread = math.sqrt(float(counts @ (_LEVELS - self.mean) ** 2) / self._total)

    def share_from(self, level: int) -> float:
        """Share of pixels of at least this level, 1 to 255."""
        return 1.0 - float(self._below[level - 1]) / self._total

    def quantile(self, share: float) -> float:
        """Level below which this share lies, between two pixels in a straight line."""
        place = share * (self._total - 1)
        ranks = (math.floor(place), math.ceil(place))
        low, high = (int(level) for level in np.searchsorted(self._below, ranks, side="right"))
        return low + (high - low) * (place - ranks[0])


class View(enum.Enum):
    """What the camera shows; the value is a word for events."""

    CLEAR = "clear"
    BLACK = "black"
    FROZEN = "frozen"
    COVERED = "covered"
    OVER_EXPOSED = "over_exposed"
    BLURRED = "blurred"
    MOVED = "moved"


VIEW_WORDS_ZH = {
    View.CLEAR: "画面正常",
    View.BLACK: "黑屏",
    View.FROZEN: "画面冻结",
    View.COVERED: "镜头遮挡",
    View.OVER_EXPOSED: "过曝",
    View.BLURRED: "画面模糊",
    View.MOVED: "视角偏移",
}


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is kept of one picture.

    coarse: float32[h, w], mean grey level of each cell.  edges: float32[h, w], of the coarse
    picture.  fine: mean difference between neighbouring pixels of the scaled frame, grey levels.
    """

    coarse: Floats
    edges: Floats
    fine: float


def look(grey: Grey) -> Look:
    """Cut a grey picture uint8[H, W] down to what is compared; at least 12 × 12 pixels."""
    height, width = (size - size % _COARSE for size in grey.shape)
    cells = grey[:height, :width].reshape(height // _COARSE, _COARSE, width // _COARSE, _COARSE)
    coarse = cells.mean(axis=(1, 3), dtype=np.float32)
    across = np.zeros_like(coarse)
    down = np.zeros_like(coarse)
    across[:, 1:-1] = coarse[:, 2:] - coarse[:, :-2]
    down[1:-1] = coarse[2:] - coarse[:-2]
    edges = np.maximum(np.hypot(across, down) - _EDGE_NOISE, 0.0)
    signed = grey[::2].astype(np.int16)
    fine = float(np.abs(np.diff(signed, axis=1)).mean())
    return Look(coarse, np.sqrt(edges), fine)


def correlation(one: Floats, other: Floats) -> float:
    """Pearson's correlation of two pictures of one shape; 0 where either is flat."""
    a, b = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else 0.0


class Reference:
    """The learned view. known: one that was learned before, by an earlier process."""

    def __init__(self, known: Look | None = None) -> None:
        self._since_ns: int | None = None
        self._last_ns: int | None = None
        self._look = known
        self.learned = known is not None

    @property
    def look(self) -> Look | None:
        """What was learned; None before."""
        return self._look if self.learned else None

    def learn(self, seen: Look, now_ns: int) -> None:
        """Take in a clear picture of the learned view.

        While it is being learned, one that shows another begins anew: garbled pictures, as come
        when a stream starts on a bad line, would make a view that the true one is not.
        """
        old = self._look
        is_other = not self.fits(seen) or (not self.learned and self.same(seen) < SAME_VIEW)
        if old is None or is_other:
            self._look, self._since_ns, self._last_ns = seen, now_ns, now_ns
            self.learned = False
            return
        if self._since_ns is not None and now_ns - self._since_ns >= LEARN_NS:
            self.learned = True
        span_ns = FOLLOW_NS if self.learned else LEARN_NS
        passed_ns = 0 if self._last_ns is None else now_ns - self._last_ns
        share = min(1.0, max(passed_ns, _FEWEST_NS) / span_ns)
        self._look = Look(
            old.coarse + np.float32(share) * (seen.coarse - old.coarse),
            old.edges + np.float32(share) * (seen.edges - old.edges),
            old.fine + share * (seen.fine - old.fine),
        )
        self._last_ns = now_ns

    def fits(self, seen: Look) -> bool:
        """Tell whether pictures of this size can be compared with it."""
        return self._look is not None and self._look.coarse.shape == seen.coarse.shape

    def sharpness(self, seen: Look) -> float:
        """Fine edges as a share of the learned ones, each against its own contrast."""
        if self._look is None or self._look.fine <= 0:
            return 1.0
        contrast = float(seen.coarse.std()) / max(float(self._look.coarse.std()), 1.0)
        return seen.fine / self._look.fine / max(min(contrast, 1.0), 0.2)

    def same(self, seen: Look) -> float:
        """Best correlation of edges over small shifts: wind and a passing lorry shake a mast."""
        if self._look is None:
            return 1.0
        best, grown = -1.0, _GROWN_CELLS
        height, width = seen.edges.shape
        core = self._look.edges[grown : height - grown, grown : width - grown]
        for down, across in _NEAREST_FIRST:
            part = seen.edges[down : down + height - 2 * grown, across : across + width - 2 * grown]
            best = max(best, correlation(core, part))
            if best >= SAME_VIEW:
                break
        return best

    def shifted(self, seen: Look) -> float:
        """Best correlation of edges over all larger shifts: how well a turned camera explains it.

        Circular, by the convolution theorem, so what leaves on one side counts on the other.
        """
        if self._look is None:
            return -1.0
        one = self._look.edges - self._look.edges.mean()
        other = seen.edges - seen.edges.mean()
        norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
        if norm <= 0:
            return -1.0
        product = np.conj(np.fft.rfft2(one)) * np.fft.rfft2(other)
        everywhere = np.fft.irfft2(product, s=one.shape) / norm
        near = range(-_GROWN_CELLS, _GROWN_CELLS + 1)
        everywhere[np.ix_(near, near)] = -1.0
        return float(everywhere.max())

    def coarse(self, seen: Look) -> float:
        """Correlation of grey levels."""
        return 1.0 if self._look is None else correlation(self._look.coarse, seen.coarse)


class ViewWatch:
    """feed() takes the grey picture of each analysed frame.

    moves: the camera is meant to move (ptz, mobile), so MOVED is never said and no view is learned.
    known: the view as an earlier process had learned it, so that a camera that was moved meanwhile
    is found.
    """

    def __init__(self, frozen_s: float, *, moves: bool = False, known: Look | None = None) -> None:
        self._frozen_ns = round(frozen_s * 1e9)
        self._moves = moves
        self._last: Grey | None = None
        self._same_since_ns = 0
        self._reference = Reference(known)
        self._looked_ns: int | None = None
        self._verdict = View.CLEAR

    @property
    def learned(self) -> Look | None:
        """The view that was learned; None before, and of a camera that moves."""
        return self._reference.look

    def relearn(self) -> None:
        """Learn the view anew: somebody says that what the camera shows now is right."""
        self._reference = Reference()
        self._verdict = View.CLEAR
        self._looked_ns = None

    def reset(self) -> None:
        """Forget the last picture: the camera was opened again. What was learned stays."""
        self._last = None
        self._looked_ns = None

    def feed(self, pixels: Grey, now_ns: int) -> View:
        """Judge one frame by its grey picture, uint8[h, w]; another size is learned anew."""
        sparse = pixels[::_SPARSE, ::_SPARSE]
        if self._last is None or not np.array_equal(sparse, self._last):
            self._last = sparse.copy()
            self._same_since_ns = now_ns
        view = self._flat(sparse)
        if view is not View.CLEAR:
            return view
        if self._frozen_ns and now_ns - self._same_since_ns >= self._frozen_ns:
            return View.FROZEN
        if self._moves or min(pixels.shape) < 3 * _COARSE + 2 * _GROWN_CELLS * _COARSE:
            return View.CLEAR
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._verdict = self._structure(look(pixels), now_ns)
        return self._verdict

    def _flat(self, pixels: Grey) -> View:
        levels = Levels(pixels)
        if levels.share_from(BRIGHT_LEVEL) > BRIGHT_RATIO:
            return View.OVER_EXPOSED
        if levels.spread >= FLAT_SPREAD:
            low, middle, high = (levels.quantile(share) for share in (0.05, 0.5, 0.95))
            written_on = middle < DARK_MEAN and high - low < DARK_SPREAD
            return View.BLACK if written_on else View.CLEAR
        return View.BLACK if levels.mean < DARK_MEAN else View.COVERED

    def _structure(self, seen: Look, now_ns: int) -> View:
        reference = self._reference
        if not reference.learned or not reference.fits(seen):
            reference.learn(seen, now_ns)
            return View.CLEAR
        sharp, same = reference.sharpness(seen), reference.same(seen)
        if sharp < SHARP_RATIO:
            return View.BLURRED if reference.coarse(seen) >= COARSE_SAME else View.COVERED
        if same >= SAME_VIEW:
            reference.learn(seen, now_ns)
            return View.CLEAR
        if same < OTHER_VIEW or reference.shifted(seen) >= same + TURNED:
            return View.MOVED
        return self._verdict
