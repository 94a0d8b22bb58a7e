"""Tries a camera once: login, codec, first picture, size, frames a second.

Guarantees: a login is asked for once before FFmpeg may, and never again where it was refused, nor
within half an hour of a refusal that this command saw, be it of the camera or of the recorder that
its recorded stream comes from; cameras of one host are tried one after another; every wait is
bounded; no text holds a password. Blocks: call it in a thread.

Constraint: the caller has set FFmpeg up (vision/ffmpeg.py) before this is imported.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from drivers.contract import Clock
from gateway.doctor.causes import cause_of
from gateway.doctor.finding import About, Finding, State
from gateway.doctor.lockout import Lockout
from vision.capture import VideoSource
from vision.config import CameraConfig, redacted
from vision.discovery import TEMPLATES
from vision.hardware import Decoding
from vision.http_stream import ask
from vision.rtsp import Description, Login, Outcome

_ANSWER_S = 4.0
_COUNTED_S = 2.0
_LOOK_S = 0.02
_LARGE = 1280
"""Width from which a sub-stream would do: the networks look at 416 pixels, tiles at more."""
_SLOW_S = 6.0
_CODECS = {"H264", "H265", "HEVC", "JPEG", "MP4V-ES"}


@dataclass(frozen=True, slots=True)
class _Seen:
    """Size of the pictures, when the first came, how many came a second; or what went wrong."""

    width: int = 0
    height: int = 0
    first_s: float = 0.0
    fps: float = 0.0
    decoder: str = ""
    problem: str = ""


def try_camera(
    camera: CameraConfig, lockout: Lockout, clock: Clock, patience_s: float
) -> list[Finding]:
    """Say what a camera gives."""
    if camera.is_file:
        return [*_picture(camera, _look(camera, clock, patience_s))]
    try:
        login = Login(camera.user, _password(camera)) if camera.user else None
    except (OSError, UnicodeDecodeError):
        return [Finding(
            camera.name, About.LOGIN, State.FAULT, f"{camera.password_file} cannot be read",
            f"无法读取密码文件 {camera.password_file}",
            "give the gateway's user the right to read it, as UTF-8 text",
            "让网关用户可读该文件(UTF-8 文本)",
        )]  # fmt: skip
    answer_s = max(_ANSWER_S, patience_s / 5)
    found = _asked(camera, login, lockout, answer_s)
    if found.state not in {State.GOOD, State.DOUBTFUL}:
        return [found]
    return [
        found,
        *_picture(camera, _look(camera, clock, patience_s)),
        *_recorded(camera, login, lockout, answer_s),
    ]


def _asked(camera: CameraConfig, login: Login | None, lockout: Lockout, answer_s: float) -> Finding:
    """Ask what there is, unless the login is not to be tried yet."""
    with lockout.turn(camera) as left_ns:
        if left_ns:
            return _not_tried(camera, -(-left_ns // 60_000_000_000))
        told = ask(camera.source, login, cnonce=secrets.token_hex(16), timeout_s=answer_s)
        if told.outcome is Outcome.LOGIN_REFUSED:
            lockout.refused(camera)
    return _stream(camera, told) if told.outcome is Outcome.OK else _refusal(camera, told)


def _not_tried(camera: CameraConfig, minutes: int) -> Finding:
    where, file = redacted(camera.source), Path(camera.password_file).name
    return Finding(
        camera.name, About.LOGIN, State.NOT_TRIED,
        f"{where} is not tried: this login was refused less than half an hour ago; {minutes} min"
        " to go",
        f"未试 {where}:该登录半小时内被拒绝过,还需等待 {minutes} 分钟",
        f"correct {file}; once it has changed it is tried at once",
        f"改正 {file},修改后可立即再试",
    )  # fmt: skip


def _recorded(
    camera: CameraConfig, login: Login | None, lockout: Lockout, answer_s: float
) -> Iterator[Finding]:
    """Ask for the stream that is copied to the disk; a recorder may want another login."""
    if camera.record == "never" or not camera.record_source:
        return
    found = _asked(camera.recorded, login, lockout, answer_s)
    yield replace(found, text=f"recorded: {found.text}", chinese=f"录像码流:{found.chinese}")


def _password(camera: CameraConfig) -> str:
    return Path(camera.password_file).read_text(encoding="utf-8").rstrip("\r\n")


def _refusal(camera: CameraConfig, told: Description) -> Finding:
    where = redacted(camera.source)
    about, text, chinese, advice, rat = {
        Outcome.LOGIN_REFUSED: (
            About.LOGIN, f"{where} refuses the login of {camera.user} ({told.text})",
            f"登录被拒绝(用户 {camera.user})",
            "correct user or password file before anything tries again: it was tried once, and"
            " recorders lock out whoever goes on",
            "先改正用户名或密码再试:只试了一次,多次失败会被锁定",
        ),
        Outcome.LOGIN_WANTED: (
            About.LOGIN, f"{where} wants a login ({told.text})", "摄像机要求登录",
            "give user and password_file", "填写 user 和 password_file",
        ),
        Outcome.NO_SUCH_PATH: (
            About.STREAM, f"{where} has no stream of this path ({told.text})", "没有这个码流路径",
            f"`plantgate probe camera {urlsplit(camera.source).hostname}` tries the makers' paths",
            f"用 plantgate probe camera {urlsplit(camera.source).hostname} 尝试各厂家路径",
        ),
        Outcome.NO_ANSWER: (
            About.LINK, f"{where} does not answer: {told.text}",
            f"无应答:{cause_of(told.text).chinese or told.text}",
            cause_of(told.text).advice, cause_of(told.text).chinese_advice,
        ),
    }.get(told.outcome, (
        About.STREAM, f"{where} gives no stream: {told.text}", f"不提供码流:{told.text}",
        "look the path up in the camera's own pages", "在摄像机网页中查看码流地址",
    ))  # fmt: skip
    return Finding(camera.name, about, State.FAULT, text, chinese, advice, rat)


def _stream(camera: CameraConfig, told: Description) -> Finding:
    videos = [one.codec.upper() for one in told.media if one.kind == "video"]
    shown = ", ".join(one or "codec not said" for one in videos) or "HTTP"
    login = "login taken, " if camera.user else ""
    login_zh = "登录成功," if camera.user else ""
    unknown = [one for one in videos if one and one not in _CODECS]
    return Finding(
        camera.name, About.STREAM, State.DOUBTFUL if unknown else State.GOOD,
        f"{login}{shown}{f' ({told.server})' if told.server else ''}",
        f"{login_zh}编码 {shown}",
        "" if not unknown else "set the camera to H.264 or H.265",
        "" if not unknown else "把摄像机编码改为 H.264 或 H.265",
    )  # fmt: skip


def _look(camera: CameraConfig, clock: Clock, patience_s: float) -> _Seen:
    """Wait for the first picture, then count frames for a while."""
    decoding = Decoding(camera.decode)
    source = VideoSource(camera, clock.monotonic_ns, clock.wall_ns, decoding)
    begun_ns = clock.monotonic_ns()
    source.start()
    source.request()
    try:
        while (frame := source.take()) is None:
            waited_s = (clock.monotonic_ns() - begun_ns) / 1e9
            problem = source.link().problem
            if problem or waited_s > patience_s:
                return _Seen(problem=problem or f"no picture within {patience_s:g} s")
            time.sleep(_LOOK_S)
        first_ns = clock.monotonic_ns()
        before = source.statistics()["frames_received"]
        time.sleep(_COUNTED_S)
        counted = source.statistics()["frames_received"] - before
        taken_s = (clock.monotonic_ns() - first_ns) / 1e9
    finally:
        source.close()
        source.ended(patience_s)
    height, width = frame.image.shape[:2]
    return _Seen(width, height, (first_ns - begun_ns) / 1e9, counted / taken_s, decoding.decoder)


def _picture(camera: CameraConfig, seen: _Seen) -> Iterator[Finding]:
    if seen.problem:
        cause = cause_of(seen.problem)
        yield Finding(
            camera.name, About.PICTURE, State.FAULT, seen.problem,
            f"没有画面:{cause.chinese or seen.problem}",
            "the stream is announced and no picture comes: look at it with a player on this machine"
            " (VLC, ffplay), and at how many clients the camera allows",
            "码流存在但无画面:在本机用播放器查看,并检查摄像机允许的连接数",
        )  # fmt: skip
        return
    slow = seen.first_s > _SLOW_S
    yield Finding(
        camera.name, About.PICTURE, State.DOUBTFUL if slow else State.GOOD,
        f"{seen.width} x {seen.height}, first picture after {seen.first_s:.1f} s,"
        f" {seen.fps:.0f} frames/s, decoded by {seen.decoder}",
        f"{seen.width} × {seen.height},{seen.first_s:.1f} 秒出首帧,每秒 {seen.fps:.0f} 帧",
        "" if not slow else "set the interval of key pictures (I frame) to 2 s: after each"
        " interruption nobody is counted for so long",
        "" if not slow else "把 I 帧间隔改为 2 秒:每次断线后这段时间无法计数",
    )  # fmt: skip
    if not camera.is_file and seen.fps + 0.5 < camera.analyse_fps:
        yield Finding(
            camera.name, About.PICTURE, State.DOUBTFUL,
            f"{seen.fps:.1f} frames/s come, analyse_fps asks for {camera.analyse_fps:g}",
            f"实际每秒 {seen.fps:.1f} 帧,少于 analyse_fps = {camera.analyse_fps:g}",
            "raise the camera's frame rate or lower analyse_fps",
            "提高摄像机帧率或降低 analyse_fps",
        )  # fmt: skip
    if not camera.is_file and seen.width > _LARGE and camera.tiles is None:
        sub = sub_stream(camera.source)
        yield Finding(
            camera.name, About.STREAM, State.DOUBTFUL,
            f"{seen.width} x {seen.height} looks like the main stream; decoding it costs several"
            " times the sub-stream",
            f"{seen.width} × {seen.height} 似为主码流,解码代价是子码流的数倍",
            f"take the sub-stream{f', perhaps {sub}' if sub else ''}, or [camera.tiles] to see"
            " people far off",
            f"改用子码流{f'(可能是 {sub})' if sub else ''},或用 [camera.tiles] 看远处小目标",
        )  # fmt: skip


def sub_stream(source: str) -> str:
    """Path of the sub-stream beside a main stream, by the makers' paths; empty if not known."""
    parts = urlsplit(source)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    for channel in range(1, 65):
        for main, sub in _pairs():
            if path == main.format(channel=channel):
                return sub.format(channel=channel)
    return ""


def _pairs() -> Iterator[tuple[str, str]]:
    of_maker: dict[str, dict[bool, str]] = {}
    for one in TEMPLATES:
        of_maker.setdefault(one.maker, {})[one.stream.startswith("main")] = one.path
    yield from ((paths[True], paths[False]) for paths in of_maker.values() if len(paths) == 2)


def cores_needed(cameras: Sequence[CameraConfig]) -> list[tuple[str, float]]:
    """Cores that looking for people takes, by model: CPU time of a picture, measured now."""
    from vision.cost import picture
    from vision.detector import Runtime
    from vision.people import FLOOR, load_people

    asked: dict[Path, float] = {}
    for camera in cameras:
        tiles = 1
        if camera.tiles is not None:
            tiles += max(1, camera.tiles.columns * camera.tiles.rows)
        per_s = camera.analyse_fps * tiles
        asked[camera.model_path] = asked.get(camera.model_path, 0.0) + per_s
    found = []
    image = picture(640, 360)
    for model, per_s in asked.items():
        detector = load_people(model, FLOOR, items=(), runtime=Runtime(1)).detector
        detector.feed(image, FLOOR)  # the first one also makes room
        before_ns = time.process_time_ns()
        for _ in range(_ROUNDS):
            detector.feed(image, FLOOR)
        each_s = (time.process_time_ns() - before_ns) / 1e9 / _ROUNDS
        found.append((model.stem, each_s * per_s))
    return found


_ROUNDS = 3

__all__ = ["cores_needed", "sub_stream", "try_camera"]
