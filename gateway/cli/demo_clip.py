"""Finds or fetches the demo's camera clip of walking people (vtest.avi of Debian's opencv-doc).

Fetched once, without root, into the user's cache; every failure is one sentence and no exception,
for the demo runs without a camera as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "opencv-doc"
CLIP_IN_PACKAGE = Path("usr/share/doc/opencv-doc/examples/data/vtest.avi")
FETCH_LIMIT_S = 240  # 95 MB


def cache_folder() -> Path:
    """Folder of the clip: $XDG_CACHE_HOME/plantgate, else ~/.cache/plantgate."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "plantgate"


def cached_clip() -> Path | None:
    """Return the clip if an earlier call fetched it, or if the package is installed."""
    for place in (cache_folder() / "vtest.avi", Path("/") / CLIP_IN_PACKAGE):
        if place.is_file():
            return place
    return None


def fetch_clip() -> tuple[Path | None, str]:
    """Fetch the clip unless it is there: (path or None, one sentence saying what happened)."""
    found = cached_clip()
    if found:
        return found, f"camera clip: {found}"
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return None, "no camera clip: this is no Debian-like system; give one with --camera FILE"
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
            clip = _download(Path(folder))
            target = cache_folder() / "vtest.avi"
            shutil.move(clip, target)
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"no camera clip: fetching {PACKAGE} failed ({_reason(error)})"
    return target, f"camera clip fetched: {target}"


def _download(folder: Path) -> Path:
    """Download and unpack the package; with package lists of our own where the system has none."""
    try:
        _apt(folder, [])
    except subprocess.CalledProcessError:
        lists = folder / "lists" / "partial"
        lists.mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={lists.parent}", "-o", f"Dir::Cache={folder / 'cache'}"]
        _run(["apt-get", "-qq", *own, "update"], folder)
        _apt(folder, own)
    package = next(folder.glob(f"{PACKAGE}_*.deb"))
    _run(["dpkg-deb", "-x", str(package), "out"], folder)
    return folder / "out" / CLIP_IN_PACKAGE


def _apt(folder: Path, options: list[str]) -> None:
    _run(["apt-get", "-qq", *options, "download", PACKAGE], folder)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=FETCH_LIMIT_S)


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit {error.returncode}"
    return str(error)
