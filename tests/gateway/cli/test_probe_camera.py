"""`plantgate probe camera` against a camera on loopback and an answer to its question."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli.main import main
from tests.fakes.rtsp_camera import RtspCamera
from vision.discovery import Found, answers, question

MATCH = """<?xml version="1.0"?><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Body><d:ProbeMatches><d:ProbeMatch>
<d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/type/video_encoder
onvif://www.onvif.org/name/HIKVISION%20DS-2CD onvif://www.onvif.org/hardware/DS-2CD2T47
onvif://www.onvif.org/location/unit%201 onvif://www.onvif.org/location/x</d:Scopes>
<d:XAddrs>http://192.0.2.20/onvif/device_service http://[2001:db8::20]/onvif</d:XAddrs>
</d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""


@contextmanager
def serving(camera: RtspCamera) -> Iterator[str]:
    """The fake camera on a loop of its own thread; gives HOST:PORT."""
    ready, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with camera:
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(120)
        yield f"127.0.0.1:{camera.port}"
    finally:
        done.set()
        thread.join(120)


def probe(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["probe", "camera", *arguments, "--timeout-s", "60"])


def test_a_url_is_asked_for_once() -> None:
    camera = RtspCamera()
    with serving(camera) as at:
        result = probe(f"rtsp://{at}/unit1")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        f"rtsp://{at}/unit1  200 OK  video H264", "", "[[camera]]", 'name = "127.0.0.1"',
        f'source = "rtsp://{at}/unit1"',
    ]  # fmt: skip
    assert len(camera.lines) == 1


def test_a_host_is_asked_for_the_paths_that_makers_document() -> None:
    path = "/cam/realmonitor?channel=3&subtype=1"

    def spoil(answer: bytes) -> bytes:
        known = path.encode() in camera.lines[-1]
        return answer if known else b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n"

    camera = RtspCamera(spoil)
    with serving(camera) as at:
        result = probe(at, "--channel", "3")
    lines = result.output.splitlines()
    assert result.exit_code == 0, result.output
    assert lines[0] == (
        f"rtsp://{at}/Streaming/Channels/302  404 Not Found  Hikvision 海康威视, sub-stream 子码流"
    )
    assert f"rtsp://{at}{path}  200 OK  video H264  Dahua 大华, sub-stream 子码流" in lines
    assert lines[-1] == f'source = "rtsp://{at}{path}"'


def test_a_refused_login_is_not_tried_on_other_paths(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    camera = RtspCamera(login=("admin", "right"))
    with serving(camera) as at:
        result = probe(at, "--user", "admin", "--password-file", str(secret))
        wanted = probe(at)
    assert (result.exit_code, camera.logins) == (1, [False])
    assert "It was tried once" in result.output
    assert "hunter2" not in result.output
    assert wanted.output.splitlines()[-1] == "It wants a login: give --user and --password-file."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a camera, or --discover to look for some"),
        (["192.0.2.1", "--discover"], "give a camera, or --discover to look for some"),
        (["192.0.2.1", "--user", "x"], "--user and --password-file belong together"),
        (["ftp://192.0.2.1/"], "ftp:// is not supported: give rtsp://"),
        (["rtsp://u:p@192.0.2.1/"], "name and password do not belong in the URL"),
        (["192.0.2.1:0"], "the port behind the host is a number from 1 to 65535"),
        (["192.0.2.1:x"], "the port behind the host is a number from 1 to 65535"),
        (["--discover", "--to", "127.0.0.1:x"], "a port is a number from 1 to 65535"),
        (["192.0.2.1", "--user", "x", "--password-file", "none"], "none cannot be read: No such"),
    ],
)
def test_a_wrong_question_is_one_sentence(arguments: list[str], sentence: str) -> None:
    result = probe(*arguments)
    assert result.exit_code == 2, result.output
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_cameras_that_answer_are_listed() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        camera.bind(("127.0.0.1", 0))
        camera.settimeout(60)

        def answer() -> None:
            asked, who = camera.recvfrom(65_536)
            assert b"NetworkVideoTransmitter" in asked
            for datagram in (b"noise", MATCH.encode(), MATCH.encode()):
                camera.sendto(datagram, who)

        thread = threading.Thread(target=answer)
        thread.start()
        to = f"127.0.0.1:{camera.getsockname()[1]}"
        arguments = ["probe", "camera", "--discover", "--to", to, "--timeout-s", "4"]
        result = CliRunner().invoke(main, arguments)
        thread.join(120)
    assert result.exit_code == 0, result.output
    [line] = result.output.splitlines()
    assert line.startswith("192.0.2.20  HIKVISION DS-2CD  DS-2CD2T47  unit 1  http://192.0.2.20/")


def test_an_answer_with_entities_is_no_camera() -> None:
    bomb = MATCH.replace("<s:Envelope", '<!DOCTYPE x [<!ENTITY a "b">]><s:Envelope')
    assert list(answers(bomb.encode())) == []
    assert list(answers(question("1"))) == []
    assert [one.host for one in answers(MATCH.encode())] == ["192.0.2.20"]


@given(
    st.binary(max_size=400)
    | st.text(max_size=400).map(lambda text: MATCH[:300].encode() + text.encode())
)
def test_nothing_that_comes_is_more_than_no_camera(datagram: bytes) -> None:
    assert all(isinstance(one, Found) for one in answers(datagram))
