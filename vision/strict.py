"""Base of configuration, manifests and messages. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class StrictModel(BaseModel):
    """Frozen, strict, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Pair = Annotated[tuple[float, float], Field(strict=False)]
Corners = Annotated[tuple[Pair, ...], Field(strict=False)]
