"""`plantgate recordings`: what the cameras of a site have recorded, and a span of it for a person.

Reads files and the log only; a gateway may run meanwhile. Exit 0; 1 if a file or the log cannot be
read or written, or nothing is there; 2 for a mistake in the options or the site file.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli.group import Group
from gateway.cli.output import AS_JSON, print_json
from gateway.cli.period import period
from gateway.cli.running import PLANT_TIME

if TYPE_CHECKING:
    from gateway.config.site import Site
    from gateway.work.permit import Permit
    from vision.extract import Recorded

FOREVER_NS = 1 << 62
_SITE = click.argument("site", type=click.Path(path_type=Path))
_CAMERA = click.option("--camera", "only", metavar="NAME", help="Only this camera.")


def _says_why(work: Callable[..., None]) -> Callable[..., None]:
    @wraps(work)
    def run(**options: Any) -> None:  # noqa: ANN401  # the options of the command
        from buffer.contract import BufferPathError
        from gateway.config.load import ConfigError

        try:
            work(**options)
        except (ConfigError, BufferPathError) as error:
            print(error, file=sys.stderr)
            sys.exit(2)
        except (OSError, sqlite3.Error) as error:
            print(f"plantgate recordings: {error}", file=sys.stderr)
            sys.exit(1)

    return run


@click.group("recordings", cls=Group, epilog="\b\nExample:\n  plantgate recordings list site.toml")
def command() -> None:
    """List what cameras have recorded 录像, and take a span of it out."""


@command.command(
    "list",
    epilog="\b\nExample:\n  plantgate recordings list site.toml --camera unit1-east --json",
)
@_SITE
@_CAMERA
@period()
@AS_JSON
@_says_why
def listed(
    site: Path, only: str | None, from_ns: int | None, to_ns: int | None, *, as_json: bool
) -> None:
    """List files with their permits 作业票, and what is missing between them, with the reason."""
    from gateway.config.load import load
    from vision.extract import missing

    loaded = load(site)
    files = _files(loaded, only, from_ns, to_ns)
    permits = _permits(loaded)
    reasons = _reasons(loaded)
    rows = [
        _row(one.camera, one.from_ns, one.to_ns)
        | {"bytes": one.bytes, "complete": one.complete, "file": str(one.path),
           "permits": _watched(loaded, permits, one)}
        for one in files
    ]  # fmt: skip
    gaps = [
        _row(one.camera, one.from_ns, one.to_ns)
        | {"reasons": [why for camera, since, until, why in reasons
                       if camera == one.camera and since < one.to_ns and until > one.from_ns]}
        for one in missing(files)
    ]  # fmt: skip
    if as_json:
        print_json({"recordings": rows, "gaps": gaps})
        return
    for row in sorted([*rows, *gaps], key=lambda row: (row["camera"], row["from_ns"])):
        print(_line(row))
    total = sum(one.bytes for one in files)
    print(f"{len(rows)} recordings, {total / 1e6:.0f} MB, {len(gaps)} gaps")


@command.command(
    "export",
    epilog="""\b
Example:
  plantgate recordings export site.toml --camera unit1-east --out case-7 \\
      --from 2026-05-01T08:00+08:00 --to 2026-05-01T08:20+08:00
""",
)
@_SITE
@_CAMERA
@period(required=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True,
              metavar="DIR", help="New folder to write.")  # fmt: skip
@AS_JSON
@_says_why
def export(
    site: Path, only: str | None, from_ns: int, to_ns: int, out: Path, *, as_json: bool
) -> None:
    """Copy a span as the cameras sent it, with a manifest: files, SHA-256, what is missing.

    Each file begins up to some seconds before the span, with a picture that stands for itself.
    Heads are not blurred in recordings: mind who gets them.
    """
    from gateway.config.load import load
    from vision.extract import extract, missing

    loaded = load(site)
    files = _files(loaded, only, from_ns, to_ns)
    if out.exists():
        raise click.BadParameter(f"{out} is there already: name a new folder", param_hint="--out")
    if not files:
        print("plantgate recordings: nothing was recorded then", file=sys.stderr)
        sys.exit(1)
    copies = [copy for one in files if (copy := extract(one, out, from_ns, to_ns)) is not None]
    manifest = {
        "site": loaded.gateway.id,
        "from": _time(from_ns),
        "to": _time(to_ns),
        "files": [
            _row(one.source.camera, one.from_ns, one.to_ns)
            | {"file": one.path.name, "bytes": one.bytes, "sha256": one.sha256,
               "recording": one.source.path.name}
            for one in copies
        ],
        "gaps": [_row(one.camera, one.from_ns, one.to_ns) for one in missing(files)],
    }  # fmt: skip
    text = json.dumps(manifest, ensure_ascii=False, indent=2)
    (out / "manifest.json").write_text(text + "\n", encoding="utf-8")
    if as_json:
        print(text)
        return
    for one in copies:
        print(f"{one.path}  {_time(one.from_ns)} to {_time(one.to_ns)}  SHA-256 {one.sha256}")
    print(f"{len(copies)} files in {out}, described in manifest.json")


def _files(site: Site, only: str | None, from_ns: int | None, to_ns: int | None) -> list[Recorded]:
    from vision.extract import recorded

    names = [camera.name for camera in site.cameras if camera.record != "never"]
    if only is not None and only not in {camera.name for camera in site.cameras}:
        known = ", ".join(camera.name for camera in site.cameras) or "it has none"
        raise click.BadParameter(f"the site has no camera {only!r}: {known}", param_hint="--camera")
    asked = site.recording
    folder = site.folder / asked.folder if asked.folder else site.gateway.data_dir / "recordings"
    until_ns = to_ns if to_ns is not None else FOREVER_NS
    return recorded(folder, names if only is None else [only], from_ns or 0, until_ns)


def _permits(site: Site) -> list[Permit]:
    """Permits that the log still knows."""
    from gateway.work.permit import PermitError, Version, fold

    if site.work is None:
        return []
    versions: dict[str, list[Version]] = {}
    for kind, _, time_ns, said in _events(site):
        if kind != "intake.permit":
            continue
        flags: dict[str, str | int | float] = {
            key: said[key] == "true" for key in ("deleted", "cancelled") if key in said
        }
        try:
            version = Version.of(said | flags, time_ns)
        except PermitError:
            continue  # the monitor could not watch it either, and has said so
        versions.setdefault(version.ticket, []).append(version)
    return [fold(those) for those in versions.values()]


def _watched(site: Site, permits: Sequence[Permit], one: Recorded) -> list[str]:
    """Tickets whose work a camera watched while a file was recorded."""
    from gateway.work.recordings import cameras_of

    if site.work is None:
        return []
    return [
        permit.ticket
        for permit in permits
        if permit.started_ns and one.to_ns > permit.started_ns
        and (not permit.ended_ns or one.from_ns < permit.ended_ns)
        and one.camera in cameras_of(site.work.site, permit)
    ]  # fmt: skip


def _reasons(site: Site) -> list[tuple[str, int, int, str]]:
    """Camera, from, to and reason of each gap that the recorders told."""
    return [
        (camera, int(said["from_ns"]), int(said["to_ns"]), said.get("reason", ""))
        for kind, camera, _, said in _events(site)
        if kind == "vision.recording_gap"
    ]


def _events(site: Site) -> list[tuple[str, str, int, dict[str, str]]]:
    """Events of permits and recordings in the log: kind, source, time, attributes."""
    from buffer.contract import Stream
    from buffer.inspection import Inspection
    from gateway.wire.v1 import uplink_pb2 as wire

    found = []
    with Inspection(site.gateway.data_dir) as inspection:
        for record in inspection.records(Stream.EVENT):
            event = wire.Event.FromString(record.payload)
            if event.kind in {"intake.permit", "vision.recording_gap"}:
                found.append((event.kind, event.source, event.time_ns, dict(event.attributes)))
    return found


def _row(camera: str, from_ns: int, to_ns: int) -> dict[str, Any]:
    return {
        "camera": camera, "from": _time(from_ns), "to": _time(to_ns),
        "from_ns": from_ns, "to_ns": to_ns, "seconds": round((to_ns - from_ns) / 1e9, 1),
    }  # fmt: skip


def _line(row: dict[str, Any]) -> str:
    when = f"{row['camera']}  {row['from']} to {row['to']}"
    if "reasons" in row:
        why = f": {'; '.join(row['reasons'])}" if row["reasons"] else ""
        return f"{when}  GAP 缺失 {row['seconds']:g} s{why}"
    permits = f"  {', '.join(row['permits'])}" if row["permits"] else ""
    growing = "" if row["complete"] else "  being written"
    return f"{when}  {row['bytes'] / 1e6:.2f} MB{permits}{growing}"


def _time(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns / 1e9, PLANT_TIME).isoformat(timespec="seconds")
