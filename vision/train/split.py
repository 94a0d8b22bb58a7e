"""Divides images into training, tuning and validation so that no scene is in two of them. Pure.

Guarantees:

- Images that look alike (frames of one video, crops and re-encodings of one photograph, other poses
  of one series) fall on one side together: they are joined into clusters first.
- The side of a cluster depends on the smallest name in it and on nothing else, so adding images
  moves no other image.

Alike means: difference hashes at most ALIKE_BITS of 64 apart, the picture mirrored or not, or the
cosine of two centred signatures (the person network's coarsest features on 4 × 4 fields) at least
ALIKE_COSINE. Looked at in pairs: from 0.70 to 0.75 a third are poses of one series,
below hardly any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Side = Literal["train", "tune", "validate"]
ALIKE_BITS = 8
ALIKE_COSINE = 0.70
SHARES: Mapping[Side, int] = {"train": 66, "tune": 14, "validate": 20}

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


def difference_hash(grey: npt.NDArray[np.uint8]) -> BoolArray:
    """64 bits of a picture scaled to 8 rows of 9 pixels: is a pixel brighter than its next."""
    if grey.shape != (8, 9):
        raise ValueError(f"a difference hash needs 8 × 9 pixels, not {grey.shape}")
    return np.asarray(grey[:, 1:] > grey[:, :-1]).reshape(64)


def clusters(hashes: Sequence[tuple[BoolArray, BoolArray]], signatures: Float32Array) -> list[int]:
    """Number of each image's cluster.

    hashes: of each image as it is and mirrored.  signatures: float32[n, k], any description of the
    scene whose cosine means likeness.
    """
    plain = np.array([one for one, _ in hashes], np.bool_).reshape(-1, 64)
    turned = np.array([other for _, other in hashes], np.bool_).reshape(-1, 64)
    centred = signatures - signatures.mean(axis=0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    parent = list(range(len(plain)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for index in range(len(plain)):
        apart = (plain[: index + 1] ^ plain[index]).sum(axis=1)
        mirrored = (turned[: index + 1] ^ plain[index]).sum(axis=1)
        alike = (np.minimum(apart, mirrored) <= ALIKE_BITS) | (
            unit[: index + 1] @ unit[index] >= ALIKE_COSINE
        )
        for other in np.flatnonzero(alike).tolist():
            one, two = root(index), root(other)
            parent[max(one, two)] = min(one, two)
    return [root(index) for index in range(len(plain))]


def side_of(name: str) -> Side:
    """Side of the cluster whose smallest image name this is."""
    drawn = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 100
    for side, share in SHARES.items():
        if drawn < share:
            return side
        drawn -= share
    raise AssertionError("the shares make up 100")


def divide(names: Sequence[str], cluster: Sequence[int]) -> dict[str, Side]:
    """Side of each image, by name."""
    smallest: dict[int, str] = {}
    for name, number in zip(names, cluster, strict=True):
        smallest[number] = min(name, smallest.get(number, name))
    return {name: side_of(smallest[number]) for name, number in zip(names, cluster, strict=True)}
