"""`python -m tests.soak [--faults 1440] [--seed 1]`: a day of the plant, a fault every minute.

Prints a table and fails if a fault did not show, did not heal, or left something behind, or if
memory was not flat (flat.py says when it is). Loop and heap are set up as `plantgate run` does it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from statistics import median

from gateway.runtime.loop import loop_factory
from gateway.runtime.memory import one_arena
from tests.bench.machine import describe
from tests.soak.campaign import Result, run
from tests.soak.flat import LIMIT_BYTES


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description="Faults of every kind, one after another.")
    parser.add_argument("--faults", type=int, default=1440)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=Path, help="CSV of resident bytes after each fault")
    options = parser.parse_args()
    one_arena()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        result = runner.run(run(options.faults, options.seed, lambda line: print(line, flush=True)))
    print(", ".join(f"{key} {value}" for key, value in describe().items()))
    for line in lines(result):
        print(line)
    if options.memory:
        readings = "".join(f"{at},{each}\n" for at, each in enumerate(result.resident, start=1))
        options.memory.write_text(f"fault,resident_bytes\n{readings}", encoding="utf-8")
    if result.trend.flat is False or result.unexpected:
        sys.exit(1)


def lines(result: Result) -> list[str]:
    """The table."""
    table = [f"{'fault':<42} {'times':>5} {'shown after ms':>15} {'healed after ms':>16}"]
    for name, (shown_s, healed_s) in sorted(result.seen().items()):
        shown = f"{median(shown_s) * 1e3:.0f}/{max(shown_s) * 1e3:.0f}"
        healed = f"{median(healed_s) * 1e3:.0f}/{max(healed_s) * 1e3:.0f}"
        table.append(f"{name:<42} {len(shown_s):>5} {shown:>15} {healed:>16}")
    resident = [each / 2**20 for each in result.resident]
    found = result.trend
    unexpected = len(result.unexpected)
    said = {None: "too few rounds to say whether it is flat", True: "flat", False: "NOT FLAT"}
    table += [
        f"{result.faults} faults in {result.taken_s:.0f} s, all shown and healed;"
        f" {result.samples} samples, {result.failures} runs ended by a fault, {unexpected} of them"
        " not expected",
        f"resident {resident[0]:.1f} MB after the first, {resident[len(resident) // 2]:.1f} MB at"
        f" half, {resident[-1]:.1f} MB after the last; second half: {found.slope:+.0f} bytes a"
        f" fault, standard error {found.error:.0f}, over {found.rounds} rounds (bar: at most two"
        f" standard errors, and with them {LIMIT_BYTES}): {said[found.flat]}",
        f"tasks {result.tasks[0]} before, {result.tasks[1]} after;"
        f" descriptors {result.descriptors[0]} before, {result.descriptors[1]} after",
    ]
    return table + result.unexpected


if __name__ == "__main__":
    main()
