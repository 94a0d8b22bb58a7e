"""Whether pictures come at the pace at which they were taken. Pure.

Times of pictures are those of their arrival. After the line stood still, what waited in buffers
comes at the speed of the decoder: everybody seems to run. So what is judged by speed asks first
whether as many pictures came as come in such a time otherwise.

Guarantees: nothing is judged before KNOWN_NS of pictures, nor of a span in which more or fewer came
than by MOST_WRONG; the usual rate is the median over the last LONG_NS, so a hiccup does not change
it. A camera that changes its rate is not judged until the median follows.
"""

from __future__ import annotations

from collections import deque
from statistics import median

KNOWN_NS = 5_000_000_000
LONG_NS = 60_000_000_000
BIN_NS = 1_000_000_000
MOST_WRONG = 0.2


class Pace:
    """feed() takes number and time of arrival of the frames that are looked at.

    unclear: how often `seconds` could not tell.
    """

    def __init__(self) -> None:
        self._bins: deque[tuple[int, float]] = deque()  # end, pictures a second
        self._began: tuple[int, int] | None = None
        self._rate: float | None = None
        self.unclear = 0

    @property
    def rate(self) -> float | None:
        """Pictures a second, as they usually come; None: not known yet."""
        return self._rate

    def feed(self, number: int, received_ns: int) -> None:
        """Take one frame.  number: of all that were received."""
        if self._began is None or number < self._began[0]:  # the first, or of a reader anew
            self._began = (number, received_ns)
        if received_ns <= self._began[1] or number <= self._began[0]:
            return
        since_number, since_ns = self._began
        if received_ns - since_ns < BIN_NS:
            return
        self._began = (number, received_ns)
        self._bins.append((received_ns, (number - since_number) * 1e9 / (received_ns - since_ns)))
        while received_ns - self._bins[0][0] > LONG_NS:
            self._bins.popleft()
        if len(self._bins) * BIN_NS >= KNOWN_NS:
            self._rate = median(rate for _, rate in self._bins)

    def seconds(self, pictures: int, span_ns: int) -> float | None:
        """Seconds in which so many pictures were taken that came within span_ns; None: unclear.

        The longer of what the clock and what the number of pictures says.
        """
        usual_s = pictures / self._rate if self._rate else 0.0
        if span_ns <= 0 or abs(usual_s * 1e9 / span_ns - 1.0) > MOST_WRONG:
            self.unclear += 1
            return None
        return max(usual_s, span_ns / 1e9)
