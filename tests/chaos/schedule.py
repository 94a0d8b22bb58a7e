"""What a kill campaign does and when: rounds drawn from a seed before anything runs.

Pure: the same seed, count and kinds give the same rounds, to the millisecond.
"""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass


class Kind(enum.StrEnum):
    """What one round does to the gateway (G) and the receiver (R)."""

    GATEWAY = "kill gateway"
    RECEIVER = "kill receiver"
    BOTH = "kill both"
    STARTING = "kill gateway while it starts"
    OUTAGE = "receiver away, gateway killed, cold start"
    LONG_OUTAGE = "receiver away past retention"
    FREEZE_RECEIVER = "freeze receiver"
    FREEZE_RECEIVER_KILL = "freeze receiver, kill it"
    FREEZE_RECEIVER_KILL_GATEWAY = "freeze receiver, kill gateway"
    FREEZE_GATEWAY = "freeze gateway"
    FREEZE_GATEWAY_KILL = "freeze gateway, kill it"


KILLS = {
    Kind.GATEWAY: 1,
    Kind.RECEIVER: 1,
    Kind.BOTH: 2,
    Kind.STARTING: 2,
    Kind.OUTAGE: 2,
    Kind.LONG_OUTAGE: 9,
    Kind.FREEZE_RECEIVER: 0,
    Kind.FREEZE_RECEIVER_KILL: 1,
    Kind.FREEZE_RECEIVER_KILL_GATEWAY: 1,
    Kind.FREEZE_GATEWAY: 0,
    Kind.FREEZE_GATEWAY_KILL: 1,
}
"""SIGKILLs that a round of each kind sends."""

_WEIGHTS = {
    Kind.GATEWAY: 30,
    Kind.RECEIVER: 16,
    Kind.BOTH: 14,
    Kind.STARTING: 8,
    Kind.OUTAGE: 10,
    Kind.FREEZE_RECEIVER: 4,
    Kind.FREEZE_RECEIVER_KILL: 5,
    Kind.FREEZE_RECEIVER_KILL_GATEWAY: 5,
    Kind.FREEZE_GATEWAY: 4,
    Kind.FREEZE_GATEWAY_KILL: 4,
}
LONG_OUTAGE_EVERY = 40
"""Rounds between two outages that outlast the retention, where one is set."""
HALF_OPEN_S = (11.0, 14.0)
"""One receiver freeze in ten lasts so long: the gateway has to notice by its heartbeats (10 s)."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: run for run_s, do `kind` with these pauses.

    within_s: between the first and the second act.  away_s: how long something is away or frozen.
    gateway_first: which of two is killed and started first.
    """

    kind: Kind
    run_s: float
    within_s: float
    away_s: float
    gateway_first: bool


def draw(seed: int, kills: int, *, long_outages: bool) -> list[Round]:
    """Rounds that send at least `kills` SIGKILLs; a first round of each kind comes early."""
    rng = random.Random(seed)
    kinds = list(_WEIGHTS)
    first = kinds.copy()
    rng.shuffle(first)
    rounds: list[Round] = []
    sent = 0
    while sent < kills:
        number = len(rounds)
        if number < len(first):
            kind = first[number]
        elif long_outages and number % LONG_OUTAGE_EVERY == LONG_OUTAGE_EVERY - 1:
            kind = Kind.LONG_OUTAGE
        else:
            [kind] = rng.choices(kinds, [_WEIGHTS[one] for one in kinds])
        rounds.append(_round(kind, rng, half_open=number >= len(first) and rng.random() < 0.1))
        sent += KILLS[kind]
    return rounds


def _round(kind: Kind, rng: random.Random, *, half_open: bool) -> Round:
    away_s = rng.uniform(0.3, 2.5)
    if half_open and kind in {Kind.FREEZE_RECEIVER, Kind.FREEZE_RECEIVER_KILL_GATEWAY}:
        away_s = rng.uniform(*HALF_OPEN_S)
    return Round(
        kind=kind,
        run_s=rng.uniform(0.2, 2.6),
        within_s=rng.uniform(0.0, 0.7 if kind is Kind.STARTING else 1.2),
        away_s=away_s,
        gateway_first=rng.random() < 0.5,
    )
