"""The loop of one camera's process: waits for frame, message or time; sends what came of it.

Guarantees: one Sample a second whatever the camera does; a reader that hangs in native code is
replaced without stopping the loop; evidence is drawn from the very frame that was judged; heads in
a picture are blurred before it is kept or sent (`blur_heads`).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vision.analyser import Analyser, Output, ViewChange
from vision.clip import AVI, Clip, Picture, Ring
from vision.clock_watch import ClockChange
from vision.config import CameraConfig
from vision.events import Capture, Happened, Look, Relearn, Sample, Seen, Stop
from vision.frames import Frame, FrameSource
from vision.ground_watch import Gathering, Running
from vision.hardware import SOFTWARE, Decoding
from vision.health import VIEW_WORDS_ZH, View
from vision.link import Link
from vision.link_watch import LinkChange
from vision.sharing import HangsError, OverBudgetError
from vision.sightings import Sighting
from vision.snapshot import Scene, small_jpeg, snapshot
from vision.stillness import Still
from vision.telling import Told, told
from vision.tiling import Plan, TiledDetect
from vision.view_memory import ViewMemory
from vision.wear import Missing
from vision.zones import Headcount, OverCount, TooFew

HANG_NS = 20_000_000_000
"""A reader silent for so long hangs in native code: its own time-outs are 16 s at most together."""

MOST_ABANDONED = 3
"""Readers abandoned before the process gives up and lets itself be restarted."""

LOOK_NS = 4_000_000_000
"""How long a picture that was asked for waits for a frame. Half of what a platform's operator waits
for the whole answer (gateway/receiver/requests.py)."""

WEIGH_NS = 10_000_000_000
"""How often the process looks at its own memory."""
REMEMBER_NS = 600_000_000_000
"""How often what was learned of the view is written down, after the first time."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_ITEMS = {"helmet": ("a helmet", "未戴安全帽"), "workwear": ("work wear", "未穿工作服")}

_SIGHTS = {"flame": "明火", "smoke": "烟雾", "smoking": "吸烟", "phone": "使用手机"}

_HINTS = {
    View.MOVED: " Zones may lie elsewhere now: turn it back, or draw them anew; if it is right as"
    " it is, plantgate camera relearn says so."
}

_NEVER_NS = 1 << 63

Attributes = Mapping[str, str | int | float | bool]
_NONE: Attributes = {}


@dataclass(frozen=True, slots=True)
class Around:
    """What a loop is told besides its parts.

    attributes: of every event of people; digests: SHA-256 by model.  tiled: what looks at tiles,
    if the camera has some.  memory_mb: what the process may use now, unless it is the camera's own.
    cpu_s: CPU time of this camera, all but its reader's where cameras share a process.  memory:
    where what was learned of the view is kept.
    """

    attributes: Attributes = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    tiled: TiledDetect | None = None
    decoding: Decoding | None = None
    memory_mb: Callable[[], int] | None = None
    cpu_s: Callable[[], float] = time.process_time
    memory: ViewMemory | None = None


class CameraLoop:
    """Wires source, analyser and socket of one camera."""

    def __init__(
        self,
        link: Link,
        config: CameraConfig,
        analyser: Analyser,
        open_source: Callable[[], FrameSource],
        around: Around,
    ) -> None:
        self._around = around
        self._digests = around.digests
        self._decoding = around.decoding or Decoding(config.decode)
        self._told = ""
        self._plan_told: Plan | None = None
        self._remember_ns = 0
        self._link = link
        self._config = config
        self._analyser = analyser
        self._open_source = open_source
        self._attributes = around.attributes
        self._source = open_source()
        self._ring = Ring(config.clip_before_s, config.clip_after_s, config.clip_fps)
        self._clips = config.clip_before_s + config.clip_after_s > 0
        self._looks: dict[int, int] = {}  # number of who asked for a picture -> until when
        self._abandoned = 0
        self._weigh_ns = 0
        self._late = 0

    def run(self) -> None:
        """Analyse until the gateway says Stop or goes; raises HangsError, OverBudgetError."""
        try:
            self._run()
        finally:
            self._source.close()

    def _run(self) -> None:
        period_ns = round(1e9 / self._config.analyse_fps)
        due_ns = time.monotonic_ns()
        requested = False
        self._source.start()
        while not self._link.closed:
            now_ns = time.monotonic_ns()
            if not requested and (now_ns >= due_ns or self._config.is_fast):
                late = max(0, (now_ns - due_ns) // period_ns)
                self._late += 0 if self._config.is_fast else late
                due_ns += period_ns * (1 + late)
                self._source.request()
                requested = True
            until_ns = min(self._analyser.next_deadline_ns(), *self._looks.values(), _NEVER_NS)
            if not requested:
                until_ns = min(until_ns, due_ns)
            if self._wait(until_ns - now_ns):
                return
            frame = self._source.take()
            if frame is not None:
                requested = False
                self._judge(frame)
            requested = self._tick() and requested

    def _wait(self, longest_ns: int) -> bool:
        """Wait for a frame, a message or the time; tells whether to stop."""
        watched: list[int] = [self._link.fileno(), self._source.fileno()]
        ready, _, _ = select.select(watched, [], [], max(0.0, longest_ns / 1e9))
        if self._link.fileno() not in ready:
            return False
        messages = self._link.receive()
        for message in messages:
            if isinstance(message, Capture):
                self._capture(message.alarm_id)
            if isinstance(message, Look):
                self._looks[message.number] = time.monotonic_ns() + LOOK_NS
            if isinstance(message, Relearn):
                self._relearn()
        return self._link.closed or any(isinstance(message, Stop) for message in messages)

    def _relearn(self) -> None:
        """Take the view as it is now for the right one, and forget the one before for good."""
        self._analyser.relearn()
        self._remember_ns = 0
        if self._around.memory is not None:
            self._around.memory.forget()
        text = f"Camera {self._config.name}: the view of now is learned as the right one."
        newest = self._ring.newest
        self._happened("vision.view_relearned", text + " 重新学习视角。" + self._measure_anew,
                       picture=newest.jpeg if newest is not None else b"")  # fmt: skip

    @property
    def _measure_anew(self) -> str:
        """What is to be said of the ground where the view is another than it was."""
        if self._config.ground is None:
            return ""
        return " If it was turned, [camera.ground] has to be measured anew 重新标定地面."

    def _remember(self, now_ns: int) -> None:
        """Write down what was learned of the view, if it is time to."""
        learned = self._analyser.learned
        if self._around.memory is not None and learned is not None and now_ns >= self._remember_ns:
            self._around.memory.save(learned)
            self._remember_ns = now_ns + REMEMBER_NS

    def _capture(self, alarm_id: str) -> None:
        """Give a picture of now at once, or say that there is none, and order the clip."""
        newest = self._ring.recent(time.monotonic_ns())
        jpeg, age = b"", _NONE
        if newest is not None:
            jpeg = newest.jpeg
            age = {"age_s": round((time.monotonic_ns() - newest.received_ns) / 1e9, 1)}
        self._evidence("vision.snapshot", alarm_id, "image/jpeg", jpeg, age)
        if self._clips and not self._ring.order(alarm_id, time.monotonic_ns()):
            self._evidence("vision.clip", alarm_id, AVI, b"")

    def _evidence(
        self, kind: str, alarm_id: str, media_type: str, content: bytes, more: Attributes = _NONE
    ) -> None:
        what = "picture" if kind == "vision.snapshot" else "clip"
        text = f"Camera {self._config.name}: {what} of an alarm."
        if not content:
            text = f"Camera {self._config.name}: no {what} of an alarm could be made."
        attributes = {"alarm_id": alarm_id, "media_type": media_type, **more}
        self._happened(kind, text, attributes, content)

    def _keep(self, frame: Frame) -> None:
        """Put a frame that was just fed into the ring, as JPEG, if it is time for one.

        What is blurred is blurred here, so that no picture waits in the ring as it was taken.
        """
        if not self._ring.wants(frame.received_ns):
            return
        hidden = self._analyser.recognisable if self._config.blur_heads else ()
        jpeg, width, height = small_jpeg(frame.image, hidden)
        if jpeg:
            self._ring.add(Picture(jpeg, frame.received_ns, width, height))

    def _send_clip(self, clip: Clip) -> None:
        seconds = {"pictures": clip.pictures, "seconds": round(clip.seconds, 1)}
        self._evidence("vision.clip", clip.order, AVI, clip.content, seconds)

    def _judge(self, frame: Frame) -> None:
        now_ns = time.monotonic_ns()
        if self._analyser.too_old(frame, now_ns=now_ns):
            self._late += 1
            return
        outputs = self._analyser.feed(frame, now_ns=now_ns)
        self._keep(frame)
        for output in outputs:
            self._send(output, frame)
        if self._looks:
            self._show(self._picture(frame), frame.wall_ns, "it could not be encoded")

    def _show(self, picture: bytes, wall_ns: int, why_not: str) -> None:
        """Answer all who asked for a picture."""
        for number in self._looks:
            text = "" if picture else why_not
            self._link.send(Seen(number=number, wall_ns=wall_ns, text=text, blob=picture))
        self._looks.clear()

    def _tick(self) -> bool:
        """Send what is due; replaces a reader that hangs. False if a new one was started."""
        now_ns = time.monotonic_ns()
        if now_ns >= self._weigh_ns:
            self._weigh(now_ns)
            self._remember(now_ns)
        if self._decoding.decoder != self._told:
            self._tell_decoder()
        plan = self._around.tiled.plan if self._around.tiled is not None else None
        if plan is not None and plan != self._plan_told:
            self._tell_tiles(plan)
        link = self._source.link()
        for output in self._analyser.tick(link, now_ns):
            self._send(output, None)
        for clip in self._ring.due(now_ns):
            self._send_clip(clip)
        if self._looks and now_ns >= min(self._looks.values()):
            because = f": {link.problem}" if link.problem else ""
            self._show(b"", 0, f"no frame came for {LOOK_NS / 1e9:g} s{because}")
        if now_ns - link.alive_ns <= HANG_NS:
            return True
        self._abandoned += 1
        if self._abandoned > MOST_ABANDONED:
            raise HangsError(f"{self._abandoned} readers of the camera hang in native code")
        self._source.close()
        self._source = self._open_source()
        self._source.start()
        return False

    def _tell_decoder(self) -> None:
        self._told, reason = self._decoding.decoder, self._decoding.reason
        software = self._told == SOFTWARE
        how = "in software 软件解码" if software else f"by hardware 硬件解码, {self._told}"
        self._happened(
            "vision.decoding",
            f"Camera {self._config.name}: pictures are decoded {how}: {reason}.",
            {"decoder": self._told, "reason": reason},
        )

    def _tell_tiles(self, plan: Plan) -> None:
        self._plan_told = plan
        picture = f"{plan.width} x {plan.height} pixels"
        what = f"in {plan.tiles} tiles of {plan.tile[0]} x {plan.tile[1]} as well"
        if not plan.tiles:
            what = "whole only, because that shows enough"
        self._happened(
            "vision.tiles",
            f"Camera {self._config.name}: the picture of {picture} is looked at {what}; people"
            f" of {plan.least_person_px} pixels and more 远处小目标 are large enough to be found.",
            {"tiles": plan.tiles, "least_person_px": plan.least_person_px},
        )

    def _weigh(self, now_ns: int) -> None:
        """End the process if it has grown beyond its budget; it is started again."""
        self._weigh_ns = now_ns + WEIGH_NS
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        used_mb, most_mb = pages * PAGE_BYTES // 1_000_000, self._config.memory_mb
        if self._around.memory_mb is not None:
            most_mb = self._around.memory_mb()
        if used_mb > most_mb:
            raise OverBudgetError(f"it uses {used_mb} MB of memory, memory_mb allows {most_mb}")

    def _send(self, output: Output, frame: Frame | None) -> None:
        name = self._config.name
        match output:
            case Headcount():
                self._send_sample(output)
            case OverCount():
                self._send_over_count(output, frame)
            case TooFew() | Still() | ClockChange() | Running() | Gathering():
                self._tell(told(output, self._config), frame)
            case Missing():
                self._send_missing(output, frame)
            case Sighting():
                self._send_sighting(output, frame)
            case LinkChange(lost=True, reason=reason, again=again):
                text = f"Camera {name} is {'still ' if again else ''}lost: {reason}."
                last = None if again else self._ring.newest
                self._happened("vision.camera_lost", text, {"reason": reason},
                               last.jpeg if last is not None else b"")  # fmt: skip
            case LinkChange():
                self._happened("vision.camera_recovered", f"Camera {name} delivers again.")
            case ViewChange(view=view):
                words = f"{view.value.replace('_', ' ')} ({VIEW_WORDS_ZH[view]})"
                text = f"Camera {name}: the view is {words}." + _HINTS.get(view, "")
                text += self._measure_anew if view is View.MOVED else ""
                self._happened("vision.view", text, {"view": view.value}, self._picture(frame),
                               frame.wall_ns if frame is not None else 0)  # fmt: skip

    def _special_statistics(self) -> dict[str, float]:
        """Of a camera whose clock is watched, whose ground is measured."""
        found: dict[str, float] = {}
        if self._config.clock is not None:
            ahead_s = self._analyser.clock_ahead_s
            found |= {"clock_read": float(ahead_s is not None), "clock_ahead_s": ahead_s or 0.0}
        if self._analyser.ground is not None:
            found["ways_untimed"] = float(self._analyser.ground.untimed)
        return found

    def _tell(self, said: Told, frame: Frame | None) -> None:
        picture = self._picture(frame) if said.picture else b""
        attributes = {**said.attributes, **self._around.attributes}
        wall_ns = frame.wall_ns if frame is not None else 0
        self._happened(said.kind, said.text, attributes, picture, wall_ns)

    def _send_sample(self, sample: Headcount) -> None:
        now_ns = time.monotonic_ns()
        self._link.send(
            Sample(
                counts=list(sample.counts),
                wearing=list(sample.wearing),
                quality=sample.quality,
                frame_wall_ns=self._analyser.frame_wall_ns,
                analysed_fps=round(self._analyser.analysed_fps(now_ns), 3),
                statistics={
                    **self._source.statistics(),
                    **(self._around.tiled.statistics() if self._around.tiled is not None else {}),
                    "hardware_decoding": float(self._told not in {"", SOFTWARE}),
                    "frames_late": float(self._late),
                    "frames_still": float(self._analyser.frames_still),
                    "people_excluded": float(self._analyser.left_out),
                    **self._special_statistics(),
                    "readers_abandoned": float(self._abandoned),
                    "cpu_s": self._around.cpu_s(),
                },
            )
        )

    def _send_missing(self, change: Missing, frame: Frame | None) -> None:
        picture = self._picture(frame) if change.active else b""
        what, chinese = _ITEMS[change.item]
        said = f"without {what} {chinese}" if change.active else f"now with {what}, or gone"
        count = f"{change.people} people " if change.active else "everybody is "
        self._happened(
            f"vision.no_{change.item}",
            f"Camera {self._config.name}, zone {change.zone}: {count}{said}.",
            {
                "zone": change.zone,
                "item": change.item,
                "people": change.people,
                "limit": 0,
                "active": change.active,
                "track_ids": ",".join(map(str, change.track_ids)),
                **self._attributes,
                **{f"{name}_sha256": digest for name, digest in self._digests.items()},
            },
            picture,
            frame.wall_ns if frame is not None else 0,
        )

    def _send_sighting(self, change: Sighting, frame: Frame | None) -> None:
        said = "seen" if change.active else "not seen any more"
        self._happened(
            f"vision.{change.alarm}",
            f"Camera {self._config.name}, {change.zone}: {change.alarm}"
            f" {_SIGHTS[change.alarm]} {said}.",
            {
                "zone": change.zone,
                "people": change.count,
                "limit": 0,
                "active": change.active,
                "boxes": ";".join(",".join(f"{side:.0f}" for side in b) for b in change.boxes),
            },
            self._picture(frame) if change.active else b"",
            frame.wall_ns if frame is not None else 0,
        )

    def _picture(self, frame: Frame | None) -> bytes:
        if frame is None:
            return b""
        return snapshot(frame.image, self._config, Scene.of(self._analyser), frame.wall_ns)

    def _send_over_count(self, change: OverCount, frame: Frame | None) -> None:
        picture = self._picture(frame) if change.active else b""
        verb = "more than" if change.active else "no longer more than"
        self._happened(
            "vision.over_count",
            f"Camera {self._config.name}, zone {change.zone}: {change.people} people,"
            f" {verb} the {change.limit} allowed.",
            {
                "zone": change.zone,
                "people": change.people,
                "limit": change.limit,
                "active": change.active,
                "track_ids": ",".join(map(str, change.track_ids)),
                **self._attributes,
            },
            picture,
            frame.wall_ns if frame is not None else 0,
        )

    def _happened(
        self,
        kind: str,
        text: str,
        attributes: Attributes | None = None,
        picture: bytes = b"",
        wall_ns: int = 0,
    ) -> None:
        self._link.send(
            Happened(
                kind=kind,
                wall_ns=wall_ns or time.time_ns(),
                text=text,
                attributes=dict(attributes or {}),
                blob=picture,
            )
        )
