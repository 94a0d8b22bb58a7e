"""The process of one camera: `python -m vision.worker --fd N`, talking over one socketpair.

Guarantees:

- The first message in is Configure; then one Sample a second goes out as long as the process works,
  whatever the camera does, so silence means that the process is frozen.
- It ends when the socket closes, on Stop, or with Failed and exit code 1; nothing of it outlives
  the gateway.
- Frames never leave the process; counts, events and evidence pictures do.
- It runs at lower priority (nice 5), with one thread for each of reading, and of all else; it ends
  by itself beyond `memory_mb`, and the kernel's out-of-memory killer takes it before acquisition.

Only this module and vision/loop.py read clocks.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from vision import ffmpeg
from vision.events import AnyMessage, Configure, Failed, ProtocolError, Started
from vision.link import Link
from vision.sharing import Shared

NICE = 5
OOM_SCORE = "500"
"""Half of the machine's memory is added to what counts against it; proc_pid_oom_score_adj(5)."""


def serve(link: Link, shared: Shared | None = None) -> None:
    """Configure from the first message, then work. shared: with the cameras of this process."""
    order = next(_messages(link), None)
    if order is None:
        return
    if not isinstance(order, Configure):
        raise ProtocolError(f"the first message is {order.type}, not configure")
    config = order.camera
    # Heavy imports only now: a gateway that goes away meanwhile has closed the socket.
    import cv2

    from vision.analyser import Analyser
    from vision.capture import VideoSource
    from vision.detector import PROVIDERS, Detector, Runtime
    from vision.hardware import Decoding
    from vision.login_notes import LoginNotes
    from vision.loop import Around, CameraLoop
    from vision.manifest import ModelError, read_model
    from vision.ort import VERSION
    from vision.people import load_people
    from vision.sightings import Sightings
    from vision.tiling import TiledDetect
    from vision.view_memory import ViewMemory

    cv2.setNumThreads(1)
    try:
        runtime = Runtime(config.threads, PROVIDERS[config.provider], shared)
        own = [Detector(read_model(Path(d.model)), runtime).feed for d in config.detectors]
        people = load_people(config.model_path, config.score, items=config.items, runtime=runtime)
    except ModelError as error:
        link.send(Failed(text=str(error)))
        raise SystemExit(1) from error
    detect, tiled = people.detect, None
    if config.tiles is not None:
        part, side = people.detector.twin().feed, people.detector.side
        tiled = TiledDetect(config, people.detect, part, side, time.monotonic_ns)
        detect = tiled.detect
    memory = ViewMemory(Path(order.memory), config) if order.memory else None
    logins = LoginNotes(Path(order.logins), time.time_ns) if order.logins else None
    _give_back()
    decoding = Decoding(config.decode)
    link.send(
        Started(
            model_sha256=people.detector.sha256,
            onnxruntime=VERSION,
            tries_hardware=decoding.tries_hardware,
        )
    )
    around = Around(
        attributes={"model_sha256": people.detector.sha256, "score": config.score},
        digests=people.digests,
        tiled=tiled,
        decoding=decoding,
        memory_mb=shared.memory_mb if shared is not None else None,
        cpu_s=time.thread_time if shared is not None else time.process_time,
        memory=memory,
    )
    loop = CameraLoop(
        link,
        config,
        Analyser(
            config,
            detect,
            start_ns=time.monotonic_ns(),
            active=order.active,
            judge=people.wear,
            sightings=Sightings(config, own, active=order.active) if own else None,
            known=memory.load() if memory is not None else None,
        ),
        lambda: VideoSource(config, time.monotonic_ns, time.time_ns, decoding, logins),
        around,
    )
    member = shared.join(config.memory_mb) if shared is not None else 0
    try:
        loop.run()
    finally:
        if shared is not None:
            shared.leave(member)


def attend(link: Link, shared: Shared | None = None) -> None:
    """Serve, and say why where it cannot go on. Raises what `serve` does."""
    try:
        serve(link, shared)
    except ProtocolError as error:
        link.send(Failed(text=f"The gateway sent {error}."))
        raise
    except RuntimeError as error:
        link.send(Failed(text=f"{error}."))
        raise


def prepare(nice: int = NICE, oom_score: str = OOM_SCORE) -> None:
    """Make this process one of cameras: before OpenCV is imported."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the gateway's to answer
    with contextlib.suppress(OSError):
        os.nice(nice)
        Path("/proc/self/oom_score_adj").write_text(oom_score, encoding="ascii")
    ffmpeg.set_up()


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the process; returns the exit code."""
    parser = argparse.ArgumentParser(prog="vision.worker", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="inherited socket")
    link = Link(parser.parse_args(arguments).fd)
    prepare()
    try:
        attend(link)
    except (ProtocolError, RuntimeError):
        return 1
    return 0


def _give_back() -> None:
    """Return what loading the model has left behind: 27 of 165 MB (measured), at no cost a frame.

    malloc_trim(3) is glibc's; where there is none, pages stay with the process.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _messages(link: Link) -> Iterator[AnyMessage]:
    while not link.closed:
        yield from link.receive()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # a reader may hang in native code, and would hold a normal exit back
