"""How commands give a result: as JSON, or as bytes to a file or standard output."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def print_json(value: object) -> None:
    """Print for programs and people: Chinese as it is, indented."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def counted(number: int, word: str) -> str:
    """Say how many: 1 alarm, 2 alarms."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """Open --output for bytes; a file that cannot be written is a mistake in the options."""
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        file = path.open("wb")
    except OSError as error:
        raise click.UsageError(f"--output {path}: {error.strerror}") from None
    with file:
        yield file
