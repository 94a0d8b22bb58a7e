"""A sample of the crash-point sweep (`make chaos` runs all of it): 28 faults, every kind of them.

The sample: of each scenario, file, call and fault one place, spread over the run by its number in
the list; of these every n-th, so that 28 are left.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.chaos.sweep import Result, Sweep, Trial, run_all

SCENARIOS = ("append", "repair")
TRIALS = 28


def sample(sweep: Sweep) -> list[Trial]:
    """One trial of each kind, at a place that differs from kind to kind; 28 of them."""
    kinds: dict[tuple[object, ...], list[Trial]] = {}
    for trial in sweep.trials():
        kind = (trial.scenario, trial.file, trial.call, trial.fault, trial.width)
        kinds.setdefault(kind, []).append(trial)
    chosen = [trials[number * 7 % len(trials)] for number, trials in enumerate(kinds.values())]
    step = max(1, len(chosen) // TRIALS)
    return chosen[::step][:TRIALS]


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true",
    reason="strace is missing: make peers",
)
def test_a_fault_at_any_call_loses_and_doubles_nothing(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, SCENARIOS)
    results: list[Result] = run_all(sweep, sample(sweep), seconds=3_600, workers=2)
    assert len(results) == TRIALS
    wrong = {str(result.trial): result.wrong for result in results if result.wrong}
    assert not wrong
    met = [result for result in results if result.injected]
    assert len(met) > TRIALS * 3 // 4, "faults do not reach the writer"


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true",
    reason="strace is missing: make peers",
)
def test_an_alarm_kept_in_memory_that_turns_out_to_be_stored_is_not_stored_again(
    tmp_path: Path,
) -> None:
    """Twelve syncs fail: the commit that had taken place is recognised only at a later attempt."""
    sweep = Sweep(tmp_path, ("append",))
    trials = [Trial("append", "records", "fdatasync", "EIO", at, 12) for at in (14, 15, 16)]
    results = run_all(sweep, trials, seconds=3_600, workers=2)
    assert [result.wrong for result in results] == [[], [], []]


PINNED = (
    # one failed read: all of telemetry was lost, uncounted; what was acknowledged was sent again
    Trial("repair", "telemetry", "pread64", "EIO", 25),
    Trial("repair", "records", "pread64", "EIO", 1),
    # the file that took the damaged one's place could not be read at once: storing never came back
    Trial("mend-telemetry", "telemetry", "pread64", "EIO", 31),
    # a renewal that failed gave a forged record a hash of its own
    Trial("mend-telemetry", "telemetry", "pwrite64", "EIO", 75, 12),
    # evictions promised for a file that could not be repaired were promised again
    Trial("mend-telemetry", "telemetry", "pwrite64", "ENOSPC", 79, 12),
    # an alarm whose commit was in doubt was taken from the damaged file and stored again
    Trial("mend-records", "records", "fdatasync", "EIO", 15, 12),
    # the new log id was not tried again: evictions of that life were counted twice
    Trial("mend-records", "records", "pwrite64", "EIO", 60, 12),
)


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    shutil.which("strace") is None and os.environ.get("CI") != "true",
    reason="strace is missing: make peers",
)
def test_faults_during_a_repair_that_were_once_not_survived(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, ("repair", "mend-telemetry", "mend-records"))
    results = run_all(sweep, PINNED, seconds=3_600, workers=2)
    assert {str(one.trial): one.wrong for one in results if one.wrong} == {}
