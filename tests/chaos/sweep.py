"""Crash-point sweep: a fault at every write and every sync of a short, whole run of the log.

Run as `python -m tests.chaos.sweep [--every N] [--seconds S] [--only WORD]`. strace kills the
writing process at its k-th write, sync, cut or renaming of a database file, or makes it and calls
after it fail with EIO or ENOSPC; then `aftermath.problems` says what is not as promised. Each
trial is checked to have met its fault (a log of strace without one counts as missed).

Counts are per thread, as strace counts: the writer threads each do their own file, and the
thread that opens does next to nothing in `append` and `renew`, everything in `create` and `repair`.
What a power cut takes from the page cache is outside of this.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.aftermath import Said, There, look, problems

RUN = Path(__file__).with_name("short_run.py")
SCENARIOS = {
    "create": "append",
    "append": "append",
    "renew": "renew",
    "repair": "open",
    "mend-telemetry": "mend-telemetry",
    "mend-records": "mend-records",
}
"""Each scenario and what the run does in it."""
CHANGES = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "fallocate")
FAULTY = ("pwrite64", "fdatasync", "fsync", "ftruncate", "fallocate")
"""Calls that are made to fail; the others only lie on the way of a kill."""
READS = ("pread64",)
"""Made to fail with EIO only: strace injects before the page cache is asked."""
FILES = {
    "telemetry": ("telemetry.db", "telemetry.db-wal", "telemetry.db.rebuilt"),
    "records": ("records.db", "records.db-wal", "reserve"),
}
WIDTHS = (1, 12)
"""Calls in a row that fail: one, which the next attempt gets over, and more than all attempts."""
SECOND_START = 100
TIMEOUT_S = 300
_CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)[( ]")


@dataclass(frozen=True, slots=True)
class Trial:
    """One fault. fault: KILL, EIO or ENOSPC, at call `at` and the `width` - 1 that follow."""

    scenario: str
    file: str
    call: str
    fault: str
    at: int
    width: int = 1

    def inject(self) -> str:
        """Option of strace."""
        if self.fault == "KILL":
            return f"inject={self.call}:signal=KILL:when={self.at}"
        span = f"{self.at}..{self.at + self.width - 1}" if self.width > 1 else str(self.at)
        return f"inject={self.call}:error={self.fault}:when={span}"


@dataclass(slots=True)
class Result:
    """How a trial went. injected: how often the fault was met."""

    trial: Trial
    injected: int
    wrong: list[str] = field(default_factory=list)


class Sweep:
    """Templates of every scenario in a folder, and trials on copies of them."""

    def __init__(self, folder: Path, scenarios: Sequence[str] = tuple(SCENARIOS)) -> None:
        self._folder = folder.absolute()
        self._scenarios = scenarios
        self._number = itertools.count()
        self._said = {scenario: Said() for scenario in SCENARIOS}
        self._templates = {name: self._folder / f"template-{name}" for name in SCENARIOS}
        self._repaired: There | None = None
        self._prepare()

    def _prepare(self) -> None:
        made = self._templates["append"]
        said = self._said["append"]
        said.take(_run([sys.executable, str(RUN), str(made), "append", "0"]).stdout)
        for name in ("renew", "repair", "mend-telemetry", "mend-records"):
            shutil.copytree(made, self._templates[name])
            self._said[name] = said.copy()
        self._templates["create"].mkdir()
        connection = sqlite3.connect(self._templates["repair"] / "telemetry.db")
        with connection:
            connection.execute(
                "UPDATE telemetry SET payload = x'00'"
                " WHERE id = (SELECT max(id) - 4 FROM telemetry)"
            )
        connection.close()
        whole = self._folder / "repaired"
        shutil.copytree(self._templates["repair"], whole)
        self._repaired = look(whole)

    def calls(self, scenario: str, file: str) -> dict[str, int]:
        """How many calls of each kind the busiest thread makes in a run without a fault."""
        folder = self._copy(scenario)
        log = folder.with_suffix(".strace")
        self._traced(folder, scenario, file, log, ())
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for line in log.read_text().splitlines():
            found = _CALL.match(line)
            if found and "resumed" not in line:
                counts[found[2]][found[1]] += 1
        shutil.rmtree(folder)
        wanted = {*CHANGES, *READS}
        return {call: max(threads.values()) for call, threads in counts.items() if call in wanted}

    def trials(self, *, every: int = 1) -> Iterator[Trial]:
        """All trials, or each `every`-th of each kind of fault, call and file."""
        for scenario, file in itertools.product(self._scenarios, FILES):
            for call, count in sorted(self.calls(scenario, file).items()):
                kinds = [("KILL", 1)] if call in CHANGES else []
                if call in READS:
                    kinds += [("EIO", width) for width in WIDTHS]
                if call in FAULTY:
                    kinds += [(fault, width) for fault in ("EIO", "ENOSPC") for width in WIDTHS]
                for offset, (fault, width) in enumerate(kinds):
                    start = 1 + offset * 7 % min(every, count)
                    for at in range(start, count + 1, every):
                        yield Trial(scenario, file, call, fault, at, width)

    def run(self, trial: Trial) -> Result:
        """One trial on a fresh copy."""
        folder = self._copy(trial.scenario)
        log = folder.with_suffix(".strace")
        said = self._said[trial.scenario].copy()
        done = self._traced(folder, trial.scenario, trial.file, log, ("-e", trial.inject()))
        said.take(done.stdout)
        text = log.read_text()
        killed = trial.fault == "KILL"
        injected = int(done.returncode == -9) if killed else text.count("(INJECTED)")
        result = Result(trial, injected)
        if not killed and not said.ended and not _refused(said):
            result.wrong.append(f"ended with {done.returncode}: {done.stderr[-300:]}")
        result.wrong += self._judge(trial, folder, said)
        if not result.wrong:
            shutil.rmtree(folder)
            log.unlink()
        return result

    def _judge(self, trial: Trial, folder: Path, said: Said) -> list[str]:
        is_read = trial.call in READS
        if trial.scenario == "repair":
            return _differences(look(folder), self._repaired, exactly=not is_read)
        mended = trial.scenario.startswith("mend")
        wrong = problems(
            folder,
            said,
            log_stays=trial.scenario == "append" and not is_read,
            may_be_damaged=mended or is_read,
        )
        alarms_live = trial.file == "telemetry" or (trial.width == 1 and not mended)
        if said.refused_alarms and alarms_live:
            wrong.append(f"alarms {said.refused_alarms} were refused")
        return wrong

    def _copy(self, scenario: str) -> Path:
        folder = self._folder / f"{next(self._number)}-{scenario}"
        shutil.copytree(self._templates[scenario], folder)
        return folder

    def _traced(
        self, folder: Path, scenario: str, file: str, log: Path, inject: Sequence[str]
    ) -> subprocess.CompletedProcess[str]:
        names = [option for name in FILES[file] for option in ("-P", str(folder / name))]
        traced = ("-e", f"trace={','.join((*CHANGES, *READS))}")
        # strace 6.1 delivers no signal under --seccomp-bpf, and does not say so (found by counting)
        quick = () if any("signal=" in option for option in inject) else ("--seccomp-bpf",)
        return _run(
            ["strace", "-f", *quick, "-qq", "-o", str(log), *names, *traced, *inject,
             sys.executable, str(RUN), str(folder), SCENARIOS[scenario], str(SECOND_START)]
        )  # fmt: skip


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def _refused(said: Said) -> bool:
    return any(word.startswith("refused") for word in said.words)


def _differences(there: There, expected: There | None, *, exactly: bool) -> list[str]:
    """A repair that was interrupted and done again gives what one in peace gives.

    Where rows could not be read during it, less, as gap records count.
    """
    assert expected is not None
    wrong = list(there.wrong)
    if not exactly and there.gaps != expected.gaps:
        for name, stream in (("batches", "TELEMETRY"), ("alarms", "ALARM")):
            held, wanted = getattr(there, name), getattr(expected, name)
            counted = there.gaps[stream, "corruption"] - expected.gaps[stream, "corruption"]
            if not set(held) <= set(wanted) or len(wanted) - len(held) != counted:
                wrong.append(f"{name}: {held}, not {wanted}, and gap records count {counted}")
        return wrong
    for name in ("batches", "alarms", "gaps", "state", "notes"):
        if getattr(there, name) != getattr(expected, name):
            wrong.append(f"{name}: {getattr(there, name)}, not {getattr(expected, name)}")
    return wrong


def run_all(sweep: Sweep, trials: Iterable[Trial], *, seconds: float, workers: int) -> list[Result]:
    """Run trials until they are done or the time is over."""
    end = time.monotonic() + seconds

    def one(trial: Trial) -> Result | None:
        return sweep.run(trial) if time.monotonic() < end else None

    with ThreadPoolExecutor(workers) as pool:
        return [result for result in pool.map(one, trials) if result is not None]


def table(results: Sequence[Result]) -> str:
    """Rows of trials, faults met and trials with a problem, by scenario, file and fault."""
    rows: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for result in results:
        trial = result.trial
        fault = trial.fault if trial.width == 1 else f"{trial.fault} x{trial.width}"
        row = rows[trial.scenario, trial.file, fault]
        row[0] += 1
        row[1] += bool(result.injected)
        row[2] += bool(result.wrong)
    lines = [
        "| scenario | file | fault | trials | fault met | wrong |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(key)} | {' | '.join(map(str, row))} |" for key, row in rows.items()]
    totals = [sum(row[at] for row in rows.values()) for at in range(3)]
    return "\n".join([*lines, f"| all | | | {' | '.join(map(str, totals))} |"])


def main() -> None:
    """Sweep, and print the table; exit 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="each N-th call only")
    parser.add_argument("--seconds", type=float, default=7_200, help="stop after so long")
    parser.add_argument("--only", default="", help="only trials whose text holds this")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plantgate-sweep-") as folder:
        sweep = Sweep(Path(folder))
        trials = [one for one in sweep.trials(every=options.every) if options.only in str(one)]
        results = run_all(sweep, trials, seconds=options.seconds, workers=options.workers)
    print(table(results))
    print(f"{len(results)} of {len(trials)} trials were run")
    bad = [result for result in results if result.wrong]
    for result in bad[:40]:
        print(result.trial, *result.wrong, sep="\n    ")
    sys.exit(1 if bad or not results else 0)


if __name__ == "__main__":
    main()
