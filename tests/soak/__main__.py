"""`python -m tests.soak [--faults 1440] [--seed 1]`: a day of the plant, a fault every minute.

Prints a table and fails if a fault did not show, did not heal, or left something behind.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from statistics import median

from tests.bench.machine import describe
from tests.soak.campaign import GROWTH_BYTES, Result, run


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description="Faults of every kind, one after another.")
    parser.add_argument("--faults", type=int, default=1440)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    result = asyncio.run(run(options.faults, options.seed, lambda line: print(line, flush=True)))
    print(", ".join(f"{key} {value}" for key, value in describe().items()))
    for line in lines(result):
        print(line)
    if result.growth_bytes > GROWTH_BYTES or result.unexpected:
        sys.exit(1)


def lines(result: Result) -> list[str]:
    """The table."""
    table = [f"{'fault':<42} {'times':>5} {'shown after ms':>15} {'healed after ms':>16}"]
    for name, seen in sorted(result.seen.items()):
        shown = f"{median(seen.shown_s) * 1e3:.0f}/{max(seen.shown_s) * 1e3:.0f}"
        healed = f"{median(seen.healed_s) * 1e3:.0f}/{max(seen.healed_s) * 1e3:.0f}"
        table.append(f"{name:<42} {len(seen.shown_s):>5} {shown:>15} {healed:>16}")
    total = sum(len(seen.shown_s) for seen in result.seen.values())
    first, last = result.resident[0] / 2**20, result.resident[-1] / 2**20
    table += [
        f"{total} faults in {result.taken_s:.0f} s, all shown and healed; {result.samples} samples,"
        f" {result.failures} runs ended by a fault, {len(result.unexpected)} not expected",
        f"resident {first:.1f} MB after the first, {last:.1f} MB after the last; growth"
        f" {result.growth_bytes / 2**20:+.1f} MB (at most {GROWTH_BYTES / 2**20:.0f})",
        f"tasks {result.tasks[0]} before, {result.tasks[1]} after;"
        f" descriptors {result.descriptors[0]} before, {result.descriptors[1]} after",
    ]
    return table + result.unexpected


if __name__ == "__main__":
    main()
