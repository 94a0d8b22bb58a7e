"""Site keys by which a [[device]] takes its points from a profile, instead of or beside a table.

    profile = "honeywell-sensepoint-xcd"
    profile_file = "profiles/my-panel.toml"    # instead: a profile of the site's own
    count = 16                    # loops 回路 of a panel, or transmitters with following unit ids
    first = 1                     # number of the first
    tags = "AT-{n:03}"            # names; left out, the profile's own
    gas_unit = "%LEL"             # what the device shows; checked against it where it can be
    decimals = 1                  # digits behind the point, where the device does not say
    profile_offset = 0            # added to every address: -1 or 1 where probe found it so
    profile_addresses = { state = "300001" }   # where the document does not place a register

Guarantees: a mistake names the key; without a profile the other keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from drivers.contract import Problem, StrictModel

if TYPE_CHECKING:
    from drivers.modbus.config import ModbusAddress
    from drivers.point_table import PointRow


class ProfileKeys(StrictModel):
    """Keys of a [[device]] that name a profile; see the module for what they say."""

    own_table: ClassVar[str] = "its profile"

    profile: str = ""
    profile_file: Path | None = None
    count: int = Field(default=1, ge=1, le=2048)
    first: int = Field(default=1, ge=1, le=65535)
    tags: str = Field(default="", max_length=100)
    gas_unit: str = Field(default="", max_length=20)
    decimals: int | None = Field(default=None, ge=0, le=6)
    profile_offset: int = Field(default=0, ge=-65535, le=65535)
    profile_addresses: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("profile")
    @classmethod
    def _known(cls, value: str) -> str:
        if value:
            from drivers.modbus.profile_files import load

            load(value)  # ProfileError is a ValueError that says what would be right
        return value

    @field_validator("profile_file")
    @classmethod
    def _readable_profile(cls, value: Path | None) -> Path | None:
        if value is not None:
            from drivers.modbus.profile_files import load

            if value.suffix != ".toml":
                raise ValueError(f"{value} must be a .toml file")
            load(str(value))
        return value

    @property
    def profile_source(self) -> str:
        """Name of a shipped profile or path of the site's own; empty where there is none."""
        return self.profile or str(self.profile_file or "")

    @model_validator(mode="after")
    def _only_with_profile(self) -> Self:
        if self.profile and self.profile_file:
            raise ValueError("profile and profile_file are two profiles: keep one")
        beside = ("count", "first", "tags", "gas_unit", "decimals", "profile_offset",
                  "profile_addresses")  # fmt: skip
        given = [key for key in beside if key in self.model_fields_set]
        if given and not self.profile_source:
            raise ValueError(f"{given[0]} is for a profile, and the device names none")
        return self

    @classmethod
    def own_row(cls, keys: Mapping[str, object]) -> type[StrictModel] | None:
        """Model of a row in a table beside the profile; None where the keys name no profile."""
        if not (keys.get("profile") or keys.get("profile_file")):
            return None
        from drivers.modbus.profile_rows import TableAddress

        return TableAddress

    def own_rows(
        self, rows: Sequence[PointRow[ModbusAddress]]
    ) -> tuple[list[PointRow[ModbusAddress]], list[Problem]]:
        """Points of the profile, with what a table says about them, then the table's other rows."""
        from drivers.modbus.profile_rows import merged

        return merged(self, rows)

    def own_lines(self) -> list[str]:
        """Say in a few lines which points the profile brings, for `plantgate check`."""
        if not self.profile_source:
            return []
        from drivers.modbus.profile_rows import described

        return described(self)

    def most_by_profile(self) -> int:
        """Most registers of one request that the profile allows."""
        if not self.profile_source:
            return 125  # the protocol's own limit
        from drivers.modbus.profile_files import load

        return load(self.profile_source).profile.max_registers

    def forbidden_by_profile(self) -> tuple[str, ...]:
        """Ranges that the profile keeps reads away from."""
        if not self.profile_source:
            return ()
        from drivers.modbus.profile_files import load

        return load(self.profile_source).profile.never_read
