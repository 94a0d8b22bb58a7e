"""Configuration of one camera: the keys of [[camera]] and [[camera.zone]].

Guarantees: frozen and strict, an unknown key is an error, every mistake has a sentence that says
what is wrong and what would be right, and no password is in it: it stays in `password_file`,
which only the camera's own process reads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import AliasChoices, Field, field_validator, model_validator

from vision.clock_format import groups
from vision.geometry import area, crossing_edges
from vision.ground_config import GatheringConfig, GroundConfig, RunningConfig
from vision.strict import Corners, StrictModel

DEFAULT_MODEL = Path(__file__).resolve().parent / "models" / "person-nanodet-416.onnx"

INT8_MODEL = DEFAULT_MODEL.with_name("person-nanodet-416-int8.onnx")

Item = Literal["helmet", "workwear", "vest", "uniform"]
"""Protective equipment 劳动防护用品 that a zone may ask for. vest and uniform mean workwear."""

RUNNING_FPS = 4.0
"""Rate of analysis below which the tracker loses most people who run (vision/README.md)."""

WHOLE = 0.98
"""Of the frame: a zone that is so large is all of it."""
_SMALLEST_AREA = 1e-4  # of the frame: 10 × 7 pixels of 1080p in each direction times ten


class PolygonConfig(StrictModel):
    """A simple polygon: corners as fractions of the frame, x from the left, y from the top."""

    polygon: Corners

    @field_validator("polygon")
    @classmethod
    def _simple(cls, polygon: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        if len(polygon) < 3:
            raise ValueError(f"a zone needs at least 3 corners, this polygon has {len(polygon)}")
        for number, corner in enumerate(polygon, start=1):
            for value in corner:
                if not math.isfinite(value) or not 0.0 <= value <= 1.0:
                    raise ValueError(
                        f"corner {number} holds {value:g}: coordinates are fractions of the frame"
                        " from 0 to 1, not pixels"
                    )
        crossing = crossing_edges(polygon)
        if crossing is not None:
            one, other = (_edge(index, len(polygon)) for index in crossing)
            raise ValueError(
                f"edge {one} meets edge {other}: list the corners in order around the zone"
            )
        if area(polygon) < _SMALLEST_AREA:
            raise ValueError("the polygon encloses no area: its corners lie on one line")
        return polygon


class MaskConfig(PolygonConfig):
    """[[camera.exclude]]: around a thing that is taken for a person 屏蔽区; see masks.py."""


class ZoneConfig(PolygonConfig):
    """A polygon 区域 in which people are counted by where their feet are.

    max_people: more than this for `hold_s` raises the over-count alarm 超员; None: only counted.
    min_people: fewer than this for `empty_s` raises the alarm `empty` 离岗: an operator's or
        guardian's place.
    hold_s: seconds without a break over the limit before it is raised.
    clear_s: seconds without a break at or under the limit before it is cleared.
    passages: whether who comes, who leaves and how long people stay are points of their own.
    require: protective equipment 劳动防护用品 that everybody in it must wear.
    item_hold_s: seconds without a break for which somebody lacks it before the alarm is raised.
    running, gathering: alarms judged in metres, of a camera with [camera.ground].
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^/\s][^/\n]*$")
    max_people: int | None = Field(default=None, ge=0, le=1000)
    min_people: int = Field(default=0, ge=0, le=1000)
    empty_s: float = Field(default=180.0, ge=0.0, le=86_400.0)
    hold_s: float = Field(default=3.0, ge=0.0, le=3600.0)
    clear_s: float = Field(default=3.0, ge=0.0, le=3600.0)
    passages: bool = False
    require: Annotated[tuple[Item, ...], Field(strict=False)] = ()
    item_hold_s: float = Field(default=3.0, ge=0.0, le=3600.0)
    running: RunningConfig | None = None
    gathering: GatheringConfig | None = None

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.max_people is not None and self.min_people > self.max_people:
            raise ValueError(
                f"min_people {self.min_people} is more than max_people {self.max_people}"
            )
        return self

    @property
    def items(self) -> tuple[str, ...]:
        """What is judged: helmet, workwear, in this order, each once."""
        wanted = {"helmet" if item == "helmet" else "workwear" for item in self.require}
        return tuple(sorted(wanted))


class DetectorConfig(StrictModel):
    """[[camera.detector]]: a detector of the site's own, and the alarm it raises.

    model: ONNX file with its manifest beside it.  zone: of this camera; the whole picture unless
    given.  hits, of: how many of the last frames must show it.
    """

    alarm: Literal["flame", "smoke", "smoking", "phone"]
    model: str = Field(min_length=1)
    score: float = Field(default=0.5, ge=0.05, le=0.99)
    zone: str = ""
    hits: int = Field(default=3, ge=2, le=100)
    of: int = Field(default=5, ge=2, le=100)

    @property
    def where(self) -> str:
        """Name of what it watches."""
        return self.zone or "picture"


MOST_TILES = 16
"""Of one camera: each costs a whole inference a frame."""


class TilesConfig(StrictModel):
    """[camera.tiles]: the picture is looked at in parts as well, for people far off 远处小目标.

    least_person_px: height, in pixels of the stream, of the smallest person to be found; the tiles
        follow from it and from the size of the picture.
    columns, rows: their number instead.
    overlap_px: by how much neighbours overlap; whoever is not taller stands wholly in one of them.
        None: as much as somebody whom the whole picture shows well enough.
    """

    least_person_px: int | None = Field(default=None, ge=8, le=1000)
    columns: int = Field(default=1, ge=1, le=MOST_TILES)
    rows: int = Field(default=1, ge=1, le=MOST_TILES)
    overlap_px: int | None = Field(default=None, ge=8, le=1000)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        count = self.columns * self.rows
        if (count > 1) == (self.least_person_px is not None):
            raise ValueError(
                "give either least_person_px, or columns and rows of which one is more than 1"
            )
        if count > MOST_TILES:
            raise ValueError(
                f"{self.columns} columns and {self.rows} rows are {count} tiles, each a whole"
                f" inference a frame: {MOST_TILES} at most"
            )
        return self


class ClockConfig(StrictModel):
    """[camera.clock]: the clock that the camera writes on its picture 画面时钟.

    region: upper left and lower right corner of a box around it, and little else, fractions of the
        frame.  format: how it is written, in the letters of strftime; what stands between the
        digits may be any letters as wide.
    utc_offset_h: hours that its time is ahead of UTC.
    wrong_s: seconds by which it may differ from the gateway's.  stopped_s: seconds for which it may
        show one time.
    """

    region: Corners
    format: str = "%Y-%m-%d %H:%M:%S"
    utc_offset_h: float = Field(default=8.0, ge=-12.0, le=14.0)
    wrong_s: float = Field(default=10.0, ge=3.0, le=86_400.0)
    stopped_s: float = Field(default=45.0, ge=5.0, le=3600.0)

    @field_validator("format")
    @classmethod
    def _readable(cls, written: str) -> str:
        groups(written)
        return written

    @field_validator("region")
    @classmethod
    def _box(cls, region: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        good = len(region) == 2 and all(
            0.0 <= first < last <= 1.0 for first, last in zip(*region, strict=True)
        )
        if not good:
            raise ValueError(
                "region is [[left, top], [right, bottom]], fractions of the frame from 0 to 1"
            )
        return region


class CameraConfig(StrictModel):
    """One camera.

    source: `rtsp://host/path`; `http://host/path` of Motion JPEG or HTTP-FLV; or the path of a
        video file or of a folder of pictures, which is played in a loop. Name and password do not
        belong in it: give `user` and `password_file`.
        Give the sub-stream 子码流 where there is one.
    record: when the camera's stream is copied to the disk: `work` from the start of a permit that
        it watches to its end, `always`, `never`.  record_source: the stream to copy, where it is
        not `source`: the main stream 主码流.
    pace: of a file or folder: `real`, or `fast`, which takes every frame, as soon as the one before
        is judged.  folder_fps: pictures a second of a folder.
    analyse_fps: frames analysed per second, at most; decoding follows the camera.
    score: confidence from which a detection may start a track, and which a person must keep on the
        average of some seconds to be counted; the best value differs by camera (0.35 to 0.50 were
        found on different views). 0.45 was chosen on one scene and counted as well as 0.50 on
        other frames of it, and far better than 0.35 (models/person-nanodet-416.md).
    motion_floor_s: seconds after which a picture in which nothing moves is analysed again; until
        then what was found in it holds.  0: every frame is analysed, moving or not.
    stale_s: age of the newest frame from which the camera counts as lost.
    frozen_s: seconds of pixel-identical pictures from which the view counts as frozen; 0: never.
    motionless_s: seconds after which somebody who has not moved, or a thing taken for a person, is
        told, once; 0: never.
    exclude: masks around things that are taken for people.
    model: ONNX file with its manifest (.toml) beside it; None: the person model that is shipped.
    precision: of the shipped person model: `float`, or `int8`, which costs less than half and
        counts nearly as well (models/person-nanodet-416.md).
    tiles: look at parts of the picture as well; None: at the whole of it only.
    snapshot_quality: JPEG quality of evidence pictures.
    kind: `fixed`; `ptz` or `mobile` (布控球) are meant to move, so that is never reported of them.
    clip_before_s, clip_after_s: seconds of a clip before and after an alarm 报警前后录像; none
        where both are 0.  clip_fps: pictures a second that are kept for clips.
    decode: `auto`: in hardware where there is a device and OpenCV can drive it; `software`.
    provider, threads: what runs the networks; other than `cpu` needs another build of onnxruntime.
    group: cameras with the same name here share one process and its networks; none: one alone.
    memory_mb: resident memory beyond which the camera's process ends and is started again.
    clock: where the camera writes its clock, to have it watched.
    ground: where things in the picture are in metres.
    blur_heads: make heads unrecognisable in every picture and clip that leaves the process (the
        measurement never sees that; recordings are a copy of the stream, as they come).
    """

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^/\s][^/\n]*$")
    source: str = Field(min_length=1)
    pace: Literal["real", "fast"] = "real"
    folder_fps: float = Field(default=1.0, ge=0.01, le=60.0)
    record: Literal["never", "work", "always"] = "never"
    record_source: str = ""
    user: str = ""
    password_file: str = ""
    analyse_fps: float = Field(default=4.0, ge=0.1, le=30.0)
    score: float = Field(default=0.45, ge=0.05, le=0.95)
    motion_floor_s: float = Field(default=1.0, ge=0.0, le=5.0)
    stale_s: float = Field(default=5.0, ge=1.0, le=300.0)
    motionless_s: float = Field(default=600.0, ge=0.0, le=86_400.0)
    frozen_s: float = Field(default=30.0, ge=0.0, le=3600.0)
    model: str | None = None
    precision: Literal["float", "int8"] = "float"
    kind: Literal["fixed", "ptz", "mobile"] = "fixed"
    snapshot_quality: int = Field(default=85, ge=30, le=95)
    clip_before_s: float = Field(default=10.0, ge=0.0, le=60.0)
    clip_after_s: float = Field(default=20.0, ge=0.0, le=120.0)
    clip_fps: float = Field(default=2.0, ge=0.2, le=10.0)
    decode: Literal["auto", "software"] = "auto"
    provider: Literal["cpu", "openvino", "cuda"] = "cpu"
    threads: int = Field(default=1, ge=1, le=64)
    group: str = Field(default="", max_length=64)
    memory_mb: int = Field(default=800, ge=200, le=1 << 20)
    blur_heads: bool = True
    tiles: TilesConfig | None = None
    zones: Annotated[tuple[ZoneConfig, ...], Field(strict=False)] = Field(
        default=(), validation_alias=AliasChoices("zone", "zones")
    )

    clock: ClockConfig | None = None

    ground: GroundConfig | None = None

    exclude: Annotated[tuple[MaskConfig, ...], Field(strict=False)] = ()

    detectors: Annotated[tuple[DetectorConfig, ...], Field(strict=False)] = Field(
        default=(), validation_alias=AliasChoices("detector", "detectors")
    )

    @field_validator("source", "record_source")
    @classmethod
    def _known_source(cls, source: str) -> str:
        if "://" not in source:
            return source
        parts = urlsplit(source)
        if parts.scheme not in {"rtsp", "rtsps", "http", "https"}:
            raise ValueError(
                f"{parts.scheme}:// is not supported: give rtsp://, http:// (Motion JPEG or"
                " HTTP-FLV), or the path of a video file or of a folder of pictures"
            )
        if not parts.hostname:
            raise ValueError(f"the URL names no host: write {parts.scheme}://host/path")
        try:
            parts.hostname.encode("idna")  # as the system asks for an address
        except UnicodeError:
            raise ValueError(
                f"{parts.hostname} is no host name: between its dots are 1 to 63 characters each"
            ) from None
        try:
            port = parts.port
        except ValueError:
            port = 0
        if port == 0:
            raise ValueError("the port behind the host is a number from 1 to 65535") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "name and password do not belong in the URL: give user and password_file"
            )
        return source

    @model_validator(mode="after")
    def _precise(self) -> Self:
        if self.precision != "float" and self.model:
            raise ValueError("precision chooses between shipped models: leave it or model out")
        if self.precision != "float" and self.provider != "cpu":
            raise ValueError(
                f'precision = "int8" is for the cpu: {self.provider} does not compute these'
                " integers, leave precision or provider out"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [zone.name for zone in self.zones]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two zones of camera {self.name} are called {twice[0]!r}")
        if self.record != "never" and self.recorded.is_file:
            raise ValueError("record copies a camera's stream, and the source is a file already")
        if self.pace == "fast" and not self.is_file:
            raise ValueError("pace = fast is for files and folders: a camera sets its own pace")
        for one in self.detectors:
            if one.zone and one.zone not in names:
                raise ValueError(f"detector of {one.alarm}: this camera has no zone {one.zone!r}")
            if one.hits > one.of:
                raise ValueError(f"detector of {one.alarm}: {one.hits} hits of {one.of} frames")
        pairs = [(one.where, one.alarm) for one in self.detectors]
        if len(set(pairs)) < len(pairs):
            raise ValueError("two detectors of this camera raise the same alarm in one place")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together: give both or neither")
        return self

    @model_validator(mode="after")
    def _measured(self) -> Self:
        if self.ground is not None and self.kind != "fixed":
            raise ValueError(f"ground is measured for one view, and a {self.kind} camera has many")
        for zone in self.zones:
            for name in ("running", "gathering"):
                if getattr(zone, name) is not None and self.ground is None:
                    raise ValueError(
                        f"zone {zone.name}: {name} is judged in metres, which takes [camera.ground]"
                    )
            if zone.running is not None and self.is_fast:
                raise ValueError(f"zone {zone.name}: pace = fast leaves running without its time")
            if zone.running is not None and self.analyse_fps < RUNNING_FPS:
                raise ValueError(
                    f"zone {zone.name}: running is judged from {RUNNING_FPS:g} frames a second on,"
                    f" better 8; analyse_fps is {self.analyse_fps:g}"
                )
        return self

    @property
    def is_file(self) -> bool:
        """Tell whether the source is a video file or a folder, played in a loop."""
        return "://" not in self.source

    @property
    def recorded(self) -> CameraConfig:
        """The same camera, its source the stream that is recorded."""
        return self.model_copy(update={"source": self.record_source or self.source})

    @property
    def is_fast(self) -> bool:
        """Tell whether a file waits for nobody."""
        return self.pace == "fast" and self.is_file

    @property
    def items(self) -> tuple[str, ...]:
        """What is judged in any of the zones."""
        return tuple(sorted({item for zone in self.zones for item in zone.items}))

    @property
    def model_path(self) -> Path:
        """The ONNX file to run."""
        if self.model:
            return Path(self.model)
        return INT8_MODEL if self.precision == "int8" else DEFAULT_MODEL

    def resolved(self, folder: Path) -> CameraConfig:
        """Copy with relative paths joined on `folder`, the folder of the site file."""
        changes: dict[str, str] = {}
        if self.is_file:
            changes["source"] = str(folder / self.source)
        if self.password_file:
            changes["password_file"] = str(folder / self.password_file)
        if self.model:
            changes["model"] = str(folder / self.model)
        own = tuple(
            one.model_copy(update={"model": str(folder / one.model)}) for one in self.detectors
        )
        return self.model_copy(update={**changes, "detectors": own})

    def warnings(self) -> list[str]:
        """What the configuration asks for and this version does not do."""
        elsewhere = [
            f"Camera {self.name}, zone {zone.name}: it lies on the picture and not on the place, so"
            f" what it counts depends on where a camera of kind {self.kind} looks; let the zone be"
            " the whole picture."
            for zone in self.zones
            if self.kind != "fixed" and area(zone.polygon) < WHOLE
        ]
        return elsewhere + [
            f"Camera {self.name}, zone {zone.name}: vest and uniform are not told apart in this"
            " version; both are judged as workwear."
            for zone in self.zones
            if {"vest", "uniform"} & set(zone.require)
        ]


def with_login(source: str, user: str, password: str) -> str:
    """URL with its login, percent-encoded; only for the call that opens the camera."""
    if not user:
        return source
    parts = urlsplit(source)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}@"
    return urlunsplit(parts._replace(netloc=login + parts.netloc.rpartition("@")[2]))


def redacted(source: str) -> str:
    """URL without name and password, fit for logs, events and pictures."""
    if "://" not in source:
        return source
    parts = urlsplit(source)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _edge(index: int, count: int) -> str:
    return f"{index + 1}-{(index + 1) % count + 1}"
