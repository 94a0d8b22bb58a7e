"""[[area]]: areas whose people are counted; see gateway/rules/area_count.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Literal

from pydantic import Field

from drivers.wording import shown, suggestion
from gateway.config.model import Name, Section
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath
from gateway.rules.area_count import OWN, AreaSpec

Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]


class AreaConfig(Section):
    """[[area]].

    kind: high_risk 高危作业场所, running_maintenance 在运行装置检维修, or own (max_people only).
    cameras: headcount points; combine: max where their views overlap, sum where they do not.
    positioning: the area's name there.  differ: people by which the two counts may not differ.
    """

    name: Name
    kind: Literal["high_risk", "running_maintenance", "own"]
    place: str = ""
    cameras: tuple[str, ...] = ()
    combine: Literal["max", "sum"] = "max"
    positioning: str = ""
    max_people: int | None = Field(default=None, ge=0, le=100_000)
    hold_s: Seconds = 60.0
    differ: int = Field(default=0, ge=0, le=100_000)
    fresh_s: Seconds = 300.0


def area_specs(
    entries: Iterable[tuple[TomlPath, AreaConfig]],
    points: Collection[str],
    places: Collection[str],
    report: Report,
) -> tuple[AreaSpec, ...]:
    """Translate; mistakes are reported."""
    found: dict[str, AreaSpec] = {}
    for path, entry in entries:
        if entry.name in found:
            report.wrong((*path, "name"), f"a second [[area]] is called {shown(entry.name)}")
        for name in entry.cameras:
            if name not in points:
                report.wrong((*path, "cameras"), f"no point is called {shown(name)};"
                             f" {suggestion(name, points)}")  # fmt: skip
        if entry.place and entry.place not in places:
            report.wrong((*path, "place"), f"no [[place]] is called {shown(entry.place)}")
        if entry.kind == OWN and entry.max_people is None:
            report.wrong(path, "an area of kind own needs max_people")
        if not entry.cameras and not entry.positioning:
            report.wrong(path, "needs cameras or positioning: nobody counts its people")
        found[entry.name] = AreaSpec(
            entry.name, entry.kind, entry.place, entry.cameras, entry.combine, entry.positioning,
            entry.max_people, entry.hold_s, entry.differ, entry.fresh_s,
        )  # fmt: skip
    return tuple(found.values())
