"""A picture that somebody asked a camera for."""

from __future__ import annotations

from dataclasses import dataclass, field


class NoPictureError(Exception):
    """There is none; one clause without a full stop that says why."""


@dataclass(frozen=True, slots=True)
class Sight:
    """One JPEG of a camera. wall_ns: wall-clock time of its frame."""

    camera: str
    content: bytes = field(repr=False)
    wall_ns: int
