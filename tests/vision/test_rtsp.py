"""What a camera has and why it does not give it, against a camera on loopback and by the RFCs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.rtsp_camera import RtspCamera
from vision.capture import VideoSource
from vision.config import CameraConfig
from vision.opening import Door
from vision.refusals import AGAIN_NS, LOCKOUT_NS
from vision.rtsp import (
    Challenge,
    Description,
    Login,
    Media,
    Outcome,
    RtspError,
    authorization,
    best_challenge,
    describe,
    parse_answer,
    parse_challenge,
    parse_media,
)

MUFASA = Login("Mufasa", "Circle of Life")
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
DIGEST = (
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm={},'
    ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",'
    ' opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"'
)
SETTLE_S = 120.0  # a bound against hanging, never an expectation


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_digest_is_that_of_the_rfc(algorithm: str, response: str) -> None:
    """RFC 7616, 3.9.1."""
    challenge = parse_challenge(DIGEST.format(algorithm))
    assert challenge is not None
    header = authorization(challenge, MUFASA, "GET", "/dir/index.html", CNONCE)
    assert f'response="{response}"' in header
    assert "qop=auth, nc=00000001" in header


def test_a_basic_login_is_that_of_the_rfc() -> None:
    """RFC 7617, 2."""
    header = authorization(
        Challenge("basic"), Login("Aladdin", "open sesame"), "DESCRIBE", "rtsp://x/", ""
    )
    assert header == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="


def test_the_strongest_login_is_taken() -> None:
    def offered(*values: str) -> Challenge | None:
        lines = "".join(f"\r\nWWW-Authenticate: {value}" for value in values)
        return best_challenge(parse_answer(f"RTSP/1.0 401 Unauthorized{lines}"))

    basic, md5, sha = 'Basic realm="x"', DIGEST.format("MD5"), DIGEST.format("SHA-256")
    found = [offered(basic, md5, sha), offered(md5, basic), offered(basic)]
    assert [(one.scheme, one.algorithm) for one in found if one] == [
        ("digest", "SHA-256"), ("digest", "MD5"), ("basic", "MD5"),
    ]  # fmt: skip
    assert offered("Bearer x", DIGEST.format("SHA-512-256")) is None
    assert offered('Digest realm="x", nonce="y", qop="auth-int"') is None


def test_a_password_is_shown_by_nothing() -> None:
    assert "Circle" not in repr(MUFASA)


def test_the_streams_of_a_description() -> None:
    sdp = (
        "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\na=control:track1\r\n"
        "m=video 0 RTP/AVP 26\r\nm=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
    )
    assert list(parse_media(sdp)) == [
        Media("video", "H265", "track1"), Media("video", "JPEG"), Media("audio", "PCMA"),
    ]  # fmt: skip


@given(st.text(max_size=300))
def test_nothing_that_comes_is_more_than_an_error(text: str) -> None:
    parse_challenge(text)
    list(parse_media(text))
    with contextlib.suppress(RtspError):
        best_challenge(parse_answer(text))


async def asked(camera: RtspCamera, login: Login | None) -> Description:
    url = f"rtsp://127.0.0.1:{camera.port}/x"
    return await asyncio.to_thread(describe, url, login, cnonce="c" * 16, timeout_s=SETTLE_S)


async def test_a_camera_tells_what_it_has() -> None:
    async with RtspCamera() as camera:
        found = await asked(camera, None)
    assert (found.outcome, found.media) == (Outcome.OK, (Media("video", "H264", "track1"),))


async def test_a_login_is_tried_once() -> None:
    async with RtspCamera(login=("admin", "right")) as camera:
        assert (await asked(camera, Login("admin", "right"))).outcome is Outcome.OK
        assert (await asked(camera, Login("admin", "wrong"))).outcome is Outcome.LOGIN_REFUSED
        assert (await asked(camera, None)).outcome is Outcome.LOGIN_WANTED
        assert camera.logins == [True, False]
        assert {line.split()[0] for line in camera.lines} == {b"DESCRIBE"}


async def test_an_old_nonce_is_no_refused_login() -> None:
    fresh: list[bytes] = []

    def once_stale(answer: bytes) -> bytes:
        if camera.logins and not fresh:
            fresh.append(answer)
            return (
                b"RTSP/1.0 401 Unauthorized\r\nCSeq: 2\r\nWWW-Authenticate: Digest"
                b' realm="camera", nonce="b0rg", stale=true\r\n\r\n'
            )
        return answer

    camera = RtspCamera(once_stale, login=("admin", "right"))
    async with camera:
        assert (await asked(camera, Login("admin", "right"))).outcome is Outcome.OK
    assert camera.logins == [True, True]


@pytest.mark.parametrize(
    ("answer", "outcome", "text"),
    [
        (b"RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", Outcome.NO_SUCH_PATH, "404 Not Found"),
        (b"RTSP/1.0 503 Busy\r\n\r\n", Outcome.OTHER, "503 Busy"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Outcome.OTHER, "what answers is no RTSP server"),
        (b"\0" * 100_000, Outcome.OTHER, "what answers is no RTSP server"),
        (
            b"RTSP/1.0 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            Outcome.OTHER, "its answer has no sensible length",
        ),
        (
            b"RTSP/1.0 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\n",
            Outcome.OTHER, "it asks for a kind of login that is not spoken here",
        ),
    ],
)  # fmt: skip
async def test_why_it_gives_nothing(answer: bytes, outcome: Outcome, text: str) -> None:
    async with RtspCamera(lambda _: answer) as camera:
        found = await asked(camera, MUFASA)
    assert (found.outcome, found.text) == (outcome, text)


def test_nobody_is_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # not listening: refused
        url = f"rtsp://127.0.0.1:{held.getsockname()[1]}/x"
        found = describe(url, None, cnonce="c" * 16, timeout_s=SETTLE_S)
    assert (found.outcome, found.text) == (Outcome.NO_ANSWER, "Connection refused")


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SETTLE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        await asyncio.sleep(0.01)


async def test_a_refused_login_is_left_alone_for_half_an_hour(tmp_path: Path) -> None:
    """And is tried again at once when the password file holds another one."""
    secret = tmp_path / "password"
    secret.write_text("wrong")
    now_ns = [time.monotonic_ns()]
    looked = []

    def clock() -> int:
        looked.append(now_ns[0])
        return now_ns[0]

    async def looks(count: int) -> None:
        before = len(looked)
        await until(lambda: len(looked) >= before + count)

    async with RtspCamera(login=("admin", "right")) as camera:
        config = CameraConfig(
            name="cam", source=f"rtsp://127.0.0.1:{camera.port}/x", user="admin",
            password_file=str(secret),
        )  # fmt: skip
        source = VideoSource(config, clock, time.time_ns)
        source.start()
        try:
            await until(lambda: bool(camera.logins and source.link().problem))
            assert source.link().problem == (
                f"rtsp://127.0.0.1:{camera.port}/x refuses the login of admin (401 Unauthorized);"
                f" the next attempt is in 30 minutes or when {secret} changes, because recorders"
                " lock out whoever goes on trying"
            )
            now_ns[0] += LOCKOUT_NS - 1
            await looks(3)
            assert camera.logins == [False]
            now_ns[0] += 1
            await until(lambda: len(camera.logins) == 2)
            assert camera.logins == [False, False]
            await looks(3)
            secret.write_text("")  # whoever writes a file anew empties it first
            await looks(3)
            assert camera.logins == [False, False]
            secret.write_text("right\n")
            await until(lambda: len(camera.logins) > 2)
            assert camera.logins[2], "the new password"
        finally:
            source.close()
            await asyncio.to_thread(source.ended, SETTLE_S)


def test_a_login_that_was_taken_before_is_tried_three_times(tmp_path: Path) -> None:
    """An answer that a bad line garbled refuses what is right: half an hour would be too long."""

    async def scenario() -> None:
        secret = tmp_path / "password"
        secret.write_text("right\n")
        now_ns = [0]
        async with RtspCamera(login=("admin", "right")) as camera:
            config = CameraConfig(
                name="cam", source=f"rtsp://127.0.0.1:{camera.port}/x", user="admin",
                password_file=str(secret),
            )  # fmt: skip
            door = Door(config, lambda: now_ns[0])
            video = await asyncio.to_thread(door.open)
            assert not isinstance(video, str) or not door.refused
            camera.login = ("admin", "another")
            camera.logins.clear()
            waited = []
            for attempt in range(3):
                said = await asyncio.to_thread(door.open)
                assert isinstance(said, str)
                assert door.refused
                assert ("took before" in said) == (attempt < 2), said
                began_ns, step_ns = now_ns[0], AGAIN_NS if attempt < 2 else LOCKOUT_NS

                def step(step_ns: int = step_ns, began_ns: int = began_ns) -> None:
                    now_ns[0] += step_ns - 1 if not (now_ns[0] - began_ns) else 1

                await asyncio.to_thread(door.sit_out, threading.Event(), step)
                waited.append(now_ns[0] - began_ns)
            assert camera.logins == [False, False, False]
            assert waited == [AGAIN_NS, AGAIN_NS, LOCKOUT_NS]

    asyncio.run(scenario())


def test_a_camera_that_answers_and_then_is_silent_is_tried_again_soon_and_longer() -> None:
    """Its encoder may just be starting: with growing waits it was back 13 s late on a busy box."""

    def no_setup(answer: bytes) -> bytes:
        return b"" if b"interleaved" in answer else answer

    async def scenario() -> None:
        async with RtspCamera(no_setup) as camera:
            config = CameraConfig(name="cam", source=f"rtsp://127.0.0.1:{camera.port}/x")
            door = Door(config, time.monotonic_ns)
            for _ in range(3):  # the third waits longer, and is again no longer than that
                said = await asyncio.to_thread(door.open)
                assert isinstance(said, str)
                assert said.endswith("describes its stream and then does not deliver it")
                assert door.starting
        said = await asyncio.to_thread(door.open)
        assert isinstance(said, str)
        assert "does not answer" in said
        assert not door.starting, "it is gone"

    asyncio.run(scenario())


def test_a_camera_that_refuses_its_stream_at_once_is_not_pressed() -> None:
    def no_setup(answer: bytes) -> bytes:
        if b"interleaved" in answer:
            return answer.replace(b"200 OK", b"453 Not Enough Bandwidth")
        return answer

    async def scenario() -> None:
        async with RtspCamera(no_setup) as camera:
            config = CameraConfig(name="cam", source=f"rtsp://127.0.0.1:{camera.port}/x")
            now_ns = [0]
            door = Door(config, lambda: now_ns[0])  # no time passes by this clock
            assert isinstance(await asyncio.to_thread(door.open), str)
            assert not door.starting

    asyncio.run(scenario())


@pytest.mark.parametrize("source", ["rtsp://10.0.0.7:99999/x", "rtsp://nvr..plant/x"])
def test_an_address_that_nobody_can_be_asked_at_is_a_sentence_and_ends_no_reader(
    source: str,
) -> None:
    """The check refuses both; a thread that died of one was told as native code that hangs."""
    config = CameraConfig(name="cam", source="rtsp://10.0.0.7/x").model_copy(
        update={"source": source}
    )
    told = Door(config, time.monotonic_ns).open()
    assert isinstance(told, str)
    assert "cannot be asked: " in told
