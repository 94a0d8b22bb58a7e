"""`plantgate probe camera`: find cameras, and see what one gives before it is configured.

With a URL, that stream is asked for; with a host, the paths of the makers' documents are tried one
by one, sub-streams first. A login is tried at most once more after it was accepted and never again
after it was refused: recorders lock out whoever goes on. `--discover` asks all cameras of a network
that speak ONVIF who they are; it needs no login. Nothing is changed on a camera.
Exit 0 when something was found, 1 when not, 2 when the question was wrong.
"""

from __future__ import annotations

import secrets
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import click
from pydantic import ValidationError

from vision import ffmpeg
from vision.config import CameraConfig
from vision.discovery import MOST_BYTES, MULTICAST, TEMPLATES, Found, answers, question
from vision.http_stream import ask
from vision.rtsp import Description, Login, Outcome

EXAMPLE = """\b
Examples:
  plantgate probe camera --discover
  plantgate probe camera 192.0.2.20 --user admin --password-file cam.secret --channel 3
  plantgate probe camera rtsp://192.0.2.20/unit1 --picture unit1.jpg
"""
_PICTURE_S = 15.0
_ENDS = {Outcome.LOGIN_REFUSED, Outcome.LOGIN_WANTED, Outcome.NO_ANSWER}
"""After these another path would be asked for in vain, or make things worse."""


@click.command("camera", epilog=EXAMPLE)
@click.argument("target", metavar="[rtsp://HOST/PATH | http://HOST/PATH | HOST[:PORT]]", default="")
@click.option("--user", default="", help="Name of the login; give --password-file too.")
@click.option("--password-file", default="", type=click.Path(dir_okay=False), help="Its password.")
@click.option("--channel", default=1, show_default=True, type=click.IntRange(1, 999),
              help="Of a recorder.")  # fmt: skip
@click.option("--picture", default="", type=click.Path(dir_okay=False),
              help="Write one picture (JPEG), to draw zones on.")  # fmt: skip
@click.option("--discover", is_flag=True, help="Ask the network for ONVIF cameras.")
@click.option("--to", default="", metavar="HOST[:PORT]", help="With --discover: ask this address.")
@click.option("--timeout-s", default=3.0, show_default=True, type=click.FloatRange(0.1, 60.0))
def command(  # one for each option
    target: str,
    user: str,
    password_file: str,
    channel: int,
    picture: str,
    discover: bool,
    to: str,
    timeout_s: float,
) -> None:
    """Find cameras; see what one gives: streams, codecs, a picture. 查找摄像机."""
    if discover == bool(target):
        raise click.UsageError("give a camera, or --discover to look for some")
    if bool(user) != bool(password_file):
        raise click.UsageError("--user and --password-file belong together: give both or neither")
    if discover:
        sys.exit(_discover(to, timeout_s))
    urls = _urls(target, channel)
    login = Login(user, _password(password_file)) if user else None
    found = _first_line(urls, login, timeout_s)
    if not found:
        sys.exit(1)
    print(_site_file(found, user, password_file))
    if picture:
        sys.exit(_write_picture(found, user, password_file, picture))


def _urls(target: str, channel: int) -> list[tuple[str, str]]:
    """(URL, what it is) to ask for, in order."""
    given = target if "://" in target else f"rtsp://{target}"
    try:
        CameraConfig(name="probe", source=given)
        port = urlsplit(given).port
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise click.UsageError(f"{target}: {reason}") from None
    except ValueError:
        port = 0
    if port == 0:
        raise click.UsageError(f"{target}: a port is a number from 1 to 65535")
    if "://" in target:
        return [(target, "")]
    return [
        (given + one.path.format(channel=channel), f"{one.maker}, {one.stream}")
        for one in TEMPLATES
    ]


def _password(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.UsageError(f"{name} cannot be read: it is not UTF-8") from None


def _first_line(urls: list[tuple[str, str]], login: Login | None, timeout_s: float) -> str:
    """Ask for each and say what came of it; returns the first that is given."""
    first = ""
    for url, what in urls:
        answer = ask(url, login, cnonce=secrets.token_hex(16), timeout_s=timeout_s)
        print(_line(url, what, answer))
        if answer.outcome is Outcome.OK and not first:
            first = url
        if answer.outcome in _ENDS:
            print(_END_WORDS[answer.outcome], file=sys.stderr)
            break
    else:
        if not first:
            print("Nothing here gives a stream; look the path up in the camera's own pages.",
                  file=sys.stderr)  # fmt: skip
    return first


_END_WORDS = {
    Outcome.LOGIN_REFUSED: "The login is refused. It was tried once; recorders lock out whoever"
    " goes on, so correct it before you try again.",
    Outcome.LOGIN_WANTED: "It wants a login: give --user and --password-file.",
    Outcome.NO_ANSWER: "Nothing answers there: is the address right, is RTSP or HTTP on?",
}


def _line(url: str, what: str, answer: Description) -> str:
    streams = ", ".join(f"{one.kind} {one.codec or 'of unknown codec'}" for one in answer.media)
    parts = [url, answer.text, streams, what, answer.server and f"({answer.server})"]
    return "  ".join(part for part in parts if part)


def _site_file(url: str, user: str, password_file: str) -> str:
    lines = ["", "[[camera]]", f'name = "{urlsplit(url).hostname}"', f'source = "{url}"']
    if user:
        lines += [f'user = "{user}"', f'password_file = "{password_file}"']
    return "\n".join(lines)


def _write_picture(url: str, user: str, password_file: str, name: str) -> int:
    ffmpeg.set_up()
    import cv2

    from vision.capture import VideoSource
    from vision.hardware import Decoding

    config = CameraConfig(name="probe", source=url, user=user, password_file=password_file)
    decoding = Decoding(config.decode)
    source = VideoSource(config, time.monotonic_ns, time.time_ns, decoding)
    source.start()
    source.request()
    end = time.monotonic() + _PICTURE_S
    try:
        while (frame := source.take()) is None:
            if time.monotonic() > end:
                reason = source.link().problem or f"nothing came within {_PICTURE_S:.0f} s"
                print(f"No picture: {reason}.", file=sys.stderr)
                return 1
            time.sleep(0.02)
    finally:
        source.close()
        source.ended(_PICTURE_S)
    height, width = frame.image.shape[:2]
    done, jpeg = cv2.imencode(".jpg", frame.image)
    try:
        Path(name).write_bytes(jpeg.tobytes() if done else b"")
    except OSError as error:
        print(f"{name} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"\n{name}: {width} x {height} pixels")
    print(f"Decoded by: {decoding.decoder} ({decoding.reason})")
    return 0


def _discover(to: str, timeout_s: float) -> int:
    host, _, port = to.partition(":")
    if port and not (port.isdigit() and 0 < int(port) < 65_536):
        raise click.UsageError(f"--to {to}: a port is a number from 1 to 65535")
    address = (host, int(port or MULTICAST[1])) if host else MULTICAST
    try:
        found = sorted(set(_asked(address, timeout_s)), key=lambda one: (one.host, one.name))
    except OSError as error:
        print(f"{address[0]}:{address[1]} cannot be asked: {error.strerror}.", file=sys.stderr)
        return 1
    for one in found:
        words = [one.host, one.name, one.hardware, one.location, " ".join(one.addresses)]
        print("  ".join(word for word in words if word))
    if not found:
        print(f"No ONVIF camera answered within {timeout_s:g} s; many have ONVIF switched off.",
              file=sys.stderr)  # fmt: skip
    return 0 if found else 1


def _asked(address: tuple[str, int], timeout_s: float) -> Iterator[Found]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as asking:
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        asking.sendto(question(str(uuid.uuid4())), address)
        end = time.monotonic() + timeout_s
        while (left := end - time.monotonic()) > 0:
            asking.settimeout(left)
            try:
                datagram, _ = asking.recvfrom(MOST_BYTES)
            except TimeoutError:
                return
            yield from answers(datagram)
