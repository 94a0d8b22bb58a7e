"""The groups of cameras of a gateway, by name. Imports nothing of vision until there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivers.contract import Clock

if TYPE_CHECKING:
    from gateway.sources.camera_group import CameraGroup


class CameraGroups:
    """All groups, kept over a reload so that one process serves each; and the cameras' clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._groups: dict[str, CameraGroup] = {}

    def of(self, name: str) -> CameraGroup:
        """The group of a name."""
        from gateway.sources.camera_group import CameraGroup

        return self._groups.setdefault(name, CameraGroup())
