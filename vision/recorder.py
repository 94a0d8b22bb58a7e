"""The process that records one camera: `python -m vision.recorder --fd N`, over one socketpair.

Guarantees:

- It is a process of its own with a connection of its own: neither a slow or full disk nor anything
  the camera sends to it touches analysis or acquisition.
- Packets are copied, not decoded (vision/recording.py); every fragment is on the disk (fdatasync)
  before it counts as written. A file that is being written ends in `.part`; it can be played.
- With less than `reserve_bytes` free on the disk nothing is written, since alarms need the disk
  more; that is a gap, and so is a write that fails. Recording goes on when there is room again.
- One Recording a second goes out whatever camera and disk do; Stop ends the file in order, and what
  is missing up to then is a gap too.
- Whatever a camera sends, the next attempt begins: a picture that cannot be read ends the file and
  not the recording, and a reader that hangs in native code, or dies, ends the process, which is
  begun anew.

Only this module and the vision.worker family read clocks.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vision.events import Failed, ProtocolError, Recording, RecordOrder, Stop
from vision.link import Link
from vision.login_notes import LoginNotes
from vision.recording import CODECS, Action, Begin, Cutter, End, Gap, Packet, Write, gap_event
from vision.sharing import HangsError
from vision.worker import prepare

if TYPE_CHECKING:
    from vision.hardware import Video

NICE, OOM_SCORE = 3, "400"
"""Analysis runs at nice 5 and goes first when memory runs out; acquisition goes last."""
PERIOD_S = 1.0
STALE_NS = 6_000_000_000
"""Age of the last picture on the disk from which no recording runs: a fragment is 2 s long."""
BACKOFF_S = 1.0
PART = ".part"
_END_S = 4.0
HANG_NS = 30_000_000_000
"""One call of FFmpeg takes 20 s at most by its own time-outs (vision/opening.py)."""


class Opener(Protocol):
    """What is used of vision.opening.Door."""

    @property
    def refused(self) -> bool:
        """Tell whether the camera refused the login."""
        ...

    def open(self, stop: threading.Event, lives: Callable[[], None]) -> Video | str:
        """Open it; a sentence if that cannot be done."""
        ...

    def sit_out(self, stop: threading.Event, lives: Callable[[], None]) -> None:
        """Wait until a refused login may be tried again."""
        ...


class Recorder:
    """Reads one camera in a thread and writes its files."""

    def __init__(self, order: RecordOrder, link: Link, door: Opener | None = None) -> None:
        from vision.opening import Door

        self._order = order
        self._link = link
        logins = LoginNotes(Path(order.logins), time.time_ns) if order.logins else None
        self._door = door or Door(order.camera, time.monotonic_ns, raw=True, logins=logins)
        self._native_ns = 0  # since when the thread is in a call of FFmpeg
        self._cutter = Cutter(order.segment_s, order.since_ns, order.why)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="packets", daemon=True)
        self._file: BinaryIO | None = None
        self._part, self._fragments, self._whole_bytes = Path(), 0, 0
        self._problem = "no picture yet"
        self._wrote_ns = 0
        self._written_ns, self._written_bytes, self._files = order.since_ns, 0, 0

    def start(self) -> None:
        """Begin to read and write, in the background."""
        self._thread.start()

    def state(self) -> Recording:
        """How it goes."""
        running = self._wrote_ns > 0 and time.monotonic_ns() - self._wrote_ns <= STALE_NS
        return Recording(
            running=running,
            problem="" if running else self._problem,
            written_ns=self._written_ns,
            written_bytes=self._written_bytes,
            files=self._files,
        )

    @property
    def hangs(self) -> bool:
        """Tell whether the thread is in a call that its time-outs should have ended, or died."""
        since_ns = self._native_ns
        if self._thread.ident is not None and not self._thread.is_alive():
            return not self._stop.is_set()
        return since_ns > 0 and time.monotonic_ns() - since_ns > HANG_NS

    def end(self) -> None:
        """End the file, as far as the thread can."""
        self._stop.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._problem = self._read()
            except Exception as error:  # of one connection: told, and tried again
                self._problem = f"what the camera sends cannot be read: {error!r}"
            self._native_ns = 0
            self._carry_out(self._cutter.interrupt(self._problem))
            if self._door.refused:
                self._door.sit_out(self._stop, lambda: None)
            else:
                self._stop.wait(BACKOFF_S)
        self._carry_out(self._cutter.interrupt(""))
        self._carry_out(self._cutter.over(time.time_ns()))

    def _read(self) -> str:
        """Read until the stream ends; a sentence why."""
        import cv2

        self._lives()
        video = self._door.open(self._stop, self._lives)
        self._native_ns = 0
        if isinstance(video, str):
            return video
        try:
            fourcc = int(video.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1")
            if fourcc not in CODECS:
                return (
                    f"pictures of kind {fourcc!r} are not recorded: H.264, H.265, Motion JPEG are"
                )
            size = (video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT))
            place = int(video.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX))
            described = video.retrieve(None, place)[1]
            known = described.tobytes() if described is not None else b""
            self._cutter.stream(CODECS[fourcc], int(size[0]), int(size[1]), known)
            while not self._stop.is_set():
                self._native_ns = time.monotonic_ns()
                grabbed = video.grab()
                self._native_ns = 0
                if not grabbed:
                    return "the camera stopped delivering"
                packet = video.retrieve(None)[1]
                if packet is None:
                    continue
                media_ns = round(video.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
                found = Packet(packet.tobytes(), media_ns, time.monotonic_ns(), time.time_ns())
                self._carry_out(self._cutter.feed(found))
        finally:
            video.release()
        return ""

    def _lives(self) -> None:
        self._native_ns = time.monotonic_ns()

    def _carry_out(self, actions: list[Action]) -> None:
        try:
            for action in actions:
                self._do(action)
        except OSError as error:
            self._problem = error.strerror or str(error)
            self._cutter.lose(self._problem)
            with contextlib.suppress(OSError):
                self._close()

    def _do(self, action: Action) -> None:
        match action:
            case Begin(name=name, content=content):
                path = Path(self._order.folder) / name
                self._room(path)
                path.parent.mkdir(parents=True, exist_ok=True)
                self._part = path.with_name(path.name + PART)
                self._file, self._fragments = self._part.open("wb", buffering=0), 0
                self._whole_bytes = 0
                self._put(content)
            case Write(content=content, until_ns=until_ns):
                self._room(self._part)
                self._put(content)
                self._fragments += 1
                self._cutter.written(until_ns)
                self._written_ns, self._wrote_ns = until_ns, time.monotonic_ns()
            case End():
                self._close()
            case Gap():
                self._link.send(gap_event(self._order.camera.name, action))

    def _room(self, path: Path) -> None:
        there = next(folder for folder in path.parents if folder.exists())
        state = os.statvfs(there)
        if state.f_bavail * state.f_frsize < self._order.reserve_bytes:
            raise OSError(28, "the disk is too full to record")

    def _put(self, content: bytes) -> None:
        if self._file is None:
            raise OSError(9, "no file is open")
        view = memoryview(content)
        while view:
            view = view[self._file.write(view) :]
        os.fdatasync(self._file.fileno())
        self._written_bytes += len(content)
        self._whole_bytes += len(content)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.truncate(self._whole_bytes)  # what a full disk cut off is no fragment
            file.close()
            if self._fragments:
                self._part.rename(self._part.with_suffix(""))
                self._files += 1
            else:
                self._part.unlink()  # a head and no picture


def serve(link: Link) -> None:
    """Take the order, then record until Stop or until the gateway is gone."""
    order = next((message for message in _first(link)), None)
    if order is None:
        return
    if not isinstance(order, RecordOrder):
        raise ProtocolError(f"the first message is {order.type}, not record")
    recorder = Recorder(order, link)
    recorder.start()
    due = time.monotonic()
    while not link.closed:
        if recorder.hangs:
            raise HangsError("the reader of the camera hangs in native code, or has died")
        if (left := due - time.monotonic()) <= 0:
            link.send(recorder.state())
            due = max(due + PERIOD_S, time.monotonic())
            continue
        if select.select([link.fileno()], [], [], left)[0] and any(
            isinstance(message, Stop) for message in link.receive()
        ):
            break
    recorder.end()
    link.send(recorder.state())


def _first(link: Link) -> list[RecordOrder]:
    while not link.closed:
        if messages := link.receive():
            return messages  # type: ignore[return-value]  # the caller checks what it is
    return []


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="vision.recorder", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket")
    link = Link(parser.parse_args(arguments).fd)
    prepare(NICE, OOM_SCORE)
    try:
        serve(link)
    except ProtocolError as error:
        link.send(Failed(text=f"The gateway sent {error}."))
        return 1
    except HangsError as error:
        link.send(Failed(text=f"{error}."))
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a reader may hang in native code, and would hold a normal exit back
