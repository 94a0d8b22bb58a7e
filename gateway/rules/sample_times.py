"""When the samples of a batch were taken, on the monotonic clock that delays count by. Pure.

A subscription, a history read back or a slow line brings several seconds in one batch. Its newest
sample counts as taken when the batch came, the others as much earlier as their own times say. So an
excursion inside a batch lasts as long as its own times say, while a device clock that is wrong or
is set moves nothing: only differences within one batch count.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
MOST_SPAN_NS = 86_400 * 10**9
"""A sample that is older than this, by its own time, than the newest of its batch counts as new: a
stamp that was never set is no age."""


def taken_ns(times: int | Times, now_ns: int) -> int | Times:
    """Monotonic time of each sample; one number where all are of one time."""
    if isinstance(times, int) or not len(times):
        return now_ns
    age: Times = times.max() - times
    if not age.any():
        return now_ns
    age[(age < 0) | (age > MOST_SPAN_NS)] = 0  # below 0: the difference has wrapped
    return np.asarray(now_ns - age, np.int64)
