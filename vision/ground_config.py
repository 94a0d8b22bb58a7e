"""Keys of a calibrated camera: [camera.ground], `running` and `gathering` of a zone. Pure."""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from vision.ground import Ground
from vision.strict import Pair, StrictModel


class GroundPointConfig(StrictModel):
    """A place on the ground that can be seen.

    picture: where in the picture, as corners of zones are given.  metres: where on the ground, on a
        plan seen from above.
    """

    picture: Pair
    metres: Pair

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for value in self.picture:
            if not math.isfinite(value) or not 0.0 <= value <= 1.0:
                raise ValueError(
                    f"picture holds {value:g}: it is fractions of the frame from 0 to 1, not pixels"
                )
        for value in self.metres:
            if not math.isfinite(value) or abs(value) > 100_000.0:
                raise ValueError(f"metres holds {value:g}: give metres from a point nearby")
        return self


class GroundPoints(StrictModel):
    """What was measured, whether it fits or not."""

    points: Annotated[tuple[GroundPointConfig, ...], Field(strict=False)]
    reach_m: float = Field(default=15.0, ge=0.0, le=1000.0)
    error_m: float = Field(default=1.0, ge=0.05, le=20.0)

    def fitted(self) -> Ground:
        """Fit the ground; raises GroundError (a ValueError)."""
        return Ground(
            np.array([one.picture for one in self.points], np.float64).reshape(-1, 2),
            np.array([one.metres for one in self.points], np.float64).reshape(-1, 2),
            reach_m=self.reach_m,
            error_m=self.error_m,
        )


class GroundConfig(GroundPoints):
    """[camera.ground]: from the picture to the ground 地面标定; see vision/ground.py.

    points: at least 4, better 6.  reach_m: metres outside of them up to which places are known.
    error_m: standard error of a place beyond which it counts as not known.
    """

    @model_validator(mode="after")
    def _right(self) -> Self:
        ground = self.fitted()
        if ground.misfit:
            raise ValueError(ground.misfit)
        return self


class RunningConfig(StrictModel):
    """running = { … } of a zone: the alarm `running` 奔跑.

    over_m_s: metres a second that somebody surely exceeds, for_s seconds and least_m metres long.
    """

    over_m_s: float = Field(default=2.5, ge=1.0, le=10.0)
    for_s: float = Field(default=1.5, ge=1.0, le=8.0)
    least_m: float = Field(default=4.0, ge=1.0, le=50.0)


class GatheringConfig(StrictModel):
    """gathering = { … } of a zone: the alarm `gathering` 人员聚集.

    people: so many within a circle of radius_m metres for hold_s seconds. How many make one is in
    no text that was found; of positions of cards 15 m and more than a minute are named.
    """

    people: int = Field(ge=2, le=50)
    radius_m: float = Field(gt=0.0, le=100.0)
    hold_s: float = Field(default=60.0, ge=0.0, le=3600.0)
