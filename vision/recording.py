"""Recording by stream copy: what is written where, and what is missing. Pure.

Guarantees:

- Pictures are written as the camera sent them; nothing is decoded or encoded.
- A file begins with a picture that can be decoded by itself, and a new one is begun after
  `segment_s`, when the parameters of the stream change, and after every interruption.
- A fragment of at most FRAGMENT_NS goes out at a time, so that much is lost at most by a crash.
- An interruption of more than GAP_NS between two pictures that were written is a Gap, with its
  reason; so is the time from an order to the first picture, what a crash left out, and what is
  missing at the end.
- A clock that is set makes no gap and hides none: times go on from what it shows, in a new file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from vision.events import Happened
from vision.fmp4 import TICKS_PER_S, Sample, Track, fragment, head
from vision.nal import H264, H265, JPEG, complete, is_key, parameters, sample, split

FRAGMENT_NS = 2_000_000_000
GAP_NS = 3_000_000_000
"""A camera that is opened delivers a key frame after up to 2 s more; less is no gap."""
SET_NS = 500_000_000
"""Change of the wall clock against the monotonic one from one picture to the next that slewing (500
ppm) makes in no quarter of an hour: somebody set it."""
MOST_STEP_NS = 2_000_000_000
"""Longest time between two pictures that their own stamps are believed."""
CODECS = {"h264": H264, "H264": H264, "avc1": H264, "hevc": H265, "HEVC": H265, "hvc1": H265,
          "MJPG": JPEG, "mjpg": JPEG}  # fmt: skip
"""By FourCC as FFmpeg names it."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One picture as it came. media_ns: the camera's own stamp, of any origin."""

    content: bytes
    media_ns: int
    received_ns: int
    wall_ns: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin a file. name: relative, of the moment of its first picture, UTC."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Write:
    """Add to the file. until_ns: wall-clock time of the last picture in it."""

    content: bytes
    until_ns: int


@dataclass(frozen=True, slots=True)
class End:
    """The file is complete."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Nothing was recorded from one time to another, ns since 1970 UTC."""

    from_ns: int
    to_ns: int
    why: str


Action = Begin | Write | End | Gap


class Cutter:
    """Cuts one camera's pictures into files.

    since_ns: wall-clock time from which a recording should be there: when it was ordered, or the
    last picture before a crash.  why: what interrupted it then.
    """

    def __init__(self, segment_s: float, since_ns: int, why: str) -> None:
        self._segment_ns = round(segment_s * 1e9)
        self._written_ns, self._why = since_ns, why
        self._track: Track | None = None
        self._size = (0, 0)
        self._codec = ""
        self._held: list[Sample] = []
        self._last: Packet | None = None
        self._last_key = False
        self._sets: tuple[bytes, ...] = ()
        self._newest_wall_ns = since_ns
        self._ahead_ns: int | None = None  # of the wall clock to the monotonic one
        self._renew = False
        self._began_ns = self._held_ns = self._began_wall_ns = 0
        self._number = self._ticks = self._shown_ns = self._fragment_ticks = 0

    def stream(self, codec: str, width: int, height: int, described: bytes = b"") -> None:
        """Say what comes now, after the camera was opened; any file has been ended before.

        described: parameter sets of the session description, for streams that lack them.
        """
        self._codec, self._size = codec, (width, height)
        self._sets = parameters(codec, split(described)) if codec != JPEG else ()

    def feed(self, packet: Packet) -> list[Action]:
        """Take one picture."""
        self._follow(packet.wall_ns - packet.received_ns)
        units = split(packet.content) if self._codec != JPEG else []
        key = self._codec == JPEG or is_key(self._codec, units)
        actions: list[Action] = []
        if key:
            track = self._described(packet, units)
            old = self._renew or packet.received_ns - self._began_ns >= self._segment_ns
            if self._track is not None and (old or (track is not None and track != self._track)):
                actions += self.interrupt("", packet)
            if self._track is None and track is not None:
                handed = [action.until_ns for action in actions if isinstance(action, Write)]
                actions += self._begin(track, packet, max(handed, default=0))
        if self._track is None:
            return actions
        self._hold(packet)
        if self._held and packet.received_ns - self._held_ns >= FRAGMENT_NS:
            actions.append(self._flush())
            self._held_ns = packet.received_ns
        content = packet.content if self._codec == JPEG else sample(self._codec, units)
        self._newest_wall_ns = packet.wall_ns
        self._last = Packet(content, packet.media_ns, packet.received_ns, packet.wall_ns)
        self._last_key = key
        return actions

    def interrupt(self, why: str, following: Packet | None = None) -> list[Action]:
        """End the file: the camera is gone, the disk is full, the work is over."""
        self._because(why)
        if self._track is None:
            return []
        if self._last is not None:
            self._hold(following or self._last)
        actions: list[Action] = [self._flush()] if self._held else []
        self._track = self._last = None
        self._held = []
        return [*actions, End()]

    def over(self, wall_ns: int) -> list[Action]:
        """Say what is missing up to the end of the order, after the last `interrupt`."""
        since_ns, self._written_ns = self._written_ns, max(self._written_ns, wall_ns)
        if wall_ns - since_ns <= GAP_NS:
            return []
        return [Gap(since_ns, wall_ns, self._why or "no picture came")]

    def _follow(self, ahead_ns: int) -> None:
        """Move what is remembered in wall-clock time along where the clock was set."""
        before_ns, self._ahead_ns = self._ahead_ns, ahead_ns
        moved_ns = 0 if before_ns is None else ahead_ns - before_ns
        if abs(moved_ns) > SET_NS:
            self._written_ns += moved_ns
            self._newest_wall_ns += moved_ns
            self._began_wall_ns += moved_ns
            self._renew = self._track is not None

    def lose(self, why: str) -> None:
        """Say that what was handed out for the present file was not written."""
        self._because(why)
        self._track = self._last = None
        self._held = []

    def _because(self, why: str) -> None:
        """Note why the present gap began, and what else stood in the way last."""
        if self._track is not None:
            self._why = why or self._why
        elif why and why not in self._why:
            self._why = f"{self._why.partition('; then ')[0]}; then {why}"

    def written(self, until_ns: int) -> None:
        """Say that a Write is on the disk."""
        self._written_ns = max(self._written_ns, until_ns)

    def _begin(self, track: Track, packet: Packet, handed_ns: int) -> list[Action]:
        """Begin a file. handed_ns: until when pictures are handed out and not yet written."""
        actions: list[Action] = []
        since_ns = max(self._written_ns, handed_ns)
        if packet.wall_ns - since_ns > GAP_NS:
            actions.append(Gap(since_ns, packet.wall_ns, self._why))
        self._track = track
        self._began_ns = self._held_ns = packet.received_ns
        self._began_wall_ns = packet.wall_ns
        self._renew = False
        self._number = self._ticks = self._shown_ns = self._fragment_ticks = 0
        began = datetime.fromtimestamp(packet.wall_ns / 1e9, tz=UTC)
        name = f"{began:%Y-%m-%d}/{began:%Y%m%dT%H%M%S}.{began.microsecond // 1000:03}Z.mp4"
        return [*actions, Begin(name, head(track, packet.wall_ns // 1_000_000_000))]

    def _described(self, packet: Packet, units: Sequence[bytes]) -> Track | None:
        """The track of a key picture; None if its parameters are not known."""
        if self._codec == JPEG:
            width, height = jpeg_size(packet.content) or self._size
            return Track(JPEG, width, height)
        sets = parameters(self._codec, units)
        if not complete(self._codec, sets):
            sets = self._sets
        return Track(self._codec, *self._size, sets) if complete(self._codec, sets) else None

    def _hold(self, following: Packet) -> None:
        """Put the last picture into the fragment; how long it is shown is known by the next."""
        last = self._last
        if last is None:
            return
        step_ns = following.media_ns - last.media_ns
        if not 0 < step_ns <= MOST_STEP_NS:
            step_ns = max(0, following.received_ns - last.received_ns)
        self._shown_ns += step_ns
        ticks = self._shown_ns * TICKS_PER_S // 1_000_000_000
        self._held.append(Sample(last.content, ticks - self._ticks, self._last_key))
        self._ticks = ticks
        self._last = None

    def _flush(self) -> Write:
        self._number += 1
        content = fragment(self._held, self._number, self._fragment_ticks)
        self._fragment_ticks = self._ticks
        self._held = []
        shown_until_ns = self._began_wall_ns + self._shown_ns
        return Write(content, min(shown_until_ns, self._newest_wall_ns))


def gap_event(camera: str, gap: Gap) -> Happened:
    """Tell of a gap: `vision.recording_gap`."""
    seconds = round((gap.to_ns - gap.from_ns) / 1e9, 1)
    since = datetime.fromtimestamp(gap.from_ns / 1e9, tz=UTC)
    return Happened(
        kind="vision.recording_gap",
        wall_ns=gap.to_ns,
        text=f"Camera {camera}: no recording for {seconds} s from {since:%Y-%m-%dT%H:%M:%SZ}"
        f" ({gap.why}). 录像中断。",
        attributes={
            "from_ns": gap.from_ns, "to_ns": gap.to_ns, "seconds": seconds, "reason": gap.why,
        },
    )  # fmt: skip


def jpeg_size(picture: bytes) -> tuple[int, int] | None:
    """Width and height by the frame header SOF0 to SOF2 (ITU-T T.81, B.2.2); None without one."""
    at = 2
    while at + 9 < len(picture) and picture[at] == 0xFF:
        marker, length = picture[at + 1], int.from_bytes(picture[at + 2 : at + 4], "big")
        if marker in {0xC0, 0xC1, 0xC2}:
            height = int.from_bytes(picture[at + 5 : at + 7], "big")
            return int.from_bytes(picture[at + 7 : at + 9], "big"), height
        at += 2 + length
    return None
