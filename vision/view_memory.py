"""Keeps what was learned of a camera's view in a file, so that it outlives the process.

Guarantees: the file is of this camera, with these zones: after `source`, `kind` or a zone was
changed nothing of it is used, for whoever draws zones anew has looked at the view. A file that
cannot be read counts as none; one that cannot be written is tried again later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from vision.config import CameraConfig
from vision.health import Look

_FORM = "1"


class ViewMemory:
    """One camera's file."""

    def __init__(self, path: Path, config: CameraConfig) -> None:
        self._path = path
        zones = [(zone.name, zone.polygon) for zone in config.zones]
        said = repr((_FORM, config.source, config.kind, zones))
        self._of = hashlib.sha256(said.encode()).hexdigest()

    def load(self) -> Look | None:
        """What is known of the view, if it is of this camera as it is configured now."""
        try:
            with self._path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                if str(stored["of"]) != self._of:
                    return None
                coarse, edges = stored["coarse"], stored["edges"]
                fine = float(stored["fine"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        fit = coarse.dtype == edges.dtype == np.float32 and coarse.shape == edges.shape
        if not fit or coarse.ndim != 2 or not np.isfinite(coarse).all():
            return None
        return Look(coarse, edges, fine) if np.isfinite(edges).all() and fine >= 0 else None

    def save(self, seen: Look) -> bool:
        """Replace the file as a whole; tells whether it was written."""
        part = self._path.with_name(self._path.name + ".part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                np.savez_compressed(
                    file, of=self._of, coarse=seen.coarse, edges=seen.edges, fine=seen.fine
                )
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        except OSError:
            return False
        return True

    def forget(self) -> None:
        """Delete the file: the view is learned anew; where that fails `save` mends it later."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
