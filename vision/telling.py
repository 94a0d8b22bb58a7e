"""What is said of a clock, a place that was left, who does not move, runs, gathers. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from vision.clock_watch import Clock, ClockChange
from vision.config import CameraConfig
from vision.ground_watch import Gathering, Running
from vision.stillness import Still
from vision.zones import TooFew

Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Told:
    """An event. picture: whether the frame goes with it."""

    kind: str
    text: str
    attributes: Attributes
    picture: bool


def told(change: TooFew | Still | ClockChange | Running | Gathering, config: CameraConfig) -> Told:
    """Say one change of a camera."""
    match change:
        case TooFew():
            return _too_few(change, config)
        case Still():
            return _still(change, config)
        case ClockChange():
            return _clock(change, config)
        case Running():
            return _running(change, config)
        case Gathering():
            return _gathering(change, config)


def _too_few(change: TooFew, config: CameraConfig) -> Told:
    verb = "fewer than" if change.active else "no longer fewer than"
    text = (
        f"Camera {config.name}, zone {change.zone}: {change.people} people, {verb} the"
        f" {change.least} that must be there 离岗."
    )
    said: Attributes = {
        "zone": change.zone, "people": change.people, "limit": change.least,
        "active": change.active,
    }  # fmt: skip
    return Told("vision.empty", text, said, change.active)


def _still(change: Still, config: CameraConfig) -> Told:
    came = "was seen to come" if change.came else "was not seen to come"
    text = (
        f"Camera {config.name}: somebody, or a thing taken for a person, has not moved for"
        f" {change.seconds / 60:.0f} min and {came} 长时间静止. Look: a person may need help; a"
        " thing is counted until [[camera.exclude]] is drawn around it."
    )
    box = ",".join(f"{side:.0f}" for side in change.box)
    said: Attributes = {"seconds": round(change.seconds), "box": box, "came": change.came}
    return Told("vision.motionless", text, said, picture=True)


def _clock(change: ClockChange, config: CameraConfig) -> Told:
    shown = datetime.fromtimestamp(change.shown_s, tz=UTC).isoformat()
    side = "ahead of" if change.ahead_s > 0 else "behind"
    seconds = f"{abs(change.ahead_s):g} s {side} the gateway's"
    words = {
        Clock.RIGHT: f"is right, {seconds} 时钟正常",
        Clock.WRONG: f"is wrong: it shows {shown}, {seconds} 时钟错误",
        Clock.STOPPED: f"stands still at {shown} 时钟停走",
    }[change.state]
    text = f"Camera {config.name}: the clock on the picture {words}."
    allowed_s = config.clock.wrong_s if config.clock is not None else 0.0
    said: Attributes = {
        "clock": change.state.value, "shown": shown, "ahead_s": change.ahead_s,
        "allowed_s": allowed_s,
    }  # fmt: skip
    return Told("vision.clock", text, said, change.state is not Clock.RIGHT)


def _running(change: Running, config: CameraConfig) -> Told:
    place = f"Camera {config.name}, zone {change.zone}"
    said: dict[str, str | int | float | bool] = {
        "zone": change.zone, "people": len(change.runs), "limit": 0, "active": change.active,
    }  # fmt: skip
    if not change.active:
        return Told("vision.running", f"{place}: nobody runs any more.", said, picture=False)
    run = next(iter(change.runs.values()))
    text = (
        f"{place}: somebody runs 奔跑, {run.m_s:.1f} m/s, surely {run.least_m_s:.1f}, over"
        f" {run.metres:.1f} m in {run.seconds:.1f} s."
    )
    said |= {
        "m_s": round(run.m_s, 2), "error_m_s": round(run.error_m_s, 2),
        "metres": round(run.metres, 2), "seconds": round(run.seconds, 2),
        "from_m": _metres(run.start), "to_m": _metres(run.end),
        "track_ids": ",".join(map(str, change.runs)),
    }  # fmt: skip
    return Told("vision.running", text, said, picture=True)


def _gathering(change: Gathering, config: CameraConfig) -> Told:
    circle = f"within a circle of {change.radius_m:g} m"
    verb = "gather 人员聚集" if change.active else "no longer gather"
    text = (
        f"Camera {config.name}, zone {change.zone}: people {verb}, {change.people} {circle};"
        f" {change.limit} or more are a gathering."
    )
    said: dict[str, str | int | float | bool] = {
        "zone": change.zone, "people": change.people, "limit": change.limit,
        "active": change.active, "radius_m": change.radius_m,
        "track_ids": ",".join(map(str, change.places)),
        "at_m": ";".join(map(_metres, change.places.values())),
    }  # fmt: skip
    return Told("vision.gathering", text, said, change.active)


def _metres(place: tuple[float, float]) -> str:
    return f"{place[0]:.1f},{place[1]:.1f}"
