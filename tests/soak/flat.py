"""When memory counts as flat. Pure; stated before it was measured.

Resident memory is read after every fault. Faults come in rounds, each kind once a round, so the
median of a round is compared with that of another round like with like. A straight line is laid
through the medians of the second half (the first warms up: caches fill, code is paged in). Memory
is flat if the slope

- cannot be told from nought: it is at most two of its standard errors above, and
- was measured well enough to say so: slope and two standard errors together are at most
  `LIMIT_BYTES` a fault.

Pages are given out and kept, so one median follows from the last. The standard error is therefore
widened by the correlation r of neighbouring residuals, by sqrt((1 + r) / (1 - r)) (Santer et al.,
J. Geophys. Res. 105, 2000, eq. 6, for trends of temperatures).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LIMIT_BYTES = 512
"""A fault a minute would come to 0.7 MB a day."""
LEAST_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Trend:
    """Growth in bytes a fault over the second half, with its standard error. rounds: how many."""

    slope: float
    error: float
    rounds: int

    @property
    def flat(self) -> bool | None:
        """Tell whether memory is flat; None if the run was too short to say."""
        if self.rounds < LEAST_ROUNDS:
            return None
        return self.slope <= 2 * self.error and self.slope + 2 * self.error <= LIMIT_BYTES


def trend(resident: Sequence[int], kinds: int) -> Trend:
    """Trend of resident memory in bytes, one reading a fault, `kinds` faults a round."""
    rounds = len(resident) // kinds
    whole = np.asarray(resident[: rounds * kinds], np.float64).reshape(rounds, kinds)
    medians = np.median(whole, axis=1)[rounds // 2 :] if rounds else np.empty(0)
    count = len(medians)
    if count < 3:
        return Trend(0.0, float("inf"), count)
    at = np.arange(count) - (count - 1) / 2
    spread = float(at @ at)
    slope = float(at @ medians) / spread
    rest = medians - medians.mean() - slope * at
    squares = float(rest @ rest)
    follows = float(rest[1:] @ rest[:-1]) / squares if squares else 0.0
    follows = min(max(follows, 0.0), 0.99)
    widened = (1 + follows) / (1 - follows)
    error = float(np.sqrt(squares / (count - 2) / spread * widened))
    return Trend(slope / kinds, error / kinds, count)
