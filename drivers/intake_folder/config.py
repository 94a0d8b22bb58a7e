"""What a site file may say about a watched folder, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from drivers.contract import DriverPoint, Problem
from drivers.intake.mapping import MappingError, load
from drivers.intake.settings import ExternalAddress, IntakeConfig, check_intake
from drivers.wording import suggestion


class FolderIntakeConfig(IntakeConfig):
    """Keys of a [[device]] with driver = "intake_folder".

    folder: where the gate puts files.  look_ms: how often it is looked at; a file is taken when its
    size and time were the same twice.  files: beginning of a file name → table, where names do not
    begin with the table's own name.  keep_days: of files in done/; 0 keeps them for ever.
    """

    folder: Path
    look_ms: int = Field(default=1000, ge=20, le=600_000)
    files: dict[str, str] = Field(default_factory=dict)
    max_file_kb: int = Field(default=16_384, ge=1, le=262_144)
    keep_days: float = Field(default=30.0, ge=0, le=3650)


def check(
    config: FolderIntakeConfig, points: Sequence[DriverPoint[ExternalAddress]]
) -> list[Problem]:
    """Find mistakes of the entry, the point table and the mapping; looks at the folder."""
    return [*check_intake(config, points), *_folder(config), *_tables(config)]


def _folder(config: FolderIntakeConfig) -> Iterator[Problem]:
    if not config.folder.is_dir():
        yield Problem(0, "folder", f"there is no folder {config.folder}")
    elif not os.access(config.folder, os.R_OK | os.W_OK | os.X_OK):
        said = f"{config.folder} must be readable and writable: files are moved to done/ in it"
        yield Problem(0, "folder", said)


def _tables(config: FolderIntakeConfig) -> Iterator[Problem]:
    try:
        tables = load(config.mapping, "folder").tables
    except MappingError:
        return  # reported by check_intake
    for prefix, table in config.files.items():
        if table not in tables:
            said = f"files beginning with {prefix!r:.60}: no table {table!r:.60};"
            yield Problem(0, "files", f"{said} {suggestion(table, tables)}")


__all__ = ["FolderIntakeConfig", "check"]
