"""Names of serial ports that stay the same: udev's links under /dev/serial.

A kernel name such as /dev/ttyUSB0 goes by the order in which converters were found: after a
restart, or when one is plugged in anew, it can be another converter, and the values of one detector
would come under the name of another. by-id names the converter (where it has a serial number),
by-path the socket it is plugged into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from drivers.contract import Problem

WARNING = "warning: "
FOLDER = Path("/dev/serial")
_BY_ORDER = re.compile(r"/dev/tty(USB|ACM)[0-9]+")
_SHOWN = 8


def name_problem(path: str, folder: Path = FOLDER) -> Problem | None:
    """Warn of a port that is named by the order of plugging, with the name to use instead."""
    if not _BY_ORDER.fullmatch(path):
        return None
    said = f"{WARNING}{path} can be another converter after a restart or when plugged in anew"
    stable = stable_name(path, folder)
    if stable != path:
        return Problem(0, "serial", f"{said}: write {stable}, which is this port now")
    return Problem(
        0,
        "serial",
        f"{said}: write its link under {folder}/by-id, or under {folder}/by-path where several"
        " converters are alike",
    )


def stable_name(path: str, folder: Path = FOLDER) -> str:
    """Give the link that names the same port for ever, or the path itself where there is none."""
    if not _BY_ORDER.fullmatch(path):
        return path
    return next((str(link) for link in _links(folder) if _same(link, path)), path)


def ports_that_exist(folder: Path = FOLDER) -> str:
    """Say, to go behind a message, which ports there are; nothing where none is known."""
    links = list(_links(folder))
    if not links:
        return ""
    more = f" and {len(links) - _SHOWN} more" if len(links) > _SHOWN else ""
    return f"; there is {', '.join(str(link) for link in links[:_SHOWN])}{more}"


def _links(folder: Path) -> Iterator[Path]:
    """Links, by converter before by socket."""
    for kind in ("by-id", "by-path"):
        try:
            yield from sorted((folder / kind).iterdir())
        except OSError:
            continue


def _same(link: Path, path: str) -> bool:
    try:
        return link.resolve() == Path(path).resolve()
    except OSError:
        return False


__all__ = ["name_problem", "ports_that_exist", "stable_name"]
