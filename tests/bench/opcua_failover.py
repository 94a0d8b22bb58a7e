"""Rows of OPC UA: seconds of fail-over between two servers, and of a return (3 minutes).

Servers are node-opcua in processes of their own, on the same machine; they compete for the cores,
which these seconds feel.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench.opcua_return import come_back, fail_over, freeze, kill, lower
from tests.bench.table import Row

ITEMS = 2_000
_BAR_S = 10


def rows(folder: Path) -> list[Row]:
    """All rows."""
    folder.mkdir(parents=True, exist_ok=True)
    table = []
    for name, harm in (("killed", kill), ("frozen", freeze), ("ServiceLevel 50", lower)):
        seconds, gaps = fail_over(folder / name.replace(" ", "-"), ITEMS, harm)
        table.append(
            Row(f"redundant OPC UA server {name}: {ITEMS:,} items from the other", seconds,
                "s", _BAR_S, detail=f"{gaps} gaps told, the rest read from history")
        )  # fmt: skip
    seconds, gaps = come_back(folder / "return", ITEMS)
    what = f"OPC UA server back after 8 s: {ITEMS:,} items back"
    table.append(Row(what, seconds, "s", _BAR_S, detail=f"{gaps} gaps told; no history there"))
    return table
