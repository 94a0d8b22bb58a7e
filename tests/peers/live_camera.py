"""A real RTSP camera that can be made to change its picture's size: GStreamer's server, live.

Run with the system's interpreter (packages as for tests/peers/rtsp_server.py, x265enc is in
gstreamer1.0-plugins-bad, x264enc in -ugly, jpegenc in -good):

    /usr/bin/python3 tests/peers/live_camera.py --codec h264|h265|mjpeg [--port 0]
        [--size 640x360] [--user admin --password secret] [--passed-on]

Sends a test picture whose corner is noise, 10 a second, a key frame every second.
Prints `ready PORT` once it listens on 127.0.0.1; the mount is /live. A line `size W H` on standard
input changes the size while clients look on.

With --passed-on a stream of its own making (H.264, a key picture every 14 s) is passed on, as
platforms and recorders do: no key picture is made for whoever comes.
"""

from __future__ import annotations

import argparse
import socket
import sys

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
ENCODERS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=600 key-int-max=10"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "h265": "x265enc tune=zerolatency speed-preset=ultrafast bitrate=600 key-int-max=10"
    " ! rtph265pay name=pay0 pt=96 config-interval=-1",
    "mjpeg": "jpegenc quality=60 ! rtpjpegpay name=pay0 pt=26",
}


def caps(width: int, height: int) -> str:
    """Raw video of a size."""
    return f"video/x-raw,format=I420,width={width},height={height},framerate=10/1"


KEY_EVERY_S = 14


def maker(port: int) -> Gst.Element:
    """What makes the stream that is passed on, as RTP to a UDP port."""
    return Gst.parse_launch(
        f"videotestsrc is-live=true ! {caps(640, 360)} ! x264enc tune=zerolatency"
        f" sliced-threads=false speed-preset=ultrafast bitrate=600 key-int-max={10 * KEY_EVERY_S}"
        f" option-string=scenecut=0 ! rtph264pay pt=96 config-interval=1"
        f" ! udpsink host=127.0.0.1 port={port}"
    )


def passing_on(port: int) -> str:
    """Launch line of the mount that passes it on."""
    return (
        f'( udpsrc address=127.0.0.1 port={port} caps="application/x-rtp,media=video,'
        'clock-rate=90000,encoding-name=H264,payload=96" ! rtph264depay ! h264parse'
        " ! rtph264pay name=pay0 pt=96 config-interval=1 )"
    )


class Camera:
    """One mount, and the size filters of the media that run."""

    def __init__(self, codec: str, width: int, height: int) -> None:
        self.factory = GstRtspServer.RTSPMediaFactory()
        self.factory.set_launch(
            f'( videotestsrc is-live=true ! capsfilter name=size caps="{caps(width, height)}"'
            f" ! {ENCODERS[codec]} )"
        )
        self.factory.set_shared(True)
        self._sizes: list[Gst.Element] = []
        self.factory.connect("media-configure", self._configured)

    def _configured(
        self, _: GstRtspServer.RTSPMediaFactory, media: GstRtspServer.RTSPMedia
    ) -> None:
        self._sizes = [media.get_element().get_by_name("size")]

    def told(self, _: object, __: object) -> bool:
        """Read one command."""
        word, *numbers = sys.stdin.readline().split() or [""]
        if word == "size":
            for size in self._sizes:
                size.set_property("caps", Gst.Caps.from_string(caps(*map(int, numbers))))
        return bool(word)


def protect(server: GstRtspServer.RTSPServer, camera: Camera, user: str, password: str) -> None:
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
    camera.factory.set_permissions(permissions)


def main() -> None:
    """Read the command line and serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--codec", choices=sorted(ENCODERS), required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--user", default="")
    parser.add_argument("--password", default="")
    parser.add_argument("--passed-on", action="store_true")
    given = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(given.port))
    camera = Camera(given.codec, *map(int, given.size.split("x")))
    if given.passed_on:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        camera.factory.set_launch(passing_on(port))
        made = maker(port)
        made.set_state(Gst.State.PLAYING)
    if given.user:
        protect(server, camera, given.user, given.password)
    server.get_mount_points().add_factory("/live", camera.factory)
    if not server.attach(None):
        raise SystemExit(f"port {given.port} cannot be used")
    GLib.io_add_watch(0, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, camera.told)
    sys.stdout.write(f"ready {server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
