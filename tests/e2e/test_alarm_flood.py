"""1,000 alarms in six seconds through gateway and receiver; `make flood` has 10,000 in a minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.alarm_flood import Scale, run
from tests.chaos.flood_browsers import SEEN

pytestmark = pytest.mark.e2e
ALARMS = 1000


def test_a_flood_is_declared_and_every_alarm_of_it_arrives_once(tmp_path: Path) -> None:
    outcome = run(tmp_path / "world", Scale(ALARMS, 6, quiet_s=0.5))
    assert outcome.wrong == []
    assert outcome.floods_declared == 1
    assert outcome.raised > 2 * ALARMS
    assert outcome.returned > ALARMS
    answered = {(row.phase, row.what) for row in outcome.table if row.count}
    for phase in ("spread", "trip"):
        for what in ("marker to receiver", "list of alarms", "acknowledge", "health", SEEN, "page",
                     "list by REST", "console acknowledge"):  # fmt: skip
            assert (phase, what) in answered
