"""Site files for tests of `check --connect`, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.config.load import load
from gateway.config.site import Site
from gateway.doctor.finding import Finding, State
from gateway.doctor.visit import Manner, visit
from gateway.runtime.clock import SystemClock

GATEWAY = """
[gateway]
id = "SD-370800-000123-01"
enterprise = "91370800MA3C12345X"
data_dir = "data"
[buffer]
telemetry_quota_gb = 0.1
event_quota_gb = 0.1
evidence_quota_gb = 0.1
rollup_quota_gb = 0
retention_days = 0.1
"""


def site_of(folder: Path, text: str, tables: dict[str, str] | None = None) -> Site:
    """Load a site of GATEWAY and more."""
    for name, rows in (tables or {}).items():
        (folder / name).write_text(rows, encoding="utf-8")
    path = folder / "site.toml"
    path.write_text(GATEWAY + text, encoding="utf-8")
    return load(path)


async def visited(
    site: Site, folder: Path, *, beside: bool = False, patience_s: float = 60.0
) -> list[Finding]:
    """Try all of it, with patience for a machine that is busy."""
    manner = Manner(patience_s, "plantgate/test", folder / "cache", beside)
    return await visit(site, SystemClock(), manner)


def of(findings: Sequence[Finding], part: str) -> list[Finding]:
    """Findings of one part."""
    return [one for one in findings if one.part == part]


def words(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """What each is about, and its state."""
    return [(one.about.value[0], one.state.value) for one in findings]


def wrong(findings: Sequence[Finding]) -> list[Finding]:
    """Those that are not good."""
    return [one for one in findings if one.state is not State.GOOD]
