"""Recording: what is written plays, whatever interrupts it, and what is missing is said."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision.config import CameraConfig
from vision.events import RecordOrder
from vision.fmp4 import TICKS_PER_S
from vision.link import Link
from vision.nal import H264, H265, JPEG, is_key, parameters, split
from vision.recorder import Recorder
from vision.recording import GAP_NS, Action, Begin, Cutter, End, Gap, Packet, Write, jpeg_size

S_NS = 1_000_000_000
START_NS = 1_790_000_000 * S_NS
FPS = 10


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Six seconds of pictures of each codec as a camera sends them, a key picture every second."""
    folder = tmp_path_factory.mktemp("streams")
    made = {}
    for codec, encoder, suffix in (
        (H264, ["libx264", "-bf", "0", "-x264-params", "aud=1"], "h264"),
        (H265, ["libx265", "-x265-params", "log-level=none:bframes=0:aud=1"], "hevc"),
        (JPEG, ["mjpeg"], "mjpeg"),
    ):
        target = folder / f"stream.{suffix}"
        subprocess.run(
            ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc=size=160x120:rate={FPS}",
             "-t", "6", "-pix_fmt", "yuvj420p" if codec == JPEG else "yuv420p", "-g", str(FPS),
             "-c:v", *encoder, "-f", suffix, str(target)],
            check=True,
        )  # fmt: skip
        made[codec] = pictures(codec, target.read_bytes())
        assert len(made[codec]) == 6 * FPS
    return made


def pictures(codec: str, stream: bytes) -> list[bytes]:
    """Cut an elementary stream before each access unit delimiter, or JPEG."""
    mark = {H264: b"\x00\x00\x00\x01\x09", H265: b"\x00\x00\x00\x01\x46", JPEG: b"\xff\xd8\xff"}
    first, *rest = stream.split(mark[codec])
    assert not first
    return [mark[codec] + part for part in rest]


def packet(content: bytes, number: int, start_ns: int = START_NS) -> Packet:
    at_ns = number * S_NS // FPS
    return Packet(content, at_ns, at_ns, start_ns + at_ns)


def record(
    codec: str, packets: list[Packet], segment_s: float = 60.0, since_ns: int = START_NS
) -> list[Action]:
    """All actions of one recording."""
    cutter = Cutter(segment_s, since_ns, "it began")
    cutter.stream(codec, 160, 120)
    actions = [action for one in packets for action in cutter.feed(one)]
    return actions + cutter.interrupt("it is over")


def files(actions: list[Action]) -> dict[str, bytes]:
    """Files that come of actions."""
    found: dict[str, bytes] = {}
    name = ""
    for action in actions:
        if isinstance(action, Begin):
            name = action.name
            found[name] = action.content
        elif isinstance(action, Write):
            found[name] += action.content
    return found


def played(content: bytes, folder: Path) -> tuple[str, int, float]:
    """Codec, pictures that decode without an error, and seconds of a file."""
    path = folder / "file.mp4"
    path.write_bytes(content)
    asked = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-show_entries",
         "stream=codec_name,nb_read_frames,width,height,duration", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert asked.stderr == ""
    codec, width, height, seconds, count = asked.stdout.strip().split(",")
    assert (width, height) == ("160", "120")
    return codec, int(count), float(seconds)


@pytest.mark.parametrize("codec", [H264, H265, JPEG])
def test_a_recording_plays_and_lasts_as_long_as_it_did(
    codec: str, streams: dict[str, list[bytes]], tmp_path: Path
) -> None:
    actions = record(codec, [packet(one, n) for n, one in enumerate(streams[codec])])
    ((name, content),) = files(actions).items()
    assert name == "2026-09-21/20260921T141320.000Z.mp4"
    found, count, seconds = played(content, tmp_path)
    assert found == {H264: "h264", H265: "hevc", JPEG: "mjpeg"}[codec]
    assert count == 6 * FPS
    assert seconds == pytest.approx(6.0, abs=0.2)
    assert not any(isinstance(action, Gap) for action in actions)


@pytest.mark.parametrize("codec", [H264, H265, JPEG])
def test_what_was_written_up_to_a_kill_plays(
    codec: str, streams: dict[str, list[bytes]], tmp_path: Path
) -> None:
    actions = record(codec, [packet(one, n) for n, one in enumerate(streams[codec])])
    begin, first, second = actions[:3]
    assert isinstance(begin, Begin)
    assert isinstance(first, Write)
    assert isinstance(second, Write)
    torn = begin.content + first.content + second.content[: len(second.content) // 2]
    count = (
        len(played(begin.content + first.content, tmp_path))
        and played(begin.content + first.content, tmp_path)[1]
    )
    assert count >= 2 * FPS - 1
    path = tmp_path / "torn.mp4"
    path.write_bytes(torn)
    counted = subprocess.run(
        ["ffprobe", "-v", "quiet", "-count_frames", "-show_entries", "stream=nb_read_frames",
         "-of", "csv=p=0", str(path)], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(counted.stdout) >= count


def test_files_are_cut_at_key_pictures_and_lack_none(
    streams: dict[str, list[bytes]], tmp_path: Path
) -> None:
    packets = [packet(one, n) for n, one in enumerate(streams[H264])]
    found = files(record(H264, packets[3:], segment_s=1.5))
    assert len(found) == 3  # of 5 seconds from the first key picture on
    assert sum(played(content, tmp_path)[1] for content in found.values()) == 5 * FPS
    assert list(found) == sorted(found)


def test_other_parameters_begin_another_file(streams: dict[str, list[bytes]]) -> None:
    packets = [packet(one, n) for n, one in enumerate(streams[H264])]
    changed = bytearray(packets[30].content)
    sps = split(packets[30].content)[1]
    place = packets[30].content.index(sps)
    changed[place + 3] += 1  # another level
    packets[30] = Packet(bytes(changed), *(packets[30].media_ns, packets[30].received_ns),
                         packets[30].wall_ns)  # fmt: skip
    assert is_key(H264, split(packets[30].content))
    assert parameters(H264, split(packets[30].content)) != parameters(
        H264, split(packets[20].content)
    )
    assert len(files(record(H264, packets))) == 3  # the old parameters come back with the next key


def test_an_interruption_is_a_gap_with_its_reason(streams: dict[str, list[bytes]]) -> None:
    cutter = Cutter(60.0, START_NS - 9 * S_NS, "the camera had to be opened first")
    cutter.stream(JPEG, 160, 120)
    actions: list[Action] = []

    def feed(number: int) -> None:
        for action in cutter.feed(packet(streams[JPEG][0], number)):
            actions.append(action)
            if isinstance(action, Write):
                cutter.written(action.until_ns)

    for number in range(50):
        feed(number)
    for action in cutter.interrupt("the camera stopped delivering"):
        actions.append(action)
        if isinstance(action, Write):
            cutter.written(action.until_ns)
    for number in range(150, 200):
        feed(number)
    early, late = [action for action in actions if isinstance(action, Gap)]
    assert (early.from_ns, early.to_ns) == (START_NS - 9 * S_NS, START_NS)
    assert early.why == "the camera had to be opened first"
    assert late.to_ns == START_NS + 15 * S_NS
    assert late.from_ns == pytest.approx(START_NS + 5 * S_NS, abs=S_NS // 5)
    assert late.why == "the camera stopped delivering"
    assert sum(isinstance(action, End) for action in actions) == 1


def test_what_else_fails_in_a_gap_does_not_hide_why_it_began(
    streams: dict[str, list[bytes]],
) -> None:
    cutter = Cutter(60.0, START_NS - 9 * S_NS, "the recorder was lost")
    cutter.stream(JPEG, 160, 120)
    for why in ("nobody listens there", "it delivers nothing", "it delivers nothing", ""):
        assert cutter.interrupt(why) == []
    gap, *_ = cutter.feed(packet(streams[JPEG][0], 0))
    assert isinstance(gap, Gap)
    assert gap.why == "the recorder was lost; then it delivers nothing"
    cutter.lose("disk full")
    gap, *_ = cutter.feed(packet(streams[JPEG][0], 90))
    assert isinstance(gap, Gap)
    assert gap.why == "disk full"


@example([("feed", True, 1), ("feed", False, 1000), ("feed", True, 4000)])  # a gap of 5 s told
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("feed"), st.booleans(), st.integers(1, 4_000)),
            st.tuples(st.sampled_from(["interrupt", "lose"]), st.just(False), st.just(0)),
        ),
        max_size=60,
    )
)
def test_files_are_well_formed_whatever_happens(steps: list[tuple[str, bool, int]]) -> None:
    """Begin, then writes, then one end; nothing is written outside; every hole is a gap."""
    key = b"\x00\x00\x00\x01\x67\x42\x00\x0a\x01\x00\x00\x00\x01\x68\xce\x01\x00\x00\x01\x65\x88"
    other = b"\x00\x00\x00\x01\x41\x9a"
    cutter = Cutter(5.0, START_NS, "it began")
    cutter.stream(H264, 160, 120)
    now_ns, is_open, until_ns = 0, False, START_NS
    for what, is_key_picture, step_ms in steps:
        now_ns += step_ms * 1_000_000
        if what == "feed":
            content = key if is_key_picture else other
            actions = cutter.feed(Packet(content, now_ns, now_ns, START_NS + now_ns))
        elif what == "interrupt":
            actions = cutter.interrupt("gone")
        else:
            cutter.lose("disk full")
            is_open, actions = False, []
        for action in actions:
            match action:
                case Gap():
                    assert not is_open
                    assert (action.from_ns, action.to_ns) == (until_ns, START_NS + now_ns)
                    assert action.to_ns - action.from_ns > GAP_NS
                case Begin():
                    assert not is_open
                    is_open = True
                case Write():
                    assert is_open
                    assert until_ns <= action.until_ns <= START_NS + now_ns
                    until_ns = action.until_ns
                    cutter.written(until_ns)
                case End():
                    assert is_open
                    is_open = False


def test_the_size_of_a_jpeg(streams: dict[str, list[bytes]]) -> None:
    assert jpeg_size(streams[JPEG][0]) == (160, 120)
    assert jpeg_size(b"\xff\xd8") is None
    assert jpeg_size(b"") is None
    assert TICKS_PER_S == 90_000


def _fed(cutter: Cutter, packets: list[Packet]) -> list[Action]:
    """Feed pictures, every write of which reaches the disk."""
    actions = []
    for one in packets:
        for action in cutter.feed(one):
            actions.append(action)
            if isinstance(action, Write):
                cutter.written(action.until_ns)
    return actions


@pytest.mark.parametrize("by_s", [-7200, 7200])
@pytest.mark.parametrize("lost_s", [0, 20])
def test_a_clock_that_is_set_makes_no_gap_and_hides_none(
    by_s: int, lost_s: int, streams: dict[str, list[bytes]]
) -> None:
    """Set while pictures came, or while the camera was lost for 20 s: that alone is the gap."""
    cutter = Cutter(60.0, START_NS, "it began")
    cutter.stream(JPEG, 160, 120)
    picture = streams[JPEG][0]
    actions = _fed(cutter, [packet(picture, n) for n in range(100)])
    if lost_s:
        for action in cutter.interrupt("the camera stopped delivering"):
            actions.append(action)
            if isinstance(action, Write):
                cutter.written(action.until_ns)
    later = range(100 + lost_s * FPS, 200 + lost_s * FPS)
    start_ns = START_NS + by_s * S_NS
    actions += _fed(cutter, [packet(picture, n, start_ns) for n in later])
    gaps = [action for action in actions if isinstance(action, Gap)]
    if not lost_s:
        assert gaps == []
        first, second = files(actions)
        assert first[11:26] == "20260921T141320", "the new file has the time of the set clock"
        assert second[11:24] == ("20260921T1613" if by_s > 0 else "20260921T1213")
        return
    (gap,) = gaps
    assert gap.to_ns - gap.from_ns == pytest.approx(20 * S_NS, abs=S_NS // 2)
    assert gap.to_ns == start_ns + later[0] * S_NS // FPS


def test_what_is_missing_at_the_end_is_a_gap(streams: dict[str, list[bytes]]) -> None:
    """The camera was cut and never came back: the record said that all was recorded."""
    cutter = Cutter(60.0, START_NS, "it began")
    cutter.stream(JPEG, 160, 120)
    _fed(cutter, [packet(streams[JPEG][0], n) for n in range(100)])
    for action in cutter.interrupt("the camera stopped delivering"):
        if isinstance(action, Write):
            cutter.written(action.until_ns)
    (gap,) = cutter.over(START_NS + 3600 * S_NS)
    assert isinstance(gap, Gap)
    assert gap.to_ns == START_NS + 3600 * S_NS
    assert gap.from_ns == pytest.approx(START_NS + 10 * S_NS, abs=S_NS)
    assert gap.why == "the camera stopped delivering"
    assert cutter.over(START_NS + 3600 * S_NS) == []
    never = Cutter(60.0, START_NS, "the camera had to be opened first")
    assert len(never.over(START_NS + 10 * S_NS)) == 1
    assert never.over(START_NS + 10 * S_NS) == []


class Garbling:
    """A camera: pictures, then nothing that can be read, then pictures again."""

    refused = False

    def __init__(self, pictures: list[bytes]) -> None:
        self.pictures, self.opened, self.given = pictures, 0, 0

    def open(self, stop: threading.Event, lives: Callable[[], None]) -> Garbling:
        """Open it; from the second time on it is well."""
        self.opened += 1
        return self

    def sit_out(self, stop: threading.Event, lives: Callable[[], None]) -> None:
        """Nothing is refused."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def grab(self) -> bool:
        time.sleep(0.01)
        return True

    def retrieve(self, buffer: object = None, flag: int = 0) -> tuple[bool, object]:
        if flag or isinstance(buffer, int):
            return True, None
        self.given += 1
        if self.given == 3:
            return True, None
        if self.given == 5:
            return True, "no packet at all"
        return True, np.frombuffer(self.pictures[0], np.uint8)

    def get(self, what: int) -> float:
        codes = {
            cv2.CAP_PROP_FOURCC: float(int.from_bytes(b"MJPG", "little")),
            cv2.CAP_PROP_FRAME_WIDTH: 160.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 120.0,
            cv2.CAP_PROP_CODEC_EXTRADATA_INDEX: 1.0,
        }
        return codes.get(what, 0.0)

    def release(self) -> None:
        """Nothing is held."""


def test_a_picture_that_cannot_be_read_does_not_end_the_recording(
    streams: dict[str, list[bytes]], tmp_path: Path
) -> None:
    """The thread died of it, and its process said "no picture yet" until the permit's end."""
    camera = CameraConfig(name="cam", source="rtsp://192.0.2.7/1", record="always")
    order = RecordOrder(camera=camera, folder=str(tmp_path), since_ns=time.time_ns(),
                        why="it began", segment_s=60.0, reserve_bytes=0)  # fmt: skip
    ours, theirs = socket.socketpair()
    door = Garbling(streams[JPEG])
    with ours:
        link = Link(theirs.detach())
        recorder = Recorder(order, link, door)
        recorder.start()
        until = time.monotonic() + 120
        while not (door.opened > 1 and door.given > 20) and time.monotonic() < until:
            time.sleep(0.01)
        assert door.opened > 1, recorder.state().problem
        recorder.end()
        link.close()
        assert not recorder.hangs
    assert len(list(tmp_path.glob("*/*.mp4"))) == 2


class Dying(Garbling):
    """A camera of which the thread that reads it dies."""

    def open(self, stop: threading.Event, lives: Callable[[], None]) -> Garbling:
        """Let the thread end, as only what is no Exception does."""
        raise SystemExit


# pytest would fail for the very death that is made here
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_ends_the_process_which_is_begun_anew(tmp_path: Path) -> None:
    camera = CameraConfig(name="cam", source="rtsp://192.0.2.7/1", record="always")
    order = RecordOrder(camera=camera, folder=str(tmp_path), since_ns=time.time_ns(),
                        why="it began", segment_s=60.0, reserve_bytes=0)  # fmt: skip
    ours, theirs = socket.socketpair()
    with ours:
        link = Link(theirs.detach())
        recorder = Recorder(order, link, Dying([]))
        told = [recorder.hangs]
        recorder.start()
        until = time.monotonic() + 60
        while not told[-1] and time.monotonic() < until:
            time.sleep(0.01)
            told.append(recorder.hangs)
        recorder.end()
        assert (told[0], told[-1], recorder.hangs) == (False, True, False), "asked to end, it may"
        link.close()
