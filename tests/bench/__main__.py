"""`python -m tests.bench [GROUP …]`: the bars of ARCHITECTURE.md, measured here.

Prints a table and writes build/bench.json. Without arguments every group runs, one at a time.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import describe
from tests.bench.table import print_table, write_json

GROUPS = (
    "cameras",
    "flow",
    "groups",
    "isolation",
    "latency",
    "log",
    "modbus",
    "opcua",
    "opcua_failover",
    "opcua_structures",
    "outage",
    "tiles",
    "vision",
)


def main() -> None:
    """Run the chosen groups."""
    chosen = sys.argv[1:] or list(GROUPS)
    unknown = set(chosen) - set(GROUPS)
    if unknown:
        sys.exit(f"bench: no group called {', '.join(sorted(unknown))}; there are {GROUPS}")
    rows = []
    with tempfile.TemporaryDirectory(prefix="plantgate-bench-") as folder:
        for group in chosen:
            print(f"measuring {group} ...", file=sys.stderr)
            rows += importlib.import_module(f"tests.bench.{group}").rows(Path(folder) / group)
    machine = describe()
    print_table(machine, rows)
    write_json(Path("build/bench.json"), machine, rows)


main()
