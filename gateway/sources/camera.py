"""Runs one camera's process and speaks for it: counts as batches, what happens as events.

Guarantees:

- The camera's process is a child that never outlives `run` (child.py).
- A child that dies, or is silent for 10 s (it sends every second, so it is frozen), gives bad
  quality on all points of the camera, one event and a DeviceError, so the supervisor starts it
  again. Silence is measured only while waiting for it: a slow buffer is not the child's fault.
- Once pictures come of a process, that is said (`vision.delivering`), and whether they can be
  judged; one that has only started (`vision.started`, which names what stands) sees nothing yet.
- An over-count alarm that stood when the child died is handed to the next one, which clears it.
- A process that ends soon after its start again and again is begun anew more and more seldom, every
  MOST_PAUSE_S at last, and told once in AGAIN_NS where it is lost for one and the same reason: no
  loop takes the machine's time, or floods the log. A camera of a group that delivered does not wait
  for what another of its process did.
- A picture that is asked for (`look`) is of a frame that came after the question, drawn and blurred
  as evidence is; where there is none within LOOK_S, that is a NoPictureError with one sentence.
- A process that is lost while it tries a hardware decoder leaves decoding to software in those
  that follow; one event says so.
- No password passes through here; the child reads the password file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import numpy as np

from drivers.contract import Batch, Clock, DeviceError, Emit, Quality, SourceEvent
from gateway.model.sight import NoPictureError, Sight
from gateway.sources.child import Child, DiedError, FrozenError, child
from vision.config import CameraConfig
from vision.events import (
    AnyMessage,
    Capture,
    Configure,
    Happened,
    Look,
    Relearn,
    Sample,
    Seen,
    Started,
)
from vision.tags import camera_tags
from vision.zones import BAD_WAITING

SILENCE_S = 10.0
STARTUP_S = 60.0
"""First message: imports and the model take 1 s alone, tens of seconds on a box that boots."""

STABLE_NS = 60_000_000_000
"""A process that lived so long was well."""
QUICK_STARTS = 5
"""Starts without a pause of ours; a driver or a camera may need as many to come to itself."""
MOST_PAUSE_S = 30.0
AGAIN_NS = 600_000_000_000

LOOK_S = 6.0
"""The child answers a question for a picture within 4 s, if it answers at all."""


NO_PICTURES = frozenset({int(Quality.BAD_NOT_CONNECTED), BAD_WAITING})
"""Qualities of a camera of which no picture has come."""

Start = Callable[[AnyMessage], AbstractAsyncContextManager[Child]]


class CameraSource:
    """One camera as a Driver.

    points: tag → catalogue id; tags that are missing are not sent.
    active: zones whose over-count alarm stood before the gateway started.
    memory: file in which the child keeps what it learned of the view.
    logins: folder in which all cameras share which logins were refused.
    silence_s: silence after which the child counts as frozen.
    start: gives the child its order; a process of its own unless given (camera_group.py).
    """

    def __init__(
        self,
        config: CameraConfig,
        points: Mapping[str, int],
        clock: Clock,
        *,
        active: Iterable[str] = (),
        memory: Path | None = None,
        logins: Path | None = None,
        silence_s: float = SILENCE_S,
        start: Start | None = None,
    ) -> None:
        self._start = start or partial(child, "vision.worker")
        unknown = sorted(set(points) - set(camera_tags(config)))
        if unknown:
            raise ValueError(f"camera {config.name} has no point {unknown[0]!r}")
        self._config = config
        self._clock = clock
        self._silence_s = silence_s
        self._columns = [i for i, tag in enumerate(camera_tags(config)) if tag in points]
        ids = [points[tag] for tag in camera_tags(config) if tag in points]
        self._points = np.array(ids, np.int32)
        self._further = len(camera_tags(config)) - len(config.zones) - 1
        self._active = set(active)
        self._memory = str(memory.absolute()) if memory is not None else ""
        self._logins = str(logins.absolute()) if logins is not None else ""
        self._looks: dict[int, asyncio.Future[Seen]] = {}
        self._look = 0
        self._child: Child | None = None
        self._sequence = 0
        self._starts = 0
        self._unproven = False
        self._delivers = False
        self._short_lives = 0
        self._not_before_ns = 0
        self._told, self._told_ns = "", 0
        self._worker: dict[str, float] = {}
        self._headcount: dict[str, float] = {}
        self.pid: int | None = None

    def statistics(self) -> Mapping[str, float]:
        """Counters, the child's own (frames_received, cpu_s ...), and headcount_<zone> now."""
        counted = {"starts": float(self._starts), "batches": float(self._sequence)}
        return {**counted, **self._worker, **self._headcount}

    async def run(self, emit: Emit) -> None:
        """Run the child until cancelled; raises DeviceError when it is lost."""
        await self._clock.sleep_until(self._not_before_ns)
        began_ns, self._delivers = self._clock.monotonic_ns(), False
        try:
            await self._session(emit)
        except DeviceError as error:
            now_ns = self._clock.wall_ns()
            if self._unproven and isinstance(error, DiedError | FrozenError):
                await self._distrust_hardware(emit, now_ns)
            await emit(self._bad(now_ns))
            text = f"The process of camera {self._config.name} is lost: {error}"
            if self._is_news(text, self._clock.monotonic_ns(), began_ns):
                await emit(SourceEvent("vision.worker_lost", self._config.name, now_ns, text))
            raise DeviceError(text) from error

    def _is_news(self, text: str, now_ns: int, began_ns: int) -> bool:
        """Say when the next process may begin; tells whether the loss of this one is to be told."""
        well = now_ns - began_ns >= STABLE_NS or bool(self._config.group and self._delivers)
        self._short_lives = 0 if well else self._short_lives + 1
        too_many = self._short_lives - QUICK_STARTS
        pause_s = min(MOST_PAUSE_S, 2.0 ** min(too_many, 10)) if too_many > 0 else 0.0
        self._not_before_ns = now_ns + round(pause_s * 1e9)
        known = text == self._told and now_ns - self._told_ns < AGAIN_NS and not self._delivers
        if not known:
            self._told, self._told_ns = text, now_ns
        return not known

    async def _distrust_hardware(self, emit: Emit, now_ns: int) -> None:
        self._unproven = False
        self._config = self._config.model_copy(update={"decode": "software"})
        name = self._config.name
        text = (
            f"The process of camera {name} was lost while it tried to decode by hardware: from now"
            " on it decodes in software 软件解码, until the gateway is started again or the"
            " camera's configuration changes."
        )
        await emit(SourceEvent("vision.hardware_given_up", name, now_ns, text))

    def capture(self, alarm_id: bytes) -> int:
        """Order a picture now and a clip of before and after; tells how many files will come."""
        if self._child is None or self._child.closing:
            return 0
        self._child.send(Capture(alarm_id=alarm_id.hex()))
        clips = self._config.clip_before_s + self._config.clip_after_s > 0
        return 2 if clips else 1

    def relearn(self) -> None:
        """Have the view learned anew as it is now. Raises NoPictureError."""
        if self._child is None or self._child.closing:
            raise NoPictureError(f"camera {self._config.name} is not being read just now")
        self._child.send(Relearn())

    async def look(self) -> Sight:
        """Have a picture taken now. Raises NoPictureError."""
        name = self._config.name
        if self._child is None or self._child.closing:
            raise NoPictureError(f"camera {name} is not being read just now")
        self._look += 1
        number = self._look
        answer = self._looks[number] = asyncio.get_running_loop().create_future()
        self._child.send(Look(number=number))
        try:
            async with asyncio.timeout(LOOK_S):
                seen = await answer
        except TimeoutError:
            raise NoPictureError(f"camera {name} has not answered within {LOOK_S:g} s") from None
        finally:
            del self._looks[number]
        if not seen.blob:
            raise NoPictureError(f"camera {name} gives no picture: {seen.text.rstrip('.')}")
        return Sight(name, seen.blob, seen.wall_ns)

    async def _session(self, emit: Emit) -> None:
        """Pass messages on until the child is lost; always ends with DeviceError."""
        order = Configure(
            camera=self._config,
            active=sorted(self._active),
            memory=self._memory,
            logins=self._logins,
        )
        patience_s = max(STARTUP_S, self._silence_s)
        async with self._start(order) as running:
            self.pid = running.pid
            self._starts += 1
            self._child = running
            try:
                while True:
                    for message in await running.receive(patience_s):
                        await self._pass_on(message, emit)
                        if isinstance(message, Sample):
                            patience_s = self._silence_s
            finally:
                self._child = None
                for answer in self._looks.values():
                    if not answer.done():
                        answer.set_result(Seen(number=0, text="its process has ended"))

    async def _pass_on(self, message: AnyMessage, emit: Emit) -> None:
        name = self._config.name
        match message:
            case Sample():
                if len(message.counts) != len(self._config.zones):
                    raise DeviceError(f"it sent {len(message.counts)} counts.")
                if len(message.wearing) != self._further:
                    raise DeviceError(f"it sent {len(message.wearing)} values beside the counts.")
                self._worker = dict(message.statistics)
                self._unproven &= not message.statistics.get("frames_decoded")
                await emit(self._batch(message, self._clock.wall_ns()))
                if not self._delivers and message.quality not in NO_PICTURES:
                    await self._say_delivering(message.quality, emit)
            case Happened():
                self._remember(message)
                await emit(
                    SourceEvent(
                        message.kind,
                        name,
                        message.wall_ns,
                        message.text,
                        message.attributes,
                        message.blob,
                    )
                )
            case Seen():
                answer = self._looks.get(message.number)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case Started():
                await self._announce(message, emit)
            case _:
                raise DeviceError(f"it sent a {message.type} message.")

    async def _say_delivering(self, quality: int, emit: Emit) -> None:
        self._delivers = True
        clear = quality == Quality.GOOD
        text = f"Camera {self._config.name} delivers pictures" + (
            "." if clear else ", which cannot be judged without doubt."
        )
        said: dict[str, str | int | float | bool] = {"view": "clear" if clear else "doubtful"}
        now_ns = self._clock.wall_ns()
        await emit(SourceEvent("vision.delivering", self._config.name, now_ns, text, said))

    async def _announce(self, started: Started, emit: Emit) -> None:
        now_ns = self._clock.wall_ns()
        self._unproven = started.tries_hardware
        name = self._config.name
        attributes: dict[str, str | int | float | bool] = {
            "model_sha256": started.model_sha256,
            "score": self._config.score,
            "analyse_fps": self._config.analyse_fps,
            "onnxruntime": started.onnxruntime,
            "standing": "\n".join(sorted(self._active)),
        }
        text = f"Camera {name} is being analysed."
        await emit(SourceEvent("vision.started", name, now_ns, text, attributes))
        for warning in self._config.warnings():
            await emit(SourceEvent("vision.not_judged", name, now_ns, warning))

    def _remember(self, message: Happened) -> None:
        zone = message.attributes.get("zone")
        if not isinstance(zone, str):
            return
        kind = message.kind.removeprefix("vision.")
        name = zone if kind == "over_count" else f"{zone}/{kind}"
        change = self._active.add if message.attributes.get("active") else self._active.discard
        change(name)

    def _batch(self, sample: Sample, now_ns: int) -> Batch:
        values = [np.nan if count is None else float(count) for count in sample.counts]
        zones = (zone.name for zone in self._config.zones)
        self._headcount = {
            f"headcount_{zone}": count for zone, count in zip(zones, values, strict=True)
        }
        quality = [sample.quality] * len(sample.counts)
        values += [np.nan if value is None else float(value) for value, _ in sample.wearing]
        quality += [code for _, code in sample.wearing]
        values.append(sample.analysed_fps)
        quality.append(int(Quality.GOOD))
        good = sample.quality == Quality.GOOD and sample.frame_wall_ns > 0
        return self._next(values, quality, sample.frame_wall_ns if good else now_ns, now_ns)

    def _bad(self, now_ns: int) -> Batch:
        count = len(self._config.zones) + self._further + 1
        lost = [int(Quality.BAD_NOT_CONNECTED)] * count
        self._headcount = dict.fromkeys(self._headcount, np.nan)
        return self._next([np.nan] * count, lost, now_ns, now_ns)

    def _next(self, values: list[float], quality: list[int], source_ns: int, now_ns: int) -> Batch:
        batch = Batch(
            points=self._points,
            values=np.array(values, np.float64)[self._columns],
            quality=np.array(quality, np.uint16)[self._columns],
            source_time_ns=source_ns,
            gateway_time_ns=now_ns,
            sequence=self._sequence,
        )
        self._sequence += 1
        return batch


__all__ = ["CameraSource", "camera_tags"]
