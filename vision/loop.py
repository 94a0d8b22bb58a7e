"""The loop of one camera's process: waits for frame, message or time; sends what came of it.

Guarantees: one Sample a second whatever the camera does; a reader that hangs in native code is
replaced without stopping the loop; evidence is drawn from the very frame that was judged.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping

from vision.analyser import Analyser, LinkChange, Output, ViewChange
from vision.config import CameraConfig
from vision.events import Happened, Sample, Stop
from vision.frames import Frame, FrameSource
from vision.link import Link
from vision.snapshot import snapshot
from vision.zones import Headcount, OverCount

HANG_NS = 15_000_000_000
"""A reader silent for so long hangs in native code: its own time-outs are 3 s each."""

MOST_ABANDONED = 3
"""Readers abandoned before the process gives up and lets itself be restarted."""

Attributes = Mapping[str, str | int | float | bool]


class CameraLoop:
    """Wires source, analyser and socket of one camera."""

    def __init__(
        self,
        link: Link,
        config: CameraConfig,
        analyser: Analyser,
        open_source: Callable[[], FrameSource],
        attributes: Attributes,
    ) -> None:
        self._link = link
        self._config = config
        self._analyser = analyser
        self._open_source = open_source
        self._attributes = attributes
        self._source = open_source()
        self._abandoned = 0
        self._late = 0

    def run(self) -> None:
        """Analyse until the gateway says Stop or goes; raises RuntimeError if readers hang."""
        period_ns = round(1e9 / self._config.analyse_fps)
        due_ns = time.monotonic_ns()
        requested = False
        self._source.start()
        while not self._link.closed:
            now_ns = time.monotonic_ns()
            if not requested and now_ns >= due_ns:
                self._late += (now_ns - due_ns) // period_ns
                due_ns += period_ns * (1 + (now_ns - due_ns) // period_ns)
                self._source.request()
                requested = True
            until_ns = self._analyser.next_deadline_ns()
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

    def _send_over_count(self, change: OverCount, frame: Frame | None) -> None:
        picture = b""
        if frame is not None and change.active:
            analyser = self._analyser
            picture = snapshot(
                frame.image, self._config, analyser.tracks, analyser.counts, frame.wall_ns
            )
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
