"""`plantgate camera`: a picture of now, and that a view is right as it is, of a gateway here.

Every command names a person and leaves an audit event. Exit 0; 1 if no gateway answers or it
refuses; 2 for a mistake in the options.
"""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from pathlib import Path

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON
from gateway.cli.running import DATA_DIR, answered

_PERSON = click.option("--person", default=getpass.getuser, help="Who asks; else your login.")


@click.group(
    "camera",
    cls=Group,
    epilog="\b\nExample:\n  plantgate camera snapshot data unit1-east --output now.jpg",
)
def command() -> None:
    """Take a picture with a camera of a running gateway; say that its view is right as it is."""


@command.command(
    "snapshot",
    epilog="\b\nExample:\n  plantgate camera snapshot data unit1-east --output now.jpg",
)
@DATA_DIR
@click.argument("camera")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Copy it to FILE.")  # fmt: skip
@_PERSON
@AS_JSON
def snapshot(
    data_dir: Path, camera: str, output: Path | None, person: str, *, as_json: bool
) -> None:
    """Have CAMERA take a picture now: marked and blurred as evidence is, and kept as such."""
    from buffer.evidence import EvidenceFiles

    answer = answered(data_dir, {"ask": "camera.snapshot", "camera": camera, "person": person})
    sha256 = str(answer["sha256"])
    path = EvidenceFiles(data_dir / "evidence", 0).path(bytes.fromhex(sha256))
    if output is not None:
        try:
            shutil.copyfile(path, output)
        except OSError as error:
            print(f"plantgate camera: {output} cannot be written: {error.strerror}",
                  file=sys.stderr)  # fmt: skip
            sys.exit(1)
    if as_json:
        print(json.dumps({**answer, "file": str(output or path)}))
        return
    print(f"{output or path}: SHA-256 {sha256}")


@command.command(
    "relearn",
    epilog="""\b
Example:
  plantgate camera relearn data unit1-east --person 王芳 --reason 摄像机移位后已重画区域
""",
)
@DATA_DIR
@click.argument("camera")
@_PERSON
@click.option("--reason", required=True, help="Why; it goes on record.")
def relearn(data_dir: Path, camera: str, person: str, reason: str) -> None:
    """Say that what CAMERA shows now is right 重新学习视角: what follows is compared with it.

    Draw its zones anew first: they mean other places once a camera was turned.
    """
    answered(
        data_dir, {"ask": "camera.relearn", "camera": camera, "person": person, "reason": reason}
    )
    print(f"{camera}: its view is learned anew, from clear pictures of 5 s")
