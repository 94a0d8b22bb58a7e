"""A real RTSP camera: GStreamer's server, sending H.264 of a real clip with people.

Run with the system's interpreter, which has python3-gi (Debian: gir1.2-gst-rtsp-server-1.0,
python3-gi, gstreamer1.0-plugins-base, -good, -bad, ffmpeg):

    /usr/bin/python3 tests/peers/rtsp_server.py --clip vtest.avi --cache .cache/rtsp \
        --first 45 --last 55 [--port 0] [--user admin --password secret]

Plays frames --first to --last forwards and backwards without end, so that the number of people
stays the same while they move. Prints `ready PORT` once it listens on 127.0.0.1. The mount is
/unit1. With --user it asks for a digest login.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import gi  # type: ignore[import-not-found]  # of the system interpreter, not of the venv

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found]  # as above  # noqa: E402  # versions first
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)

ROLE = "viewer"
REPEATS = 60
"""Of a run of about 2 s; a client is disconnected at the end, as by a camera that restarts."""


def prepared(clip: Path, cache: Path, first: int, last: int) -> Path:
    """Encode the run of frames once; the result stays in the cache."""
    target = cache / f"{clip.stem}-{first}-{last}.mp4"
    if target.exists():
        return target
    cache.mkdir(parents=True, exist_ok=True)
    once = cache / f".{target.stem}-{os.getpid()}.mp4"
    partial = cache / f".{target.stem}-{os.getpid()}-long.mp4"
    there_and_back = (
        f"[0:v]trim=start_frame={first}:end_frame={last + 1},setpts=PTS-STARTPTS,split[a][b];"
        "[b]reverse[r];[a][r]concat=n=2:v=1,setpts=N/10/TB[v]"
    )
    quiet = ["ffmpeg", "-nostdin", "-y", "-v", "error"]
    encoder = ["-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-g", "10"]
    shape = ["-filter_complex", there_and_back, "-map", "[v]", "-r", "10", "-pix_fmt", "yuv420p"]
    subprocess.run([*quiet, "-i", str(clip), *shape, *encoder, str(once)], check=True)
    repeat = ["-stream_loop", str(REPEATS), "-i", str(once), "-c", "copy", str(partial)]
    subprocess.run([*quiet, *repeat], check=True)
    once.unlink()
    return partial.rename(target)


def serve(media: Path, port: int, user: str, password: str) -> None:
    """Serve until killed."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{media}" ! qtdemux ! h264parse'
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )
    factory.set_shared(True)
    if user:
        protect(server, factory, user, password)
    server.get_mount_points().add_factory("/unit1", factory)
    if not server.attach(None):
        raise SystemExit(f"port {port} cannot be used")
    sys.stdout.write(f"ready {server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def protect(
    server: GstRtspServer.RTSPServer,
    factory: GstRtspServer.RTSPMediaFactory,
    user: str,
    password: str,
) -> None:
    """Ask for a digest login."""
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth = GstRtspServer.RTSPAuth()
    auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role(ROLE, permission, True)
    factory.set_permissions(permissions)


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--first", type=int, default=45)
    parser.add_argument("--last", type=int, default=55)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    given = parser.parse_args()
    media = prepared(given.clip, given.cache.absolute(), given.first, given.last)
    serve(media, given.port, given.user, given.password)


if __name__ == "__main__":
    main()
