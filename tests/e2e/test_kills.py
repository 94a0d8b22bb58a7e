"""A short kill campaign (`make kills` is the long one), and what its proof does find."""

from __future__ import annotations

from pathlib import Path

import pytest

from buffer.contract import Stream
from tests.chaos.counting import RAISED, RETURNED, Account, SeenGap, expected_changes
from tests.chaos.kills import compare_lists, run_world
from tests.chaos.schedule import KILLS, Kind, draw
from tests.e2e.world import free_ports


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_kills_freezes_and_cold_starts_lose_and_double_nothing(tmp_path: Path) -> None:
    tally = run_world(tmp_path / "world", 5, 12, free_ports(2), quota=False)
    assert not tally.wrong
    assert tally.gateway_kills + tally.receiver_kills >= 12
    assert tally.rows > 1_000
    assert tally.alarms > 3


def test_a_seed_gives_one_schedule_with_every_kind_of_round() -> None:
    rounds = draw(3, 400, long_outages=True)
    assert rounds == draw(3, 400, long_outages=True)
    assert rounds != draw(4, 400, long_outages=True)
    assert {one.kind for one in rounds} == set(Kind)
    assert 400 <= sum(KILLS[one.kind] for one in rounds) < 400 + max(KILLS.values())


@pytest.mark.parametrize("found", [[1, 2, 2, 3], [1, 3, 2], [1, 2, 3, 4, 5]])
def test_a_value_twice_out_of_order_or_never_stored_is_found(found: list[int]) -> None:
    with pytest.raises(AssertionError):
        compare_lists(found, [1, 2, 3, 4], "reads")
    assert compare_lists([1, 3], [1, 2, 3, 4], "reads") == 2


def test_gap_records_must_name_each_eviction_once() -> None:
    account = Account(evicted={Stream.TELEMETRY: 5})
    account.gaps = [SeenGap("telemetry", "quota", 1, 2, 2), SeenGap("telemetry", "quota", 3, 5, 3)]
    account.check_gaps()
    for last in (4, 6):
        account.gaps[1] = SeenGap("telemetry", "quota", 3, last, last - 2)
        with pytest.raises(AssertionError):
            account.check_gaps()


def test_alarms_follow_from_the_numbers_of_the_reads() -> None:
    changes = expected_changes(range(1, 20), standing=False)
    assert changes == [(6, (RAISED, 6.0)), (12, (RETURNED, 0.0)), (18, (RAISED, 18.0))]
    assert expected_changes([8, 9], standing=True) == []
