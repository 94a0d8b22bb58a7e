"""A bench row, and how rows are printed and kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Row:
    """One figure against its bar; a bar of 0 is none, the figure stands for itself.

    ratio: measured / bar where less is better, bar / measured where more is; at most 1 holds.
    limit: what it was compared with in the same run, and the ratio to that.
    """

    what: str
    measured: float
    unit: str
    bar: float
    more_is_better: bool = False
    limit: str = ""
    detail: str = ""

    @property
    def ratio(self) -> float:
        """At most 1 where the bar holds."""
        if not self.bar:
            return 0.0
        if self.more_is_better:
            return self.bar / self.measured if self.measured else float("inf")
        return self.measured / self.bar

    @property
    def holds(self) -> bool:
        """Tell whether the bar holds."""
        return self.ratio <= 1


def print_table(machine: dict[str, str], rows: list[Row]) -> None:
    """Print the machine and one line a row."""
    print("machine: " + ", ".join(f"{key} {value}" for key, value in machine.items()))
    print(f"{'what':<58} {'measured':>14} {'bar':>14} {'ratio':>6}  holds")
    for row in rows:
        sign = "≥" if row.more_is_better else "≤"
        measured, bar = f"{row.measured:,.3g} {row.unit}", f"{sign} {row.bar:,.3g} {row.unit}"
        judged = f"{bar:>14} {row.ratio:>6.2f}  {'yes' if row.holds else 'NO'}" if row.bar else ""
        print(f"{row.what:<58} {measured:>14} {judged}".rstrip())
        for more in (row.limit, row.detail):
            if more:
                print(f"    {more}")


def write_json(path: Path, machine: dict[str, str], rows: list[Row]) -> None:
    """Keep the machine and the rows as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine,
        "rows": [{**asdict(row), "ratio": row.ratio, "holds": row.holds} for row in rows],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
