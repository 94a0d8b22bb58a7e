"""Where a command that exports writes: a file, or standard output."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click


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
