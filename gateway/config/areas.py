"""[[area]] and [[gathering]]: where people are counted; see area_count.py and gathering.py."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Literal

from pydantic import Field

from drivers.wording import shown, suggestion
from gateway.config.model import Name, Section
from gateway.config.problems import Report
from gateway.config.toml_lines import TomlPath
from gateway.rules.area_count import OWN, AreaSpec
from gateway.rules.gathering import GatheringSpec

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


class GatheringConfig(Section):
    """[[gathering]] 人员聚集, from the positions of cards.

    people: how many within the radius of rule gathering.radius make one.  areas, except_areas:
    names of positioning; all areas where `areas` is empty.  fresh_s: how old a position may be.
    """

    name: Name
    people: int = Field(ge=2, le=100_000)
    areas: tuple[str, ...] = ()
    except_areas: tuple[str, ...] = ()
    fresh_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 30.0
    priority: int = Field(default=2, ge=1, le=4)


def gathering_specs(
    entries: Iterable[tuple[TomlPath, GatheringConfig]], report: Report
) -> tuple[GatheringSpec, ...]:
    """Translate; mistakes are reported."""
    found: dict[str, GatheringSpec] = {}
    for path, entry in entries:
        if entry.name in found:
            report.wrong((*path, "name"), f"a second [[gathering]] is called {shown(entry.name)}")
        both = sorted({*entry.areas} & {*entry.except_areas})
        if both:
            report.wrong((*path, "except_areas"), f"{shown(both[0])} is in areas too")
        found[entry.name] = GatheringSpec(
            entry.name, entry.people, entry.areas, entry.except_areas, entry.fresh_s,
            entry.priority,
        )  # fmt: skip
    return tuple(found.values())
