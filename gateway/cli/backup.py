"""`plantgate backup`: copy a receiver's store in a folder while its receiver runs.

Exit 0, or 2 where there is no store, or the place is taken. deploy/RECEIVER.md says how to put a
copy back; a store in PostgreSQL is copied with PostgreSQL's own tools.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gateway.cli.output import AS_JSON, print_json

EXAMPLE = """\b
Example:
  plantgate backup --store /var/lib/plantgate-receiver/store /mnt/backup/2026-11-28
"""


@click.command("backup", epilog=EXAMPLE)
@click.argument("target", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--store", required=True, metavar="DIR", help="A receiver's store in a folder.")
@click.option("--files", metavar="DIR", type=click.Path(path_type=Path),
              help="Where its evidence files lie, if `receive` was given --files.")  # fmt: skip
@AS_JSON
def command(target: Path, store: str, files: Path | None, *, as_json: bool) -> None:
    """Copy a receiver's store, database and evidence, into a new folder; the receiver goes on."""
    from gateway.receiver.contract import StorePathError
    from gateway.receiver.sqlite.backup import back_up
    from gateway.receiver.stores import is_postgres

    try:
        if is_postgres(store):
            text = "a store in PostgreSQL is copied with pg_basebackup or pg_dump"
            print(f"plantgate backup: {text}", file=sys.stderr)
            sys.exit(2)
        made = back_up(Path(store), target, files)
    except StorePathError as error:
        print(f"plantgate backup: {error}", file=sys.stderr)
        sys.exit(2)
    if as_json:
        print_json({"folder": str(target), **made._asdict()})
    else:
        size = made.database_bytes
        print(f"{target}: a database of {size} bytes, {made.files} evidence files")
