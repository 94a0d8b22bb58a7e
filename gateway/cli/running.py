"""What the commands share that ask a gateway which runs here.

Guarantees: exit 1 with one sentence where no gateway answers or it refuses.
"""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

PLANT_TIME = dt.timezone(dt.timedelta(hours=8))
"""Legal time of the whole of China."""


def plant_time(wall_ns: int) -> str:
    """A moment as people of the plant read it, with its offset: 2026-05-01 16:00:00+08:00."""
    moment = dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, PLANT_TIME)
    return moment.isoformat(sep=" ")


DATA_DIR = click.argument("data_dir", type=click.Path(path_type=Path))


def answered(data_dir: Path, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ask; exit with 1 and the reason where that fails."""
    from gateway.control.client import NotAnsweredError, RefusedError, ask

    try:
        return ask(data_dir, request)
    except (NotAnsweredError, RefusedError) as error:
        print(error, file=sys.stderr)
        sys.exit(1)
